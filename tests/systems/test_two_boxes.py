"""The two-boxes baseline: targets and loss as a literal loop has them, the same numbers under any padding and order."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hoi_jax.experiment import load_experiment
from hoi_jax.settings import SettingsError
from hoi_jax.systems.registry import build_system
from hoi_jax.vocab import get_vocabulary

VOCABULARY = get_vocabulary("hoi_scenes")
VERBS = len(VOCABULARY.verbs)
HUMAN = VOCABULARY.human_class
SYSTEM = build_system("two_boxes", {"layers": (16,), "max_pairs": 12}, VOCABULARY)


def random_boxes(rng, *leading):
    corner = rng.uniform(0, 60, (*leading, 2))
    return np.concatenate([corner, corner + rng.uniform(5, 60, (*leading, 2))], -1).astype(np.float32)


def training_batch(rng, batch=3, rows=6, pairs=4):
    """People in the first rows; the last row and the last pair are unused, and one pair has no object."""
    classes = rng.integers(0, len(VOCABULARY.objects), (batch, rows)).astype(np.int32)
    classes[:, :2] = HUMAN
    valid = np.ones((batch, rows), bool)
    valid[:, -1] = False
    human = rng.integers(0, 2, (batch, pairs)).astype(np.int32)
    obj = np.stack([rng.permutation(np.arange(2, rows - 1))[:1].repeat(pairs) for _ in range(batch)]).astype(np.int32)
    obj[:, 1] = (human[:, 1] + 1) % 2
    obj[:, 2] = -1
    pairs_valid = np.ones((batch, pairs), bool)
    pairs_valid[:, -1] = False
    return {
        "instances_xyxy_px": random_boxes(rng, batch, rows),
        "instances_class": classes,
        "instances_valid": valid,
        "pairs_human": human,
        "pairs_object": obj,
        "pairs_verbs": rng.random((batch, pairs, VERBS)) < 0.3,
        "pairs_verbs_known": rng.random((batch, pairs, VERBS)) < 0.8,
        "pairs_valid": pairs_valid,
        "batch_valid": np.array([True] * (batch - 1) + [False]),
    }


def literal_loss(batch, logits):
    """Sum over images, ordered pairs and verbs, one at a time."""
    terms = []
    can_be = VOCABULARY.verb_object_mask
    for b in np.flatnonzero(batch["batch_valid"]):
        classes, valid = batch["instances_class"][b], batch["instances_valid"][b]
        rows = zip(batch["pairs_human"][b], batch["pairs_object"][b], range(99), strict=False)
        pairs = {}
        for human, obj, row in rows:
            if batch["pairs_valid"][b, row] and obj >= 0:
                verbs, known = pairs.get((human, obj), (np.zeros(VERBS, bool), np.ones(VERBS, bool)))
                row_verbs, row_known = batch["pairs_verbs"][b, row], batch["pairs_verbs_known"][b, row]
                pairs[human, obj] = (verbs | row_verbs, known & row_known)
        for i in range(len(classes)):
            for j in range(len(classes)):
                if i == j or not valid[i] or not valid[j] or classes[i] != HUMAN:
                    continue
                verbs, known = pairs.get((i, j), (np.zeros(VERBS, bool), np.ones(VERBS, bool)))
                for v in np.flatnonzero(known & can_be[:, classes[j]]):
                    p = 1 / (1 + np.exp(-float(logits[b, i, j, v])))
                    terms.append(-np.log(p if verbs[v] else 1 - p))
    return np.mean(terms)


def test_the_loss_is_the_mean_over_pairs_and_verbs_of_a_literal_loop():
    from hoi_jax.systems.two_boxes import TwoBoxesNet

    rng = np.random.default_rng(0)
    batch = training_batch(rng)
    variables = SYSTEM.init(jax.random.key(0), batch)
    net = TwoBoxesNet((16,), len(VOCABULARY.objects), VERBS)
    logits = net.apply(dict(variables), jnp.asarray(batch["instances_xyxy_px"]), jnp.asarray(batch["instances_class"]))
    out = SYSTEM.loss(variables, jax.tree.map(jnp.asarray, batch), jax.random.key(1), train=True, axis_name=None)
    assert float(out.value) == pytest.approx(literal_loss(batch, np.asarray(logits)), rel=1e-5)
    assert float(out.values["verbs"]) == float(out.value)


def detections(rng, rows):
    classes = rng.integers(0, len(VOCABULARY.objects), (1, rows)).astype(np.int32)
    classes[:, :2] = HUMAN
    return {
        "detections_xyxy_px": random_boxes(rng, 1, rows),
        "detections_class": classes,
        "detections_score": rng.uniform(0.2, 1.0, (1, rows)).astype(np.float32),
        "detections_valid": np.ones((1, rows), bool),
    }


def test_pairs_are_all_people_with_all_other_boxes_and_padding_and_order_change_nothing():
    rng = np.random.default_rng(1)
    batch = detections(rng, 4)
    variables = SYSTEM.init(jax.random.key(0), batch)
    out = jax.tree.map(np.asarray, SYSTEM.predict(variables, jax.tree.map(jnp.asarray, batch)))
    people = int(np.sum(batch["detections_class"] == HUMAN))
    assert out["pair_valid"].sum() == people * 3
    product = (out["human_score"] * out["object_score"])[out["pair_valid"]]
    assert np.all(np.diff(product) <= 0)

    order = np.array([3, 1, 0, 2])
    changed = {name: np.concatenate([v[:, order], np.zeros_like(v[:, :2])], 1) for name, v in batch.items()}
    other = jax.tree.map(np.asarray, SYSTEM.predict(variables, jax.tree.map(jnp.asarray, changed)))
    used = other["pair_valid"]
    assert used.sum() == out["pair_valid"].sum()
    # Two people make two pairs of the same confidence: compared pair by pair.
    for name in ("verb_scores", "object_class"):
        expected, got = (
            {
                (*h, *o): value
                for h, o, value in zip(t["human_xyxy_px"][k], t["object_xyxy_px"][k], t[name][k], strict=True)
            }
            for t, k in ((out, out["pair_valid"]), (other, used))
        )
        assert expected.keys() == got.keys()
        for pair, value in expected.items():
            np.testing.assert_allclose(got[pair], value, atol=1e-6)
    assert not other["verb_scores"][~used].any()


def test_verbs_that_an_object_cannot_have_score_nothing():
    batch = detections(np.random.default_rng(2), 6)
    variables = SYSTEM.init(jax.random.key(0), batch)
    out = jax.tree.map(np.asarray, SYSTEM.predict(variables, jax.tree.map(jnp.asarray, batch)))
    allowed = VOCABULARY.verb_object_mask.T[out["object_class"]]
    used = out["pair_valid"]
    assert not out["verb_scores"][used][~allowed[used]].any()
    assert (out["verb_scores"][used][allowed[used]] > 0).all()


def test_the_config_loads_and_a_bad_value_is_refused():
    from configs import two_boxes_hoi_scenes

    experiment = load_experiment(two_boxes_hoi_scenes.get_config().to_dict())
    assert experiment.build_system().name == "two_boxes"
    with pytest.raises(SettingsError, match="max_pairs is 0"):
        build_system("two_boxes", {"max_pairs": 0}, VOCABULARY)
