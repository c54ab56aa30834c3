"""The league table: scores and cost of every exported checkpoint of the scenes on the same test images.

    python -m studies.league          # writes docs/league.md from the existing results
    python -m studies.league --run    # first computes results that are missing or outdated (minutes)

Every exported checkpoint (`python -m hoi_jax.commands.export`) that was trained on `hoi_scenes/small` takes part; there
is no list to maintain. Results are in `studies/results/league/`, one file each, with the fingerprint of their inputs.
Times come from `benchmarks/league_time.py`, the scatter over seeds from the studies in `SEEDED`.
"""

import argparse
import dataclasses
import hashlib
import json
import math
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hoi_jax.serialization.exported import CONFIG, SUMS, exported_names, zoo_folder
from studies.league_rules import DATASET, FREQUENCY, METRICS, SUBSETS
from studies.run import RESULTS, ROOT

PAGE = ROOT / "docs" / "league.md"
TIMES = ROOT / "benchmarks" / "results" / "league_time.json"
FOLDER = RESULTS / "league"
FULL, RARE, NON_RARE = "default/full", "default/rare", "default/non_rare"
INTERACTIVENESS, CROWDED = "interactiveness_complete/ap", "subset/crowded/default/full"


@dataclasses.dataclass(frozen=True)
class Seeded:
    """Runs "<run>_seed<N><tail>" of a study that trained (nearly) the exported config; `but` names the difference."""

    study: str
    run: str
    but: str = ""
    tail: str = ""


SEEDED = {
    "tin_hoi_scenes": Seeded("tin_ablations", "joint", "R frozen, pairs suppressed, class weights left out at test"),
    "calipso_hoi_scenes": Seeded("calipso_ablations", "whole", "target presence of all verbs, weighted losses"),
    "cascade_hoi_scenes": Seeded("cascade_ablations", "stages_3"),
    "defr_hoi_scenes": Seeded("defr_detection", "lse_sign_language", "800 steps", "_mask-1"),
}


def contestants() -> tuple[str, ...]:
    """Sorted names of the exported checkpoints trained on the scenes, and of the baseline without checkpoint."""
    configs = {name: json.loads((zoo_folder() / name / CONFIG).read_text()) for name in exported_names()}
    return tuple(sorted([name for name, c in configs.items() if c["dataset"]["name"] == DATASET] + [FREQUENCY]))


def fingerprint(name: str) -> str:
    """Hash of the checkpoint's files and of the metrics; results with another fingerprint are not shown."""
    files = "" if name == FREQUENCY else (zoo_folder() / name / SUMS).read_text()
    return hashlib.sha256(f"{DATASET} {METRICS} {SUBSETS} {files}".encode()).hexdigest()[:16]


def read_results() -> dict[str, dict[str, Any]]:
    """Existing results, best HOI mAP first; checkpoints exported since then are added by `--run`.

    Raises:
      ValueError: a result was computed from other files than the present ones; the message names the command to run.
    """
    found = {path.stem: json.loads(path.read_text()) for path in sorted(FOLDER.glob("*.json"))}
    known = contestants()
    for name, result in found.items():
        if name not in known or result["fingerprint"] != fingerprint(name):
            raise ValueError(f"{name}.json is of another checkpoint; remove it and run python -m studies.league --run")
    return dict(sorted(found.items(), key=lambda item: -item[1]["metrics"]["model"].get(FULL, -1.0)))


def over_seeds(seeded: Seeded) -> list[float]:
    """HOI mAP in percent of every existing seed."""
    paths = sorted((RESULTS / seeded.study).glob(f"{seeded.run}_seed[0-9]*{seeded.tail}.json"))
    exact = [path for path in paths if path.stem.removeprefix(f"{seeded.run}_seed").removesuffix(seeded.tail).isdigit()]
    return [100 * json.loads(path.read_text())["metrics"]["model"][FULL] for path in exact]


def _percent(value: float | None) -> str:
    return "" if value is None or math.isnan(value) else f"{100 * value:.1f}"


def _seeds_cell(name: str) -> str:
    scores = over_seeds(SEEDED[name]) if name in SEEDED else []
    if not scores:
        return ""
    but = f" ({SEEDED[name].but})" if SEEDED[name].but else ""
    spread = f", {min(scores):.1f} to {max(scores):.1f}" if len(scores) > 1 else ""
    return f"{statistics.fmean(scores):.1f}{spread}, n={len(scores)}{but}"


def score_table(results: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Markdown table of the scores."""
    lines = [
        "| checkpoint | given | HOI mAP | rare | non-rare | crowded | interactiveness AP | HOI mAP over seeds |",
        "|---|---|--:|--:|--:|--:|--:|---|",
    ]
    for name, result in results.items():
        model = result["metrics"]["model"]
        numbers = [_percent(model.get(metric)) for metric in (FULL, RARE, NON_RARE, CROWDED)]
        interacts = _percent(model.get(INTERACTIVENESS)) + ("" if result["own_interactiveness"] else " *")
        given = ", ".join(result["given"]) or "nothing"
        lines.append(f"| `{name}` | {given} | {' | '.join(numbers)} | {interacts} | {_seeds_cell(name)} |")
    return lines


def cost_table(results: Mapping[str, Mapping[str, Any]], times: Mapping[str, Any] | None) -> list[str]:
    """Markdown table of the cost; times are relative to TIN's at the smallest number of pairs."""
    pairs = [str(count) for count in times["pairs"]] if times else []
    head = "| checkpoint | parameters | GFLOPs | memory, MB |" + "".join(f" time at {count} pairs |" for count in pairs)
    lines = [head, "|---|--:|--:|--:|" + "--:|" * len(pairs)]
    base = times["milliseconds"][times["base"]][pairs[0]] if times else math.nan
    for name, result in results.items():
        cost = result["cost"]
        if not cost:
            continue
        own = times["milliseconds"].get(name, {}) if times else {}
        cells = [f" {own[count] / base:.2f} |" if count in own else " |" for count in pairs]
        lines.append(
            f"| `{name}` | {cost['parameters']:,} | {cost['flops'] / 1e9:.3f} | {cost['memory_bytes'] / 1e6:.1f} |"
            + "".join(cells)
        )
    return lines


def read_times() -> dict[str, Any] | None:
    """Results of `benchmarks/league_time.py`, or None if there are none."""
    return json.loads(TIMES.read_text()) if TIMES.is_file() else None


def page() -> str:
    """`docs/league.md`. Raises ValueError as `read_results`."""
    results, times = read_results(), read_times()
    crowded = {result["crowded_images"] for result in results.values()}
    images = {result["images"] for result in results.values()}
    (all_images,), (crowd,) = images, crowded
    text = [_HEAD.format(images=all_images, crowded=crowd), "", *score_table(results), "", _COST, ""]
    text += [*cost_table(results, times), ""]
    if times:
        first = str(times["pairs"][0])
        milliseconds, about = times["milliseconds"][times["base"]][first], times["about"]
        repeats, base = times["repeats"], times["base"]
        text += [_TIME.format(base=base, first=first, milliseconds=milliseconds, repeats=repeats, about=about), ""]
    return "\n".join(text)


_HEAD = """# League table

This page is generated by `python -m studies.league` from `studies/results/league/`; a test fails when it is out of
date. It lists all exported checkpoints of `hoi_scenes/small` with their scores on its {images} test scenes, in percent,
computed by the same evaluator. None of these numbers is comparable with a published one, and the systems do not compete
on equal terms. *Given* lists the inputs that a system takes from the detections of a simulated detector at default
noise. `body_part` and `cascade` detect people and objects themselves (stage 1 of `body_part` uses poses to place body
parts and leaves verbs to stage 2). DEFR is trained on image-level labels only. `two_boxes` is a baseline of this
library that does not see the image, and `class_frequency` only counts training labels.

*Crowded* is the HOI mAP on the {crowded} images with any other number of annotated people than one (the definition of
the body-part authors' code, `hoi_jax/evaluation/analysis/subsets.py`). An interactiveness AP marked * ranks pairs by
the mean of their verb scores, because the system predicts no interactiveness. The last column shows the mean, smallest
and largest score over seeds of the runs in `studies/results/` with the same config, or with the differences given in
brackets."""

_COST = """## Cost

Cost of one image of 128 x 128, for the whole prediction from pixels and boxes to ranked pairs. GFLOPs count
convolutions and matrix products (`hoi_jax/training/cost.py`; a multiplication and an addition count as two). Memory is
that of the compiled program on CPU: arguments (weights and image), results and temporary buffers."""

_TIME = """Times are relative to the time of `{base}` at {first} pairs ({milliseconds:.1f} ms). Each is the shortest of
{repeats} interleaved calls (`python -m benchmarks.league_time`; {about}). The tables of people, objects and pairs
are just large enough for that number of pairs. A system with a fixed number of queries takes the same time for any
number, and finds at most as many pairs as it has queries."""


def run_missing(data_dir: Path, workdir: Path) -> None:
    """Computes results that are missing or outdated."""
    from studies import league_measure

    for name in contestants():
        path = FOLDER / f"{name}.json"
        if path.is_file() and json.loads(path.read_text())["fingerprint"] == fingerprint(name):
            print(f"{name}: has a result already")
            continue
        result = {"fingerprint": fingerprint(name), **league_measure.measure(name, data_dir, workdir)}
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(result, indent=1, sort_keys=True) + "\n")
        print(f"{name}: {path}", flush=True)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", action="store_true", help="compute missing results first")
    parser.add_argument("--data-dir", "--data_dir", type=Path, default=Path("data"), help="folder of built datasets")
    parser.add_argument("--workdir", type=Path, default=Path("runs/league"), help="folder for predictions")
    options = parser.parse_args(arguments)
    if options.run:
        run_missing(options.data_dir, options.workdir)
    text = page()
    PAGE.write_text(text)
    print(text)


if __name__ == "__main__":
    main()
