"""Properties of LSE-Sign that follow from its formula (DEFR, Eqs. 2 and 3)."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hoi_jax.losses.elementwise import lse_sign_loss

RNG = np.random.default_rng(0)
LABELS = jnp.asarray(RNG.random((5, 30)) < 0.1)


def value_and_gradient(scores, labels=LABELS):
    gradient = jax.grad(lambda s: jnp.sum(lse_sign_loss(s, labels)))(scores)
    return np.asarray(lse_sign_loss(scores, labels)), np.asarray(gradient)


@pytest.mark.parametrize("gamma", [1.0, 100.0, 500.0])
def test_bounds_and_gradient_mass(gamma):
    scores = jnp.asarray(RNG.uniform(-gamma, gamma, LABELS.shape), jnp.float32)
    loss, gradient = value_and_gradient(scores)
    assert np.isfinite(gradient).all() and (loss >= 0).all() and (loss <= gamma + np.log(31)).all()
    np.testing.assert_allclose(np.abs(gradient).sum(1), 1 - np.exp(-loss), atol=1e-5)
    np.testing.assert_array_equal(np.sign(gradient)[np.abs(gradient) > 0], np.sign(0.5 - LABELS)[np.abs(gradient) > 0])


def test_one_very_wrong_class_takes_the_whole_gradient():
    scores = jnp.full(LABELS.shape, -500.0).at[0, 3].set(500.0)
    loss, gradient = value_and_gradient(scores, jnp.zeros(LABELS.shape, bool))
    np.testing.assert_allclose(loss, [500, 0, 0, 0, 0], atol=1e-6)
    np.testing.assert_allclose(gradient[0, 3], 1.0)
    assert np.count_nonzero(gradient) == 1


def test_masked_classes_do_not_matter():
    scores = jnp.asarray(RNG.uniform(-9, 9, LABELS.shape), jnp.float32)
    known = jnp.asarray(RNG.random(LABELS.shape) < 0.7)
    kept = np.asarray(known[0])
    got = lse_sign_loss(scores, LABELS, known)[0]
    np.testing.assert_allclose(got, lse_sign_loss(scores[:1, kept], LABELS[:1, kept])[0], rtol=1e-6)
    gradient = jax.grad(lambda s: jnp.sum(lse_sign_loss(s, LABELS, known)))(scores)
    assert not np.asarray(gradient)[~np.asarray(known)].any() and np.isfinite(gradient).all()
