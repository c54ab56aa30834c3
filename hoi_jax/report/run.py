"""The report of one training run, put together from what lies in its folder."""

import dataclasses
import json
import platform
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path

import numpy as np

from hoi_jax.evaluation.annotations import Annotations
from hoi_jax.evaluation.result import EvaluationResult
from hoi_jax.evaluation.store import PredictionStore
from hoi_jax.io import read_bytes
from hoi_jax.report.attention import LookedAt, draw_attention
from hoi_jax.report.examples import choose_examples, example_pictures
from hoi_jax.report.html import Cell, Headline, ReportInput, ScoreRow, write_report
from hoi_jax.vocab import Vocabulary

PACKAGES = ("hoi_jax", "jax", "flax", "optax", "orbax-checkpoint", "tensorflow-datasets", "numpy")

EXPLANATIONS = {
    "default/full": "Mean average precision over all HOI classes: both boxes must overlap the truth by half, and "
    "verb and object must be right.",
    "default/rare": "The same over classes with fewer than ten training examples.",
    "default/non_rare": "The same over all other classes.",
    "known_object/full": "Only pictures that hold the object of the class are counted.",
    "interactiveness_complete/ap": "Average precision of 'this person interacts with this object', whatever the verb.",
}
NOTES = {
    "model": "as trained",
    "without NIS": "pairs that the model thinks do not interact are kept",
    "class frequency": "every person with every object, ranked by how often the verb goes with the object in training",
    "own by distance": "the model's own pairs, interactive the nearer their boxes are",
    "all by distance": "every person with every object, interactive the nearer their boxes are",
}


@dataclasses.dataclass(frozen=True)
class RunSummary:
    """Where a run's files are. `headline`: the metric named first. `config`: the run's plain values."""

    title: str
    workdir: Path
    split: str
    step: int
    headline: str
    config: Mapping[str, object]


def read_metrics(workdir: Path) -> list[dict[str, object]]:
    """Rows of metrics.jsonl; an empty list where there is none."""
    path = workdir / "metrics.jsonl"
    if not path.is_file():
        return []
    return [json.loads(line) for line in read_bytes(path).decode().splitlines() if line.strip()]


def versions() -> dict[str, str]:
    """Python and the packages that decide the numbers."""
    return {"python": platform.python_version(), **{name: metadata.version(name) for name in PACKAGES}}


def _scored(metrics: Mapping[str, float]) -> bool:
    """Whether verbs were scored."""
    return not all(name.startswith(("interactiveness", "subset/", "nis/")) for name in metrics)


def class_rows(results: Mapping[str, EvaluationResult], vocabulary: Vocabulary) -> list[dict[str, Cell]]:
    """One row per HOI class, empty for action-style results."""
    model = results["model"]
    if "default/ap" not in model.per_class or not vocabulary.hois:
        return []
    columns = {
        name: 100 * np.asarray(result.per_class["default/ap"])
        for name, result in results.items()
        if "default/ap" in result.per_class  # Baselines of interactiveness have none.
    }
    return [
        {
            "class": vocabulary.hoi_name(hoi),
            "training examples": int(vocabulary.train_counts[hoi]),
            **{f"AP {name}": round(float(values[hoi]), 1) for name, values in columns.items()},
        }
        for hoi in range(len(vocabulary.hois))
    ]


def write_run_report(
    path: Path,
    run: RunSummary,
    images: Mapping[int, np.ndarray],
    store: PredictionStore,
    annotations: Annotations,
    vocabulary: Vocabulary,
    results: Mapping[str, EvaluationResult],
    looks: Sequence[LookedAt] = (),
) -> None:
    """Writes the page.

    Args:
      images: `image_id` -> picture [H, W, 3] uint8 of every picture that `choose_examples` picks.
      results: "model" and whatever it is compared with.
      looks: pairs to show the model's attention for.
    """
    model = results["model"].metrics
    shown = [name for name in (run.headline, *EXPLANATIONS) if name in model]
    # A network without verbs (a first stage) has nothing to be right or wrong about.
    examples = choose_examples(store, annotations, vocabulary) if _scored(model) else []
    write_report(
        path,
        ReportInput(
            title=run.title,
            summary=f"Step {run.step}, scored on the split '{run.split}' ({annotations.num_images} pictures).",
            headlines=[Headline(name, 100 * model[name], EXPLANATIONS.get(name, "")) for name in dict.fromkeys(shown)],
            comparison=[
                ScoreRow(
                    name,
                    {key: 100 * value for key, value in result.metrics.items()},
                    NOTES.get(name, ""),
                )
                for name, result in results.items()
            ],
            per_class=class_rows(results, vocabulary),
            metrics=read_metrics(run.workdir),
            examples=example_pictures(examples, images),
            looks=[
                (f"{seen.pair.object_name}: interacts {seen.interactiveness:.2f}", draw_attention(seen))
                for seen in looks
            ],
            config=run.config,
            versions=versions(),
            notes=[f"Made by: python evaluate.py --workdir {run.workdir} --report {path}"],
        ),
    )
