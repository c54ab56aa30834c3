"""Scenic's checkpoints in our trees, its boxes and matching, and which package is called scenic.

Numbers: `tests/golden/scenic.npz`, made by Scenic's own code (`scenic_peer.py` says how and at which commit). Where the
variable HOI_JAX_SCENIC names a source tree of Scenic, `scenic_peer.py` runs again (with the Python of
HOI_JAX_SCENIC_PYTHON, if that is set), and everything here holds for the fresh numbers too.
Layout of checkpoint files: `scenic/train_lib/train_utils.py` (`TrainState`, `save_checkpoint`) and, for older ones,
`pretrain_utils.py` (`restore_pretrained_checkpoint`), at the same commit.
"""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import flax.serialization
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hoi_jax.backbones.resnet import ResNet
from hoi_jax.backbones.vit import ViT
from hoi_jax.integrations import scenic, scenic_weights
from hoi_jax.io import DataError, read_npz
from hoi_jax.ops import boxes as ours
from hoi_jax.ops.matching import assign_targets
from hoi_jax.serialization.flax_file import read_flax
from hoi_jax.systems.body_part.config import BackboneConfig, BodyPartConfig, MatchingConfig, TransformerConfig
from hoi_jax.systems.body_part.model import HoiTransformer
from hoi_jax.systems.body_part.targets import Targets, matching_cost
from tests.helpers.paths import ROOT
from tests.helpers.xla_flags import with_devices
from tests.integrations import scenic_peer as peer

HERE = Path(__file__).resolve().parent


def compiled(function, *arguments):
    return jax.jit(function)(*arguments)


@pytest.fixture(scope="module", params=["frozen", "fresh"])
def golden(request, golden_dir, tmp_path_factory):
    if request.param == "frozen":
        return read_npz(golden_dir / "scenic.npz")
    root = os.environ.get("HOI_JAX_SCENIC")
    if not root:
        pytest.skip("HOI_JAX_SCENIC does not name a source tree of google-research/scenic")
    out = tmp_path_factory.mktemp("scenic") / "scenic.npz"
    python = os.environ.get("HOI_JAX_SCENIC_PYTHON", sys.executable)
    environment = {**os.environ, "PYTHONPATH": root, "XLA_FLAGS": ""}
    done = subprocess.run(
        [python, str(HERE / "scenic_peer.py"), str(out)], env=environment, capture_output=True, text=True, timeout=900
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return read_npz(out)


def state_of(golden, case):
    return peer.state_of(json.loads(str(golden[f"{case}_shapes"])))


def converted(golden, case, **options):
    title, arrays, unknown = scenic_weights.convert_scenic(state_of(golden, case), **options)
    assert unknown == ()
    return title, peer.nested(arrays)


def same_tree(variables, shapes):
    """Fails unless both have the same leaves with the same shapes."""
    listed = [
        {jax.tree_util.keystr(k): v.shape for k, v in jax.tree_util.tree_leaves_with_path(tree)}
        for tree in (variables, dict(shapes))
    ]
    assert listed[0] == listed[1]


def test_a_resnet_of_scenic_gives_the_same_maps_after_every_stage(golden):
    variables = converted(golden, "resnet")[1]
    variables = {kind: tree["backbone"] for kind, tree in variables.items()}
    image, hw = peer.images("resnet", 2, 64, 64), np.full((2, 2), 64, np.int32)
    net = ResNet((3, 4, 6, 3), width=4, mask_padding=False)
    same_tree(variables, jax.eval_shape(lambda: net.init(jax.random.key(0), image, hw)))
    stages = compiled(lambda v, i, h: net.apply(v, i, h, method="stages"), variables, image, hw)
    for number, stage in enumerate(stages):
        np.testing.assert_allclose(stage, golden[f"resnet_{number + 1}"], atol=2e-4)


def test_a_vit_of_scenic_gives_the_same_feature_and_exact_gelu_does_not(golden):
    variables = {"params": converted(golden, "vit")[1]["params"]["backbone"]}
    image = peer.images("vit", 2, 32, 32)
    net = ViT(peer.PATCH, 16, 2, 2, (4, 4), "scenic")
    same_tree(variables, jax.eval_shape(lambda: net.init(jax.random.key(0), image)))
    found = compiled(lambda v, i: net.apply(v, i), variables, image)
    np.testing.assert_allclose(found, golden["vit_feature"], atol=2e-5)
    other = ViT(peer.PATCH, 16, 2, 2, (4, 4), "imagenet")
    apart = compiled(lambda v, i: other.apply(v, i), variables, image)
    assert 1e-4 < np.abs(apart - golden["vit_feature"]).max() < 1e-2


def test_a_detr_of_scenic_gives_the_same_boxes_and_classes_in_every_layer(golden):
    title, variables = converted(golden, "detr")
    assert "body_part" in title
    detr = peer.DETR
    config = BodyPartConfig(
        backbone=BackboneConfig(stage_sizes=(1, 1, 1, 1), width=detr["backbone_num_filters"], mask_padding=False),
        transformer=TransformerConfig(detr["hidden_dim"], 2, detr["transformer_mlp_dim"], 0.0, 2, 2),
        interactiveness="none", queries=detr["num_queries"],
    )  # fmt: skip
    net = HoiTransformer(config, num_classes=80, num_verbs=1)
    pixels = peer.images("detr", 2, 64, 96)
    pixels[1, :, 64:] = 0
    hw = np.array([[64, 96], [64, 64]], np.int32)
    inputs = pixels, hw, np.zeros((2, 1, 10, 4), np.float32), np.zeros((2, 1, 10), bool)
    same_tree(variables, jax.eval_shape(lambda: net.init(jax.random.key(0), *inputs)))
    out = compiled(net.apply, variables, *inputs)
    np.testing.assert_allclose(out["features"], golden["detr_features"], atol=1e-5)
    seen = np.asarray(out["token_valid"])
    # Scenic's norms have epsilon 1e-6, these 1e-5: half of the difference, over the variance, at each of the norms.
    np.testing.assert_allclose(out["memory"][seen], golden["detr_encoded"][seen], atol=2e-4)
    wanted = golden["detr_logits"]
    wanted = np.concatenate([wanted[..., 1:], wanted[..., :1]], axis=-1)
    np.testing.assert_allclose(out["object_logits"], wanted, atol=1e-3)
    for box in ("human", "object"):
        np.testing.assert_allclose(out[f"{box}_cxcywh"], golden["detr_boxes"], atol=1e-4)


def test_boxes_and_overlaps_are_scenics(golden):
    a, b = (ours.cxcywh_to_xyxy(jnp.asarray(peer.boxes(name, 2, n))) for name, n in (("a", 6), ("b", 4)))
    np.testing.assert_allclose(a, golden["xyxy_a"], atol=1e-6)
    np.testing.assert_allclose(ours.xyxy_to_cxcywh(a), golden["cxcywh_a"], atol=1e-6)
    # Scenic adds 1e-6 to every area that it divides by; the smallest here are 0.003.
    np.testing.assert_allclose(ours.pairwise_iou(a, b), golden["iou"], atol=2e-4)
    np.testing.assert_allclose(ours.generalized_iou(a[:, :, None], b[:, None]), golden["giou"], atol=1e-3)


def test_the_matching_cost_is_scenics_and_so_is_the_matching(golden):
    costs = peer.COSTS
    config = MatchingConfig(
        object=costs["class_loss_coef"], box=costs["bbox_loss_coef"], giou=costs["giou_loss_coef"], verb=0.0
    )
    box, target = peer.boxes("a", 2, 6), jnp.asarray(peer.boxes("b", 2, 4))
    outputs = {"object_logits": jnp.asarray(golden["logits"]), "human_cxcywh": box, "object_cxcywh": box}
    valid = golden["labels"] != 0
    assert valid.sum(1).tolist() == golden["columns"].tolist() == [3, 2]
    targets = Targets(
        human_cxcywh=target, object_cxcywh=target, object_class=jnp.asarray(golden["labels"]),
        has_object=jnp.ones((2, 4), bool), verbs=jnp.zeros((2, 4, 1), bool),
        verbs_known=jnp.ones((2, 4, 1), bool), interactive=jnp.ones((2, 4), bool),
        part_states=jnp.zeros((2, 4, 6), jnp.int32), valid=jnp.asarray(valid),
    )  # fmt: skip
    found = np.asarray(matching_cost(outputs, targets, config))
    wanted = golden["cost"]
    np.testing.assert_allclose(found.transpose(0, 2, 1)[valid], wanted.transpose(0, 2, 1)[valid], atol=2e-3)
    query = np.asarray(compiled(assign_targets, found, valid))
    for image in range(2):
        pairs = dict(golden["matching"][image].T[:, ::-1].tolist())
        assert {t: q for t, q in enumerate(query[image]) if valid[image, t]} == {
            t: q for t, q in pairs.items() if valid[image, t]
        }


def checkpoint(tmp_path, state, kind):
    """A file as Scenic's `save_checkpoint` leaves it, or as it did with flax.optim."""
    tree = peer.nested(state)
    params, stats = tree["params"], tree.get("batch_stats", {})
    saved = {"global_step": 7, "rng": np.zeros(2, np.uint32), "metadata": {"chrono": {"note": "x"}}}
    if kind == "now":
        model_state = {"batch_stats": stats} if stats else {}
        saved |= {"params": params, "model_state": model_state, "opt_state": {"0": {"count": np.int32(7)}}}
    else:
        target = {"params": params} if kind == "oldest" else params
        saved |= {"optimizer": {"target": target, "state": {}}, "model_state": stats or None}
    path = tmp_path / f"checkpoint_{kind}"
    path.write_bytes(flax.serialization.msgpack_serialize(saved))
    return path


@pytest.mark.parametrize("kind", ["now", "older", "oldest"])
def test_checkpoint_files_of_all_ages_are_read_and_converted(kind, golden, tmp_path, capsys):
    state = state_of(golden, "resnet")
    path = checkpoint(tmp_path, {**state, "params/stranger/kernel": np.zeros(3, np.float32)}, kind)
    assert scenic_weights.main([str(path), str(tmp_path / "out.npz")]) == 0
    printed = capsys.readouterr().out
    assert "not used: params/stranger/kernel" in printed and "layout 'torchvision'" in printed
    expected = scenic_weights.convert_scenic(state)[1]
    written = read_npz(tmp_path / "out.npz")
    assert set(written) == set(expected)
    assert all(np.array_equal(written[name], expected[name]) for name in expected)


def test_detr_keeps_the_first_queries_and_its_classes_turn_round(golden):
    state = state_of(golden, "detr")
    arrays = scenic_weights.convert_scenic(state, 3)[1]
    np.testing.assert_array_equal(arrays["params/query_embed"], state["params/QueryPosEmbedding_0/query_emb"][:3])
    bias = state["params/ObjectClassPredictor_0/Dense_0/bias"]
    np.testing.assert_array_equal(arrays["params/object_class/fc0/bias"], [*bias[1:], bias[0]])
    _, arrays, unknown = scenic_weights.convert_scenic(state, absent_class=True)
    assert not unknown
    head = arrays["params/object_class/fc0/kernel"], arrays["params/object_class/fc0/bias"]
    kernel = state["params/ObjectClassPredictor_0/Dense_0/kernel"]
    np.testing.assert_array_equal(np.delete(head[1], -2), [*bias[1:], bias[0]])
    np.testing.assert_array_equal(np.delete(head[0], -2, axis=1), np.roll(kernel, -1, axis=1))
    assert 0 < np.abs(head[0][:, -2]).max() <= len(kernel) ** -0.5
    with pytest.raises(ValueError, match="5 queries, expected at least 6"):
        scenic_weights.convert_scenic(state, 6)
    with pytest.raises(ValueError, match="normalize_before"):
        scenic_weights.convert_scenic({**state, "params/DETRTransformer_0/LayerNorm_1/scale": np.ones(16)})


def test_networks_that_ours_cannot_be_are_refused(golden, tmp_path, capsys):
    vit, resnet = state_of(golden, "vit"), state_of(golden, "resnet")
    basic = {name: x for name, x in resnet.items() if "conv1" not in name}
    for state, text in (
        ({name: x for name, x in vit.items() if name != "params/cls"}, "without class token"),
        ({name: x for name, x in vit.items() if "embedding/" not in name}, "not supported"),
        (basic, "only bottlenecks"),
    ):
        with pytest.raises(ValueError, match=text):
            scenic_weights.convert_scenic(state)
    assert scenic_weights.main([str(tmp_path / "absent"), str(tmp_path / "out.npz")]) == 2
    assert "no such file" in capsys.readouterr().err


def test_arrays_of_all_kinds_are_read_as_flax_wrote_them(tmp_path):
    tree = {
        "a": {"b": np.arange(6, dtype=np.int16).reshape(2, 3), "c": np.float64(2.5), "d": None, "e": "text"},
        "half": np.asarray(jnp.asarray([1.5, -2.0], jnp.bfloat16)),
        "chunks": {"__msgpack_chunked_array__": True, "shape": {"0": 2, "1": 2},
                   "chunks": {"0": np.array([1.0, 2.0]), "1": np.array([3.0, 4.0])}},
    }  # fmt: skip
    (tmp_path / "x").write_bytes(flax.serialization.msgpack_serialize(tree))
    found = read_flax(tmp_path / "x")
    np.testing.assert_array_equal(found["a"]["b"], tree["a"]["b"])
    np.testing.assert_array_equal(found["half"], [1.5, -2.0])
    np.testing.assert_array_equal(found["chunks"], [[1, 2], [3, 4]])
    assert found["a"]["c"] == 2.5 and found["a"]["d"] is None and found["a"]["e"] == "text"


def test_damaged_and_foreign_files_are_refused_by_name(tmp_path):
    good = flax.serialization.msgpack_serialize({"params": {"w": np.ones((3, 4), np.float32)}})
    strange = flax.serialization.msgpack_serialize({"w": np.array(["a"], "S1")})
    object_array = good.replace(b"float32", b"object\x00")
    for content in (b"", good[:-5], b"\x93\x01\x02\x03", strange, object_array, b"\x81\xa1a" * 5000):
        (tmp_path / "bad").write_bytes(content)
        with pytest.raises(DataError, match="bad"):
            read_flax(tmp_path / "bad")
    with pytest.raises(DataError, match="folder"):
        read_flax(tmp_path)
    rng = np.random.default_rng(0)
    for _ in range(300):
        damaged = bytearray(good)
        damaged[rng.integers(len(good))] = rng.integers(256)
        (tmp_path / "bad").write_bytes(bytes(damaged))
        try:
            read_flax(tmp_path / "bad")
        except DataError as error:
            assert "bad" in str(error)
    with pytest.raises(DataError, match="no parameters"):
        scenic.scenic_variables({"model_state": {}}, "x")


def test_the_other_package_called_scenic_is_told_apart_before_it_is_run(tmp_path, monkeypatch):
    if importlib.util.find_spec("scenic") is None:
        with pytest.raises(scenic.ScenicError, match="no package scenic"):
            scenic.find_scenic()
    package = tmp_path / "scenic"
    package.mkdir()
    (package / "__init__.py").write_text("raise SystemExit('run')")
    monkeypatch.syspath_prepend(str(tmp_path))
    importlib.invalidate_caches()
    monkeypatch.delitem(sys.modules, "scenic", raising=False)
    for call in (scenic.find_scenic, scenic.system_model, lambda: scenic.register_datasets(tmp_path, {})):
        with pytest.raises(scenic.ScenicError, match="unrelated language"):
            call()
    (package / "model_lib" / "base_models").mkdir(parents=True)
    (package / "model_lib" / "base_models" / "base_model.py").touch()
    assert scenic.find_scenic() == package


@pytest.mark.slow
def test_scenics_own_loop_trains_a_system_continues_it_and_its_checkpoint_is_read(tmp_path):
    from data_prep import build

    root = os.environ.get("HOI_JAX_SCENIC")
    if not root:
        pytest.skip("HOI_JAX_SCENIC does not name a source tree of google-research/scenic")
    assert build.main(["hoi_scenes/tiny", "--data-dir", str(tmp_path / "data")]) == 0
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{root}", "XLA_FLAGS": with_devices(2)}
    arguments = [str(tmp_path / "data"), "hoi_scenes/tiny", "defr_hoi_scenes", str(tmp_path / "run")]
    python = os.environ.get("HOI_JAX_SCENIC_PYTHON", sys.executable)
    command = [python, str(HERE / "scenic_train_peer.py"), *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=1800)
    assert done.returncode == 0, done.stderr[-4000:]
    found = json.loads(done.stdout.strip().splitlines()[-1])
    assert found["registered"] == ["hoi_jax/hoi_scenes/tiny"] and found["devices"] == 2
    assert found["step"] == 3 and found["arrays"] == found["parameters"] > 50
    assert 0 < found["continued"]["loss"] < found["train"]["loss"] and found["evaluated"]["loss"] > 0
