"""The command that says what a training will cost."""

from pathlib import Path

import numpy as np
import pytest

from hoi_jax import experiment as ex
from hoi_jax.commands.training_cost import main, training_cost
from hoi_jax.data.numpy_batch import blank_batch
from train import ensure_dataset

CONFIG = "configs/tin_hoi_scenes.py"


def test_the_table_has_a_row_per_config_with_its_options(capsys):
    assert main([CONFIG, "configs/two_boxes_hoi_scenes.py", "--tflops", "0.001"]) == 0
    rows = [line.strip("| ").split(" | ") for line in capsys.readouterr().out.splitlines()[2:]]
    assert [row[0] for row in rows] == ["`tin_hoi_scenes`", "`two_boxes_hoi_scenes`"]
    assert rows[0][1] == "0.5 M" and rows[0][3] == "8" and rows[0][5] == "1,500"


def test_hours_follow_from_operations_steps_and_what_a_device_sustains():
    values = ex.read_config("configs/two_boxes_hoi_scenes.py")
    values["train"]["num_steps"] = 1500
    cost = training_cost(ex.load_experiment(values))
    assert cost.hours(2.0) == pytest.approx(cost.step.flops * 1500 / 2e12 / 3600)
    values["batch_size"] *= 2
    twice = training_cost(ex.load_experiment(values))
    assert twice.step.flops == pytest.approx(2 * cost.step.flops, rel=0.01)
    assert twice.prediction_flops == cost.prediction_flops and twice.step.parameters == cost.step.parameters


def test_lengths_in_epochs_ask_for_the_images_of_one(capsys):
    config = "configs/defr_hico.py:backbone=b32"
    assert main([config]) == 2
    assert (
        "configs/defr_hico.py:backbone=b32: the config trains for 10 epochs; give the images per epoch with --images"
        in capsys.readouterr().err
    )
    small = ["--set", "sizes.image_hw=(224, 224)", "model.inputs.size=224", "model.backbone.layers=1"]
    assert main([config, "--images", "1280", *small]) == 0
    assert " | 100 | " in capsys.readouterr().out  # ten batches of 128, ten times


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["configs/none.py"], "no such config file"),
        ([CONFIG, "--set", "model.streams=3"], "unknown key 'model.streams'"),
        ([CONFIG, "--set", "modl.x=3"], "unknown key 'modl': did you mean 'model'?"),
        ([CONFIG, "--set", "batch_size"], "expected KEY=VALUE"),
        ([CONFIG + ":features=tin_r0"], "image_features"),
    ],
)
def test_what_cannot_be_counted_is_an_error(arguments, message, capsys):
    assert main(arguments) == 2
    assert message in capsys.readouterr().err


def test_the_batch_without_data_has_the_shapes_of_the_training(tmp_path, monkeypatch):
    experiment = ex.load_experiment(ex.read_config(CONFIG))
    folder = ensure_dataset("hoi_scenes/tiny", str(tmp_path))
    needs = experiment.build_system().needs_train
    real = ex.first_batch(ex.train_pipeline(experiment, Path(folder), needs))
    blank = blank_batch(needs, experiment.sizes, experiment.vocabulary, experiment.batch_size)
    assert {k: (v.shape, v.dtype) for k, v in blank.items()} == {k: (v.shape, v.dtype) for k, v in real.items()}
    assert not any(np.any(value) for value in blank.values())


@pytest.mark.parametrize("config", ["configs/tin_vcoco.py", "configs/defr_hico.py:backbone=b32"])
def test_the_page_on_training_has_the_rows_that_the_command_prints(config, capsys):
    assert main([config, "--images", "38116"]) == 0
    heading, _, row = capsys.readouterr().out.splitlines()
    page = Path("docs/training.md").read_text().splitlines()
    assert heading in page and row in page
