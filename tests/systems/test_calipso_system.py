"""CALIPSO as a System: invariances, equal paths, switches, precision, and that it learns."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hoi_jax.schema import check_predictions
from hoi_jax.settings import SettingsError, from_config
from hoi_jax.systems.calipso.config import CalipsoConfig
from hoi_jax.systems.calipso.model import CalipsoNet, anchors_of
from hoi_jax.systems.calipso.predict import read_maps
from hoi_jax.systems.calipso.subnet import LevelBatchNorm
from hoi_jax.systems.registry import build_system
from tests.helpers.batches import ACTION_STYLE, HOI_STYLE, random_batch
from tests.helpers.losses import value_and_output
from tests.helpers.systems.calipso import SIZE, small_config
from tests.helpers.variables import random_variables

slow = functools.partial(pytest.param, marks=pytest.mark.slow)
STYLES = {"hoi": HOI_STYLE, "action": ACTION_STYLE}


def a_batch(style: str, batch: int = 4, seed: int = 0):
    return random_batch(STYLES[style], batch=batch, size=SIZE, seed=seed)


@functools.cache
def ready(style: str):
    """System, variables, batch and compiled predict of one style."""
    system = build_system("calipso", small_config(), STYLES[style])
    batch = a_batch(style)
    return system, random_variables(system.init, batch), batch, jax.jit(system.predict)


def objective(system):
    def loss(params, rest, batch):
        return value_and_output(system.loss({**rest, "params": params}, batch, jax.random.key(0)))

    return loss


@functools.cache
def loss_and_gradient(style: str = "hoi"):
    """Compiled (params, rest, batch) -> ((loss, aux), gradient)."""
    return jax.jit(jax.value_and_grad(objective(ready(style)[0]), has_aux=True))


def parts(variables):
    return variables["params"], {k: v for k, v in variables.items() if k != "params"}


def pair_table(predictions, image: int) -> dict:
    """{(human box, object box): verb scores} of the valid rows of one image."""
    p = {name: np.asarray(value[image]) for name, value in predictions.items()}
    return {
        (tuple(p["human_xyxy_px"][q]), tuple(np.nan_to_num(p["object_xyxy_px"][q], nan=-1.0))): p["verb_scores"][q]
        for q in np.flatnonzero(p["pair_valid"])
    }


def assert_same_pairs(a, b, atol=1e-5):
    rows = 0
    for image in range(len(a["pair_valid"])):
        first, second = pair_table(a, image), pair_table(b, image)
        assert first.keys() == second.keys()
        for pair, scores in first.items():
            np.testing.assert_allclose(scores, second[pair], atol=atol)
        rows += len(first)
    assert rows > 6


@pytest.mark.parametrize("style", STYLES)
def test_predictions_satisfy_the_schema(style):
    _, variables, batch, predict = ready(style)
    out = predict(variables, batch)
    check_predictions({name: np.asarray(value) for name, value in out.items()}, 4)
    assert ("agent_scores" in out) == (style == "action")
    scores = np.asarray(out["verb_scores"])
    assert ((scores >= 0) & (scores <= 1)).all() and not scores[~np.asarray(out["pair_valid"])].any()


@pytest.mark.parametrize("style", STYLES)
def test_each_person_and_verb_has_one_object_or_none(style):
    """One winner per (person, verb): its score is the agent's, and nobody is their own target."""
    _, variables, batch, predict = ready(style)
    out = {name: np.asarray(value) for name, value in predict(variables, batch).items()}
    for image in range(4):
        for human in np.unique(out["human_xyxy_px"][image][out["pair_valid"][image]], axis=0):
            rows = out["pair_valid"][image] & (out["human_xyxy_px"][image] == human).all(1)
            scores = out["verb_scores"][image][rows]
            assert ((scores > 0).sum(0) <= 1).all()
            assert not (out["object_xyxy_px"][image][rows] == human).all(1).any()
            if style == "action":
                agent = out["agent_scores"][image][(out["agent_xyxy_px"][image] == human).all(1)][0]
                takes_object = np.array(ACTION_STYLE.verb_role) >= 0
                np.testing.assert_allclose(scores.max(0)[takes_object], agent[takes_object], rtol=1e-6)


@pytest.mark.parametrize("share_levels", [True, False])
def test_gathered_values_equal_the_dense_maps(share_levels):
    """At corners, edges and insides of all levels, and for all nine anchors of a cell."""
    config = from_config(CalipsoConfig, small_config(subnet={"share_levels": share_levels}))
    net, image = CalipsoNet(config, 4), a_batch("hoi", batch=2)["image"]
    hw = np.array([[SIZE, SIZE], [50, 40]], np.int32)
    variables = random_variables(net.init, image, hw)
    total = len(anchors_of(config, (SIZE, SIZE)))
    rng = np.random.default_rng(0)
    index = np.concatenate([[0, 8, 9, 9 * 31, 9 * 32 - 1, total - 1, total - 10], rng.integers(0, total, 200)])
    index = np.tile(index, (2, 1))

    @jax.jit
    def both(v, image, hw, index):
        maps = net.apply(v, image, hw, method="trunk")
        return read_maps(net, v, maps, index, True), read_maps(net, v, maps, index, False)

    dense, gathered = both(variables, image, hw, index)
    for name in dense:
        assert np.abs(dense[name]).max() > 0.1
        np.testing.assert_allclose(gathered[name], dense[name], rtol=1e-5, atol=1e-5)


def test_predictions_of_the_dense_path_are_the_same():
    _, variables, batch, predict = ready("hoi")
    dense = build_system("calipso", small_config(predict={"dense": True}), HOI_STYLE)
    assert_same_pairs(jax.jit(dense.predict)(variables, batch), predict(variables, batch))


def test_a_loose_threshold_of_the_mean_readout_reads_the_best_anchor():
    """Above IoU 1 there is no anchor, so that the best one is read alone."""
    _, variables, batch, predict = ready("hoi")
    changes = {"loss": {"overlap": 1.0}, "predict": {"readout": "mean", "readout_anchors": 3}}
    mean = build_system("calipso", small_config(**changes), HOI_STYLE)
    assert_same_pairs(jax.jit(mean.predict)(variables, batch), predict(variables, batch))


@pytest.mark.parametrize("style", ["hoi", slow("action")])
def test_loss_ignores_padding_and_examples_that_fill_up_a_batch(style):
    """Also where they would enter batch statistics."""
    _, variables, batch, _ = ready(style)
    params, rest = parts(variables)
    (value, aux), _ = loss_and_gradient(style)(params, rest, batch)
    wide = {k: np.concatenate([v, v[:1]]) for k, v in batch.items()}
    wide["batch_valid"] = np.array([True] * 4 + [False])
    wide["image"] = np.pad(wide["image"], [(0, 0), (0, 64), (0, 32), (0, 0)])
    for name in batch:
        if name.startswith(("instances_", "pairs_", "persons_")):
            wide[name] = np.pad(wide[name], [(0, 0), (0, 2)] + [(0, 0)] * (batch[name].ndim - 2))
    other, other_aux = jax.jit(objective(ready(style)[0]))(params, rest, wide)
    np.testing.assert_allclose(other, value, rtol=1e-5)
    close = functools.partial(np.testing.assert_allclose, rtol=1e-3, atol=1e-5)
    jax.tree.map(close, other_aux.state, aux.state)
    assert set(aux.terms) == {"verb", "target", "pull", "push"} and all(float(t) > 0 for t in aux.values.values())


def terms_of(groups, batch, variables=None, train=True):
    system = build_system("calipso", small_config(**groups), HOI_STYLE)
    variables = variables or random_variables(system.init, batch)
    run = jax.jit(lambda v, b: value_and_output(system.loss(v, b, jax.random.key(0), train=train)))
    value, aux = run(variables, batch)
    return float(value), {k: float(v) for k, v in aux.values.items()}, aux.state, variables


@pytest.mark.slow
def test_a_cap_above_the_foreground_changes_nothing_and_a_small_one_stays_finite():
    batch, variables = ready("hoi")[2], ready("hoi")[1]
    full = terms_of({}, batch, variables)[1]
    np.testing.assert_allclose(list(terms_of({"loss": {"max_foreground": 900}}, batch, variables)[1].values()),
                               list(full.values()), rtol=1e-5)  # fmt: skip
    few = terms_of({"loss": {"max_foreground": 16}}, batch, variables)[1]
    assert all(np.isfinite(v) and v > 0 for v in few.values())


@pytest.mark.parametrize(
    "groups, terms",
    [
        ({"subnet": {"target_presence": False, "passive": False}}, {"verb", "pull", "push"}),
        slow({"subnet": {"statistics": "joint", "remat": True}, "compute_dtype": "bfloat16"}, None),
        slow({"subnet": {"statistics": "frozen", "share_levels": False}}, None),
        slow({"loss": {"background": "focal", "target_mask": "performed_only", "force_best": True}}, None),
    ],
)
def test_switches_train_and_predict(groups, terms):
    batch = ready("hoi")[2]
    value, named, state, variables = terms_of(groups, batch)
    expected = terms or {"verb", "target", "pull", "push"} | ({"background"} if "background" in str(groups) else set())
    assert set(named) == expected and np.isfinite(value)
    system = build_system("calipso", small_config(**groups), HOI_STYLE)
    out = jax.jit(system.predict)({**variables, **state}, batch)
    assert np.asarray(out["pair_valid"]).any() and np.isfinite(np.asarray(out["verb_scores"])).all()


@pytest.mark.slow
def test_recomputing_activations_changes_neither_loss_nor_gradient():
    _, variables, batch, _ = ready("hoi")
    params, rest = parts(variables)
    system = build_system("calipso", small_config(subnet={"remat": True}), HOI_STYLE)
    (value, _), gradient = jax.jit(jax.value_and_grad(objective(system), has_aux=True))(params, rest, batch)
    (plain, _), wanted = loss_and_gradient()(params, rest, batch)
    np.testing.assert_allclose(value, plain, rtol=1e-6)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4), gradient, wanted)


def test_batch_statistics_are_each_levels_own_over_valid_cells():
    rng = np.random.default_rng(0)
    maps = tuple(rng.normal(size=(3, n, n, 4)).astype(np.float32) * (n + 1) + n for n in (5, 2))
    valid = tuple(rng.random((3, n, n, 1)) < 0.7 for n in (5, 2))
    scale, bias = rng.normal(size=(2, 4)).astype(np.float32)
    for statistics in ("per_level", "joint", "frozen"):
        norm = LevelBatchNorm(statistics)
        sets = 2 if statistics == "per_level" else 1
        old = {"mean": np.full((sets, 4), 0.5, np.float32), "var": np.full((sets, 4), 2.0, np.float32)}
        variables = {"params": {"scale": scale, "bias": bias}, "batch_stats": old}
        given = jax.tree.map(jnp.asarray, (maps, valid))
        out, state = norm.apply(variables, *given, True, None, mutable=["batch_stats"])
        rows = [
            x[np.broadcast_to(v, x.shape)].reshape(-1, 4).astype(np.float64) for x, v in zip(maps, valid, strict=True)
        ]
        rows = rows if statistics == "per_level" else [np.concatenate(rows)] * 2
        for level in range(2):
            mean, var = rows[level].mean(0), rows[level].var(0)
            if statistics == "frozen":
                mean, var = 0.5, 2.0
            wanted = (maps[level] - mean) / np.sqrt(var + 1e-5) * scale + bias
            np.testing.assert_allclose(out[level], wanted, atol=1e-4)
            row = state["batch_stats"]["mean"][min(level, sets - 1)]
            np.testing.assert_allclose(row, 0.9 * 0.5 + 0.1 * np.broadcast_to(mean, 4), rtol=1e-5)


def test_an_image_that_is_no_multiple_of_the_coarsest_stride_is_refused():
    system, variables, batch, _ = ready("hoi")
    with pytest.raises(ValueError, match=r"\(64, 48\), expected multiples of 32"):
        system.predict(variables, {**batch, "image": batch["image"][:, :, :48]})


@pytest.mark.parametrize(
    "groups, message",
    [
        ({"subnet": {"statistics": "global"}}, "'model.subnet.statistics' is 'global'"),
        ({"anchors": {"sizes": (32.0, 64.0)}}, "sizes has 2 entries"),
        ({"backbone": {"stage_strides": (1, 2, 1)}}, "must end with 2, 2"),
        ({"subnet": {"block": 8}}, "did you mean 'model.subnet.blocks'"),
    ],
)
def test_a_wrong_setting_is_named(groups, message):
    with pytest.raises(SettingsError, match=re.escape(message)):
        build_system("calipso", small_config(**groups), HOI_STYLE)


def test_it_learns_four_images():
    _, variables, batch, _ = ready("hoi")
    params, rest = parts(variables)
    step = loss_and_gradient()
    first = None
    for _ in range(25):
        (value, aux), gradient = step(params, rest, batch)
        rest = dict(aux.state)
        first = first or float(value)
        norm = np.sqrt(sum(float(jnp.vdot(g, g)) for g in jax.tree.leaves(gradient)))
        params = jax.tree.map(lambda p, g, n=norm: p - 0.5 * g / max(n, 1.0), params, gradient)
    assert float(value) < 0.6 * first
