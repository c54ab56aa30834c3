"""Converted weights become checkpoints that are scored without training; weights of another system are refused."""

import json

import jax
import numpy as np
import pytest

from hoi_jax.commands import adopt
from hoi_jax.experiment import load_experiment, read_config
from hoi_jax.io import read_safetensors
from hoi_jax.serialization.exported import changed_files, zoo_folder
from hoi_jax.training import load_for_evaluation
from hoi_jax.training.init_from import flatten

KEPT = zoo_folder() / "body_part_hoi_scenes"


@pytest.fixture
def config_file(tmp_path):
    """A config file with the values of an exported checkpoint."""
    path = tmp_path / "config.py"
    values = json.loads((KEPT / "config.json").read_text())
    path.write_text(
        f"from ml_collections import ConfigDict\n\n\ndef get_config():\n    return ConfigDict({values!r})\n"
    )
    return path


def weights_of(tmp_path, **changes):
    """The kept weights as an npz, as converters write it; `None` leaves an array out."""
    arrays = {k: np.asarray(v, np.float32) for k, v in read_safetensors(KEPT / "params.safetensors").items()}
    arrays = {k: v for k, v in {**arrays, **changes}.items() if v is not None}
    np.savez(tmp_path / "weights.npz", **arrays)  # type: ignore[arg-type]
    return tmp_path / "weights.npz", arrays


def test_adopted_weights_are_a_checkpoint_that_evaluation_loads(config_file, tmp_path, capsys):
    weights, arrays = weights_of(tmp_path)
    folder = tmp_path / "adopted"
    assert adopt.main([str(config_file), str(weights), str(folder), "--config.model.predict.nis_threshold=0.25"]) == 0
    assert f"{len(arrays)} arrays" in capsys.readouterr().out
    variables, text, metadata = load_for_evaluation(folder)
    found = flatten(variables)
    assert set(found) == set(arrays) and metadata.step == 0 and not changed_files(folder)
    assert all(np.array_equal(found[name], arrays[name]) for name in arrays)
    experiment = load_experiment(json.loads(text))
    assert experiment.model["predict"]["nis_threshold"] == 0.25
    assert adopt.main([str(config_file), str(weights), str(folder)]) == 2  # the folder is not empty any more
    assert "not empty" in capsys.readouterr().err


def test_weights_that_do_not_fit_are_listed_and_nothing_is_written(config_file, tmp_path, capsys):
    weights, _ = weights_of(
        tmp_path, **{
            "params/query_points": None, "params/object_class/fc0/bias": np.zeros(3, np.float32),
            "params/stranger": np.zeros(2, np.float32),
        },
    )  # fmt: skip
    folder = tmp_path / "adopted"
    assert adopt.main([str(config_file), str(weights), str(folder)]) == 2
    printed = capsys.readouterr().err
    assert "3 arrays do not fit" in printed and "missing: params/query_points" in printed
    assert "unfit: params/object_class/fc0/bias is (3,)" in printed and "place: params/stranger (2,)" in printed
    assert not folder.exists()


def test_queues_of_class_counts_start_empty():
    """No file of weights has them: they are training's memory."""
    experiment = load_experiment(read_config("configs/body_part_hico_det_cdn_stage2.py"))
    expected = adopt.expected_shapes(experiment)
    queues = [name for name in expected if name.startswith("reweight/")]
    weights = {name: np.ones(shape, np.float32) for name, shape in expected.items() if name not in queues}
    found = adopt.adopted_variables(weights, expected)
    assert len(queues) == 4 and all(not found[name].any() and found[name].shape == expected[name] for name in queues)
    assert jax.tree.leaves(found)[0].dtype == np.float32
