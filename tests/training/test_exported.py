"""Exported checkpoints: what goes in comes out, a workdir's place is theirs, and damage is named."""

import json

import numpy as np
import pytest

from hoi_jax import io
from hoi_jax.commands.export import main
from hoi_jax.serialization.exported import is_exported
from hoi_jax.training import CheckpointError, Metadata, TrainSettings, load_for_evaluation
from hoi_jax.training.checkpoint import Checkpoints
from hoi_jax.training.exported import write_exported
from hoi_jax.training.step import TrainState

VARIABLES = {
    "params": {"layer": {"kernel": np.arange(6, dtype=np.float32).reshape(2, 3), "bias": np.float32([0.5])}},
    "batch_stats": {"norm": {"count": np.int32([7])}},
}
METADATA = Metadata(12, 13, '{"a": 1}', "print", {"score": 0.25})


def test_variables_and_metadata_come_back_bit_for_bit(tmp_path):
    size = write_exported(tmp_path, VARIABLES, METADATA)
    assert size == (tmp_path / "params.safetensors").stat().st_size
    found, text, metadata = load_for_evaluation(tmp_path)
    assert (text, metadata) == (METADATA.config_text, METADATA)
    for name in ("kernel", "bias"):
        assert found["params"]["layer"][name].tobytes() == VARIABLES["params"]["layer"][name].tobytes()
    assert found["batch_stats"]["norm"]["count"].tolist() == [7]


def test_half_precision_keeps_three_digits_in_half_the_bytes_and_counts_whole(tmp_path):
    values = {"params": {"kernel": np.random.default_rng(0).normal(size=(50, 40)).astype(np.float32)},
              "batch_stats": VARIABLES["batch_stats"]}  # fmt: skip
    whole = write_exported(tmp_path / "whole", values, METADATA)
    half = write_exported(tmp_path / "half", values, METADATA, half=True)
    assert whole - half == pytest.approx(4000, abs=16)  # 2,000 numbers, two bytes less each
    found, _, _ = load_for_evaluation(tmp_path / "half")
    assert found["params"]["kernel"].dtype == np.float32
    np.testing.assert_allclose(found["params"]["kernel"], values["params"]["kernel"], rtol=1e-3, atol=1e-6)
    assert found["batch_stats"]["norm"]["count"].tolist() == [7]


def test_the_file_is_laid_out_as_the_safetensors_format_says(tmp_path):
    tensors = {"b": np.float32([[1, 2]]), "a": np.array(True), "c": np.array([3, -1], ">i8")}
    io.write_safetensors_atomic(tmp_path / "x.safetensors", tensors)
    data = (tmp_path / "x.safetensors").read_bytes()
    length = int.from_bytes(data[:8], "little")
    assert length % 8 == 0
    assert json.loads(data[8 : 8 + length]) == {
        "a": {"dtype": "BOOL", "shape": [], "data_offsets": [0, 1]},
        "b": {"dtype": "F32", "shape": [1, 2], "data_offsets": [1, 9]},
        "c": {"dtype": "I64", "shape": [2], "data_offsets": [9, 25]},
    }
    assert data[8 + length :] == b"\x01" + np.float32([1, 2]).tobytes() + np.array([3, -1], "<i8").tobytes()
    with pytest.raises(ValueError, match="'z' has dtype complex128"):
        io.write_safetensors_atomic(tmp_path / "y.safetensors", {"z": np.array(1j)})


def test_the_command_keeps_the_best_checkpoint_with_its_log_and_scores(tmp_path, capsys):
    workdir, folder = tmp_path / "run", tmp_path / "kept"
    checkpoints = Checkpoints(workdir, TrainSettings(num_steps=10, best_metric="score"))
    for step, score in ((1, 0.9), (2, 0.1)):
        params = {"w": np.full(3, step, np.float32)}
        state = TrainState(
            step=np.int32(step), params=params, model_state={}, opt_state=(), ema_params=None,
            key=np.zeros(2, np.uint32), healthy=np.asarray(True),
        )  # fmt: skip
        checkpoints.save(state, Metadata(step, step, "{}", "print", {"score": score, "undefined": np.nan}))
    checkpoints.wait()
    checkpoints.close()
    (workdir / "metrics.jsonl").write_text('{"step": 1}\n')
    (tmp_path / "s.json").write_text("{}")
    main([str(workdir), str(folder), "--scores", str(tmp_path / "s.json")])
    assert f"{folder}: step 1," in capsys.readouterr().out
    assert sorted(path.name for path in folder.iterdir()) == [
        "SHA256SUMS", "config.json", "manifest.json", "metrics.jsonl", "params.safetensors", "scores.json",
    ]  # fmt: skip
    assert is_exported(folder) and not is_exported(workdir)
    found, _, metadata = load_for_evaluation(folder)
    assert (found["params"]["w"].tolist(), metadata.step) == ([1.0, 1.0, 1.0], 1)
    assert metadata.metrics == {"score": 0.9}


def test_damage_is_named(tmp_path):
    write_exported(tmp_path, VARIABLES, METADATA)
    weights = tmp_path / "params.safetensors"
    weights.write_bytes(weights.read_bytes()[:-3])
    with pytest.raises(io.CorruptFileError, match=r"params\.safetensors"):
        load_for_evaluation(tmp_path)
    write_exported(tmp_path, VARIABLES, METADATA)
    io.write_json_atomic(tmp_path / "manifest.json", {"step": 1})
    with pytest.raises(CheckpointError, match=r"manifest\.json"):
        load_for_evaluation(tmp_path)
