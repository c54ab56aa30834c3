"""Modes of TIN's configs: P learns from several datasets at once, and from nothing else than their pairs."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from configs import tin_hoi_scenes
from data_prep.builder import DatasetSource, build
from hoi_jax import experiment as ex
from hoi_jax.scenes import SceneSettings, make_scene
from tests.helpers.variables import random_variables

COUNTS = {"hoi_scenes/one": 6, "hoi_scenes/two": 18}
SCENES = SceneSettings(height_px=64, width_px=64)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Two datasets of scenes: the second is labelled as actions when it is mixed in."""
    folder = tmp_path_factory.mktemp("data")
    for start, (name, count) in enumerate(COUNTS.items()):
        scenes = range(100 * start, 100 * start + count)
        source = DatasetSource(
            name=name,
            version="1.0.0",
            description="a few scenes",
            pairs_vocabulary="hoi_scenes",
            persons_vocabulary="hoi_scenes_actions",
            splits={"train": (count, lambda scenes=scenes: (make_scene(SCENES, i) for i in scenes))},
        )
        build(source, folder)
    return folder


def experiment_on_both(**changes):
    config: dict[str, Any] = tin_hoi_scenes.get_config("mode=p,on=both,p_streams=spatial").to_dict()
    config["sizes"]["image_hw"] = (64, 64)
    mix = (dict(name="hoi_scenes/two", labels="hoi_scenes_actions", split="train"),)
    config["dataset"] |= {"name": "hoi_scenes/one", "mix": mix, **changes}
    return ex.load_experiment(config)


def batches(experiment, data, count):
    stream = ex.train_pipeline(
        experiment, data / experiment.dataset.name, experiment.build_system().needs_train
    ).train_batches(0)
    return [next(stream) for _ in range(count)]


@pytest.mark.parametrize("mix_by, share", [("size", 18 / 24), ("equal", 1 / 2)])
def test_examples_of_both_datasets_come_in_their_shares(data, mix_by, share):
    source = np.concatenate([b["source_id"] for b in batches(experiment_on_both(mix_by=mix_by), data, 6)])
    assert source.mean() == pytest.approx(share, abs=1 / 24)


def test_p_learns_from_each_of_several_datasets(data):
    experiment = experiment_on_both()
    system, (read, *_) = experiment.build_system(), batches(experiment, data, 1)
    batch = {name: jnp.asarray(value) for name, value in read.items()}
    assert set(batch["source_id"].tolist()) == {0, 1}
    variables = random_variables(system.init, batch)
    assert {name for name in variables["params"]} == {"interactiveness"}

    @jax.jit
    def losses(params, valid):
        given = {**batch, "batch_valid": valid}
        return jax.value_and_grad(lambda p: system.loss({"params": p}, given, jax.random.key(1)).value)(params)

    grads = []
    for source in (0, 1):
        value, grad = losses(variables["params"], batch["source_id"] == source)
        assert value > 0
        grads.append(grad)
    assert all(optax.tree.norm(grad) > 1e-4 for grad in grads)
    apart = jax.tree.map(lambda a, b: a - b, *grads)
    assert optax.tree.norm(apart) > 1e-3 * optax.tree.norm(grads[0])
    # One step on both lowers the loss of both together.
    value, grad = losses(variables["params"], batch["batch_valid"])
    moved = jax.tree.map(lambda p, g: p - 0.01 * g, variables["params"], grad)
    assert losses(moved, batch["batch_valid"])[0] < value
