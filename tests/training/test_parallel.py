"""One device, eight devices, pmap, shard_map and accumulation: the same numbers.

Tolerance: values of order 1 are summed in another order over 8 devices, which moves the last bits (float32 eps is
1.2e-7); AdamW divides by the root of small second moments, so parameters get 2e-5 absolute where they are of order 0.1
and move by up to 5e-2.
"""

import dataclasses

import jax
import numpy as np
import pytest

from hoi_jax.settings import SettingsError
from hoi_jax.training import (
    OptimizerSettings,
    Parallel,
    check_batch,
    make_optimizer,
    make_predictor,
    make_train_step,
)
from hoi_jax.training.accumulate import AccumulationError
from hoi_jax.training.step import init_variables, make_gradients, make_state
from tests.helpers.toy import batches, make_batch, make_system

SYSTEM = make_system()
SETTINGS = OptimizerSettings(name="adamw", learning_rate=1e-2, weight_decay=1e-2, ema_decay=0.9, clip="global")
KINDS = [("pmap", 1), ("pmap", 8), ("shard_map", 1), ("shard_map", 8)]


def run(kind, devices, accumulate=1, steps=5, size=16, system=SYSTEM):
    variables = init_variables(system, 3, make_batch(0, 1))
    optimizer = make_optimizer(SETTINGS, variables["params"], 10)
    parallel = Parallel(kind, devices)
    state = parallel.replicate(make_state(variables, optimizer.tx, 3, ema=True))
    step = parallel.compile_step(make_train_step(system, optimizer, accumulate))
    losses = []
    for _, batch in zip(range(steps), batches(0, size), strict=False):
        state, report = step(state, parallel.shard_batch(batch))
        losses.append({k: float(v) for k, v in parallel.unreplicate(report["metrics"]).items()})
    return losses, parallel.unreplicate(state)


@pytest.fixture(scope="module")
def one_device():
    return run("pmap", 1)


def assert_close(left, right):
    for a, b in zip(left[0], right[0], strict=True):
        assert a.keys() == b.keys()
        np.testing.assert_allclose([a[k] for k in a], [b[k] for k in a], rtol=2e-5, atol=1e-6)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=2e-5), left[1], right[1])


@pytest.mark.parametrize("kind, devices", KINDS[1:])
def test_losses_gradient_norms_and_states_after_five_adamw_steps_equal_one_device(kind, devices, one_device):
    assert_close(run(kind, devices), one_device)


def test_every_gradient_entry_on_eight_devices_equals_plain_jax_grad_of_the_whole_batch():
    variables = init_variables(SYSTEM, 3, make_batch(0, 1))
    optimizer = make_optimizer(SETTINGS, variables["params"], 10)
    state = make_state(variables, optimizer.tx, 3, ema=False)
    batch = make_batch(0, 16)
    key = jax.random.fold_in(jax.random.key(3), 0)

    def whole(params):
        return SYSTEM.loss({**variables, "params": params}, batch, key, train=True, axis_name=None).value

    expected = jax.grad(whole)(variables["params"])
    for kind, devices in [("pmap", 8), ("shard_map", 8)]:
        parallel = Parallel(kind, devices)
        gradients = make_gradients(SYSTEM, optimizer)
        compiled = parallel.compile_step(lambda s, b, f=gradients: (s, f(s, b)[3]))
        grads = parallel.unreplicate(compiled(parallel.replicate(state), parallel.shard_batch(batch))[1])
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7), grads, expected)


def test_gradients_summed_by_a_slow_loop_over_examples_equal_the_step_on_eight_devices():
    variables = init_variables(SYSTEM, 3, make_batch(0, 1))
    batch = make_batch(0, 16)
    count = batch["valid"].sum()
    key = jax.random.fold_in(jax.random.key(3), 0)

    def one(params, i):
        example = {name: value[i : i + 1] for name, value in batch.items()}
        terms = SYSTEM.loss({**variables, "params": params}, example, key, train=True, axis_name=None).values
        return terms["items"] * max(example["valid"].sum(), 1e-6) / count + terms["size"] / 16

    expected = sum(float(one(variables["params"], i)) for i in range(16))
    assert run("pmap", 8, steps=1)[0][0]["loss"] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("kind, devices, accumulate", [("pmap", 1, 4), ("shard_map", 4, 2)])
def test_accumulated_micro_batches_with_uneven_counts_equal_the_big_batch(kind, devices, accumulate, one_device):
    assert_close(run(kind, devices, accumulate), one_device)


def test_accumulation_refuses_losses_that_average_over_devices():
    plain = make_system()

    def loss(variables, batch, key, *, train, axis_name):
        output = plain.loss(variables, batch, key, train=train, axis_name=axis_name)
        scale = jax.lax.pmean(jax.numpy.sum(variables["params"]["head"]["bias"]), axis_name)
        return dataclasses.replace(output, terms={name: term.scaled(scale) for name, term in output.terms.items()})

    system = type(plain)("normalised", plain.needs_train, plain.needs_predict, plain.init, loss, plain.predict)
    with pytest.raises(AccumulationError, match="the whole batch at once"):
        run("pmap", 1, accumulate=2, steps=1, system=system)


def test_micro_batches_that_do_not_divide_are_refused():
    with pytest.raises(ValueError, match="accumulate is 3"):
        run("pmap", 8, accumulate=3, steps=1)


@pytest.mark.parametrize("kind, devices", KINDS)
def test_predictions_come_back_in_the_order_of_the_batch_also_when_it_does_not_divide(kind, devices):
    variables = init_variables(SYSTEM, 3, make_batch(0, 1))
    batch = make_batch(0, 11)
    found = make_predictor(SYSTEM, variables, Parallel(kind, devices))(batch)
    np.testing.assert_allclose(
        found["hoi_scores"], SYSTEM.predict(variables, batch)["hoi_scores"], rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize("kind", ["pmap", "shard_map"])
def test_the_source_of_a_replica_survives_donation(kind):
    parallel = Parallel(kind, 8)
    source = {"x": jax.numpy.arange(3.0)}
    replica = parallel.replicate(source)
    step = parallel.compile_step(lambda s, b: (jax.tree.map(lambda x: x + 1, s), {}))
    step(replica, parallel.shard_batch({"y": np.zeros(8, np.float32)}))
    np.testing.assert_array_equal(source["x"], [0, 1, 2])


def test_a_batch_that_does_not_divide_over_the_devices_is_refused():
    with pytest.raises(ValueError, match="9 examples cannot be divided evenly over 8"):
        Parallel("pmap", 8).shard_batch(make_batch(0, 9))


@pytest.mark.parametrize(
    "batch_size, accumulate, devices, fits",
    [(8, 1, 8, True), (16, 2, 8, True), (10, 1, 8, False), (8, 2, 8, False), (10, 1, 5, True), (3, 1, 9, False)],
)
def test_a_batch_that_does_not_divide_is_an_error_of_the_settings(batch_size, accumulate, devices, fits):
    if fits:
        check_batch(batch_size, accumulate, "pmap", devices)
        return
    with pytest.raises(SettingsError, match="num_devices"):
        check_batch(batch_size, accumulate, "pmap", devices)


def test_the_error_names_batches_that_divide():
    with pytest.raises(SettingsError, match="batch_size 10 cannot be divided evenly over 8 devices: use 8 or 16"):
        check_batch(10, 1)
