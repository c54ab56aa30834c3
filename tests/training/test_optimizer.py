"""Rules by name, update rules against literal NumPy loops, schedules at hand-computed points."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from hoi_jax.settings import from_config
from hoi_jax.training import OptimizerSettings, ParameterRule, RuleError, ScheduleSettings, make_optimizer
from hoi_jax.training.optimizer import clip_by_leaf_norm, match_rules, scale_by_adam
from hoi_jax.training.schedules import make_schedule

PARAMS = {
    "backbone": {"conv": {"kernel": jnp.full((2, 2), 0.5), "bias": jnp.full((2,), -1.0)}},
    "head": {"kernel": jnp.full((3,), 2.0), "bias": jnp.zeros((1,))},
}
GRADS = jax.tree.map(lambda p: p + 0.25, PARAMS)


def advance(settings, steps=3, params=PARAMS):
    optimizer = make_optimizer(settings, params, steps)
    state = optimizer.tx.init(params)
    for _ in range(steps):
        grads = jax.tree.map(lambda p: p + 0.25, params)  # depends on the parameters, so that steps differ
        updates, state = optimizer.tx.update(grads, state, params)
        params = optax.apply_updates(params, updates)
    return params


def test_the_first_matching_rule_wins_and_patterns_match_in_full():
    rules = (ParameterRule(r"backbone/.*/bias"), ParameterRule(r"backbone/.*"), ParameterRule(r".*"))
    assert match_rules(rules, PARAMS) == {
        "backbone": {"conv": {"kernel": 1, "bias": 0}},
        "head": {"kernel": 2, "bias": 2},
    }


def test_a_parameter_without_a_rule_is_named():
    with pytest.raises(RuleError, match=r"head/bias.*head/kernel"):
        match_rules((ParameterRule("backbone/.*"),), PARAMS)
    with pytest.raises(RuleError, match="backbone/conv/bias"):  # "bias" alone is not the whole path
        match_rules((ParameterRule("bias"),), PARAMS)


def test_a_rule_without_a_parameter_is_named_also_when_an_earlier_one_takes_all():
    with pytest.raises(RuleError, match="bakcbone"):
        match_rules((ParameterRule("bakcbone/.*"), ParameterRule(".*")), PARAMS)
    with pytest.raises(RuleError, match="head"):
        match_rules((ParameterRule(".*"), ParameterRule("head/.*")), PARAMS)


@pytest.mark.parametrize("name", ["sgd", "momentum", "adamw"])
def test_groups_follow_a_literal_loop_with_their_own_rate_decay_and_freezing(name):
    rules = (
        ParameterRule("backbone/.*/kernel", frozen=True),
        ParameterRule("backbone/.*", learning_rate=0.05, multiplier=0.5),
        ParameterRule("head/bias", weight_decay=0.0),
        ParameterRule("head/.*", multiplier=2.0),
    )
    settings = OptimizerSettings(name, learning_rate=0.1, weight_decay=0.01, rules=rules)
    found = advance(settings)

    def literal(p, rate, decay):
        p = np.asarray(p, np.float64)
        m = v = np.zeros_like(p)
        for t in range(1, 4):
            g = p + 0.25
            if name == "adamw":
                m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
                step = (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8) + decay * p
            else:
                m = (0.9 if name == "momentum" else 0.0) * m + g + decay * p
                step = m
            p = p - rate * step
        return p

    np.testing.assert_array_equal(found["backbone"]["conv"]["kernel"], PARAMS["backbone"]["conv"]["kernel"])
    np.testing.assert_allclose(
        found["backbone"]["conv"]["bias"], literal(PARAMS["backbone"]["conv"]["bias"], 0.025, 0.01), rtol=1e-5
    )
    np.testing.assert_allclose(found["head"]["kernel"], literal(PARAMS["head"]["kernel"], 0.2, 0.01), rtol=1e-5)
    np.testing.assert_allclose(found["head"]["bias"], literal(PARAMS["head"]["bias"], 0.1, 0.0), rtol=1e-5)


def test_frozen_parameters_keep_no_optimiser_state():
    rules = (ParameterRule("backbone/.*", frozen=True), ParameterRule(".*"))
    optimizer = make_optimizer(OptimizerSettings("adamw", rules=rules), PARAMS, 3)
    moments = [x.shape for x in jax.tree.leaves(optimizer.tx.init(PARAMS)) if x.ndim]
    assert sorted(moments) == [(1,), (1,), (3,), (3,)]


def test_global_clipping_scales_all_gradients_by_one_factor():
    settings = OptimizerSettings("sgd", learning_rate=1.0, clip="global", clip_norm=0.5)
    optimizer = make_optimizer(settings, PARAMS, 1)
    updates, _ = optimizer.tx.update(GRADS, optimizer.tx.init(PARAMS), PARAMS)
    norm = math.sqrt(sum(float((np.asarray(g) ** 2).sum()) for g in jax.tree.leaves(GRADS)))
    jax.tree.map(lambda u, g: np.testing.assert_allclose(u, -np.asarray(g) * 0.5 / norm, rtol=1e-5), updates, GRADS)


def test_leaf_clipping_leaves_small_gradients_alone():
    clip = clip_by_leaf_norm(1.0)
    found, _ = clip.update({"a": jnp.array([3.0, 4.0]), "b": jnp.array([0.3, 0.4]), "c": jnp.zeros(2)}, clip.init({}))
    np.testing.assert_allclose(found["a"], [0.6, 0.8], rtol=1e-6)
    np.testing.assert_allclose(found["b"], [0.3, 0.4], rtol=1e-6)
    np.testing.assert_array_equal(found["c"], [0.0, 0.0])


@pytest.mark.parametrize(
    "settings, points",
    [
        (ScheduleSettings("constant", warmup_steps=4), {0: 0.25, 1: 0.5, 3: 1.0, 9: 1.0}),
        # mmcv's linear warm-up: 1 - (1 - i / 4) (1 - 1/3)
        (
            ScheduleSettings("constant", warmup_steps=4, warmup_start=1 / 3),
            {0: 1 / 3, 1: 0.5, 3: 5 / 6, 4: 1.0, 9: 1.0},
        ),
        (ScheduleSettings("cosine"), {0: 1.0, 5: 0.5, 10: 0.0, 20: 0.0}),
        (ScheduleSettings("cosine", final_factor=0.2), {0: 1.0, 5: 0.6, 10: 0.2}),
        (ScheduleSettings("step", step_at=(3, 6)), {2: 1.0, 3: 0.1, 5: 0.1, 6: 0.01}),
        # periods 2, 4, 8: restarts at 2 and 6, each 0.5 lower
        (
            ScheduleSettings("cosine_restarts", restart_period=2, restart_factor=0.5),
            {0: 1.0, 1: 0.5, 2: 0.5, 4: 0.25, 6: 0.25, 8: 0.25 * (1 + math.cos(math.pi / 4)) / 2},
        ),
    ],
)
def test_schedules_at_points_computed_by_hand(settings, points):
    schedule = jax.jit(make_schedule(settings, 10))
    found = {step: float(schedule(jnp.int32(step))) for step in points}
    assert found == pytest.approx(points, abs=1e-6)


@pytest.mark.parametrize(
    "arguments, message",
    [
        (dict(name="adamm"), "adamw"),
        (dict(learning_rate=0.0), "learning_rate"),
        (dict(ema_decay=1.0), "ema_decay"),
        (dict(rules=()), "rules"),
    ],
)
def test_impossible_settings_are_refused_by_name(arguments, message):
    with pytest.raises(ValueError, match=message):
        from_config(OptimizerSettings, arguments)


def test_a_pattern_that_is_no_regular_expression_is_refused():
    with pytest.raises(ValueError, match="not a regular expression"):
        ParameterRule("head/(")


def test_adams_first_steps_are_exact_to_float32s_rounding():
    """With a constant gradient every bias-corrected step is g / (|g| + eps), in Kingma and Ba's algorithm 1."""
    adam, gradient = scale_by_adam(0.9, 0.999, 1e-8), {"w": jnp.asarray([0.5, -2.0, 3e-4], jnp.float32)}
    state = adam.init(gradient)
    wanted = np.asarray(gradient["w"], np.float64)
    wanted = wanted / (np.abs(wanted) + 1e-8)
    for _ in range(20):
        step, state = adam.update(gradient, state)
        np.testing.assert_allclose(step["w"], wanted, rtol=2e-6)  # optax: 6.4e-6
