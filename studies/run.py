"""Run a study: a fixed list of training runs, each of which is scored once.

    python -m studies.run tin_probes                 # runs without a result
    python -m studies.run tin_probes --show          # table of existing results

A study is a file `studies/<name>.py` with `CLAIM` (text) and `RUNS`, {run name: (config, {key: value})}, or, if it
scores the runs of other studies, `run_all(options)`; `METRICS` are the columns of its table, `PER_CLASS` the per-class
arrays in its results. The scores of a finished run go to `studies/results/<study>/<run>.json`, with the fingerprints of
its config and of the annotations, and the commit of the code. A run is skipped if its file exists for the same config.
"""

import argparse
import importlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from studies.runs import Run, config_of, find, fingerprint, needed, runs_of, whole_name

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "studies" / "results"
METRICS = ("default/full", "default/rare", "default/non_rare")


def commit() -> str:
    done = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True)
    return done.stdout.strip() or "unknown"


def _digits(value: float | None) -> float | None:
    return None if value is None else round(value, 5)


def _call(*command: str) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, *command], cwd=ROOT, env=environment, check=True)


def folder(name: str, options: argparse.Namespace) -> Path:
    """Workdir of "study/run"."""
    return Path(options.workdir).absolute() / name


def train_run(study: str, name: str, run: Run, options: argparse.Namespace) -> None:
    """Train the runs that this run needs and the run itself; finished runs only have their checkpoints read."""
    for other in needed(study, run):
        first, short = other.split("/")
        train_run(first, short, find(other), options)
    if run.of:
        return
    workdir = folder(f"{study}/{name}", options)
    config = config_of(study, run, lambda other: folder(other, options))
    done = workdir / "trained.json"
    if done.is_file() and json.loads(done.read_text()) == fingerprint(study, run):
        return
    flags = [f"--config.{key}={value}" for key, value in run.changes.items()]
    _call("train.py", f"--config={config}", f"--workdir={workdir}", f"--data_dir={options.data_dir}", *flags)
    if run.cache:
        cache = [f"--workdir={workdir}", f"--name={run.cache}", f"--data-dir={options.data_dir}"]
        _call("-m", "hoi_jax.commands.cache_features", *cache)
    done.write_text(json.dumps(fingerprint(study, run)))


def run_one(study: str, name: str, run: Run, options: argparse.Namespace) -> None:
    """Train and score one run unless its result exists."""
    path = RESULTS / study / f"{name}.json"
    expected = fingerprint(study, run)
    if path.is_file() and json.loads(path.read_text())["config_fingerprint"] == expected:
        print(f"{study}/{name}: has a result already")
        return
    started = time.monotonic()
    train_run(study, name, run, options)
    workdir = folder(whole_name(study, run.of) if run.of else f"{study}/{name}", options)
    scores = workdir / f"scores_{name}.json" if run.of else workdir / "scores.json"
    other = [f"--config={config_of(study, run, lambda n: folder(n, options))}"] if run.of else []
    _call("evaluate.py", f"--workdir={workdir}", f"--data_dir={options.data_dir}", f"--out={scores}", *other)
    result = json.loads(scores.read_text())
    manifest = result["manifest"]
    summary = {
        "study": study,
        "run": name,
        "config": config_of(study, run),
        "changes": dict(run.changes),
        "config_fingerprint": expected,
        "annotations_fingerprint": manifest.get("annotations_fingerprint"),
        "code": commit(),
        "versions": manifest.get("versions"),
        "minutes": round((time.monotonic() - started) / 60, 1),
        "metrics": {"model": result["metrics"], **result.get("compared", {})},
    }
    if names := getattr(importlib.import_module(f"studies.{study}"), "PER_CLASS", ()):
        summary["per_class"] = {name: [_digits(value) for value in result["per_class"][name]] for name in names}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(summary, indent=1, sort_keys=True) + "\n")


def show(study: str, metrics: Sequence[str]) -> None:
    """Print existing results in percent, one line per run and kind."""
    paths = sorted((RESULTS / study).glob("*.json"))
    width = max((len(path.stem) for path in paths), default=0) + 2
    print(f"{'run':<{width}}{'':<18}" + "".join(f"{name:>20}" for name in metrics))
    for path in paths:
        for kind, values in json.loads(path.read_text())["metrics"].items():
            cells = (values.get(name) for name in metrics)
            row = "".join(f"{'-':>20}" if cell is None else f"{100 * cell:>20.2f}" for cell in cells)
            print(f"{path.stem:<{width}}{kind:<18}{row}")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", help="name of a file in studies/")
    parser.add_argument("--only", nargs="+", help="names of the runs to run")
    parser.add_argument("--show", action="store_true", help="only print existing results")
    parser.add_argument("--metrics", nargs="+", help="columns of the table (default: METRICS of the study)")
    parser.add_argument("--workdir", default="runs/studies", help="folder for checkpoints and logs")
    parser.add_argument("--data-dir", "--data_dir", default="data", help="folder of built datasets")
    options = parser.parse_args(arguments)
    study = importlib.import_module(f"studies.{options.study}")
    if unknown := set(options.only or ()) - set(study.RUNS):
        parser.error(f"unknown runs {sorted(unknown)}; there are {sorted(study.RUNS)}")
    if not options.show and hasattr(study, "run_all"):
        study.run_all(options)
    elif not options.show:
        for name, run in runs_of(options.study).items():
            if not run.stage and name in (options.only or study.RUNS):
                run_one(options.study, name, run, options)
    print(study.CLAIM)
    show(options.study, options.metrics or getattr(study, "METRICS", METRICS))


if __name__ == "__main__":
    main()
