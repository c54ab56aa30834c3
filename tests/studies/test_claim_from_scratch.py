"""One claim from training to verdict, by the code of the studies, on a tiny network.

DEFR's Table 7, LSE-Sign above binary cross-entropy, with the study's runs made small (one layer, four steps, 64
scenes). One seed is trained here, and the other has a result already. The verdict is meaningless; the test shows that
every step from a config to a row of the page works.
"""

import argparse
import dataclasses
import json
import sys
import types
from pathlib import Path

import pytest

import evaluate
import train
from studies import claims, defr_losses
from studies import run as machinery
from studies.claims import CLAIMS
from studies.runs import Run, find, fingerprint, values_of

STUDY = "tiny_defr_losses"
CLAIM = next(c for c in CLAIMS if (c.study, c.better, c.worse) == ("defr_losses", "lse_sign_random", "bce_random"))
SMALL = {
    "dataset.name": "hoi_scenes/tiny",
    "batch_size": 8,
    "model.backbone.layers": 1,
    "model.backbone.width": 16,
    "model.backbone.heads": 2,
    "model.detection": {"rule": "average"},
    "train.num_steps": 4,
    "train.evaluate_every": 0,
    "train.checkpoint_every": 4,
    "train.best_metric": None,
}
NAMES = [f"{run}_seed{seed}" for seed in (0, 1) for run in (CLAIM.better, CLAIM.worse)]


def small(name):
    config, changes = defr_losses.RUNS[name]
    return Run(config, {**changes, **SMALL})


class Commands:
    """The commands of `studies.run` in this process, where only the first one pays for imports; counted."""

    def __init__(self):
        self.calls = []

    def __call__(self, script, *flags):
        given = dict(flag.removeprefix("--").split("=", 1) for flag in flags)
        self.calls.append(script)
        if script != "train.py":
            assert evaluate.main(flags) == 0
            return
        run = find(f"{STUDY}/{Path(given['workdir']).name}")
        assert given["config"] == run.config
        changed = {key.removeprefix("config."): value for key, value in given.items() if key.startswith("config.")}
        assert changed == {key: str(value) for key, value in run.changes.items()}
        train.run(values_of(STUDY, run), given["workdir"], given["data_dir"])


@pytest.fixture
def tiny_study(tmp_path, monkeypatch):
    """(commands, options): a study of four small runs whose results go to a new folder."""
    module = types.ModuleType(f"studies.{STUDY}")
    module.__dict__.update(CLAIM="", RUNS={name: small(name) for name in NAMES})
    monkeypatch.setitem(sys.modules, f"studies.{STUDY}", module)
    commands = Commands()
    monkeypatch.setattr(machinery, "_call", commands)
    for where in (machinery, claims):
        monkeypatch.setattr(where, "RESULTS", tmp_path / "results")
    return commands, argparse.Namespace(workdir=tmp_path / "runs", data_dir=tmp_path / "data")


def test_a_claim_is_trained_scored_and_judged_and_nothing_is_done_twice(tiny_study, capsys):
    commands, options = tiny_study
    folder = claims.RESULTS / STUDY
    folder.mkdir(parents=True)
    for name, score in zip(NAMES[2:], (0.75, 0.5), strict=True):
        there = {"config_fingerprint": fingerprint(STUDY, small(name)), "minutes": 1.0}
        there["metrics"] = {"model": {"image/default": score}}
        (folder / f"{name}.json").write_text(json.dumps(there))
    for name in NAMES:
        machinery.run_one(STUDY, name, find(f"{STUDY}/{name}"), options)
    assert (
        commands.calls == ["train.py", "evaluate.py"] * 2 and capsys.readouterr().out.count("has a result already") == 2
    )

    results = {name: json.loads((folder / f"{name}.json").read_text()) for name in NAMES}
    assert all(result["config_fingerprint"] == fingerprint(STUDY, small(name)) for name, result in results.items())
    # The verdict by hand from the files: two seeds, t(0.975, 1) = 12.7062.
    better, worse = (100 * results[name]["metrics"]["model"]["image/default"] for name in NAMES[:2])
    gains = [better - worse, 25.0]
    mean, half = sum(gains) / 2, 12.7062 * abs(gains[0] - gains[1]) / 2
    claim = dataclasses.replace(CLAIM, study=STUDY)
    effect = claims.effect_of(claim)
    assert effect.by_seed == pytest.approx(dict(enumerate(gains))) and 0 < better != worse > 0
    assert (effect.mean, effect.low, effect.high) == pytest.approx((mean, mean - half, mean + half), abs=1e-3)
    expected = "confirmed" if mean > half else "reversed" if mean < -half else "not confirmed"
    assert effect.verdict == expected and f"| {expected} |" in claims.page([claim])

    # A second time there is nothing to do: no run is scored, and none that is whole is trained.
    commands.calls.clear()
    for name in NAMES:
        machinery.run_one(STUDY, name, find(f"{STUDY}/{name}"), options)
    machinery.train_run(STUDY, NAMES[0], find(f"{STUDY}/{NAMES[0]}"), options)
    assert commands.calls == []
