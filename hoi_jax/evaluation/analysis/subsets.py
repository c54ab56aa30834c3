"""Image subsets of a split for any metric: sparse/crowded, normal/tiny, less/more occlusion.

The body-part-map paper (ECCV 2022) reports interactiveness on these parts of the HICO-DET test set. Its released code
defines sparse. Tiny and occlusion are defined in a supplement that is not public, so those two definitions are ours.
A filter selects whole images: ground truth and predictions of all others are left out.
"""

from collections.abc import Callable, Iterable, Mapping

import numpy as np
from jaxtyping import Bool, Float

from hoi_jax.annotations import Annotations
from hoi_jax.evaluation.metrics.matching import box_area, candidate_chunks, matched_iou
from hoi_jax.evaluation.metrics.result import EvaluationResult
from hoi_jax.settings import choice
from hoi_jax.vocab import get_vocabulary

SAME_PERSON_IOU = 0.5


def _person_rows(annotations: Annotations) -> np.ndarray:
    """Rows of instances that are people."""
    return np.flatnonzero(annotations["instances_class"] == get_vocabulary(annotations.vocabulary_name).human_class)


def sparse_images(annotations: Annotations) -> Bool[np.ndarray, " i"]:
    """Images with exactly one annotated person, counted as the released sampler counts.

    Every annotated person box counts, including a second box around the same person and a person who is the object of
    a pair; an image without people is not sparse. Files that repeat a person's box for every pair (such as HICO-DET's
    own) have fewer sparse images than files with merged boxes.
    """
    image = annotations.image_rows("instances")[_person_rows(annotations)]
    return np.bincount(image, minlength=annotations.num_images) == 1


def tiny_pairs(annotations: Annotations, max_area: float = 0.01) -> Bool[np.ndarray, " rows"]:
    """Annotated pair rows whose person covers less than `max_area` of the image (our definition)."""
    human = annotations.instance_rows("pairs_human")
    image = annotations.original_hw_px.astype(np.float64).prod(1)[annotations.image_rows("pairs")]
    return box_area(annotations["instances_xyxy_px"][human]) < max_area * image


def occluded_pairs(annotations: Annotations, min_covered: float = 0.25) -> Bool[np.ndarray, " rows"]:
    """Annotated pair rows whose person is covered by another person's box by at least `min_covered` (our definition).

    Boxes with IoU of 0.5 or more with the person's own are taken for repeated boxes of the same person.
    """
    covered = covered_share(annotations)
    return covered[annotations.instance_rows("pairs_human")] >= min_covered


def covered_share(annotations: Annotations) -> Float[np.ndarray, " instances"]:
    """Largest share of each person's box that is covered by a single other person's box; 0 for objects."""
    people = _person_rows(annotations)
    boxes = annotations["instances_xyxy_px"][people].astype(np.float64)
    image = annotations.image_rows("instances")[people]
    share = np.zeros(len(people))
    for own, other in candidate_chunks(image, image):
        a, b = boxes[own], boxes[other]
        corners = np.concatenate([np.maximum(a[:, :2], b[:, :2]), np.minimum(a[:, 2:], b[:, 2:])], axis=1)
        area = box_area(a)
        part = np.where(area > 0, box_area(corners) / np.where(area > 0, area, 1.0), 0.0)
        np.maximum.at(share, own, np.where(matched_iou(a, b) < SAME_PERSON_IOU, part, 0.0))
    result = np.zeros(len(annotations["instances_class"]))
    result[people] = share
    return result


def images_with(annotations: Annotations, pairs: Bool[np.ndarray, " rows"]) -> Bool[np.ndarray, " i"]:
    """Images that hold at least one of the marked annotated pair rows."""
    mask = np.zeros(annotations.num_images, bool)
    mask[annotations.image_rows("pairs")[pairs]] = True
    return mask


SUBSETS: Mapping[str, Callable[[Annotations], Bool[np.ndarray, " i"]]] = {
    "sparse": sparse_images,
    "crowded": lambda annotations: ~sparse_images(annotations),
    "tiny": lambda annotations: images_with(annotations, tiny_pairs(annotations)),
    "normal": lambda annotations: ~images_with(annotations, tiny_pairs(annotations)),
    "more_occlusion": lambda annotations: images_with(annotations, occluded_pairs(annotations)),
    "less_occlusion": lambda annotations: ~images_with(annotations, occluded_pairs(annotations)),
}
"""Name -> image filter. Two consecutive filters are complements: sparse and crowded, normal and tiny, and so on."""


def evaluate_subsets(
    evaluate: Callable[[Annotations], EvaluationResult],
    annotations: Annotations,
    names: Iterable[str] = tuple(SUBSETS),
) -> EvaluationResult:
    """Any metric on parts of a split.

    Args:
      evaluate: function that scores one split, for example
        `functools.partial(evaluate_hoi_predictions, predictions, vocabulary=HICO)`.

    Returns:
      metrics, arrays and manifests of every part under `subset/<name>/...`; predictions for images outside the part
      are ignored (and counted as unknown images).

    Raises:
      ValueError: an unknown subset name.
    """
    metrics: dict[str, float] = {}
    per_class: dict[str, np.ndarray] = {}
    manifest: dict[str, object] = {}
    for name in names:
        choice("subset", name, SUBSETS)
        part = annotations.select(SUBSETS[name](annotations))
        result = evaluate(part)
        metrics |= {f"subset/{name}/{key}": value for key, value in result.metrics.items()}
        per_class |= {f"subset/{name}/{key}": value for key, value in result.per_class.items()}
        manifest[f"subset/{name}"] = {**result.manifest, "num_images": part.num_images}
    return EvaluationResult(metrics, per_class, manifest)
