"""Scores of HOI-W and PIC from result and label files in the benchmark's own layout, with the interface of `Scorer`."""

import dataclasses
import os
from collections.abc import Callable, Mapping

from hoi_jax import io
from hoi_jax.evaluation.metrics.alignment import versions
from hoi_jax.evaluation.metrics.hoi_w import evaluate_hoi_w
from hoi_jax.evaluation.metrics.pic import evaluate_pic
from hoi_jax.evaluation.metrics.result import EvaluationResult
from hoi_jax.formats.labels.hoi_w import read_hoi_w
from hoi_jax.formats.labels.pic import pic_scenes
from hoi_jax.vocab import Vocabulary
from hoi_jax.vocab.datasets import HOI_W, PIC

PathLike = str | os.PathLike[str]


def evaluate_hoi_w_files(predictions: PathLike, annotations: PathLike) -> EvaluationResult:
    """HOI-W mAP_rel of a result file against a label file, both in that dataset's JSON layout.

    Raises:
      io.DataError: naming the file, record and field.
    """
    tables = [io.read_json(path) for path in (annotations, predictions)]
    for path, table in zip((annotations, predictions), tables, strict=True):
        if not isinstance(table, list):
            raise io.CorruptFileError(f"{path}: contains {type(table).__name__}, expected a list of images")
    try:
        truth, found, counts = read_hoi_w(tables[0], tables[1])
    except io.DataError as error:
        raise io.DataError(f"{annotations}, {predictions}: {error}") from error
    result = evaluate_hoi_w(truth, found)
    return dataclasses.replace(result, manifest={**result.manifest, **counts, "versions": versions()})


def evaluate_pic_files(predictions: PathLike, annotations: PathLike) -> EvaluationResult:
    """PIC's recall of result files against label files; an annotated image without a result has recall 0.

    Raises:
      io.DataError: naming the file and record.
    """
    truth, found = pic_scenes(annotations), pic_scenes(predictions)
    pairs = ((lazy.read(), found[stem].read() if stem in found else None) for stem, lazy in truth.items())
    result = evaluate_pic(pairs)
    counts = {
        "num_predictions": sum(lazy.relations for lazy in found.values()),
        "unknown_images_ignored": len(set(found) - set(truth)),
        "versions": versions(),
    }
    return dataclasses.replace(result, manifest={**result.manifest, **counts})


BENCHMARKS: Mapping[str, tuple[Callable[[PathLike, PathLike], EvaluationResult], Vocabulary]] = {
    "hoi_w": (evaluate_hoi_w_files, HOI_W),
    "pic": (evaluate_pic_files, PIC),
}
"""Dataset -> (function that scores its files, vocabulary)."""


@dataclasses.dataclass(frozen=True)
class BenchmarkFiles:
    """Scorer of a result file against a label file, for the benchmarks in `BENCHMARKS`.

    The results have no intervals, subsets or baselines, since the benchmarks' scripts define none of them.
    """

    dataset: str
    predictions: PathLike
    annotations: PathLike

    @property
    def vocabulary(self) -> Vocabulary:
        """Vocabulary of the per-class arrays."""
        return BENCHMARKS[self.dataset][1]

    def results(self) -> dict[str, EvaluationResult]:
        """{"model": the benchmark's metrics}."""
        return {"model": BENCHMARKS[self.dataset][0](self.predictions, self.annotations)}
