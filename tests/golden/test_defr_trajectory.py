"""Our training of DEFR, update by update, beside the authors' (defr_trajectory.npz, made by make_defr_trajectory.py).

The config `defr_hico_release` trains: its network, loss, parts of a batch, recomputation, optimiser and schedule. Only
sizes and the number of updates are those of the file, and nothing is augmented. The authors' float32 and float64 runs
are 4e-7 apart in the loss and 2e-6 in the gradient's norm; the file gives the tolerance of every update.
"""

import dataclasses
import json
import re
from typing import Any

import jax
import numpy as np
import pytest

from configs import defr_hico_release
from hoi_jax import io
from hoi_jax.backbones.vit_names import defr_rule
from hoi_jax.serialization.conversion import convert_state
from hoi_jax.settings import from_config
from hoi_jax.systems.defr.config import DefrConfig
from hoi_jax.systems.defr.convert import backbone_arrays
from hoi_jax.systems.defr.inputs import prepare
from hoi_jax.systems.defr.model import DefrNet
from hoi_jax.systems.registry import build_system
from hoi_jax.training import OptimizerSettings, Parallel, TrainSettings, in_steps, make_optimizer, make_train_step
from hoi_jax.training.step import make_state
from hoi_jax.vocab import get_vocabulary
from tests.golden import make_defr_trajectory as theirs

FILE = "defr_trajectory.npz"


@pytest.fixture(scope="module")
def golden(golden_dir):
    return io.read_npz(golden_dir / FILE, max_bytes=2**26)


@pytest.fixture(scope="module")
def meta(golden):
    return json.loads(str(golden["meta_json"]))


@dataclasses.dataclass
class Run:
    """Reports of all updates, parameters after some of them by our names, and the last network's logits of batch 0."""

    reports: list
    saved: dict[int, dict[str, np.ndarray]]
    logits: np.ndarray


def config_of(meta) -> Any:
    config = defr_hico_release.get_config()
    sizes = meta["sizes"]
    config.model.backbone.update(
        patch=sizes["patch"], width=sizes["width"], layers=sizes["layers"], heads=sizes["width"] // 64, remat=True
    )
    config.model.inputs.update(size=meta["image_size"], brightness=0.0, contrast=0.0, crop_area=1.0)
    config.model.classifier.gamma = float(np.exp(meta["log_scale"]))
    config.optimizer.schedule.restart_epochs = float(meta["period_epochs"])
    config.train.num_epochs = float(meta["epochs"])
    return config


def start(meta) -> dict[str, Any]:
    """Variables from CLIP's image tower and the text embeddings, as the authors' code starts."""
    state = theirs.start()
    text = state.pop("clip_w")
    flat, _ = backbone_arrays(state, meta["image_size"])
    projection = flat.pop("params/image_projection")
    flat["params/classifier/kernel"] = text @ projection.T
    tree: dict[str, Any] = {}
    for name, array in flat.items():
        *path, leaf = name.split("/")
        node = tree
        for part in path:
            node = node.setdefault(part, {})
        node[leaf] = array
    return tree


def flat_of(params) -> dict[str, np.ndarray]:
    leaves = jax.tree_util.tree_leaves_with_path({"params": params})
    return {"/".join(key.key for key in path): np.array(x) for path, x in leaves}


def batch_of(golden, meta, number: int) -> dict[str, np.ndarray]:
    count, side = meta["batch"], meta["image_size"]
    return {
        "image": np.stack([theirs.image(number, i) for i in range(count)]),
        "image_hw_px": np.full((count, 2), side, np.int32),
        "hoi_labels": golden[f"batch{number}/labels"].astype(np.int32),
        "batch_valid": np.ones(count, bool),
        "example_id": np.arange(count, dtype=np.int32),
    }


@pytest.fixture(scope="module")
def run(golden, meta):
    config, vocabulary = config_of(meta), get_vocabulary("hico_det")
    system = build_system("defr", config.model.to_dict(), vocabulary)
    batches = [batch_of(golden, meta, number) for number in range(meta["batches"])]
    assert system.needs_train <= batches[0].keys()
    variables = start(meta)
    written = (
        from_config(c, v.to_dict()) for c, v in ((TrainSettings, config.train), (OptimizerSettings, config.optimizer))
    )
    length, settings = in_steps(*written, meta["batches"], meta["batch"])
    assert length.num_steps == meta["updates"]
    optimizer = make_optimizer(settings, variables["params"], length.num_steps)
    parallel = Parallel(num_devices=1)
    state = parallel.replicate(make_state(variables, optimizer.tx, 0, False))
    step = parallel.compile_step(make_train_step(system, optimizer, length.accumulate))
    reports, saved = [], {0: flat_of(variables["params"])}
    for update in range(1, meta["updates"] + 1):
        state, report = step(state, parallel.shard_batch(batches[(update - 1) % len(batches)]))
        report = parallel.unreplicate(report)
        assert report["healthy"]
        reports.append(report["metrics"])
        if update in meta["updates_of_params"]:
            saved[update] = flat_of(parallel.unreplicate(state).params)
    model = from_config(DefrConfig, config.model.to_dict())
    net = DefrNet(model, len(vocabulary.hois))
    image = prepare(batches[0]["image"], batches[0]["image_hw_px"], model.inputs)
    logits = jax.jit(net.apply)({"params": parallel.unreplicate(state).params}, image)
    return Run(reports, saved, np.asarray(logits))


def test_the_file_says_where_it_comes_from(meta):
    assert (meta["repository"], meta["commit"]) == ("drjinying/hts", theirs.COMMIT)
    assert meta["base_lr"] == defr_hico_release.get_config().optimizer.learning_rate


def test_loss_of_every_update(golden, run):
    ours = [report["loss"] for report in run.reports]
    for update, (got, wanted) in enumerate(zip(ours, golden["loss"], strict=True)):
        rtol = golden["loss/suggested_rtol"][update]
        np.testing.assert_allclose(got, wanted, rtol=rtol, err_msg=f"update {update + 1}")


def test_gradient_norm_of_every_update(golden, run):
    np.testing.assert_allclose([report["gradient_norm"] for report in run.reports], golden["grad_norm"], rtol=1e-3)


def test_learning_rate_of_every_update_through_two_restarts(golden, meta, run):
    ours = np.array([report["learning_rate"] for report in run.reports])
    np.testing.assert_allclose(ours, golden["lr"], rtol=1e-5, atol=1e-5 * meta["base_lr"])
    assert np.sum(np.diff(golden["lr"]) > 0) == 2


def test_parameters_after_some_updates(golden, meta, run):
    """Sums of every tensor, and how far it went.

    Biases of keys move by noise alone: they add the same to every logit of a softmax, so that their gradient is zero.
    """
    shapes = {name: np.asarray(array).shape for name, array in theirs.start().items()}
    seen = set()
    for index, name in enumerate(meta["names"]):
        packed = re.fullmatch(r"(.+in_proj_(?:weight|bias))\.(\w+)", name)
        name = packed[1] if packed else name
        official = "clip_w" if name == "classifier" else name.removeprefix("visual_encoder.")
        shape = (meta["classes"], meta["sizes"]["width"]) if name == "classifier" else shapes[official]
        if official.endswith("positional_embedding"):
            shape = (1 + (meta["image_size"] // meta["sizes"]["patch"]) ** 2, shape[1])
        places, unknown = convert_state({f"module.{name}": np.zeros(shape, np.float32)}, defr_rule)
        places = [place for place in places if not packed or f"/{packed[2]}/" in place]
        assert not unknown and len(places) == 1
        seen |= set(places)
        if places[0].endswith("/key/bias"):
            continue
        size = np.prod(shape)
        for column, update in enumerate(meta["updates_of_params"]):
            stored = dict(zip(meta["columns"], golden["params"][column, index], strict=True))
            now, before = (run.saved[u][places[0]].astype(np.float64) for u in (update, 0))
            message = f"{places[0]} after {update}"
            np.testing.assert_allclose(now.sum(), stored["sum"], atol=1e-7 * size + 1e-5, err_msg=message)
            np.testing.assert_allclose(np.abs(now).sum(), stored["abs_sum"], rtol=2e-6, atol=1e-5, err_msg=message)
            moved = np.sqrt(np.square(now - before).sum())
            np.testing.assert_allclose(moved, stored["displacement_norm"], rtol=1e-2, atol=1e-9, err_msg=message)
    assert seen == run.saved[0].keys()


def test_single_entries_of_the_classifier_move_as_the_authors(golden, meta, run):
    index = meta["names"].index("classifier")
    for column, update in enumerate(meta["updates_of_params"]):
        stored = dict(zip(meta["columns"], golden["params"][column, index], strict=True))
        flat = run.saved[update]["params/classifier/kernel"].ravel()
        wanted = [stored[name] for name in ("first0", "first1", "first2", "last1")]
        np.testing.assert_allclose([*flat[:3], flat[-1]], wanted, atol=5e-7)


def test_the_last_network_says_what_the_authors_does(golden, run):
    np.testing.assert_allclose(run.logits, golden["final_logits"], atol=2e-3)
