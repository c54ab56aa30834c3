"""Scores of a prediction file against a label file, whoever wrote them: what `evaluate.py --predictions` does.

Imports neither JAX nor TensorFlow, and loads no model.
"""

import dataclasses
import os
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from hoi_jax import io
from hoi_jax.evaluation.action_frame import has_whole_action_labels
from hoi_jax.evaluation.alignment import versions
from hoi_jax.evaluation.annotation_files import read_annotations
from hoi_jax.evaluation.annotations import Annotations
from hoi_jax.evaluation.hoi_w import evaluate_hoi_w
from hoi_jax.evaluation.hoi_w_files import read_hoi_w
from hoi_jax.evaluation.image_level import evaluate_image_store
from hoi_jax.evaluation.interactiveness import evaluate_interactiveness, truth_from_published
from hoi_jax.evaluation.interactiveness_flat import detections_from_vcoco_flat
from hoi_jax.evaluation.interactiveness_store import evaluate_interactiveness_store, evaluate_part_interactiveness
from hoi_jax.evaluation.nis import nis_reduction
from hoi_jax.evaluation.prediction_checks import prediction_counts
from hoi_jax.evaluation.prediction_files import detect_format, read_predictions
from hoi_jax.evaluation.protocols import hoi_protocol
from hoi_jax.evaluation.result import EvaluationResult, merge
from hoi_jax.evaluation.store import PredictionStore, load_predictions
from hoi_jax.evaluation.stored import evaluate_actions_store, evaluate_store, role_ap_over_pairs
from hoi_jax.evaluation.subsets import evaluate_subsets
from hoi_jax.settings import choice
from hoi_jax.vocab import Vocabulary, get_vocabulary

PathLike = str | os.PathLike[str]

DATASETS = {
    "hico_det": "hico_det",
    "vcoco": "vcoco",
    "hoi_scenes": "hoi_scenes",
    "hoi_scenes_actions": "hoi_scenes_actions",
    "hico": "hico_det",
}
"""Dataset to vocabulary; `hico` is image-level. `hoi_w` has files of its own (`evaluate_hoi_w_files`)."""

FILE_METRICS = ("hoi", "actions", "role_pairs", "interactiveness", "parts", "nis", "image")


@dataclasses.dataclass(frozen=True)
class Scorer:
    """A split, predictions for it, and how they are scored.

    Attributes:
      protocol: named HOI protocol; actions have the official one only.
      metrics: some of `FILE_METRICS`.
      published: arrays of published interactiveness ground truth, or None.
      flat: the arrays of a flat V-COCO file, whose interactiveness is scored in that file's own frame; else None.
    """

    store: PredictionStore
    annotations: Annotations
    vocabulary: Vocabulary
    metrics: tuple[str, ...]
    protocol: str = "official"
    split: str | None = None
    dataset: str | None = None
    published: dict[str, np.ndarray] | None = None
    flat: dict[str, np.ndarray] | None = None

    def result(self, *, use_nis: bool = True, subsets: Iterable[str] = ()) -> EvaluationResult:
        """All metrics, with what they were computed from. `subsets`: also on these parts of the split."""
        whole = self._on(self.annotations, use_nis)
        parts = evaluate_subsets(lambda part: self._on(part, use_nis), self.annotations, subsets)
        result = merge(whole, parts)
        return dataclasses.replace(result, manifest={**result.manifest, **self._about()})

    def _on(self, annotations: Annotations, use_nis: bool) -> EvaluationResult:
        return merge(*(_METRICS[name](self, annotations, use_nis) for name in self.metrics))

    def _about(self) -> dict[str, object]:
        about: dict[str, object] = {
            "dataset": self.dataset or self.vocabulary.name,
            "split": self.split,
            "annotations_fingerprint": self.annotations.fingerprint,
            "num_images": self.annotations.num_images,
            "input_counts": prediction_counts(self.store, self.annotations, self.vocabulary),
            "num_predictions": len(self.store.trip_score),
            "detector": self.store.manifest.get("detector"),
            "predictions": dict(self.store.manifest),
            "versions": versions(),
        }
        if "hoi" in self.metrics:
            about["known_object_source"] = _known_object_source(self.annotations, self.vocabulary)
        return about


def _known_object_source(annotations: Annotations, vocabulary: Vocabulary) -> str:
    """Image-level labels where there are any, else visible pairs (a subset of those images)."""
    return "visible_pairs" if annotations.image_labels(len(vocabulary.hois)) is None else "image_labels"


def _hoi(scorer: Scorer, annotations: Annotations, use_nis: bool) -> EvaluationResult:
    source = _known_object_source(annotations, scorer.vocabulary)
    protocol = dataclasses.replace(hoi_protocol(scorer.protocol), known_object_source=source)
    return evaluate_store(scorer.store, annotations, scorer.vocabulary, protocol, use_nis=use_nis)


def _interactiveness(scorer: Scorer, annotations: Annotations, use_nis: bool) -> EvaluationResult:
    del use_nis  # NIS reads the same score.
    if scorer.flat is None or scorer.published is None:
        return evaluate_interactiveness_store(scorer.store, annotations, scorer.vocabulary, scorer.published)
    truth, counts = truth_from_published(scorer.published, annotations.image_id)
    used = np.isin(scorer.flat["det_image"], annotations.image_id)
    rows = used[scorer.flat["role_det"]]
    known = {name: array[rows] if name.startswith("role_") else array for name, array in scorer.flat.items()}
    # Detections of unknown images keep their row, of some known image; no role prediction refers to them any more.
    known["det_image"] = np.where(used, known["det_image"], annotations.image_id[:1])
    result = evaluate_interactiveness(truth, detections_from_vcoco_flat(known, annotations.image_id))
    return merge(result, EvaluationResult({}, {}, {"published_truth": counts, "interactiveness_score": "role_score"}))


_METRICS: dict[str, Callable[[Scorer, Annotations, bool], EvaluationResult]] = {
    "hoi": _hoi,
    "actions": lambda s, labels, nis: evaluate_actions_store(s.store, labels, s.vocabulary, use_nis=nis),
    "role_pairs": lambda s, labels, nis: role_ap_over_pairs(s.store, labels, s.vocabulary, use_nis=nis),
    "interactiveness": _interactiveness,
    "parts": lambda s, labels, nis: evaluate_part_interactiveness(s.store, labels, s.vocabulary),
    "nis": lambda s, labels, nis: nis_reduction(s.store, labels, s.vocabulary),
    "image": lambda s, labels, nis: evaluate_image_store(s.store, labels),
}


def default_metrics(dataset: str, annotations: Annotations, vocabulary: Vocabulary, published: bool) -> tuple[str, ...]:
    """The scores that papers report for a dataset, as far as the labels allow them."""
    if dataset == "hico":
        first = "image"
    elif vocabulary.hois:
        first = "hoi"
    else:
        first = "actions" if has_whole_action_labels(annotations) else "role_pairs"
    return (first, "interactiveness") if published else (first,)


def load_scorer(
    predictions: PathLike,
    annotations: PathLike,
    *,
    dataset: str | None = None,
    format: str = "auto",
    protocol: str = "official",
    metrics: Sequence[str] | None = None,
    split: str = "test",
    coco_instances: Sequence[PathLike] = (),
    image_labels: PathLike | None = None,
    interactiveness_gt: PathLike | None = None,
) -> Scorer:
    """Reads predictions and labels of any known layout.

    Args:
      dataset: one of `DATASETS`; None takes the vocabulary of a store, else that of the labels.
      format: of the predictions, see `prediction_files`.
      protocol: named HOI protocol.
      metrics: some of `FILE_METRICS`; None takes `default_metrics`.
      split, coco_instances, image_labels: see `annotation_files.read_annotations`.
      interactiveness_gt: npz of published ground truth (`image_key`, `count`, `boxes`).

    Raises:
      io.DataError: naming file, record and field. ValueError: names that do not exist, or do not fit each other.
    """
    hoi_protocol(protocol)
    labels = read_annotations(annotations, coco_instances=coco_instances, image_labels=image_labels, split=split)
    found = detect_format(predictions) if format == "auto" else format
    if dataset is None:
        dataset = load_predictions(predictions).vocabulary_name if found == "store" else labels.vocabulary_name
    choice("dataset", dataset, DATASETS)
    vocabulary = get_vocabulary(DATASETS[dataset])
    if vocabulary.name not in (labels.vocabulary_name, labels.actions_vocabulary_name):
        raise io.DataError(f"{annotations}: labels are of {labels.vocabulary_name!r}, not of {dataset!r}")
    if vocabulary.actions and protocol != "official":
        raise ValueError(f"{dataset} has one protocol, 'official'; {protocol!r} is for HOI classes")
    published = None if interactiveness_gt is None else read_interactiveness_gt(interactiveness_gt)
    chosen = tuple(metrics or default_metrics(dataset, labels, vocabulary, published is not None))
    for name in chosen:
        choice("metric", name, FILE_METRICS)
    store = read_predictions(predictions, vocabulary, labels, format)
    flat = io.read_npz(predictions) if found == "flat-npz" and vocabulary.name == "vcoco" else None
    return Scorer(store, labels, vocabulary, chosen, protocol, split, dataset, published, flat)


def evaluate_files(
    predictions: PathLike, annotations: PathLike, *, use_nis: bool = True, subsets: Iterable[str] = (), **options
) -> EvaluationResult:
    """Scores of a file against a file; `options` as of `load_scorer`.

    >>> result = evaluate_files("predictions.npz", "instances_test2015.json.gz", protocol="qpic")  # doctest: +SKIP
    >>> result.metrics["default/full"]  # doctest: +SKIP
    """
    return load_scorer(predictions, annotations, **options).result(use_nis=use_nis, subsets=subsets)


def read_interactiveness_gt(path: PathLike) -> dict[str, np.ndarray]:
    """Arrays of published interactiveness ground truth: `image_key` [K], `count` [K], `boxes` [sum(count), 8].

    Raises:
      io.DataError: naming the file and field that is absent or malformed.
    """
    content = io.read_npz(path)
    try:
        truth_from_published(content, np.zeros(0, np.int64))
    except io.DataError as error:
        raise io.DataError(f"{path}: {error}") from error
    return content


def evaluate_hoi_w_files(predictions: PathLike, annotations: PathLike) -> EvaluationResult:
    """HOI-W mAP_rel of a result file against a label file, both in that dataset's JSON layout.

    Raises:
      io.DataError: naming the file, record and field.
    """
    tables = [io.read_json(path) for path in (annotations, predictions)]
    for path, table in zip((annotations, predictions), tables, strict=True):
        if not isinstance(table, list):
            raise io.CorruptFileError(f"{path}: holds {type(table).__name__}, expected a list of images")
    try:
        truth, found, counts = read_hoi_w(tables[0], tables[1])
    except io.DataError as error:
        raise io.DataError(f"{annotations}, {predictions}: {error}") from error
    result = evaluate_hoi_w(truth, found)
    return dataclasses.replace(result, manifest={**result.manifest, **counts, "versions": versions()})
