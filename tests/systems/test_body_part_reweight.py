"""CDN's class weights in the system: queues in the model state, devices, counts, and its second training stage."""

import importlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hoi_jax.experiment import load_experiment
from hoi_jax.settings import from_config
from hoi_jax.systems.body_part.config import BodyPartConfig, LossConfig
from hoi_jax.systems.body_part.reweight import class_weights, initial_state, training_counts
from hoi_jax.systems.body_part.targets import pair_targets
from hoi_jax.systems.registry import build_system
from hoi_jax.training import OptimizerSettings, Parallel, make_optimizer
from hoi_jax.training.optimizer import match_rules
from hoi_jax.training.step import make_gradients, make_state
from tests.helpers.batches import HOI_STYLE, random_batch
from tests.helpers.systems.body_part import only, small_config
from tests.helpers.variables import random_variables

FIELDS = {"batch_valid", "example_id"}


def dynamic_config(**changes):
    reweight = {"object": "dynamic", "verb": "dynamic", "queue": 3, **changes}
    return small_config(interactiveness="none", matching={"aux": "own"}, loss={"reweight": reweight})


def test_the_queue_on_two_devices_with_half_a_batch_each_is_that_of_one_device_with_all_of_it():
    reweight = from_config(BodyPartConfig, dynamic_config()).loss.reweight
    tables = training_counts(reweight, HOI_STYLE)
    np.testing.assert_array_equal(tables["verb"], [90, 12, 10, 10, 366])  # sums of the vocabulary's counts
    state = initial_state(reweight, tables)
    batch = random_batch(HOI_STYLE, batch=4, pairs=4)
    batch["batch_valid"] = np.array([True, True, True, False])
    targets = pair_targets({k: jnp.asarray(v) for k, v in batch.items()}, HOI_STYLE, LossConfig())
    of_query = jnp.asarray([[[0, -1, 1], [-1, -1, -1], [2, 0, -1], [0, 1, 2]]] * 2)
    used = jnp.asarray(batch["batch_valid"])
    one, after = jax.jit(lambda *a: class_weights(state, *a, reweight, tables))(of_query, targets, used)
    counts = np.asarray(after["reweight"]["object"]["counts"])
    np.testing.assert_allclose(counts.sum(axis=1), [9, 9, 0])  # three queries of three used images in both calls
    np.testing.assert_allclose(counts[:2, -1], 5)
    halves = jax.tree.map(lambda x: x.reshape((2, 2, *x.shape[1:])), (targets, used))

    def device(of_query, targets, used):
        return class_weights(state, of_query, targets, used, reweight, tables, "d")

    many = jax.jit(jax.vmap(device, axis_name="d"))(of_query.reshape((2, 2, 2, 3)).swapaxes(0, 1), *halves)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, np.stack([b, b]), rtol=1e-6), many, (one, after))


def test_the_loss_hands_the_queues_on_in_the_model_state_and_prediction_ignores_them():
    system = build_system("body_part", dynamic_config(), HOI_STYLE)
    batch = random_batch(HOI_STYLE, batch=2)
    variables = jax.eval_shape(system.init, jax.random.key(0), batch)
    assert variables["reweight"]["object"]["counts"].shape == (3, len(HOI_STYLE.objects) + 1)

    def loss(variables, batch):
        return system.loss(variables, batch, jax.random.key(0)).state["reweight"]

    state = jax.eval_shape(loss, variables, only(batch, system.needs_train | FIELDS))
    assert jax.tree.map(lambda x: (x.shape, x.dtype), state) == jax.tree.map(
        lambda x: (x.shape, x.dtype), variables["reweight"]
    )
    assert "verb_scores" in jax.eval_shape(system.predict, variables, only(batch, system.needs_predict))


def test_micro_batches_have_the_class_weights_the_queues_and_the_gradient_of_the_whole_batch():
    config = dynamic_config(queue=4)
    config["transformer"] |= {"encoder_layers": 0, "box_layers": 1}
    config["backbone"] |= {"stage_sizes": (1,), "stage_strides": (2,)}
    system = build_system("body_part", {**config, "verbs": {"source": "box_decoder"}}, HOI_STYLE)
    batch = random_batch(HOI_STYLE, batch=4, pairs=4)
    batch["batch_valid"] = np.array([True, True, True, False])
    batch = only(batch, system.needs_train | FIELDS)
    variables = random_variables(system.init, batch)
    variables["reweight"] = jax.tree.map(jnp.zeros_like, variables["reweight"])
    optimizer = make_optimizer(OptimizerSettings(), variables["params"], 10)
    state = make_state(variables, optimizer.tx, 3, ema=False)
    parallel = Parallel("pmap", 1)

    def run(parts):
        gradients = make_gradients(system, optimizer, parts)
        step = parallel.compile_step(lambda state, batch: (state, gradients(state, batch)))
        return parallel.unreplicate(step(parallel.replicate(state), parallel.shard_batch(batch))[1])

    whole, parts = run(1), run(2)
    assert whole[2]["reweight"]["verb"]["counts"].any()
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5 * (1 + np.abs(b).max())), parts, whole
    )


def test_a_wrong_number_of_counts_is_refused_by_name():
    with pytest.raises(ValueError, match=r"loss\.reweight\.verb_counts with 4 entries, got 2"):
        build_system("body_part", dynamic_config(verb_counts=(1, 2)), HOI_STYLE)


def test_the_second_stage_of_cdn_trains_decoders_and_heads_only():
    config = importlib.import_module("configs.body_part_hico_det_cdn_stage2").get_config("B,runs/cdn")
    experiment = load_experiment(config.to_dict())
    variables = jax.eval_shape(experiment.build_system().init, jax.random.key(0), {})
    rules = experiment.optimizer.rules
    frozen = {
        name: {rules[index].frozen for index in jax.tree.leaves(labels)}
        for name, labels in match_rules(rules, variables["params"]).items()
    }
    still = {name for name, values in frozen.items() if values == {True}}
    assert still == {"backbone", "encoder", "input_projection", "query_embed"}
    assert all(frozen[name] == {False} for name in set(frozen) - still) and "verb_decoder" in frozen
    assert set(variables["reweight"]) == {"object", "verb"}
    assert experiment.train.init_from[0].path == "runs/cdn"
