"""The report of one file of predictions, or of two side by side; no model is loaded."""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from hoi_jax.evaluation.file_scores import Scorer
from hoi_jax.evaluation.result import EvaluationResult
from hoi_jax.report.html import write_report
from hoi_jax.report.run import compose, plan_report


def write_files_report(
    path: Path,
    scorer: Scorer,
    other: Scorer | None,
    results: Mapping[str, EvaluationResult],
    files: tuple[Path, Path | None],
    pictures: Callable[[set[int]], Mapping[int, UInt8[np.ndarray, "h w 3"]]],
) -> None:
    """Writes the page.

    Args:
      scorer, other: predictions of the results "model" and "against".
      files: where these predictions come from.
      pictures: `image_id`s -> pictures of those that are there.
    """
    annotations, vocabulary = scorer.annotations, scorer.vocabulary
    labels: dict[str, str] = dict(
        zip(("model", "against"), short_names([file for file in files if file]), strict=False)
    )
    plan = plan_report(
        results,
        scorer.store,
        annotations,
        vocabulary,
        protocol=scorer.protocol,
        against=None if other is None else other.store,
        labels=labels if other else {},
    )
    notes = [f"{name}: {file}" for name, file in zip(plan.labels.values(), files, strict=False) if file]
    page = compose(
        plan,
        pictures(plan.image_ids),
        next(iter(results["model"].metrics)),
        title=" against ".join(labels.values()) if other else labels["model"],
        summary=f"Scored against {annotations.num_images:,} pictures of {scorer.dataset or vocabulary.name}"
        f"{f', split {scorer.split}' if scorer.split else ''}, protocol {scorer.protocol}.",
        notes=notes,
    )
    write_report(path, page)


def short_names(paths: list[Path]) -> list[str]:
    """File names without ending, or the folders' names where the files are called alike."""
    for names in ([path.stem for path in paths], [path.resolve().parent.name for path in paths]):
        if len(set(names)) == len(names):
            return names
    return ["first", "second"][: len(paths)]
