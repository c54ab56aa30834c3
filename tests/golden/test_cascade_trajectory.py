"""20 updates of C-HOI's relation training, run by its authors' code, and ours on the same boxes, features and weights.

What is in the file and how it was made: `make_cascade_trajectory.py`. Sizes, settings, boxes and numbers come from it.
"""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import cascade_hoi_w_release
from hoi_jax import io
from hoi_jax.settings import from_config
from hoi_jax.systems.cascade import regions
from hoi_jax.systems.registry import build_system
from hoi_jax.training import OptimizerSettings, Parallel, make_optimizer, make_train_step
from hoi_jax.training.step import make_state
from hoi_jax.vocab import get_vocabulary
from tests.golden.make_cascade_trajectory import feature_rule, images_of, weight

HOI_W = get_vocabulary("hoi_w")
LAYERS = {
    "sa.g.conv": "nonlocal_block/g", "sa.theta.conv": "nonlocal_block/theta", "sa.phi.conv": "nonlocal_block/phi",
    "sa.conv_out.conv": "nonlocal_block/out", "reldn_head.prd_cls_feats.0": "first",
    "reldn_head.prd_cls_feats.2": "second", "reldn_head.prd_cls_scores.0": "verb_v",
    "reldn_head.spt_cls_feats.0": "vector_layers_0", "reldn_head.spt_cls_feats.2": "vector_layers_1",
    "reldn_head.spt_cls_scores.0": "verb_g", "reldn_head.prd_sbj_scores.0": "alone_human",
    "reldn_head.prd_obj_scores.0": "alone_object",
}  # fmt: skip

COLUMNS = {"loss/verb_v": "loss_cls", "loss/verb_g": "loss_spt", "gradient_norm": "gradient_norm"}


@pytest.fixture(scope="module")
def golden(golden_dir):
    arrays = io.read_npz(golden_dir / "cascade_trajectory.npz")
    return json.loads(str(arrays["meta_json"])), arrays


def ours(name: str, tensor: np.ndarray, channels: int, size: int) -> tuple[str, np.ndarray]:
    """Our path and array of a parameter of theirs; maps are [C, y, x] there and [y, x, C] here."""
    layer, _, leaf = name.rpartition(".")
    place = LAYERS[layer]
    if leaf == "bias":
        return (f"{place}_bias" if place == "first" else f"{place}/bias"), tensor
    if tensor.ndim == 4:
        tensor = tensor[:, :, 0, 0]
    if place in ("first", "alone_human", "alone_object"):
        maps = tensor.reshape(len(tensor), -1, channels, size, size).transpose(1, 3, 4, 2, 0)
        return (f"{place}_kernel" if place == "first" else f"{place}/kernel"), maps.reshape(-1, len(tensor))
    return f"{place}/kernel", tensor.T


def put(tree: dict, path: str, array: np.ndarray) -> None:
    *parents, leaf = path.split("/")
    for parent in parents:
        tree = tree[parent]
    assert tree[leaf].shape == array.shape, path
    tree[leaf] = jnp.asarray(array)


def get(tree: dict, path: str) -> np.ndarray:
    for name in path.split("/"):
        tree = tree[name]
    return np.asarray(tree)


def model_of(meta) -> dict:
    """The release's config, small: what it sets of relations and losses stays as it is."""
    model = cascade_hoi_w_release.get_config("phase=relations").model.to_dict()
    model["backbone"] = dict(
        stage_sizes=(1, 1), stage_strides=(2, 2), width=8, kind="basic", norm="group", stem="small",
        pyramid_width=meta["channels"],
    )  # fmt: skip
    model["rpn"], model["boxes"] = dict(width=4), {**model["boxes"], "width": 4}
    model["relation"] |= dict(box_size=meta["size"], width=meta["width"], mining="nonlocal_inverted")
    model["loss"]["pairs"] = 64
    return {**model, "max_humans": 4, "compute_dtype": "float32"}


def batch_of(arrays, meta, update: int) -> dict[str, np.ndarray]:
    """The annotated boxes of an update as a batch; its pixels are not looked at."""
    numbers, rows = images_of(update, meta), 8
    size = len(numbers)
    batch = {
        "image": np.zeros((size, 64, 64, 3), np.uint8), "image_hw_px": np.full((size, 2), meta["image_hw"], np.int32),
        "batch_valid": np.ones(size, bool), "example_id": np.array(numbers, np.int32),
        "instances_xyxy_px": np.zeros((size, rows, 4), np.float32), "instances_class": np.zeros((size, rows), np.int32),
        "instances_valid": np.zeros((size, rows), bool), "pairs_human": np.full((size, rows), -1, np.int32),
        "pairs_object": np.full((size, rows), -1, np.int32), "pairs_valid": np.zeros((size, rows), bool),
        "pairs_verbs": np.zeros((size, rows, 10), bool), "pairs_verbs_known": np.ones((size, rows, 10), bool),
    }  # fmt: skip
    for place, number in enumerate(numbers):
        boxes, labels = arrays[f"example{number}/boxes"], arrays[f"example{number}/labels"]
        batch["instances_xyxy_px"][place, : len(boxes)] = boxes
        batch["instances_class"][place, : len(boxes)] = labels - 1
        batch["instances_valid"][place, : len(boxes)] = True
        for row, (human, obj, verb) in enumerate(arrays[f"example{number}/relations"]):
            batch["pairs_human"][place, row], batch["pairs_object"][place, row] = human, obj
            batch["pairs_verbs"][place, row, verb - 1] = batch["pairs_valid"][place, row] = True
    return batch


def test_twenty_updates_of_relations_follow_the_authors_code(golden, monkeypatch):
    meta, arrays = golden
    channels, size = meta["channels"], meta["size"]
    rule = feature_rule(channels, size, meta["name_prefix"])
    frequency, phase = (jnp.moveaxis(jnp.asarray(x), 0, 2) for x in rule)

    def features(levels, boxes, *_, **__):
        waves = jnp.einsum("...j,yxcj->...yxc", boxes / 100, frequency, precision="highest")
        return jnp.sin(waves + phase.reshape((1,) * (waves.ndim - 3) + phase.shape))

    monkeypatch.setattr(regions, "pyramid_roi_align", features)
    system = build_system("cascade", model_of(meta), HOI_W)
    variables = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), jax.eval_shape(system.init, jax.random.key(0), {}))
    head = variables["params"]["relations_0"]
    for name, shape in meta["shapes"].items():
        put(head, *ours(name, weight(name, tuple(shape), meta["name_prefix"]), channels, size))
    assert len(jax.tree.leaves(head)) == len(meta["shapes"])
    written = cascade_hoi_w_release.get_config("phase=relations").optimizer.to_dict() | {"base_batch_size": None}
    assert (written["learning_rate"], written["momentum"], written["weight_decay"]) == (
        meta["learning_rate"], meta["momentum"], meta["weight_decay"],
    )  # fmt: skip
    written["schedule"] |= {
        "step_at": tuple(epoch * meta["updates_per_epoch"] for epoch in meta["step_epochs"]),
        "warmup_steps": meta["warmup_steps"],
    }
    settings = from_config(OptimizerSettings, written | {"clip_norm": meta["clip_norm"]}, "optimizer")
    optimizer = make_optimizer(settings, variables["params"], meta["updates"], system.frozen)
    parallel = Parallel("pmap", 1)
    state = parallel.replicate(make_state(variables, optimizer.tx, 0, ema=False))
    step = parallel.compile_step(make_train_step(system, optimizer, 1))
    for update in range(meta["updates"]):
        state, report = step(state, parallel.shard_batch(batch_of(arrays, meta, update)))
        found = {name: float(value) for name, value in parallel.unreplicate(report["metrics"]).items()}
        where = f"update {update}: {found}"
        assert found["learning_rate"] == pytest.approx(arrays["learning_rate"][update], rel=1e-6), where
        for name, theirs in COLUMNS.items():
            wanted, single = (arrays[f"{kind}/{theirs}"][update] for kind in ("float64", "float32"))
            # Their own drift bounds what follows from it.
            tolerance = 1e-4 + 10 * abs(single / wanted - 1)
            assert found[name] == pytest.approx(wanted, rel=tolerance), where
        if update + 1 not in meta["kept_updates"]:
            continue
        params = parallel.unreplicate(state).params["relations_0"]
        for name, shape in meta["shapes"].items():
            tensor = theirs_of(params, name, tuple(shape), channels, size)
            wanted = arrays[f"float64/after{update + 1}/{name}"]
            got = tensor.ravel()[:: max(tensor.size // meta["kept_of_parameters"], 1)]
            drift = np.abs(arrays[f"float32/after{update + 1}/{name}"] - wanted).max()
            scale = np.abs(wanted).max()
            np.testing.assert_allclose(got, wanted, atol=1e-4 * scale + 10 * drift, err_msg=f"{name}, {where}")
            assert np.linalg.norm(tensor) == pytest.approx(arrays[f"float64/norm{update + 1}/{name}"], rel=1e-4)


def theirs_of(params: dict, name: str, shape: tuple[int, ...], channels: int, size: int) -> np.ndarray:
    """A parameter of ours in their layout: the inverse of `ours`."""
    numbers = np.arange(np.prod(shape)).reshape(shape)
    path, order = ours(name, numbers, channels, size)
    out = np.zeros(int(np.prod(shape)))
    out[order.ravel()] = get(params, path).ravel()
    return out.reshape(shape)
