"""What non-interaction suppression deletes (TIN, Li et al., CVPR 2019, Table 4).

The paper gives no formula; this is the reading of its benchmark script. A candidate pair is *interactive* when both
its boxes overlap by more than 0.5 with an annotated pair of a real HOI and of the detected object class, else
*non-interactive* when the same holds for a `no_interaction` pair, else *unmatched*. The reduction is the share of
unmatched pairs that were deleted. Images without an annotated interaction are left out.
"""

import numpy as np

from hoi_jax.evaluation.alignment import align
from hoi_jax.evaluation.annotations import Annotations
from hoi_jax.evaluation.hico_det import MIN_OVERLAP
from hoi_jax.evaluation.interactiveness_store import interactive_rows
from hoi_jax.evaluation.matching import best_truth
from hoi_jax.evaluation.result import EvaluationResult
from hoi_jax.evaluation.store import PredictionStore
from hoi_jax.vocab import Vocabulary


def nis_reduction(store: PredictionStore, annotations: Annotations, vocabulary: Vocabulary) -> EvaluationResult:
    """How many candidate pairs were suppressed (`pair_kept` False), by what they are.

    Returns:
      metrics `nis/reduction` (deleted share of unmatched pairs; Table 4 prints it with a minus sign),
      `nis/lost_interactive` (deleted share of interactive pairs: lost recall), `nis/reduction_non_interactive`;
      NaN where there is no such pair. Counts in the manifest under `nis`.

    Raises:
      ValueError: the annotations have no pairs in the vocabulary.
    """
    if annotations.vocabulary_name != vocabulary.name:
        raise ValueError(f"the annotations have pairs in {annotations.vocabulary_name!r}, not {vocabulary.name!r}")
    aligned = align(store, annotations, use_nis=False)
    real = interactive_rows(annotations, vocabulary)
    silent = (annotations["pairs_verb"] == vocabulary.no_interaction) & (annotations["pairs_object"] >= 0)
    has_interaction = np.zeros(annotations.num_images, bool)
    has_interaction[annotations.image_rows("pairs")[real]] = True
    counted = has_interaction[aligned.pair_image]
    rows, image = aligned.pair_rows[counted], aligned.pair_image[counted]

    interactive = _matched(store, rows, image, annotations, real, vocabulary)
    non_interactive = _matched(store, rows, image, annotations, silent, vocabulary) & ~interactive
    kinds = {
        "interactive": interactive,
        "non_interactive": non_interactive,
        "unmatched": ~interactive & ~non_interactive,
    }
    deleted = ~store.pair_kept[rows]
    counts = {name: {"pairs": int(of.sum()), "deleted": int((of & deleted).sum())} for name, of in kinds.items()}

    def share(name: str) -> float:
        return counts[name]["deleted"] / counts[name]["pairs"] if counts[name]["pairs"] else float("nan")

    metrics = {
        "nis/reduction": share("unmatched"),
        "nis/lost_interactive": share("interactive"),
        "nis/reduction_non_interactive": share("non_interactive"),
    }
    about = {**counts, "images_with_interaction": int(has_interaction.sum())}
    return EvaluationResult(metrics, {}, {"vocabulary": vocabulary.name, "nis": about, **aligned.provenance})


def _matched(
    store: PredictionStore,
    rows: np.ndarray,
    image: np.ndarray,
    annotations: Annotations,
    truth_rows: np.ndarray,
    vocabulary: Vocabulary,
) -> np.ndarray:
    """Which pairs of the store overlap by more than 0.5 with one of `truth_rows` of their image and object class."""
    human = annotations.instance_rows("pairs_human")[truth_rows]
    obj = annotations.instance_rows("pairs_object")[truth_rows]
    boxes, classes = annotations["instances_xyxy_px"].astype(np.float64), annotations["instances_class"]
    num_classes = len(vocabulary.objects) + 1  # the last one is "no object": no annotated pair has it
    object_class = store.pair_object_class[rows]
    _, overlap = best_truth(
        image * num_classes + np.where(object_class >= 0, object_class, num_classes - 1),
        (store.pair_human_xyxy_px.astype(np.float64), store.pair_object_xyxy_px.astype(np.float64)),
        rows,
        annotations.image_rows("pairs")[truth_rows] * num_classes + classes[obj],
        (boxes[human], boxes[obj]),
        plus_one=False,
    )
    return overlap > MIN_OVERLAP
