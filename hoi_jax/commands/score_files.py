"""Implementation of `evaluate.py --predictions`: scores one prediction file or two, and writes the report.

Imports neither JAX nor TensorFlow, except to read images of a built dataset for a report.
"""

import dataclasses
import functools
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from hoi_jax.annotations import Annotations
from hoi_jax.data.numpy_batch import read_image
from hoi_jax.evaluation.analysis.bootstrap import REPLICATES
from hoi_jax.evaluation.analysis.compare import protocol_mismatches
from hoi_jax.evaluation.benchmark_files import BENCHMARKS, BenchmarkFiles
from hoi_jax.evaluation.metrics.result import EvaluationResult
from hoi_jax.evaluation.postprocess.transfer import with_interactiveness
from hoi_jax.evaluation.scorer import DRAWN_METRICS, Scorer, load_scorer
from hoi_jax.formats.predictions.detect import write_official
from hoi_jax.report.run import write_files_report
from hoi_jax.vocab import Vocabulary

META_FILE = "hoi_jax.json"
"""Metadata file of a built dataset (`data.records`)."""
BENCHMARK_OPTIONS = {"predictions", "annotations", "against", "dataset"}
"""Fields of a request that apply to the datasets of `BENCHMARKS`; any other that is set is refused."""


@dataclasses.dataclass(frozen=True)
class FileRequest:
    """Request of one evaluation; every field is the argument of `evaluate.py` with that name."""

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


def score_files(request: FileRequest) -> tuple[dict[str, EvaluationResult], Vocabulary]:
    """Results by name and the vocabulary of their classes.

    The names are those of `Scorer.results`; `interactiveness_from` and `calibration` are applied to the model's
    predictions. "against" is the unchanged other file, with bootstrap draws of the same images.

    Raises:
      io.DataError: a file is malformed; the message names file, record and field.
      ValueError: an option does not fit the files.
    """
    if request.dataset is not None and request.dataset in BENCHMARKS:
        return _score_benchmark(request, request.dataset)
    scorer = _scorer(request, request.predictions)
    predictions = with_interactiveness(scorer.predictions, request.interactiveness_from, request.calibration)
    scorer = dataclasses.replace(scorer, predictions=predictions)
    other, draws = None, request.bootstrap
    if request.against:
        other = _scorer(dataclasses.replace(request, dataset=scorer.dataset, format="auto"), request.against)
        if set(scorer.metrics) & set(DRAWN_METRICS):
            draws = draws or REPLICATES
    results = scorer.results(draws=draws)
    if other:
        results["against"] = _comparable(request, results["model"], other.results(draws=draws)["model"])
    if request.write_official:
        count = write_official(request.write_official, scorer.predictions, scorer.annotations, scorer.vocabulary)
        print(f"{request.write_official}: {count} records for the official script")
    if request.report:
        images = functools.partial(read_images, request, scorer.annotations)
        files = (request.predictions, request.against)
        write_files_report(request.report, scorer, other, results, files, images)
        print(f"report: {request.report}")
    return results, scorer.vocabulary


def _score_benchmark(request: FileRequest, dataset: str) -> tuple[dict[str, EvaluationResult], Vocabulary]:
    for field in dataclasses.fields(request):
        if field.name not in BENCHMARK_OPTIONS and getattr(request, field.name) != field.default:
            flag = "--" + field.name.replace("_", "-")
            raise ValueError(f"{flag} does not apply to {dataset}, whose result and label files have their own layout")
    scorer = BenchmarkFiles(dataset, request.predictions, request.annotations)
    results = scorer.results()
    if request.against:
        other = dataclasses.replace(scorer, predictions=request.against).results()["model"]
        results["against"] = _comparable(request, results["model"], other)
    return results, scorer.vocabulary


def _comparable(request: FileRequest, model: EvaluationResult, other: EvaluationResult) -> EvaluationResult:
    """`other`. Raises ValueError if the two results have different protocols."""
    if reasons := protocol_mismatches(model, other):
        raise ValueError(f"{request.predictions} and {request.against} are not comparable: {'; '.join(reasons)}")
    return other


def _scorer(request: FileRequest, predictions: Path) -> Scorer:
    return load_scorer(
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
        train_annotations=request.train_annotations,
        subsets=request.subsets,
    )


def read_images(request: FileRequest, annotations: Annotations, image_ids: set[int]) -> dict[int, np.ndarray]:
    """`image_id` -> image, from a folder by file name or else from the records beside the labels.

    Missing images are left out.

    Raises:
      io.DataError: an image exists but cannot be read.
    """
    found: dict[int, np.ndarray] = {}
    if request.images:
        for number, name in zip(annotations.image_id.tolist(), annotations.file_name.tolist(), strict=True):
            if number in image_ids and name and (request.images / Path(name).name).is_file():
                found[number] = read_image(request.images / Path(name).name)
        return found
    split = request.annotations.name.removesuffix(".npz").removeprefix("annotations_")
    if (request.annotations.parent / META_FILE).is_file() and request.annotations.name == f"annotations_{split}.npz":
        # Imported here, since only the records of a built dataset need TensorFlow.
        from hoi_jax.data.records import RecordFiles

        found = RecordFiles(request.annotations.parent, split).images(image_ids)
    return found
