"""Frozen means unchanged to the bit, for every config with a frozen part, and never random."""

import collections
import importlib
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import traverse_util

from hoi_jax import experiment as ex
from hoi_jax.data.numpy_batch import blank_batch
from hoi_jax.io import MissingFileError
from hoi_jax.settings import with_changes
from hoi_jax.systems.registry import build_system
from hoi_jax.training import (
    InitFromError,
    InitFromSettings,
    OptimizerSettings,
    ParameterRule,
    RuleError,
    TrainSettings,
    in_steps,
    init_from,
    make_optimizer,
    make_train_step,
    train,
)
from hoi_jax.training.init_from import check_frozen_are_loaded, flatten
from hoi_jax.training.optimizer import match_rules, path_name
from hoi_jax.training.step import make_state
from tests.helpers.batches import HOI_STYLE, random_batch
from tests.helpers.paths import ROOT
from tests.helpers.systems.tin import small_config
from tests.helpers.toy import batches, make_batch, make_system

STEPS = 1000
ONE_BLOCK = {
    "tin": {"model.backbone.stage_sizes": "(1, 1, 1)"},
    "body_part": {
        "model.backbone.stage_sizes": "(1, 1, 1, 1)", "model.transformer.encoder_layers": "1",
        "model.transformer.box_layers": "1",
    },
    "cascade": {"model.backbone.stage_sizes": "(1, 1, 1, 1)"},
}  # fmt: skip
"""Changes after which every stage of a network on real data has one block: more of them take only longer to trace."""
OPTIONS = dict.fromkeys(("cascade_hoi_scenes", "cascade_hoi_w", "cascade_vcoco"), "phase=relations")
"""Options of configs that freeze something with these only."""


def experiments():
    for path in sorted((ROOT / "configs").glob("*_*.py")):
        if not hasattr(importlib.import_module(f"configs.{path.stem}"), "get_config"):
            continue
        for options in filter(None, ("-", OPTIONS.get(path.stem))):
            yield pytest.param(f"{path}" if options == "-" else f"{path}:{options}", id=f"{path.stem}:{options}")


def parameter_names(experiment, system):
    """Whole paths of all of the system's parameters."""
    needs = system.needs_train | system.needs_predict
    batch = blank_batch(needs, experiment.sizes, experiment.vocabulary)
    shapes = jax.eval_shape(system.init, jax.random.key(0), batch)["params"]
    return [path_name(path) for path, _ in jax.tree_util.tree_leaves_with_path(shapes)]


def random_parameters(names):
    """A tree with two random numbers for each name."""
    draw = np.random.default_rng(0)
    flat = {tuple(name.split("/")): jnp.asarray(draw.normal(size=2), jnp.float32) for name in names}
    return traverse_util.unflatten_dict(flat)


def frozen_names(optimizer):
    return {path_name(path): stop for path, stop in jax.tree_util.tree_leaves_with_path(optimizer.frozen)}


def frozen_in(experiment, system):
    return bool(system.frozen) or any(rule.frozen for rule in experiment.optimizer.rules)


@pytest.mark.parametrize("config", list(experiments()))
def test_a_thousand_updates_of_a_config_leave_its_frozen_parameters_as_they_are(config):
    """Its own optimiser, with the gradients that a step gives: none where it is frozen.

    Updates of parameters are independent of one another but for clipping: three stand for each rule, frozen or not.
    """
    values = ex.read_config(config)
    if "hoi_scenes" not in config:
        values = with_changes(values, ONE_BLOCK.get(values["system"], {}))
        if values["model"].get("verbs", {}).get("source") == "decoder":
            values["model"]["verbs"]["layers"] = 1
    try:
        experiment = ex.load_experiment(values)
    except MissingFileError as error:
        pytest.skip(f"reads what a build makes: {error}")
    system = experiment.build_system()
    if not frozen_in(experiment, system):
        pytest.skip("nothing is frozen")
    _, settings = in_steps(experiment.train, experiment.optimizer, 10.0, experiment.batch_size)
    every = random_parameters(parameter_names(experiment, system))
    stops = frozen_names(make_optimizer(settings, every, STEPS, system.frozen))
    rules = {path_name(path): rule for path, rule in jax.tree_util.tree_leaves_with_path(
        match_rules(settings.rules, every))}  # fmt: skip
    chosen = collections.defaultdict(list)
    for name in stops:
        chosen[rules[name], stops[name]].append(name)
    first = random_parameters([name for names in chosen.values() for name in names[:3]])
    optimizer = make_optimizer(settings, first, STEPS, system.frozen)

    @jax.jit
    def run(params):
        def update(carry, number):
            params, state = carry
            grads = jax.tree.map(lambda p, stop: jnp.where(stop, 0.0, p + 0.1 * number), params, optimizer.frozen)
            updates, state = optimizer.tx.update(grads, state, params)
            return (optax.apply_updates(params, updates), state), None

        return jax.lax.scan(update, (params, optimizer.tx.init(params)), jnp.arange(STEPS) % 7)[0][0]

    last = {path_name(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(run(first))}
    assert any(stops[name] for name in last)
    for path, before in jax.tree_util.tree_leaves_with_path(first):
        name = path_name(path)
        same = np.array_equal(np.asarray(before).view(np.int32), np.asarray(last[name]).view(np.int32))
        assert same == stops[name], name


def test_the_papers_tin_has_all_of_r_frozen_and_nothing_else():
    experiment = ex.load_experiment(ex.read_config(str(ROOT / "configs/tin_hico_det.py")))
    system = experiment.build_system()
    params = random_parameters(parameter_names(experiment, system))
    stops = frozen_names(make_optimizer(experiment.optimizer, params, 1, system.frozen))
    assert any(stops.values())
    for name, stop in stops.items():
        assert stop == name.startswith("appearance/backbone/")


SETTINGS = OptimizerSettings("momentum", learning_rate=1e-3, weight_decay=1e-2, clip="leaf", ema_decay=0.9)


def tiny_tin():
    """A network that sees people only, so that a thousand steps take seconds."""
    streams = {"classifier": {"streams": ("human",)}, "interactiveness": {"streams": ()}}
    sampling = {"group": 1, "augment": 1, "negatives": 1}
    config = small_config(backbone={"frozen": True, "norm": "frozen_batch"}, sampling=sampling, **streams)
    return build_system("tin", config, HOI_STYLE), random_batch(HOI_STYLE, batch=1, size=16)


def drawn_variables(system, batch):
    """Variables of the right shapes, drawn on the host: compiling `init` takes longer than what is tested."""
    draw = np.random.default_rng(0)
    shapes = jax.eval_shape(system.init, jax.random.key(0), batch)
    return jax.tree.map(lambda leaf: jnp.asarray(np.abs(draw.normal(size=leaf.shape)), jnp.float32), dict(shapes))


def test_a_thousand_training_steps_leave_a_frozen_extractor_as_it_is():
    """TIN's own loss, weight decay and moving average, on one image."""
    system, batch = tiny_tin()
    variables = drawn_variables(system, batch)
    optimizer = make_optimizer(SETTINGS, variables["params"], STEPS, system.frozen)
    step = make_train_step(system, optimizer)

    @jax.jit
    def run(state):
        batched = jax.vmap(step, axis_name="batch")(*jax.tree.map(lambda x: jnp.asarray(x)[None], (state, batch)))
        return jax.tree.map(lambda x: x[0], batched[0])

    last = make_state(variables, optimizer.tx, 0, ema=True)
    for _ in range(STEPS):
        last = run(last)
    assert int(last.step) == STEPS and bool(last.healthy)
    first = variables["params"]["appearance"]
    for params in (last.params, last.ema_params):
        jax.tree.map(np.testing.assert_array_equal, params["appearance"]["backbone"], first["backbone"])
    moved = jax.tree.map(
        lambda a, b: not np.array_equal(a, b), last.params["appearance"]["human_stage"], first["human_stage"]
    )
    assert all(jax.tree.leaves(moved))


def test_a_pattern_of_the_system_without_a_parameter_is_an_error():
    with pytest.raises(RuleError, match="backbnoe"):
        make_optimizer(OptimizerSettings(), {"backbone": jnp.zeros(2)}, 1, ("backbnoe.*",))


def test_a_frozen_extractor_without_weights_stops_before_the_first_step_and_says_what_brings_them(tmp_path):
    system, batch = tiny_tin()
    with pytest.raises(InitFromError) as error:
        train(
            system, TrainSettings(num_steps=1, num_devices=1, tensorboard=False), OptimizerSettings(),
            lambda start: itertools.repeat(batch), tmp_path / "run", config_text="", dataset_fingerprint="",
            init_batch=batch, log=lambda text: None,
        )  # fmt: skip
    text = str(error.value)
    assert "params/appearance/backbone/" in text and "python -m hoi_jax.systems.tin.convert" in text
    assert not (tmp_path / "run" / "checkpoints").exists() or not list((tmp_path / "run" / "checkpoints").iterdir())


def test_weights_and_stored_statistics_of_the_extractor_are_what_it_asks_for(tmp_path):
    system, batch = tiny_tin()
    first = drawn_variables(system, batch)
    frozen = make_optimizer(SETTINGS, first["params"], 1, system.frozen).frozen
    extractor = {name: np.asarray(x) + 1 for name, x in flatten(first).items() if "/appearance/backbone/" in name}
    np.savez(tmp_path / "all.npz", **extractor)
    np.savez(tmp_path / "half.npz", **{n: v for n, v in extractor.items() if n.startswith("params/")})
    half, _ = init_from(first, InitFromSettings(str(tmp_path / "half.npz")))
    with pytest.raises(InitFromError, match="batch_stats/appearance/backbone/"):
        check_frozen_are_loaded(system, frozen, first, half)
    whole, _ = init_from(first, InitFromSettings(str(tmp_path / "all.npz")))
    check_frozen_are_loaded(system, frozen, first, whole)
    assert extractor and all(np.array_equal(flatten(whole)[name], value) for name, value in extractor.items())


def test_rules_that_freeze_ask_for_weights_too(tmp_path):
    rules = OptimizerSettings(rules=(ParameterRule("encoder/.*", frozen=True), ParameterRule(".*")))
    settings = TrainSettings(num_steps=1, num_devices=1, tensorboard=False)
    with pytest.raises(InitFromError, match="params/encoder/first"):
        train(
            make_system(), settings, rules, batches, tmp_path, config_text="", dataset_fingerprint="",
            init_batch=make_batch(0, 1), log=lambda text: None,
        )  # fmt: skip
