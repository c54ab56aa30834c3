"""The cascade as a System: invariances, terms, switches, and one device against two."""

import functools

import jax
import numpy as np
import pytest

from hoi_jax.schema import check_batch, check_predictions
from hoi_jax.systems.registry import build_system
from tests.helpers.batches import ACTION_STYLE, HOI_STYLE
from tests.helpers.losses import value_and_output
from tests.helpers.systems.cascade import cascade_batch, small_config
from tests.helpers.variables import random_variables

EXTERNAL = {"detector": "external", "stages": 2, "relation": {"mining_scale": 0.1}}
OWN = {"stages": 2, "masks": {"enabled": True}, "relation": {"region": "mask", "mining_scale": 0.1}}


@functools.cache
def ready(kind: str, style: str = "hoi"):
    """System, variables, batch, compiled predict; the own detector's heads like people."""
    vocabulary = HOI_STYLE if style == "hoi" else ACTION_STYLE
    system = build_system("cascade", small_config(**{"external": EXTERNAL, "own": OWN}[kind]), vocabulary)
    batch = cascade_batch(vocabulary)
    variables = random_variables(system.init, batch)
    if kind == "own":
        for stage in range(2):
            variables["params"][f"box_heads_{stage}"]["score"]["bias"] = np.array([0, 4, 2, 2], np.float32)
    return system, variables, batch, jax.jit(system.predict)


def needed(system, batch, what="predict"):
    extra = {"batch_valid", "example_id"} if what == "train" else set()
    return {name: batch[name] for name in getattr(system, f"needs_{what}") | extra}


def pair_table(predictions, image: int) -> dict:
    p = {name: np.asarray(value[image]) for name, value in predictions.items()}
    return {
        (*np.round(p["human_xyxy_px"][q], 2), *np.round(p["object_xyxy_px"][q], 2)): p["verb_scores"][q]
        for q in np.flatnonzero(p["pair_valid"])
    }


def assert_same_pairs(a, b, atol=1e-4):
    rows = 0
    for image in range(len(a["pair_valid"])):
        first, second = pair_table(a, image), pair_table(b, image)
        assert first.keys() == second.keys()
        for pair, scores in first.items():
            np.testing.assert_allclose(scores, second[pair], atol=atol)
        rows += len(first)
    assert rows >= 6


def test_predictions_satisfy_the_schema_and_the_order_of_detections_changes_no_score():
    system, variables, batch, predict = ready("external")
    check_batch(batch, system.needs_train | system.needs_predict)
    out = predict(variables, needed(system, batch))
    check_predictions({name: np.asarray(value) for name, value in out.items()}, 2)
    scores = np.asarray(out["verb_scores"])
    assert ((scores >= 0) & (scores <= 2)).all() and not scores[~np.asarray(out["pair_valid"])].any()
    assert (np.asarray(out["interactiveness"]) <= 1).all()
    order = np.random.default_rng(0).permutation(batch["detections_score"].shape[1])
    mixed = {name: v[:, order] if name.startswith("detections_") else v for name, v in batch.items()}
    assert_same_pairs(out, predict(variables, needed(system, mixed)))


def shrunk(batch):
    """Images of different sizes inside of their padding, with boxes within them."""
    small = {**batch, "image": batch["image"].copy(), "image_hw_px": np.array([[64, 64], [50, 57]], np.int32)}
    small["image"][1, 50:] = 0
    small["image"][1, :, 57:] = 0
    names = [f"{table}_{column}" for table in ("instances", "detections") for column in ("xyxy_px", "face_xyxy_px")]
    for name in (*names, "faces_xyxy_px"):
        small[name] = np.minimum(small[name], np.array([[[64.0] * 4], [[57, 50, 57, 50]]], np.float32))
    return small


def widened(batch):
    wide = dict(batch)
    for name in batch:
        if name.startswith(("detections_", "instances_", "pairs_")):
            wide[name] = np.pad(batch[name], [(0, 0), (0, 2)] + [(0, 0)] * (batch[name].ndim - 2))
    wide["image"] = np.pad(batch["image"], [(0, 0), (0, 64), (0, 64), (0, 0)])
    for name in ("instances_mask", "detections_mask"):
        side = batch[name].shape[-1]
        wide[name] = np.pad(wide[name], [(0, 0), (0, 0), (0, side), (0, side)])
    return wide


@pytest.mark.parametrize("kind", ["external", pytest.param("own", marks=pytest.mark.slow)])
def test_padding_detections_and_images_changes_no_score(kind):
    system, variables, batch, predict = ready(kind)
    small = shrunk(batch)
    wide = widened(small)
    assert_same_pairs(predict(variables, needed(system, small)), predict(variables, needed(system, wide)))


def objective(system):
    def loss(params, rest, batch):
        return value_and_output(system.loss({**rest, "params": params}, batch, jax.random.key(0)))

    return loss


def test_every_term_of_equation_18_is_positive_and_every_parameter_learns():
    """Own detector with masks: proposals, boxes, masks, ranking and three streams."""
    system, variables, batch, _ = ready("own")
    rest = {name: value for name, value in variables.items() if name != "params"}
    run = jax.jit(jax.value_and_grad(objective(system), has_aux=True))
    (value, aux), slope = run(variables["params"], rest, needed(system, batch, "train"))
    names = {"rpn_score", "rpn_box", "class", "box", "mask", "rank", "verb_s", "verb_g", "verb_v"}
    assert set(aux.terms) == names and all(float(term) > 0 for term in aux.values.values())
    assert float(value) == pytest.approx(sum(float(term) for term in aux.values.values()), rel=1e-5)
    still = [
        jax.tree_util.keystr(path) for path, leaf in jax.tree_util.tree_leaves_with_path(slope)
        if not np.any(leaf) and "output1" not in jax.tree_util.keystr(path)
    ]  # fmt: skip
    assert not still
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(slope))
    swapped = {name: value[::-1] for name, value in needed(system, batch, "train").items()}
    (other, _), _ = run(variables["params"], rest, swapped)
    assert float(other) == pytest.approx(float(value), rel=1e-5)  # Draws follow the example, not its place.


def terms_of(groups, style=HOI_STYLE):
    system = build_system("cascade", small_config(**groups), style)
    batch = cascade_batch(style)
    variables = random_variables(system.init, batch)
    aux = jax.jit(lambda v, b: system.loss(v, b, jax.random.key(0)))(variables, needed(system, batch, "train"))
    out = jax.jit(system.predict)(variables, needed(system, batch))
    return float(aux.value), set(aux.terms), {name: np.asarray(x) for name, x in out.items()}


RELEASE = {
    "mining": "nonlocal", "face": False, "geometry": "vector", "semantic": "table", "visual": "mean3",
    "ranking": False, "background": True,
}  # fmt: skip

ANNOTATED = {"boxes": "annotated", "pairs": 64, "pair_share": 1.0, "pair_overlap": 0.5, "verb_mean": "images"}
DETECTOR_TERMS = ("rpn_score", "rpn_box", "class", "box")


@pytest.mark.slow
@pytest.mark.parametrize(
    "groups, terms",
    [
        ({**EXTERNAL, "stages": 1, "relation": RELEASE}, {"verb_v", "verb_g"}),
        (
            {"stages": 2, "relation": {**RELEASE, "heads": "last"}, "loss": {**ANNOTATED, "parts": "relations"}},
            {"verb_v", "verb_g"},
        ),
        ({"stages": 3, "relation": {"heads": "last"}}, {*DETECTOR_TERMS, "rank", "verb_s", "verb_g", "verb_v"}),
        ({**EXTERNAL, "stages": 1, "relation": {"streams": ("g",)}}, {"rank", "verb_g"}),
        (
            {
                **EXTERNAL,
                "stages": 1,
                "relation": {"streams": ("g",), "rank_width": 8},
                "loss": {"ranking_reduce": "drawn"},
            },
            {"rank", "rank_cosine", "rank_norm", "verb_g"},
        ),
        ({**EXTERNAL, "stages": 1, "relation": {"streams": ("s",), "ranking": False}}, {"verb_s"}),
        ({**EXTERNAL, "stages": 3, "predict": {"rank_by": "mean"}}, {"rank", "verb_s", "verb_g", "verb_v"}),
        (
            {"stages": 1, "loss": {"parts": "detector"}, "masks": {"enabled": True}},
            {*DETECTOR_TERMS, "mask"},
        ),
        ({"stages": 2, "loss": {"parts": "relations"}}, {"rank", "verb_s", "verb_g", "verb_v"}),
        ({**EXTERNAL, "stages": 1, "relation": {"region": "box+mask_max"}}, {"rank", "verb_s", "verb_g", "verb_v"}),
    ],
)
def test_switches_have_their_terms_and_finite_scores(groups, terms):
    value, found, out = terms_of(groups)
    assert found == terms and np.isfinite(value)
    check_predictions(out, 2)
    assert all(np.isfinite(x).all() for name, x in out.items() if x.dtype == np.float32)


@pytest.mark.slow
def test_action_style_gives_agents_the_best_score_of_their_pairs():
    _, _, out = terms_of({**EXTERNAL, "stages": 1}, ACTION_STYLE)
    for image in range(2):
        for person in np.flatnonzero(out["agent_valid"][image]):
            own = (out["human_xyxy_px"][image] == out["agent_xyxy_px"][image][person]).all(1) & out["pair_valid"][image]
            best = out["verb_scores"][image][own].max(0) if own.any() else 0.0
            np.testing.assert_allclose(out["agent_scores"][image][person], best, rtol=1e-5)


@pytest.mark.slow
def test_nobody_in_the_image_gives_no_pair_and_a_finite_loss():
    system, variables, batch, predict = ready("external")
    empty = {**batch, "detections_class": np.ones_like(batch["detections_class"])}
    empty["instances_class"] = np.ones_like(batch["instances_class"])
    assert not np.asarray(predict(variables, needed(system, empty))["pair_valid"]).any()
    value = jax.jit(lambda v, b: system.loss(v, b, jax.random.key(0)).value)(variables, needed(system, empty, "train"))
    assert np.isfinite(float(value))


@pytest.mark.slow
def test_two_devices_take_the_step_of_one():
    from hoi_jax.training import OptimizerSettings, Parallel, make_optimizer, make_train_step
    from hoi_jax.training.step import make_state

    system, variables, batch, _ = ready("external")
    settings = OptimizerSettings(name="momentum", learning_rate=0.01, clip="global", clip_norm=1.0)
    reports = []
    for devices in (1, 2):
        optimizer = make_optimizer(settings, variables["params"], 10)
        parallel = Parallel("pmap", devices)
        state = parallel.replicate(make_state(variables, optimizer.tx, 3, ema=False))
        step = parallel.compile_step(make_train_step(system, optimizer, 1))
        for _ in range(2):
            state, report = step(state, parallel.shard_batch(batch))
        reports.append({name: float(v) for name, v in parallel.unreplicate(report["metrics"]).items()})
    np.testing.assert_allclose([reports[0][k] for k in reports[0]], [reports[1][k] for k in reports[0]], rtol=5e-4)
