"""The `Scorer`: predictions, the labels of a split, and all results computed from them.

`evaluate.py` builds one from files (`load_scorer`) or from a run; either way `Scorer.results` computes the results.
HOI-W and PIC have their own file layouts and their own scorer (`benchmark_files`) with the same method.
"""

import dataclasses
import os
from collections.abc import Sequence

import numpy as np

from hoi_jax import io
from hoi_jax.annotations import Annotations
from hoi_jax.evaluation.analysis.baselines import box_distance_interactiveness, frequency_baseline
from hoi_jax.evaluation.analysis.bootstrap import REPLICATES, intervals, prediction_rankings, resample
from hoi_jax.evaluation.metrics.alignment import has_whole_action_labels, versions
from hoi_jax.evaluation.metrics.annotated_pairs import has_people, pair_rankings
from hoi_jax.evaluation.metrics.interactiveness import truth_from_published
from hoi_jax.evaluation.metrics.protocols import hoi_protocol
from hoi_jax.evaluation.metrics.resampling import ClassRanking
from hoi_jax.evaluation.metrics.result import EvaluationResult
from hoi_jax.evaluation.score import METRICS, EvaluationSettings, known_object_source, score
from hoi_jax.formats.labels.detect import read_annotations
from hoi_jax.formats.predictions.checks import prediction_counts
from hoi_jax.formats.predictions.detect import detect_format, read_predictions
from hoi_jax.predictions import Predictions, load_predictions
from hoi_jax.settings import choice
from hoi_jax.vocab import Vocabulary, get_vocabulary
from hoi_jax.vocab.datasets import HOI_W

PathLike = str | os.PathLike[str]

DATASETS = {
    "hico_det": "hico_det",
    "vcoco": "vcoco",
    "hoi_scenes": "hoi_scenes",
    "hoi_scenes_actions": "hoi_scenes_actions",
    "hico": "hico_det",
}
"""Dataset -> vocabulary; `hico` has image-level labels."""

RANKED_METRICS = ("hoi", "actions", "role_pairs", "agent_pairs")
"""Metrics that rank triplets and therefore also apply to the class-frequency baseline."""

DRAWN_METRICS = ("hoi", "actions", "role_pairs")
"""Metrics with bootstrap intervals."""


@dataclasses.dataclass(frozen=True)
class Scorer:
    """Predictions for a split, its labels, and the scoring options.

    Attributes:
      protocol: name of the HOI protocol; actions have only the official one.
      metrics: some of `score.METRICS`.
      published: arrays of published interactiveness ground truth, or None.
      train: training labels, for the class-frequency baseline and Few@k, or None.
      subsets: parts of the split (`analysis.subsets.SUBSETS`) on which the model's metrics are computed as well.
    """

    predictions: Predictions
    annotations: Annotations
    vocabulary: Vocabulary
    metrics: tuple[str, ...]
    protocol: str = "official"
    split: str | None = None
    dataset: str | None = None
    published: dict[str, np.ndarray] | None = None
    train: Annotations | None = None
    subsets: tuple[str, ...] = ()

    def results(self, *, draws: int | None = None) -> dict[str, EvaluationResult]:
        """The results of the model and of its variants and baselines, by name.

        - "model": the predictions unchanged.
        - "no_suppression": the same without non-interaction suppression (NIS), where any pair was suppressed.
        - "class_frequency": all pairs of detections, ranked by the frequency of the verb with the object in training;
          needs `train` and detections.
        - "distance_model_pairs", "distance_all_pairs": interactiveness from box distance, of the model's pairs and of
          all pairs of detections; where "interactiveness" is scored.

        Args:
          draws: number of bootstrap draws for intervals of the model and the class-frequency baseline; None = none.
        """
        results = {"model": self._drawn(draws)}
        if not self.predictions.pair_nis_keep.all():
            results["no_suppression"] = self.result(use_nis=False)
        if "interactiveness" in self.metrics:
            results["distance_model_pairs"] = self._by_distance(self.predictions).result()
        baseline = self._class_frequency()
        if baseline is None:
            return results
        if ranked := tuple(name for name in RANKED_METRICS if name in self.metrics):
            results["class_frequency"] = dataclasses.replace(baseline, metrics=ranked)._drawn(draws)
        if "interactiveness" in self.metrics:
            results["distance_all_pairs"] = self._by_distance(baseline.predictions).result()
        return results

    def result(self, *, use_nis: bool = True) -> EvaluationResult:
        """All metrics of the predictions, with a manifest of their inputs."""
        result = score(
            EvaluationSettings(metrics=self.metrics, protocol=self.protocol, subsets=self.subsets),
            self.predictions,
            self.annotations,
            self.vocabulary,
            use_nis=use_nis,
            published_interactiveness=self.published,
            train=self.train,
        )
        return dataclasses.replace(result, manifest={**result.manifest, **self._about()})

    def _drawn(self, draws: int | None) -> EvaluationResult:
        result = self.result()
        return self.with_intervals(result, replicates=draws) if draws else result

    def _by_distance(self, predictions: Predictions) -> "Scorer":
        near = box_distance_interactiveness(predictions)
        return dataclasses.replace(self, predictions=near, metrics=("interactiveness",), subsets=())

    def _class_frequency(self) -> "Scorer | None":
        labelled = bool(self.vocabulary.hois) or self.annotations.vocabulary_name == self.vocabulary.name
        wanted = set(self.metrics) & {*RANKED_METRICS, "interactiveness"}
        if self.train is None or not labelled or not wanted or not len(self.annotations["detections_class"]):
            return None
        baseline = frequency_baseline(self.train, self.annotations, self.vocabulary)
        return dataclasses.replace(self, predictions=baseline, subsets=())

    def with_intervals(
        self, result: EvaluationResult, *, replicates: int = REPLICATES, seed: int = 0, level: float = 0.95
    ) -> EvaluationResult:
        """`result` with intervals of its scores and the draws they come from, in the manifest.

        `intervals` maps a metric to low, high and standard error; with `bootstrap`, `compare` can pair this result
        with another without reading the predictions. Whole images are drawn (`bootstrap.resample`). The scores are
        the official ones, or those over annotated pairs if the metrics include "role_pairs" instead.

        Raises:
          ValueError: the labels are not complete enough for the scores.
        """
        use_nis = bool(result.manifest.get("use_nis", True))
        if "role_pairs" in self.metrics and "actions" not in self.metrics:
            rankings = pair_rankings(self.predictions, self.annotations, self.vocabulary, use_nis=use_nis)
        else:
            rankings = self._official_rankings(use_nis)
        drawn = resample(rankings, replicates=replicates, seed=seed)
        found = {
            name: {"low": interval.low, "high": interval.high, "standard_error": interval.standard_error}
            for name, interval in intervals(drawn, level=level).items()
        }
        about = {"intervals": found, "interval_level": level, "bootstrap": drawn.to_json()}
        return dataclasses.replace(result, manifest={**result.manifest, **about})

    def _official_rankings(self, use_nis: bool) -> tuple[ClassRanking, ...]:
        protocol = None
        if not self.vocabulary.actions:
            source = known_object_source(self.annotations, self.vocabulary)
            protocol = dataclasses.replace(hoi_protocol(self.protocol), known_object_source=source)
        return prediction_rankings(self.predictions, self.annotations, self.vocabulary, protocol, use_nis=use_nis)

    def _about(self) -> dict[str, object]:
        about: dict[str, object] = {
            "dataset": self.dataset or self.vocabulary.name,
            "split": self.split,
            "annotations_fingerprint": self.annotations.fingerprint,
            "num_images": self.annotations.num_images,
            "input_counts": prediction_counts(self.predictions, self.annotations, self.vocabulary),
            "num_predictions": len(self.predictions.triplet_score),
            "detector": self.predictions.manifest.get("detector"),
            "predictions": dict(self.predictions.manifest),
            "versions": versions(),
        }
        if "hoi" in self.metrics:
            about["known_object_source"] = known_object_source(self.annotations, self.vocabulary)
        return about


def default_metrics(dataset: str, annotations: Annotations, vocabulary: Vocabulary, published: bool) -> tuple[str, ...]:
    """Metrics that papers report for a dataset, as far as the labels allow them."""
    if dataset == "hico":
        first = ("image",)
    elif vocabulary.name == HOI_W.name:
        first = ("hoi_w",)
    elif vocabulary.hois:
        first = ("hoi",)
    elif has_whole_action_labels(annotations):
        first = ("actions",)
    else:
        first = ("role_pairs", "agent_pairs") if has_people(annotations, vocabulary) else ("role_pairs",)
    return (*first, "interactiveness") if published else first


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
    train_annotations: PathLike | None = None,
    subsets: Sequence[str] = (),
) -> Scorer:
    """Scorer of a prediction file and a label file, each in any known layout.

    Args:
      dataset: one of `DATASETS`; None takes the vocabulary of an npz prediction file, else that of the labels.
      format: format of the predictions, see `formats.predictions.detect`.
      protocol: name of the HOI protocol.
      metrics: some of `score.METRICS`; None takes `default_metrics`.
      split, coco_instances, image_labels: see `formats.labels.detect.read_annotations`.
      interactiveness_gt: npz of published ground truth (`image_key`, `count`, `boxes`).
      train_annotations: label file of the training split, for the class-frequency baseline and Few@k.
      subsets: parts of the split that are scored as well.

    Raises:
      io.DataError: a file is malformed; the message names file, record and field.
      ValueError: an option is unknown, or options contradict each other.
    """
    hoi_protocol(protocol)
    labels = read_annotations(annotations, coco_instances=coco_instances, image_labels=image_labels, split=split)
    found = detect_format(predictions) if format == "auto" else format
    if dataset is None:
        dataset = load_predictions(predictions).vocabulary_name if found == "store" else labels.vocabulary_name
    else:
        choice("dataset", dataset, DATASETS)
    vocabulary = get_vocabulary(DATASETS.get(dataset, dataset))
    if vocabulary.name not in (labels.vocabulary_name, labels.actions_vocabulary_name):
        raise io.DataError(f"{annotations}: labels use vocabulary {labels.vocabulary_name!r}, expected {dataset!r}")
    if vocabulary.actions and protocol != "official":
        raise ValueError(f"{dataset} has only the protocol 'official'; {protocol!r} is for HOI classes")
    published = None if interactiveness_gt is None else read_interactiveness_gt(interactiveness_gt)
    chosen = tuple(metrics or default_metrics(dataset, labels, vocabulary, published is not None))
    for name in chosen:
        choice("metric", name, METRICS)
    loaded = read_predictions(predictions, vocabulary, labels, format)
    train = None
    if train_annotations is not None:
        train = read_annotations(train_annotations, image_labels=image_labels, split="train")
    return Scorer(loaded, labels, vocabulary, chosen, protocol, split, dataset, published, train, tuple(subsets))


def evaluate_files(
    predictions: PathLike, annotations: PathLike, *, use_nis: bool = True, **options
) -> EvaluationResult:
    """Scores of a prediction file against a label file; `options` are those of `load_scorer`.

    `evaluate_files("predictions.npz", "instances_test2015.json.gz", protocol="qpic").metrics["default/full"]`
    """
    return load_scorer(predictions, annotations, **options).result(use_nis=use_nis)


def read_interactiveness_gt(path: PathLike) -> dict[str, np.ndarray]:
    """Arrays of published interactiveness ground truth: `image_key` [K], `count` [K], `boxes` [sum(count), 8].

    Raises:
      io.DataError: a field is absent or malformed; the message names file and field.
    """
    content = io.read_npz(path)
    try:
        truth_from_published(content, np.zeros(0, np.int64))
    except io.DataError as error:
        raise io.DataError(f"{path}: {error}") from error
    return content
