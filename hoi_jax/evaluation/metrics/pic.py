"""PIC v2.0: recall of the K best relation triplets between segmented people and objects (PIC challenge 2019).

An image is two label maps (class and instance number of every pixel) and a list of relations between instance
numbers. An annotated triplet is recalled at a threshold if *some* prediction among the best K has the same subject
class, object class and relation, and both masks reach that IoU. Nothing is matched one to one. Recall is computed per
image, separately over geometric and other relations, averaged over the images that have any, and rounded to four
decimals; the two groups are then averaged.
"""

import dataclasses
from collections.abc import Iterable, Sequence

import numpy as np
from jaxtyping import Bool, Float, Int

from hoi_jax.evaluation.metrics.result import EvaluationResult
from hoi_jax.vocab.datasets import PIC

RELATIONS = PIC.verbs
"""Relation number 1 to 30 of the files is index 0 to 29 here."""
GEOMETRIC = ("in front of", "behind", "next to", "in", "on the top of", "on")

KEPT = (20, 50, 100)
THRESHOLDS = (0.25, 0.5, 0.75)
OFFICIAL_WH = (640, 480)

_ABSENT = 256  # instance numbers have 8 bits in the files; any other number stands for an empty mask


@dataclasses.dataclass(frozen=True)
class Scene:
    """Segmentation and relations of one image.

    Attributes:
      semantic: [H, W] class number of every pixel, 0 = none.
      instance: [H, W] instance number of every pixel, 0 to 255.
      relations: [R, 3] instance number of the subject, of the object, and relation number 1 to 30.
      scores: [R]; ignored for ground truth.
    """

    semantic: Int[np.ndarray, "h w"]
    instance: Int[np.ndarray, "h w"]
    relations: Int[np.ndarray, "r 3"]
    scores: Float[np.ndarray, " r"]


def resized(labels: Int[np.ndarray, "h w"], wh: tuple[int, int]) -> Int[np.ndarray, "h2 w2"]:
    """Nearest neighbour with source index floor(target * source size / target size)."""
    width, height = wh
    rows = np.arange(height) * labels.shape[0] // height
    columns = np.arange(width) * labels.shape[1] // width
    return labels[rows[:, None], columns[None]]


def recalled_triplets(
    truth: Scene,
    predicted: Scene,
    *,
    kept: Sequence[int] = KEPT,
    thresholds: Sequence[float] = THRESHOLDS,
    resize_wh: tuple[int, int] | None = OFFICIAL_WH,
) -> Bool[np.ndarray, "k t r"]:
    """Mask of the recalled annotated triplets of one image.

    Args:
      kept: values of K, the number of best-scored predictions that count; earlier rows win ties, NaN never counts.
      thresholds: IoU that both masks must reach.
      resize_wh: size (width, height) that all maps are resized to first; None compares them unresized.

    Returns:
      One value per entry of `kept`, of `thresholds` and per annotated triplet.

    Raises:
      ValueError: instance numbers outside 0..255, or maps of different sizes without `resize_wh`.
    """
    maps = [truth.semantic, truth.instance, predicted.semantic, predicted.instance]
    if resize_wh is not None:
        maps = [resized(labels, resize_wh) for labels in maps]
    if len({labels.shape for labels in maps}) != 1:
        raise ValueError(f"label maps have different sizes: {[labels.shape for labels in maps]}")
    semantic, instance, found_semantic, found_instance = (labels.astype(np.int64) for labels in maps)
    iou = _mask_iou(instance, found_instance)
    real, found = _numbers(truth.relations), _numbers(predicted.relations)
    order = np.argsort(-predicted.scores, kind="stable")
    order = order[~np.isnan(predicted.scores[order])]
    found, found_relation = found[order], predicted.relations[order, 2]
    classes, found_classes = _classes(semantic, instance)[real], _classes(found_semantic, found_instance)[found]
    same = (classes[:, None] == found_classes[None]).all(-1) & (truth.relations[:, None, 2] == found_relation[None])
    overlap = np.minimum(iou[real[:, None, 0], found[None, :, 0]], iou[real[:, None, 1], found[None, :, 1]])
    overlap = np.where(same, overlap, -1.0)
    best = [overlap[:, :k].max(1, initial=-1.0) for k in kept]
    return np.array([[of >= threshold for threshold in thresholds] for of in best]).reshape(
        len(kept), len(thresholds), len(real)
    )


def _numbers(relations: np.ndarray) -> np.ndarray:
    """[R, 2] instance numbers of subject and object; numbers outside 0..255 become `_ABSENT`."""
    ends = relations[:, :2].astype(np.int64)
    return np.where((ends >= 0) & (ends < _ABSENT), ends, _ABSENT)


def _mask_iou(a: np.ndarray, b: np.ndarray) -> Float[np.ndarray, "n n"]:
    """IoU of every instance of one map with every instance of another, from their joint histogram."""
    for labels in (a, b):
        if labels.size and (labels.min() < 0 or labels.max() >= _ABSENT):
            raise ValueError(f"instance numbers are {labels.min()}..{labels.max()}, expected 0..{_ABSENT - 1}")
    size = _ABSENT + 1
    both = np.bincount((a * size + b).reshape(-1), minlength=size * size).reshape(size, size)
    union = both.sum(1, keepdims=True) + both.sum(0, keepdims=True) - both
    return both / np.maximum(union, 1)


def _classes(semantic: np.ndarray, instance: np.ndarray) -> Int[np.ndarray, " n"]:
    """Class of every instance number: the largest class number among its pixels, 0 without pixels."""
    classes = np.zeros(_ABSENT + 1, np.int64)
    np.maximum.at(classes, instance.reshape(-1), semantic.reshape(-1))
    return classes


def evaluate_pic(
    pairs: Iterable[tuple[Scene, Scene | None]],
    *,
    kept: Sequence[int] = KEPT,
    thresholds: Sequence[float] = THRESHOLDS,
    resize_wh: tuple[int, int] | None = OFFICIAL_WH,
) -> EvaluationResult:
    """R@K of a split, with one image in memory at a time.

    Args:
      pairs: (annotated, predicted) scene of every image; None = no prediction, so nothing is recalled. Images without
        annotated relations are skipped and counted.

    Returns:
      metrics `pic/recall@K` (mean over thresholds) and `pic/recall@K/T` with `.../geometric`, `.../non_geometric`;
      per class `pic/recall@K/T` [30], mean over the images with that relation, NaN where no image has it.

    Raises:
      ValueError: an annotated relation number is outside 1 to 30, or as in `recalled_triplets`.
    """
    options = {"kept": kept, "thresholds": thresholds, "resize_wh": resize_wh}
    rates: list[Float[np.ndarray, "k t groups"]] = []
    images = missing = 0
    for truth, predicted in pairs:
        images += 1
        if not len(truth.relations):
            continue
        missing += predicted is None
        if predicted is None:
            hits = np.zeros((len(kept), len(thresholds), len(truth.relations)), bool)
        else:
            hits = recalled_triplets(truth, predicted, kept=kept, thresholds=thresholds, resize_wh=resize_wh)
        rates.append(group_recall(hits, truth.relations[:, 2]))
    table = np.array(rates).reshape(len(rates), len(kept), len(thresholds), len(RELATIONS) + 2)
    defined = ~np.isnan(table)
    total = np.where(defined, table, 0.0).sum(0)
    mean = np.round(np.where(defined.any(0), total / np.maximum(defined.sum(0), 1), np.nan), 4)
    metrics: dict[str, float] = {}
    per_class: dict[str, np.ndarray] = {}
    for k, count in enumerate(kept):
        final = mean[k, :, -2:].mean(-1)
        metrics[f"pic/recall@{count}"] = float(final.mean())
        for t, threshold in enumerate(thresholds):
            name = f"pic/recall@{count}/{threshold}"
            metrics[name] = float(final[t])
            metrics[f"{name}/geometric"], metrics[f"{name}/non_geometric"] = mean[k, t, -2:].tolist()
            per_class[name] = mean[k, t, :-2]
    manifest = {
        "dataset": "pic",
        "protocol": {"name": "pic official" if resize_wh == OFFICIAL_WH else "pic", **options},
        "num_images": images,
        "images_without_relations_skipped": images - len(rates),
        "images_without_predictions": missing,
    }
    return EvaluationResult(metrics, per_class, manifest)


def group_recall(hits: Bool[np.ndarray, "k t r"], relations: Int[np.ndarray, " r"]) -> Float[np.ndarray, "k t groups"]:
    """Share of recalled triplets of one image per relation, then of the geometric and of the other relations.

    NaN for a relation or group without annotations in the image. Raises ValueError for numbers outside 1 to 30.
    """
    if len(relations) and (relations.min() < 1 or relations.max() > len(RELATIONS)):
        raise ValueError(f"relations are numbered {relations.min()}..{relations.max()}, expected 1..{len(RELATIONS)}")
    single = relations[:, None] == np.arange(1, len(RELATIONS) + 1)
    geometric = single[:, [RELATIONS.index(name) for name in GEOMETRIC]].any(1, keepdims=True)
    member = np.concatenate([single, geometric, ~geometric], axis=1).astype(np.float64)
    count = member.sum(0)
    return np.where(count > 0, hits.astype(np.float64) @ member / np.maximum(count, 1), np.nan)
