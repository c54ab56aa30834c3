"""The cascade as a System: terms, switches, ranges of scores."""

import functools

import jax
import numpy as np
import pytest

from hoi_jax.schema import check_batch, check_predictions
from hoi_jax.systems.registry import build_system
from tests.helpers.batches import ACTION_STYLE, HOI_STYLE
from tests.helpers.losses import value_and_output
from tests.helpers.systems.cascade import VARIANTS, adjust, cascade_batch, small_config
from tests.helpers.variables import random_variables

EXTERNAL, OWN = VARIANTS["external"], VARIANTS["own"]


@functools.cache
def ready(kind: str, style: str = "hoi"):
    """System, variables, batch, compiled predict; the own detector's heads like people."""
    vocabulary = HOI_STYLE if style == "hoi" else ACTION_STYLE
    system = build_system("cascade", small_config(**{"external": EXTERNAL, "own": OWN}[kind]), vocabulary)
    batch = cascade_batch(vocabulary)
    variables = adjust(random_variables(system.init, batch))
    return system, variables, batch, jax.jit(system.predict)


def needed(system, batch, what="predict"):
    extra = {"batch_valid", "example_id"} if what == "train" else set()
    return {name: batch[name] for name in getattr(system, f"needs_{what}") | extra}


def test_predictions_satisfy_the_schema_and_scores_have_their_ranges():
    system, variables, batch, predict = ready("external")
    check_batch(batch, system.needs_train | system.needs_predict)
    out = predict(variables, needed(system, batch))
    check_predictions({name: np.asarray(value) for name, value in out.items()}, 2)
    scores = np.asarray(out["verb_scores"])
    assert ((scores >= 0) & (scores <= 2)).all() and not scores[~np.asarray(out["pair_valid"])].any()
    assert (np.asarray(out["interactiveness"]) <= 1).all()


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
