"""HICO-DET detection mAP: Default and Known Object, Full / Rare / Non-Rare.

Works for any vocabulary of HOI classes. The functions here take flat arrays in the coordinates of the official files
(annotations 1-based inclusive pixels, predictions 0-based inclusive pixels, see `HoiProtocol.prediction_shift`);
`score.hoi_inputs` makes them from predictions and annotations.
"""

import dataclasses

import numpy as np
from jaxtyping import Bool, Float, Int

from hoi_jax.evaluation.metrics.ap import mean_defined, score_ranking
from hoi_jax.evaluation.metrics.matching import best_truth, first_hits, ranking
from hoi_jax.evaluation.metrics.protocols import HoiProtocol
from hoi_jax.evaluation.metrics.result import EvaluationResult
from hoi_jax.predictions import best_per_image
from hoi_jax.vocab.tables import Vocabulary
from hoi_jax.vocab.zero_shot import ZERO_SHOT_UNSEEN, unseen_mask

MIN_OVERLAP = 0.5


@dataclasses.dataclass(frozen=True)
class PairTruth:
    """Annotated pairs, one row per pair and class.

    Attributes:
      num_images: images of the split, with or without pairs.
      image: [G] row of the image, 0..num_images-1.
      human_xyxy_px, object_xyxy_px: [G, 4] boxes.
      label: [G] class (HOI class, or verb for role AP over pairs).
    """

    num_images: int
    image: Int[np.ndarray, " g"]
    human_xyxy_px: Float[np.ndarray, "g 4"]
    object_xyxy_px: Float[np.ndarray, "g 4"]
    label: Int[np.ndarray, " g"]


@dataclasses.dataclass(frozen=True)
class PairDetections:
    """Predicted pairs and their sparse class scores.

    Attributes:
      pair_image: [P] row of the image.
      pair_human_xyxy_px, pair_object_xyxy_px: [P, 4] boxes; a NaN object box never matches.
      triplet_pair: [T] row of the pair.
      triplet_label: [T] class, -1 = a combination that does not exist; such rows are ignored and counted.
      triplet_score: [T] score for ranking; NaN rows are ignored and counted.
    """

    pair_image: Int[np.ndarray, " p"]
    pair_human_xyxy_px: Float[np.ndarray, "p 4"]
    pair_object_xyxy_px: Float[np.ndarray, "p 4"]
    triplet_pair: Int[np.ndarray, " t"]
    triplet_label: Int[np.ndarray, " t"]
    triplet_score: Float[np.ndarray, " t"]


@dataclasses.dataclass(frozen=True)
class RankedHits:
    """All counted detections, ordered by class and falling score.

    Attributes:
      label, image: [t] class and image.
      hit: [t] whether it is a true positive.
      row: [t] row in `PairDetections.triplet_*`.
      truth: [t] row of the pair of its class and image that it overlaps most, -1 = there is none.
      overlap: [t] smaller IoU of human and object with that pair.
      passes: [t] whether the overlap reaches the protocol's threshold: a hit, or a duplicate of one.
      counts: numbers of ignored rows by reason, for the manifest.
    """

    label: Int[np.ndarray, " t"]
    image: Int[np.ndarray, " t"]
    hit: Bool[np.ndarray, " t"]
    row: Int[np.ndarray, " t"]
    truth: Int[np.ndarray, " t"]
    overlap: Float[np.ndarray, " t"]
    passes: Bool[np.ndarray, " t"]
    counts: dict[str, int]


def rank_detections(
    truth: PairTruth, detections: PairDetections, num_classes: int, protocol: HoiProtocol
) -> RankedHits:
    """Decide for every detection whether it is a true positive.

    Raises:
      ValueError: a label or image number lies outside its range.
    """
    _check_range("truth.label", truth.label, num_classes)
    _check_range("truth.image", truth.image, truth.num_images)
    _check_range("pair_image", detections.pair_image, truth.num_images)
    _check_range("triplet_pair", detections.triplet_pair, len(detections.pair_image))
    label = detections.triplet_label.astype(np.int64)
    _check_range("triplet_label", label[label >= 0], num_classes)
    nan = np.isnan(detections.triplet_score)
    counts = {
        "num_detections": len(label),
        "invalid_combinations": int((label < 0).sum()),
        "nan_scores": int(nan.sum()),
    }
    rows = np.flatnonzero((label >= 0) & ~nan)
    image = detections.pair_image[detections.triplet_pair].astype(np.int64)
    if protocol.max_per_image is not None:
        rows = best_per_image(rows, image[rows], detections.triplet_score[rows], protocol.max_per_image)
    if protocol.skip_images_without_gt:
        rows = rows[np.isin(image[rows], truth.image)]
    counts["counted_detections"] = len(rows)

    # Match in file order, where consecutive rows share their image, and rank afterwards.
    label, image = label[rows], image[rows]
    best, overlap = best_truth(
        image * num_classes + label,
        shifted_boxes(detections, protocol),
        detections.triplet_pair[rows],
        truth.image.astype(np.int64) * num_classes + truth.label,
        (truth.human_xyxy_px, truth.object_xyxy_px),
        plus_one=protocol.plus_one,
    )
    order = ranking(label, detections.triplet_score[rows], image)
    best, overlap = best[order], overlap[order]
    passes = overlap_passes(overlap, protocol)
    hit = first_hits(best, passes)
    return RankedHits(label[order], image[order], hit, rows[order], best, overlap, passes, counts)


def shifted_boxes(
    detections: PairDetections, protocol: HoiProtocol
) -> tuple[Float[np.ndarray, "p 4"], Float[np.ndarray, "p 4"]]:
    """Human and object boxes of the predicted pairs in the coordinates of the annotations, as float64."""
    shift = np.float64(protocol.prediction_shift)
    return detections.pair_human_xyxy_px + shift, detections.pair_object_xyxy_px + shift


def overlap_passes(overlap: Float[np.ndarray, " *n"], protocol: HoiProtocol) -> Bool[np.ndarray, " *n"]:
    """Whether an IoU is enough for a match under the protocol."""
    return overlap > MIN_OVERLAP if protocol.strict_iou else overlap >= MIN_OVERLAP


def _check_range(name: str, values: np.ndarray, limit: int) -> None:
    if len(values) and (values.min() < 0 or values.max() >= limit):
        raise ValueError(f"{name} has values {values.min()}..{values.max()}, expected 0..{limit - 1}")


def score_classes(
    ranked: RankedHits,
    keep: Bool[np.ndarray, " t"] | None,
    num_positives: Int[np.ndarray, " c"],
    protocol: HoiProtocol,
) -> tuple[Float[np.ndarray, " c"], Float[np.ndarray, " c"]]:
    """(AP, final recall) per class, of all ranked detections or of those in `keep`."""
    label = ranked.label if keep is None else ranked.label[keep]
    hit = ranked.hit if keep is None else ranked.hit[keep]
    edges = np.searchsorted(label, np.arange(len(num_positives) + 1))
    scores = [
        score_ranking(
            hit[edges[c] : edges[c + 1]],
            int(positives),
            mode=protocol.ap,
            thresholds=protocol.thresholds,
            precision=protocol.precision,
        )
        for c, positives in enumerate(num_positives)
    ]
    return np.array([s.ap for s in scores]), np.array([s.max_recall for s in scores])


def object_images(
    truth: PairTruth,
    vocabulary: Vocabulary,
    source: str,
    image_labels: Int[np.ndarray, "images classes"] | None,
) -> Bool[np.ndarray, "images objects"]:
    """Mask of the images that count for each object in the Known Object setting.

    Raises:
      ValueError: `image_labels` is needed and absent, or contradicts the annotated pairs.
    """
    object_of_class = np.array([obj for _, obj in vocabulary.hois])
    visible = np.zeros((truth.num_images, len(vocabulary.objects)), bool)
    visible[truth.image, object_of_class[truth.label]] = True
    if source == "visible_pairs":
        return visible
    if image_labels is None:
        raise ValueError("known_object_source 'image_labels' needs image-level labels; use 'visible_pairs'")
    labelled = np.zeros_like(visible)
    image, label = np.nonzero(np.asarray(image_labels) == 1)
    labelled[image, object_of_class[label]] = True
    if np.any(visible & ~labelled):
        count = int((visible & ~labelled).any(1).sum())
        raise ValueError(f"{count} images have annotated pairs of an object that is negative in their image labels")
    return labelled


def evaluate_hoi(
    truth: PairTruth,
    detections: PairDetections,
    vocabulary: Vocabulary,
    protocol: HoiProtocol,
    *,
    image_labels: Int[np.ndarray, "images classes"] | None = None,
) -> EvaluationResult:
    """HICO-DET mAP (Chao et al., WACV 2018) under one protocol.

    Classes without ground truth have AP NaN and are left out of the means; the manifest counts them.

    Args:
      image_labels: 1 yes, others no; only for `known_object_source="image_labels"`.

    Returns:
      metrics `{default,known_object}/{full,rare,non_rare,mean_max_recall}`; per class `*/ap`, `*/max_recall` and
      `num_positives`. For hico_det also those of `zero_shot_means`.
    """
    num_classes = len(vocabulary.hois)
    ranked = rank_detections(truth, detections, num_classes, protocol)
    positives = np.bincount(truth.label, minlength=num_classes)
    contains = object_images(truth, vocabulary, protocol.known_object_source, image_labels)
    object_of_class = np.array([obj for _, obj in vocabulary.hois])
    known = contains[ranked.image, object_of_class[ranked.label]]

    metrics: dict[str, float] = {}
    per_class: dict[str, np.ndarray] = {"num_positives": positives}
    for setting, keep in (("default", None), ("known_object", known)):
        ap, recall = score_classes(ranked, keep, positives, protocol)
        metrics[f"{setting}/full"] = mean_defined(ap)
        metrics[f"{setting}/rare"] = mean_defined(ap[vocabulary.rare])
        metrics[f"{setting}/non_rare"] = mean_defined(ap[~vocabulary.rare])
        metrics[f"{setting}/mean_max_recall"] = mean_defined(recall)
        per_class[f"{setting}/ap"], per_class[f"{setting}/max_recall"] = ap, recall
    metrics |= zero_shot_means(per_class["default/ap"], vocabulary)
    manifest = {
        "vocabulary": vocabulary.name,
        "protocol": dataclasses.asdict(protocol),
        "num_images": truth.num_images,
        "num_truth_pairs": len(truth.label),
        "classes_without_ground_truth": int((positives == 0).sum()),
        **ranked.counts,
    }
    return EvaluationResult(metrics, per_class, manifest)


# Zero-shot means of HICO-DET: mean AP of the classes that a split leaves out of training, and of the others.


def zero_shot_means(ap: Float[np.ndarray, " c"], vocabulary: Vocabulary) -> dict[str, float]:
    """`zero_shot/{rf_uc,nf_uc,uo,uv,ua}/{unseen,seen,full}` from the Default APs; nothing for other vocabularies.

    They are meaningful only for a model that was trained without the unseen classes of that split.
    """
    return {name: mean_defined(ap[mask]) for name, mask in zero_shot_masks(vocabulary).items()}


def zero_shot_masks(vocabulary: Vocabulary) -> dict[str, Bool[np.ndarray, " c"]]:
    """Metric of `zero_shot_means` -> the classes that it averages."""
    masks: dict[str, np.ndarray] = {}
    if vocabulary.name == "hico_det":
        for split in ZERO_SHOT_UNSEEN:
            unseen = unseen_mask(split)
            for name, mask in (("unseen", unseen), ("seen", ~unseen), ("full", np.ones_like(unseen))):
                masks[f"zero_shot/{split}/{name}"] = mask
    return masks
