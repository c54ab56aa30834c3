"""train.py and evaluate.py as commands: TIN on the tiny scenes, errors at the door, and a kill that leaves no trace."""

import json
import os
import subprocess
import sys
import time

import pytest

from hoi_jax.commands import fit_suppression
from hoi_jax.predictions import load_predictions
from tests.helpers.paths import ROOT
from tests.helpers.xla_flags import FAST
from train import main, parse_arguments

DEADLINE = 300.0
TINY = [
    "--config=configs/tin_hoi_scenes.py",
    "--config.dataset.name=hoi_scenes/tiny",
    "--config.dataset.train_split=train:fit",
    "--config.batch_size=4",
    "--config.train.num_steps=6",
    "--config.train.log_every=1",
    "--config.train.checkpoint_every=2",
    "--config.train.evaluate_every=6",
]


def command(script, *arguments):
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "XLA_FLAGS": FAST, "PYTHONPATH": str(ROOT)}
    return {"args": [sys.executable, script, *map(str, arguments)], "cwd": ROOT, "env": environment}


def call(script, *arguments):
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    return subprocess.run(**command(script, *arguments), **streams, text=True, timeout=DEADLINE)


def succeed(script, *arguments):
    done = call(script, *arguments)
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Folder with `data` and the workdir `run` of a whole run."""
    folder = tmp_path_factory.mktemp("command")
    out = succeed("train.py", *TINY, f"--workdir={folder / 'run'}", f"--data_dir={folder / 'data'}")
    assert "building hoi_scenes/tiny" in out and "evaluation at step 6" in out
    return folder


def test_a_run_leaves_losses_checkpoints_predictions_and_scores(trained):
    run = trained / "run"
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2, 3, 4, 5, 6, 6]
    assert {"loss/human", "loss/object", "loss/spatial", "loss/interactiveness"} <= lines[0].keys()
    scores = json.loads((run / "metrics_test.json").read_text())
    assert scores["metrics"] == lines[-1]["evaluation"]
    assert 0 < scores["metrics"]["default/full"] < 1
    assert {path.name for path in (run / "checkpoints").iterdir() if path.name.isdigit()} >= {"6"}


def test_evaluate_from_the_checkpoint_gives_the_scores_of_training_and_a_report(trained):
    out_file, report = trained / "metrics.json", trained / "report.html"
    arguments = ["--workdir", trained / "run", "--data_dir", trained / "data", "--out", out_file, "--report", report]
    out = succeed("evaluate.py", *arguments)
    assert "default/full" in out and "class_frequency" in out
    during = json.loads((trained / "run" / "metrics_test.json").read_text())["metrics"]
    assert json.loads(out_file.read_text())["metrics"] == during
    page = report.read_text()
    assert page.count("data:image/") >= 6
    assert 'src="http' not in page and 'href="http' not in page  # the page holds everything it shows


def test_thresholds_are_fitted_on_the_held_out_images_and_used(trained, capsys):
    run, data = trained / "run", trained / "data"
    assert fit_suppression.main(["--workdir", str(run), "--data-dir", str(data)]) == 0
    assert f"{run / 'calibration.json'}: " in capsys.readouterr().out
    fitted = json.loads((run / "calibration.json").read_text())
    assert fitted["fitted_on"]["split"] == "train:held_out" and fitted["vocabulary"] == "hoi_scenes"
    held_out = load_predictions(run / "predictions_train_held_out.npz").image_id
    assert fitted["fitted_on"]["images"] == len(held_out) and 0 < len(held_out) < 20
    assert max(held_out) < 64  # Scenes of the train split; test scenes start at a million.
    labels = data / "hoi_scenes" / "tiny" / "annotations_test.npz"
    stored = ["--predictions", run / "predictions_test.npz", "--annotations", labels]
    assert "default/full" in succeed("evaluate.py", *stored, "--calibration", run / "calibration.json")


@pytest.mark.parametrize(
    "flag, message",
    [
        ("--config.train.nun_steps=3", "num_steps"),
        ("--config.train.num_steps=many", "num_steps"),
        ("--config.dataset.name=hoi_scene/tiny", "hoi_scene"),
        ("--config.model.maps.size=33", "size is 33, which is odd"),
        ("--config.model.loss.humann=1", "unknown key 'model.loss.humann': did you mean 'model.loss.human'?"),
        ("--config.train.num_steps.x=1", "key 'train.num_steps' is 6, expected a group"),
    ],
)
def test_an_unknown_key_a_wrong_type_and_an_impossible_value_are_named(flag, message, tmp_path, capsys):
    one = "--config.train.num_devices=1"
    assert main([*TINY, one, flag, f"--workdir={tmp_path / 'run'}", f"--data_dir={tmp_path}"]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "run" / "checkpoints").exists()


@pytest.mark.parametrize(
    "flags, message",
    [
        (["--config.batch_size=10"], "batch_size 10 cannot be divided evenly over 8 devices: use 8 or 16"),
        (["--config.batch_size=8", "--config.train.accumulate=2"], "8 devices with 2 micro-batches on each: use 16"),
        (["--config.train.num_devices=9"], "num_devices is 9, expected 1 to 8"),
    ],
)
def test_a_batch_that_does_not_divide_is_refused_before_data_are_built(flags, message, tmp_path, capsys):
    assert main([*TINY, *flags, f"--workdir={tmp_path / 'run'}", f"--data_dir={tmp_path}"]) == 2
    assert message in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_changes_of_the_config_are_read_off_the_command_line(capsys):
    words = ["--config=c.py", "--workdir", "w", "--config.train.seed=3", "--config.a.b", "1=2", "--config.x="]
    options, changes = parse_arguments(words)
    assert (options.config, options.workdir, options.data_dir) == ("c.py", "w", "data")
    assert changes == {"train.seed": "3", "a.b": "1=2", "x": ""}
    assert parse_arguments([*words, "--config.x=1"])[1]["x"] == "1"  # the last one counts, as everywhere
    for extra, message in [
        (["--num_step=3"], "unknown argument '--num_step=3'"), (["more"], "unknown argument 'more'"),
        (["--config.a"], "--config.a needs a value"),
    ]:  # fmt: skip
        with pytest.raises(SystemExit):
            parse_arguments([*words, *extra])
        assert message in capsys.readouterr().err


@pytest.mark.slow
def test_a_killed_run_of_tin_ends_like_the_uninterrupted_one(trained):
    killed = trained / "killed"
    arguments = [*TINY, f"--workdir={killed}", f"--data_dir={trained / 'data'}"]
    log = killed / "metrics.jsonl"
    for lines in (1, 3, 5):
        with subprocess.Popen(**command("train.py", *arguments), stdout=subprocess.DEVNULL) as process:
            end = time.monotonic() + DEADLINE
            while not log.exists() or log.read_bytes().count(b"\n") < lines:
                assert process.poll() is None and time.monotonic() < end
                time.sleep(0.002)
            process.kill()
    succeed("train.py", *arguments)
    assert log.read_bytes() == (trained / "run" / "metrics.jsonl").read_bytes()
    scores = [json.loads((trained / name / "metrics_test.json").read_text())["metrics"] for name in ("run", "killed")]
    assert scores[0] == scores[1]
