"""CALIPSO on several devices: synchronised statistics and counts give the steps of one device."""

import jax
import numpy as np
import pytest

from hoi_jax.systems.registry import build_system
from hoi_jax.training import OptimizerSettings, Parallel, make_optimizer, make_train_step
from hoi_jax.training.accumulate import AccumulationError
from hoi_jax.training.step import make_state
from tests.helpers.batches import HOI_STYLE, random_batch
from tests.helpers.systems.calipso import SIZE, small_config
from tests.helpers.variables import random_variables

STEPS = 3
SETTINGS = OptimizerSettings(name="momentum", learning_rate=0.01, clip="global", clip_norm=1.0)


def batch(step):
    made = random_batch(HOI_STYLE, batch=4, size=SIZE, seed=step)
    # Images of different sizes: devices hold different numbers of valid cells and of foreground anchors.
    made["image_hw_px"] = np.array([[64, 64], [40, 64], [64, 33], [48, 48]], np.int32)
    return made


def run(kind: str, devices: int, accumulate: int = 1):
    system = build_system("calipso", small_config(subnet={"blocks": 1}), HOI_STYLE)
    variables = random_variables(system.init, batch(0))
    optimizer = make_optimizer(SETTINGS, variables["params"], 10)
    parallel = Parallel(kind, devices)
    state = parallel.replicate(make_state(variables, optimizer.tx, 3, ema=False))
    step = parallel.compile_step(make_train_step(system, optimizer, accumulate))
    metrics = []
    for number in range(STEPS):
        state, report = step(state, parallel.shard_batch(batch(number)))
        metrics.append({name: float(v) for name, v in parallel.unreplicate(report["metrics"]).items()})
    final = parallel.unreplicate(state)
    return metrics, variables, {"params": final.params, **final.model_state}


@pytest.fixture(scope="module")
def one_device():
    return run("pmap", 1)


@pytest.mark.parametrize("kind, devices", [("pmap", 4), pytest.param("shard_map", 2, marks=pytest.mark.slow)])
def test_steps_and_running_statistics_equal_those_of_one_device(kind, devices, one_device):
    metrics, _, variables = run(kind, devices)
    for left, right in zip(metrics, one_device[0], strict=True):
        np.testing.assert_allclose([left[k] for k in left], [right[k] for k in left], rtol=5e-4)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4), variables, one_device[2])
    moved = jax.tree.map(lambda a, b: float(np.abs(a - b).max()), one_device[1], one_device[2])
    assert max(jax.tree.leaves(moved)) > 3e-3  # the tolerance is far below what training did


def test_accumulation_is_refused_because_statistics_are_synchronised():
    with pytest.raises(AccumulationError):
        run("pmap", 1, accumulate=2)
