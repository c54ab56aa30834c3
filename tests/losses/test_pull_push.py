"""CALIPSO's embedding loss against a literal loop over classes, anchors and pairs of classes."""

import jax
import jax.numpy as jnp
import numpy as np

from hoi_jax.losses.metric_learning import pull_push_loss
from hoi_jax.systems.calipso.targets import connected_components

CASES, ANCHORS, VERBS, INSTANCES, DIM = 1000, 14, 2, 6, 3


def literal_loss(emb, inst, triplets, like):
    """(pull, push) per verb: Eqs. 1 to 8 with sets and loops; lambda 10, gamma 100, sigma 2."""
    out = np.zeros((2, emb.shape[1]))
    owned = {b: [j for j in range(len(inst)) if inst[j] == b] for b in range(like.shape[1])}
    for verb in range(emb.shape[1]):
        classes = [{b} for b in owned if owned[b]]
        for human, v, obj in triplets:
            if v == verb and owned[human] and owned[obj]:
                joined = [c for c in classes if human in c or obj in c]
                classes = [c for c in classes if c not in joined] + [set().union(*joined)]
        if not classes:
            continue
        anchors = [[j for b in c for j in owned[b]] for c in classes]
        means = [np.mean([emb[j, verb] for j in rows], axis=0) for rows in anchors]
        for members, rows, mean in zip(classes, anchors, means, strict=True):
            linked = any(v == verb and {h, o} <= members and h != o for h, v, o in triplets)
            factor = (10.0 if linked else 1.0) / len(rows)
            out[0, verb] += factor * sum(((emb[j, verb] - mean) ** 2).sum() for j in rows)
        for i, first in enumerate(classes):
            for k, second in enumerate(classes):
                if i != k:
                    usual = any(like[verb, a] and like[verb, b] for a in first for b in second)
                    gap = ((means[i] - means[k]) ** 2).sum()
                    out[1, verb] += (100.0 if usual else 1.0) * np.exp(-gap / 8.0)
        out[0, verb] /= len(classes)
        out[1, verb] /= len(classes) ** 2
    return out


def draw(rng):
    """Anchors of up to six instances (some own none), up to five links."""
    inst = rng.integers(-1, rng.integers(1, INSTANCES + 1), ANCHORS)
    inst[rng.integers(1, ANCHORS + 1) :] = -1
    triplets = []
    for _ in range(rng.integers(0, 6)):
        human, obj = rng.choice(INSTANCES, 2, replace=False)
        triplets.append((int(human), int(rng.integers(VERBS)), int(obj)))
    emb = rng.normal(size=(ANCHORS, VERBS, DIM)) * rng.choice([0.1, 1.0, 3.0])
    return emb, inst, triplets, rng.random((VERBS, INSTANCES)) < 0.5


def test_loss_equals_a_literal_loop_on_a_thousand_random_cases():
    rng = np.random.default_rng(0)
    drawn = [draw(rng) for _ in range(CASES)]
    linked = np.zeros((CASES, VERBS, INSTANCES, INSTANCES), bool)
    for number, (_, _, triplets, _) in enumerate(drawn):
        for human, verb, obj in triplets:
            linked[number, verb, human, obj] = True

    def one(emb, inst, links, like):
        present = jnp.any(inst[:, None] == jnp.arange(INSTANCES)[None], axis=0)
        return pull_push_loss(emb, inst, connected_components(links, present[None]), like)

    with jax.enable_x64(True):
        columns = (np.stack([d[i] for d in drawn]) for i in (0, 1))
        loss = jax.jit(jax.vmap(one))(*columns, linked, np.stack([d[3] for d in drawn]))
    wanted = np.stack([literal_loss(*d) for d in drawn], axis=1)
    np.testing.assert_allclose(np.stack([loss.pull, loss.push]), wanted, rtol=1e-10, atol=1e-10)
    # The cases hold what matters: empty images, single classes, and components of three and more.
    assert (np.asarray(loss.num_classes) == 0).any() and (np.asarray(loss.num_classes) > 3).any()
    assert any(len(d[2]) > 3 for d in drawn)


def test_push_is_largest_where_all_means_coincide():
    """push <= 100 (E - 1) / E, reached when all classes hold usual targets at one point."""
    classes = jnp.arange(4)[None]
    inst = jnp.arange(4)
    loss = pull_push_loss(jnp.zeros((4, 1, 2)), inst, classes, jnp.ones((1, 4), bool))
    np.testing.assert_allclose(loss.push, [75.0], rtol=1e-6)
    np.testing.assert_array_equal(loss.pull, [0.0])


def test_distant_embeddings_keep_their_digits_in_float32():
    """Deviations of 0.01 around 1000: sums of squares minus a square would lose them."""
    rng = np.random.default_rng(1)
    emb = (1000 + rng.integers(-8, 9, (64, 1, 2)) / 128).astype(np.float32)
    inst = jnp.zeros(64, jnp.int32)
    loss = pull_push_loss(jnp.asarray(emb), inst, jnp.zeros((1, 1), jnp.int32), jnp.ones((1, 1), bool))
    wanted = emb.astype(np.float64).var(axis=0).sum()
    np.testing.assert_allclose(loss.pull, [wanted], rtol=2e-2)
