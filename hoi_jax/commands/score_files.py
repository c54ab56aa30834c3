"""What `evaluate.py --predictions` does: scores a file of predictions, or two side by side, and writes the report.

Imports neither JAX nor TensorFlow, except to read pictures of a built dataset for a report.
"""

import dataclasses
import functools
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from hoi_jax.data.numpy_batch import read_image
from hoi_jax.evaluation.annotations import Annotations
from hoi_jax.evaluation.baselines import frequency_baseline
from hoi_jax.evaluation.bootstrap import REPLICATES
from hoi_jax.evaluation.compare import unlike
from hoi_jax.evaluation.file_scores import Scorer, evaluate_hoi_w_files, load_scorer
from hoi_jax.evaluation.files.annotation_files import read_annotations
from hoi_jax.evaluation.files.prediction_files import write_official
from hoi_jax.evaluation.join import with_interactiveness
from hoi_jax.evaluation.relation_scores import evaluate_pic_files
from hoi_jax.evaluation.result import EvaluationResult
from hoi_jax.report.files import write_files_report
from hoi_jax.vocab import Vocabulary

META_FILE = "hoi_jax.json"
"""Of a built dataset (`data.records`)."""
OWN_RULES = {"hoi_w": evaluate_hoi_w_files, "pic": evaluate_pic_files}
"""Datasets whose predictions and labels have layouts of their own; only the two files count there."""

DRAWN = {"hoi", "actions", "role_pairs"}
"""Metrics that the bootstrap has intervals for."""


@dataclasses.dataclass(frozen=True)
class FileRequest:
    """What to score and how; every field is the argument of `evaluate.py` with that name."""

    predictions: Path
    annotations: Path
    against: Path | None = None
    dataset: str | None = None
    format: str = "auto"
    protocol: str = "official"
    metrics: Sequence[str] | None = None
    subsets: Sequence[str] = ()
    split: str | None = None
    coco_instances: Sequence[Path] = ()
    image_labels: Path | None = None
    interactiveness_gt: Path | None = None
    train_annotations: Path | None = None
    interactiveness_from: Path | None = None
    calibration: Path | None = None
    bootstrap: int | None = None
    write_official: Path | None = None
    report: Path | None = None
    images: Path | None = None


def score_files(request: FileRequest) -> tuple[dict[str, EvaluationResult], Vocabulary | None]:
    """Results by name and the vocabulary of their classes (None for `OWN_RULES`).

    "model" is `predictions`, with what `interactiveness_from` and `calibration` change; "against" is the other file as
    it is, drawn on the same images; the rest is what to beat.

    Raises:
      io.DataError: naming file, record and field. ValueError: what was asked for does not fit the files.
    """
    if request.dataset in OWN_RULES:
        return {"model": OWN_RULES[request.dataset](request.predictions, request.annotations)}, None
    scorer = _scorer(request, request.predictions)
    store = with_interactiveness(scorer.store, request.interactiveness_from, request.calibration)
    scorer = dataclasses.replace(scorer, store=store)
    draws = request.bootstrap
    if request.against and set(scorer.metrics) & DRAWN:
        draws = draws or REPLICATES
    results = {"model": _scored(scorer, request, draws)}
    other = None
    if request.against:
        other = _scorer(dataclasses.replace(request, dataset=scorer.dataset, format="auto"), request.against)
        results["against"] = _scored(other, request, draws)
        if reasons := unlike(results["model"], results["against"]):
            raise ValueError(f"{request.predictions} and {request.against} are not alike: {'; '.join(reasons)}")
    if not scorer.store.pair_kept.all():
        results["without NIS"] = scorer.result(use_nis=False, subsets=request.subsets)
    ranked = tuple(name for name in scorer.metrics if name in ("hoi", "role_pairs", "agent_pairs"))
    if scorer.train is not None and ranked and len(scorer.annotations["detections_class"]):
        baseline = frequency_baseline(scorer.train, scorer.annotations, scorer.vocabulary)
        counted = dataclasses.replace(scorer, store=baseline, metrics=ranked)
        results["class frequency"] = counted.result()
        if draws:
            results["class frequency"] = counted.with_intervals(results["class frequency"], replicates=draws)
    if request.write_official:
        count = write_official(request.write_official, scorer.store, scorer.annotations, scorer.vocabulary)
        print(f"{request.write_official}: {count} records for the official script")
    if request.report:
        pictures = functools.partial(read_pictures, request, scorer.annotations)
        files = (request.predictions, request.against)
        write_files_report(request.report, scorer, other, results, files, pictures)
        print(f"report: {request.report}")
    return results, scorer.vocabulary


def _scorer(request: FileRequest, predictions: Path) -> Scorer:
    scorer = load_scorer(
        predictions,
        request.annotations,
        dataset=request.dataset,
        format=request.format,
        protocol=request.protocol,
        metrics=request.metrics,
        split=request.split or "test",
        coco_instances=request.coco_instances,
        image_labels=request.image_labels,
        interactiveness_gt=request.interactiveness_gt,
    )
    train = None
    if request.train_annotations:
        train = read_annotations(request.train_annotations, image_labels=request.image_labels, split="train")
    return dataclasses.replace(scorer, train=train)


def _scored(scorer: Scorer, request: FileRequest, draws: int | None) -> EvaluationResult:
    result = scorer.result(subsets=request.subsets)
    return scorer.with_intervals(result, replicates=draws) if draws else result


def read_pictures(request: FileRequest, annotations: Annotations, image_ids: set[int]) -> dict[int, np.ndarray]:
    """`image_id` -> picture, of a folder by file name, else of the records that the labels lie beside; those found.

    Raises:
      io.DataError: a picture is there and cannot be read.
    """
    found: dict[int, np.ndarray] = {}
    if request.images:
        for number, name in zip(annotations.image_id.tolist(), annotations.file_name.tolist(), strict=True):
            if number in image_ids and name and (request.images / Path(name).name).is_file():
                found[number] = read_image(request.images / Path(name).name)
        return found
    split = request.annotations.name.removesuffix(".npz").removeprefix("annotations_")
    if (request.annotations.parent / META_FILE).is_file() and request.annotations.name == f"annotations_{split}.npz":
        # Here and not above: only the records of a built dataset need TensorFlow.
        from hoi_jax.data.records import RecordFiles

        found = RecordFiles(request.annotations.parent, split).pictures(image_ids)
    return found
