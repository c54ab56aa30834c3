"""Checkpoints of the authors and of DETR become starting points, and what has no place is named."""

import importlib
import json
import re

import jax
import numpy as np
import pytest

from hoi_jax.experiment import load_experiment
from hoi_jax.io import read_npz
from hoi_jax.serialization.conversion import ConversionError, convert_state
from hoi_jax.systems.body_part import convert
from hoi_jax.training.init_from import merge
from hoi_jax.training.settings import InitFromSettings
from hoi_jax.vocab.datasets import COCO_CATEGORY_IDS


@pytest.fixture(scope="module")
def params(golden_dir):
    return json.loads((golden_dir / "bodypart_params.json").read_text())


def detr_state(params) -> dict[str, np.ndarray]:
    """Shapes of DETR: the box detector of the checkpoint with DETR's own heads and names."""
    state = {}
    for entry in params:
        name = entry["name"]
        if re.match(r"(backbone|input_proj|transformer\.(encoder|box_decoder))", name):
            state[name.replace("box_decoder", "decoder")] = np.zeros(entry["shape"], np.float32)
        if name.startswith("sub_bbox_embed"):
            state[name.removeprefix("sub_")] = np.zeros(entry["shape"], np.float32)
    width = state["input_proj.bias"].shape[0]
    rows = np.arange(92, dtype=np.float32)
    state["class_embed.bias"] = rows
    state["class_embed.weight"] = np.tile(rows[:, None], (1, width))
    state["query_embed.weight"] = np.tile(np.arange(100, dtype=np.float32)[:, None], (1, width))
    return state


def test_detr_gives_detector_classes_and_both_box_heads_and_the_rest_starts_at_random(params):
    started = convert.start_from_detr(detr_state(params), 64)
    flat, unknown = convert_state(started, convert.checkpoint_rule)
    assert not unknown
    np.testing.assert_array_equal(flat["params/object_class/fc0/bias"], [*COCO_CATEGORY_IDS, 91])
    np.testing.assert_array_equal(flat["params/query_embed"][:, 0], np.arange(64))
    config = importlib.import_module("configs.body_part_hico_det").get_config()
    system = load_experiment(config.to_dict()).build_system()
    shapes = jax.eval_shape(system.init, jax.random.key(0), {})
    empty = jax.tree.map(lambda leaf: np.zeros(leaf.shape, np.float32), shapes)
    _, report = merge(empty, flat, InitFromSettings("detr.npz"))
    assert not report.unused and not report.unfit
    assert all(name.startswith("params/interactiveness/") for name in report.missing)


def test_for_vcoco_detr_keeps_its_80_classes_and_gets_a_fresh_row_for_absent_objects(params):
    """QPIC's and CDN's convert_parameters.py: 80 rows, one new linear row, and the row of "no object"."""
    state = detr_state(params)
    started = convert.start_from_detr(state, 100, absent_class=True)
    weight, bias = started["obj_class_embed.weight"], started["obj_class_embed.bias"]
    np.testing.assert_array_equal(np.delete(bias, 80), [*COCO_CATEGORY_IDS, 91])
    np.testing.assert_array_equal(np.delete(weight, 80, axis=0), state["class_embed.weight"][[*COCO_CATEGORY_IDS, 91]])
    bound = weight.shape[1] ** -0.5
    assert weight.shape[0] == len(bias) == 82 and 0.5 * bound < np.abs(weight[80]).max() <= bound
    flat, unknown = convert_state(started, convert.checkpoint_rule)
    config = importlib.import_module("configs.body_part_vcoco").get_config()
    system = load_experiment(config.to_dict()).build_system()
    shapes = jax.eval_shape(system.init, jax.random.key(0), {})
    empty = jax.tree.map(lambda leaf: np.zeros(leaf.shape, np.float32), shapes)
    _, report = merge(empty, flat, InitFromSettings("detr.npz"))
    assert not (unknown or report.unused or report.unfit)
    assert all(name.startswith("params/interactiveness/") for name in report.missing)


def test_the_command_reads_tensors_names_strangers_and_writes_what_init_from_reads(params, tmp_path, capsys):
    small = {p["name"]: np.ones(p["shape"], np.float32) for p in params if "box_decoder.layers.0" in p["name"]}
    np.savez(tmp_path / "in.npz", stranger=np.zeros(3), **small)  # type: ignore[arg-type]
    assert convert.main([str(tmp_path / "in.npz"), str(tmp_path / "out.npz")]) == 0
    assert "not used: stranger" in capsys.readouterr().out
    names = set(read_npz(tmp_path / "out.npz"))
    assert "params/box_decoder/layer0/cross_attention/query/kernel" in names
    np.savez(tmp_path / "other.npz", stranger=np.zeros(3))
    assert convert.main([str(tmp_path / "other.npz"), str(tmp_path / "out.npz")]) == 2
    assert convert.main([str(tmp_path / "none.safetensors"), str(tmp_path / "out.npz")]) == 2
    assert convert.main([str(tmp_path / "in.npz"), str(tmp_path / "out.npz"), "--detr-queries", "64"]) == 2


def test_norms_that_should_be_one_tensor_and_differ_are_refused():
    state = {f"transformer.binary_decoder_{n}.norm.weight": np.full(4, n, np.float32) for n in (1, 2)}
    with pytest.raises(ConversionError, match="binary_decoder_2"):
        convert_state(state, convert.checkpoint_rule)
