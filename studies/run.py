"""Runs a study: a fixed list of trainings, each scored once and never again.

    python -m studies.run tin_probes                 # what is not there yet
    python -m studies.run tin_probes --show          # the table of what is there

A study is a file `studies/<name>.py` with `CLAIM` (text) and `RUNS`, {run name: (config, {key: value})}, or, if it
scores what other studies trained, `run_all(options)`; `METRICS` are the columns of its table. The scores of
a run go to `studies/results/<study>/<run>.json` as it ends, with the fingerprints of its config and of the annotations,
and the commit of the code. A run is skipped when its file is there for the same config.
"""

import argparse
import hashlib
import importlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "studies" / "results"
METRICS = ("default/full", "default/rare", "default/non_rare")


def commit() -> str:
    done = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True)
    return done.stdout.strip() or "unknown"


def _fingerprint(config: str, changes: Mapping[str, Any]) -> str:
    """Of the values that the run will train with, whatever file they come from."""
    path, _, argument = config.partition(":")
    module = importlib.import_module(path.removesuffix(".py").replace("/", "."))
    values = module.get_config(argument) if argument else module.get_config()
    for key, value in changes.items():
        values.update_from_flattened_dict({key: value})
    return hashlib.sha256(json.dumps(values.to_dict(), sort_keys=True).encode()).hexdigest()[:16]


def _call(script: str, *arguments: str) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, script, *arguments], cwd=ROOT, env=environment, check=True)


def run_one(study: str, name: str, config: str, changes: Mapping[str, Any], options: argparse.Namespace) -> None:
    """Trains and scores one run unless its result is there."""
    path = RESULTS / study / f"{name}.json"
    fingerprint = _fingerprint(config, changes)
    if path.is_file() and json.loads(path.read_text())["config_fingerprint"] == fingerprint:
        print(f"{study}/{name}: there already")
        return
    workdir, started = Path(options.workdir) / study / name, time.monotonic()
    flags = [f"--config.{key}={value}" for key, value in changes.items()]
    _call("train.py", f"--config={config}", f"--workdir={workdir}", f"--data_dir={options.data_dir}", *flags)
    scores = workdir / "scores.json"
    _call("evaluate.py", f"--workdir={workdir}", f"--data_dir={options.data_dir}", f"--out={scores}")
    result = json.loads(scores.read_text())
    manifest = result["manifest"]
    summary = {
        "study": study,
        "run": name,
        "config": config,
        "changes": dict(changes),
        "config_fingerprint": fingerprint,
        "annotations_fingerprint": manifest.get("annotations_fingerprint"),
        "code": commit(),
        "versions": manifest.get("versions"),
        "minutes": round((time.monotonic() - started) / 60, 1),
        "metrics": {"model": result["metrics"], **result.get("compared", {})},
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(summary, indent=1, sort_keys=True) + "\n")


def show(study: str, metrics: Sequence[str]) -> None:
    """The results that are there, one line per run and kind, in percent."""
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
    parser.add_argument("--only", nargs="+", help="run these runs only")
    parser.add_argument("--show", action="store_true", help="print what is there and run nothing")
    parser.add_argument("--metrics", nargs="+", help="columns of the table (default: what the study names)")
    parser.add_argument("--workdir", default="runs/studies", help="folder for checkpoints and logs")
    parser.add_argument("--data-dir", "--data_dir", default="data", help="folder of built datasets")
    options = parser.parse_args(arguments)
    study = importlib.import_module(f"studies.{options.study}")
    if unknown := set(options.only or ()) - set(study.RUNS):
        parser.error(f"no runs {sorted(unknown)}; there are {sorted(study.RUNS)}")
    if not options.show and hasattr(study, "run_all"):
        study.run_all(options)
    elif not options.show:
        for name in options.only or study.RUNS:
            config, changes = study.RUNS[name]
            run_one(options.study, name, config, changes, options)
    print(study.CLAIM)
    show(options.study, options.metrics or getattr(study, "METRICS", METRICS))


if __name__ == "__main__":
    main()
