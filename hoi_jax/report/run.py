"""The report of one training run, assembled from the files of its workdir."""

import dataclasses
import json
import platform
from collections.abc import Callable, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from hoi_jax.annotations import Annotations
from hoi_jax.evaluation.metrics.protocols import hoi_protocol
from hoi_jax.evaluation.metrics.result import EvaluationResult
from hoi_jax.evaluation.scorer import Scorer
from hoi_jax.io import read_bytes
from hoi_jax.predictions import Predictions
from hoi_jax.report.analysis import Analysis, analyse
from hoi_jax.report.breakdown import error_section
from hoi_jax.report.calibration_chart import reliability_section
from hoi_jax.report.cases import CaseGroup, best_and_worst, case_section, images_of, most_different
from hoi_jax.report.classes import class_sections, two_runs_section
from hoi_jax.report.elements import Section
from hoi_jax.report.examples import Example, choose_examples, example_images
from hoi_jax.report.html import Headline, ReportInput, ScoreRow, write_report
from hoi_jax.vocab import Vocabulary

PACKAGES = ("hoi_jax", "jax", "flax", "optax", "orbax-checkpoint", "tensorflow-datasets", "numpy")

EXPLANATIONS = {
    "default/full": "Mean average precision over all HOI classes: both boxes must overlap the truth by half, and "
    "verb and object must be correct.",
    "default/rare": "The same over classes with fewer than ten training examples.",
    "default/non_rare": "The same over all other classes.",
    "known_object/full": "Only images that contain the object of the class are counted.",
    "interactiveness_complete/ap": "Average precision of 'this person interacts with this object', whatever the verb.",
}
BLANK = 226
"""Grey value of a missing image."""
NO_IMAGES = "Missing images are grey (--images FOLDER provides them)."
NOTES = {
    "model": "as trained",
    "no_suppression": "without non-interaction suppression",
    "class_frequency": "every person with every object, ranked by the frequency of the verb for the object in training",
    "distance_model_pairs": "the model's pairs, ranked by human-object box distance",
    "against": "the predictions of --against",
    "distance_all_pairs": "every person with every object, ranked by box distance",
}


@dataclasses.dataclass(frozen=True)
class RunSummary:
    """Facts about a run. `headline`: the metric shown first. `config`: configuration as plain values."""

    title: str
    workdir: Path
    split: str
    step: int
    headline: str
    config: Mapping[str, object]


def read_metrics(workdir: Path) -> list[dict[str, object]]:
    """Rows of metrics.jsonl; empty without the file."""
    path = workdir / "metrics.jsonl"
    if not path.is_file():
        return []
    return [json.loads(line) for line in read_bytes(path).decode().splitlines() if line.strip()]


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that affect the numbers."""
    return {"python": platform.python_version(), **{name: metadata.version(name) for name in PACKAGES}}


@dataclasses.dataclass(frozen=True)
class Plan:
    """Contents of a page, chosen before any image is read.

    Attributes:
      results: "model", optionally "against", and the baselines; labels: their names on the page.
      models: analyses by name on the page, the model first; empty where no interactions were scored.
      examples: right, wrong and missed interactions of the model.
      groups: whole images: best and worst of one model, or those with the largest difference between two.
    """

    results: Mapping[str, EvaluationResult]
    labels: Mapping[str, str]
    annotations: Annotations
    vocabulary: Vocabulary
    models: Mapping[str, Analysis]
    examples: Sequence[Example]
    groups: Sequence[CaseGroup]

    @property
    def image_ids(self) -> set[int]:
        """`image_id` of every image on the page."""
        of_groups = images_of(self.groups, self.annotations).tolist()
        return {example.image_id for example in self.examples} | set(of_groups)


def interactions_scored(metrics: Mapping[str, float]) -> bool:
    """Whether verbs of pairs were scored, not only interactiveness or image-level labels."""
    return any(name.split("/")[0] in ("default", "role_s1", "pairs_role_ap", "hoi_w") for name in metrics)


def plan_report(
    results: Mapping[str, EvaluationResult],
    predictions: Predictions,
    annotations: Annotations,
    vocabulary: Vocabulary,
    *,
    protocol: str = "official",
    against: Predictions | None = None,
    labels: Mapping[str, str] | None = None,
) -> Plan:
    """Analyse the predictions and choose the contents of the page.

    Args:
      against: the predictions of the result "against".

    Raises:
      ValueError: the annotations have no labels in this vocabulary.
    """
    labels = {"model": "model", "against": "against", **(labels or {})}
    models: dict[str, Analysis] = {}
    if interactions_scored(results["model"].metrics):
        for name, one in (("model", predictions), ("against", against)):
            if one is not None:
                models[labels[name]] = analyse(one, annotations, vocabulary, hoi_protocol(protocol))
    own = models.get(labels["model"])
    examples = choose_examples(own, annotations, vocabulary) if own and len(models) == 1 else []
    groups = [] if own is None else best_and_worst(own) if len(models) == 1 else most_different(models)
    return Plan(results, labels, annotations, vocabulary, models, examples, groups)


def sections_of(plan: Plan, images: Mapping[int, UInt8[np.ndarray, "h w 3"]]) -> list[Section]:
    """All sections of the plan, in the order of the page. `images`: `image_id` -> image."""
    models = plan.models
    errors = {name: one.errors for name, one in models.items() if one.errors is not None}
    own = errors.get(plan.labels["model"])
    found = [two_runs_section(plan.results, plan.labels)] if "against" in plan.results else []
    found += class_sections(plan.results, plan.vocabulary, own, plan.labels)
    if errors:
        found.append(error_section(errors))
    if models:
        found.append(reliability_section({name: one.reliability for name, one in models.items()}))
    if any(group.images for group in plan.groups):
        title = "Best and worst images" if len(models) == 1 else "Images with the largest difference"
        found.append(case_section(plan.groups, models, images, plan.annotations, plan.vocabulary, title))
    return found


def headlines(plan: Plan, first: str) -> list[Headline]:
    """Headlines of the model: the metric `first`, then the other explained ones, with comparisons beside them."""
    model, other = plan.results["model"].metrics, plan.results.get("against")
    name = f": {plan.labels['model']}" if other else ""
    found = []
    for metric in dict.fromkeys(one for one in (first, *EXPLANATIONS) if one in model):
        beside = ""
        if other and np.isfinite(other.metrics.get(metric, np.nan)):
            beside = f"{plan.labels['against']} {100 * other.metrics[metric]:.1f}"
        found.append(Headline(metric + name, 100 * model[metric], EXPLANATIONS.get(metric, ""), beside=beside))
    return found


def compose(
    plan: Plan, images: Mapping[int, UInt8[np.ndarray, "h w 3"]], headline: str, *, notes: Sequence[str], **parts: Any
) -> ReportInput:
    """The page of a plan.

    Args:
      images: `image_id` -> image [H, W, 3] uint8 of `plan.image_ids`; missing ones are drawn as grey.
      headline: the metric shown first.
      notes: paragraphs at the end.
      parts: other fields of `ReportInput`.
    """
    absent = plan.image_ids - set(images)
    images = {**images, **{number: blank_image(plan.annotations, number) for number in absent}}
    notes = [*notes, *([NO_IMAGES] if absent else [])]
    return ReportInput(
        headlines=headlines(plan, headline),
        comparison=[
            ScoreRow(
                plan.labels.get(name, name),
                {key: 100 * value for key, value in result.metrics.items()},
                NOTES.get(name, ""),
            )
            for name, result in plan.results.items()
            if set(plan.results) != {"model", "against"}  # else the section of two runs has all metrics
        ],
        sections=sections_of(plan, images),
        examples=example_images(plan.examples, images),
        versions=versions(),
        notes=notes,
        **parts,
    )


def blank_image(annotations: Annotations, image_id: int) -> UInt8[np.ndarray, "h w 3"]:
    """A grey image of the annotated size or, if that is unknown, large enough for all boxes."""
    row = int(np.flatnonzero(annotations.image_id == image_id)[0])
    height, width = (int(side) for side in annotations.original_hw_px[row])
    if not (height and width):
        boxes = annotations["instances_xyxy_px"][annotations.image_rows("instances") == row]
        width, height = (int(np.ceil(side)) + 8 for side in boxes[:, 2:].max(axis=0, initial=64))
    return np.full((height, width, 3), BLANK, np.uint8)


def write_run_report(
    path: Path,
    run: RunSummary,
    plan: Plan,
    images: Mapping[int, UInt8[np.ndarray, "h w 3"]],
    attention: Sequence[tuple[str, Image.Image]] = (),
) -> None:
    """Write the page of a training run.

    Args:
      images: as in `compose`.
      attention: drawings of attention maps with their captions.
    """
    page = compose(
        plan,
        images,
        run.headline,
        title=run.title,
        summary=f"Step {run.step}, scored on the split '{run.split}' ({plan.annotations.num_images} images).",
        metrics=read_metrics(run.workdir),
        attention=attention,
        config=run.config,
        notes=[f"Made by: python evaluate.py --workdir {run.workdir} --report {path}"],
    )
    write_report(path, page)


# Report of one prediction file, or of two side by side; no model is loaded.


def write_files_report(
    path: Path,
    scorer: Scorer,
    other: Scorer | None,
    results: Mapping[str, EvaluationResult],
    files: tuple[Path, Path | None],
    images: Callable[[set[int]], Mapping[int, UInt8[np.ndarray, "h w 3"]]],
) -> None:
    """Write the page of one or two prediction files.

    Args:
      scorer, other: scorers of the results "model" and "against".
      files: files of these predictions.
      images: function from `image_id`s to the images that are available.
    """
    annotations, vocabulary = scorer.annotations, scorer.vocabulary
    labels: dict[str, str] = dict(
        zip(("model", "against"), short_names([file for file in files if file]), strict=False)
    )
    plan = plan_report(
        results,
        scorer.predictions,
        annotations,
        vocabulary,
        protocol=scorer.protocol,
        against=None if other is None else other.predictions,
        labels=labels if other else {},
    )
    notes = [f"{name}: {file}" for name, file in zip(plan.labels.values(), files, strict=False) if file]
    page = compose(
        plan,
        images(plan.image_ids),
        next(iter(results["model"].metrics)),
        title=" against ".join(labels.values()) if other else labels["model"],
        summary=f"Scored against {annotations.num_images:,} images of {scorer.dataset or vocabulary.name}"
        f"{f', split {scorer.split}' if scorer.split else ''}, protocol {scorer.protocol}.",
        notes=notes,
    )
    write_report(path, page)


def short_names(paths: list[Path]) -> list[str]:
    """File names without suffix, or the folder names if the file names are equal."""
    for names in ([path.stem for path in paths], [path.resolve().parent.name for path in paths]):
        if len(set(names)) == len(names):
            return names
    return ["first", "second"][: len(paths)]
