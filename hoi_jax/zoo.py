"""The zoo: small trained checkpoints by name.

    python -m hoi_jax.zoo list         # list all models with their scores
    python -m hoi_jax.zoo check        # compare all files with their digests
    python -m hoi_jax.zoo seal NAME    # rewrite SHA256SUMS after adding a file to an exported folder

In code: `hoi_jax.zoo.load("body_part_hoi_scenes")`. A name is accepted wherever a workdir is: `evaluate.py --workdir`,
`predict.py --checkpoint`, `train.init_from`. Every folder in `checkpoints/` that was made by
`python -m hoi_jax.commands.export` is a model of the zoo; there is no list to maintain.
"""

import argparse
import dataclasses
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hoi_jax import io
from hoi_jax.serialization.exported import (
    CONFIG,
    MANIFEST,
    WEIGHTS,
    changed_files,
    exported_names,
    find_folder,
    is_exported,
    parameter_count,
    write_sums,
    zoo_folder,
)

if TYPE_CHECKING:
    from hoi_jax.system import System
    from hoi_jax.training.exported import Metadata
    from hoi_jax.vocab import Vocabulary

SCORES = "scores.json"
_HEADLINES = {
    "default/full": "HOI mAP",
    "image/default": "image mAP",
    "interactiveness_complete/ap": "interactiveness AP",
    "pairs_role_ap/": "role AP over annotated pairs",
    "role_s1/": "AP role, scenario 1",
}
"""Metrics shown in tables: title by name or prefix of a name, the most important first."""
_DETAILS = {"default/full": {"rare": "default/rare", "non-rare": "default/non_rare"}}
_OWN_VARIANTS = ("no_suppression", "without NIS")  # the second name is of files written before version 0.2


@dataclasses.dataclass(frozen=True)
class Score:
    """A metric in [0, 1]; `baseline` is the best trivial baseline with the same metric, or None."""

    title: str
    metric: str
    value: float
    details: tuple[tuple[str, float], ...] = ()
    baseline: tuple[str, float] | None = None

    def __str__(self) -> str:
        details = ", ".join(f"{name} {100 * value:.2f}" for name, value in self.details)
        return f"{self.title} {100 * self.value:.2f}" + (f" ({details})" if details else "")


@dataclasses.dataclass(frozen=True)
class Entry:
    """Metadata of an exported checkpoint, without its weights."""

    name: str
    folder: Path
    system: str
    trained_on: str
    step: int
    parameters: int
    size_bytes: int
    scores: tuple[Score, ...]


@dataclasses.dataclass(frozen=True)
class ExportedModel:
    """A loaded checkpoint; call `system.predict(variables, batch)` to predict.

    Attributes:
      config: the values it was trained with; `sizes` are the shapes of its batches.
    """

    name: str
    system: "System"
    variables: Mapping[str, Any]
    vocabulary: "Vocabulary"
    config: Mapping[str, Any]
    metadata: "Metadata"


def load(name: str) -> ExportedModel:
    """Load an exported checkpoint by name or from a folder.

    Raises:
      io.DataError: no checkpoint has this name (the message lists the known ones), or one of its files is damaged.
    """
    from hoi_jax.systems.registry import build_system
    from hoi_jax.training.exported import load_exported
    from hoi_jax.vocab import get_vocabulary

    folder = find_folder(name)
    variables, text, metadata = load_exported(folder)
    config = json.loads(text)
    vocabulary = get_vocabulary(config["dataset"]["vocabulary"])
    system = build_system(config["system"], config["model"], vocabulary)
    return ExportedModel(folder.name, system, variables, vocabulary, config, metadata)


def entries() -> list[Entry]:
    """All exported checkpoints, sorted by name. Raises io.DataError naming a file that is damaged or incomplete."""
    return [describe(zoo_folder() / name) for name in exported_names()]


def describe(folder: Path) -> Entry:
    """Metadata of an exported folder. Raises io.DataError naming a file that is damaged or incomplete."""
    config, manifest = io.read_json(folder / CONFIG), io.read_json(folder / MANIFEST)
    found = io.read_json(folder / SCORES) if (folder / SCORES).is_file() else {"metrics": manifest.get("metrics", {})}
    try:
        dataset = config["dataset"]
        split = dataset.get("train_split", "train")
        return Entry(
            name=folder.name,
            folder=folder,
            system=config["system"],
            trained_on=dataset["name"] + ("" if split == "train" else f" ({split})"),
            step=manifest["step"],
            parameters=parameter_count(folder),
            size_bytes=(folder / WEIGHTS).stat().st_size,
            scores=_scores(found, config["train"].get("best_metric")),
        )
    except (KeyError, TypeError, AttributeError) as error:
        files = f"{CONFIG}, {MANIFEST} or {SCORES}"
        raise io.DataError(f"{folder}: {files} is incomplete or has values of the wrong type ({error!r})") from error


def _scores(found: Mapping[str, Any], best_metric: str | None) -> tuple[Score, ...]:
    """The measured headline metrics; without any, the metric by which the run selected its best checkpoint."""
    metrics = found["metrics"]
    wanted = [
        (title, metric)
        for start, title in _HEADLINES.items()
        for metric in metrics
        if metric == start or (start.endswith("/") and metric.startswith(start))
    ]
    if not wanted and best_metric in metrics:
        wanted = [(str(best_metric), str(best_metric))]
    baselines = {name: values for name, values in found.get("compared", {}).items() if name not in _OWN_VARIANTS}
    scores = []
    for title, metric in wanted:
        if metrics[metric] is None:
            continue
        details = tuple((n, metrics[m]) for n, m in _DETAILS.get(metric, {}).items() if metrics.get(m) is not None)
        others = [(name, values[metric]) for name, values in baselines.items() if values.get(metric) is not None]
        baseline = max(others, key=lambda row: row[1], default=None)
        scores.append(Score(title, metric, metrics[metric], details, baseline))
    return tuple(scores)


def listing(rows: Sequence[Entry]) -> str:
    """Text for a terminal, with two lines per model."""
    lines = []
    for row in rows:
        lines.append(
            f"{row.name}: {row.system}, {short_count(row.parameters)} parameters, {row.size_bytes / 1e6:.2f} MB"
        )
        scores = "; ".join(str(score) for score in row.scores) or "no scores"
        lines.append(f"    trained on {row.trained_on}, {row.step:,} steps; {scores}")
    return "\n".join(lines)


def short_count(count: int) -> str:
    """A count of parameters in thousands or millions."""
    return f"{count / 1e6:.2f} M" if count >= 100_000 else f"{count / 1e3:.1f} k"


def _check(names: Sequence[str]) -> int:
    problems = 0
    for name in names or exported_names():
        found = changed_files(find_folder(name))
        print(f"{name}: {'unchanged' if not found else f'{len(found)} problems'}")
        for line in found:
            print(f"    {line}")
        problems += len(found)
    return 1 if problems else 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command. Returns its exit status: 0, 1 if files have changed, 2 for wrong arguments or files."""
    parser = argparse.ArgumentParser(
        prog="python -m hoi_jax.zoo", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("list", help="all exported checkpoints")
    commands.add_parser("check", help="compare files with their digests").add_argument("names", nargs="*")
    commands.add_parser("seal", help="write the digests of a folder").add_argument("names", nargs="+")
    options = parser.parse_args(arguments)
    try:
        if options.command == "list":
            print(listing(entries()) or f"{zoo_folder()}: no exported checkpoints")
        elif options.command == "check":
            return _check(options.names)
        else:
            for name in options.names:
                folder = find_folder(name)
                if not is_exported(folder):
                    raise io.DataError(f"{folder}: not an exported checkpoint, it has no {WEIGHTS}")
                write_sums(folder)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
