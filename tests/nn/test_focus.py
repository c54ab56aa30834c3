"""Queries with a place: the points, their code, and the Gaussian prior of their attention."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hoi_jax.nn import positional
from hoi_jax.nn.positional import sine_points, sine_positions


@pytest.mark.parametrize("count", [4, 32, 100])
def test_points_cover_the_image_evenly(count):
    points = positional.spread_points(count)
    assert points.shape == (count, 2) and points.min() > 0 and points.max() < 1
    # Share of the points in each quarter, and the largest hole on a fine grid against a square lattice's.
    quarters = np.bincount((points > 0.5) @ np.array([1, 2]), minlength=4)
    assert quarters.max() - quarters.min() <= 0.15 * count + 1
    grid = np.stack(np.meshgrid(*[np.linspace(0, 1, 60)] * 2), axis=-1).reshape(-1, 1, 2)
    assert np.linalg.norm(grid - points, axis=-1).min(axis=1).max() < 2.2 / math.sqrt(count)


def test_a_point_on_the_last_edge_of_cells_has_the_code_of_the_cell():
    valid = np.zeros((1, 6, 9), bool)
    valid[:, :4, :8] = True
    codes = np.asarray(sine_positions(jnp.asarray(valid), 16))[0]
    # A cell's coordinate is its running number over the count of valid cells.
    found = sine_points(jnp.asarray([[3 / 8, 2 / 4], [1.0, 1.0]]), 16)
    np.testing.assert_allclose(found, [codes[1, 2], codes[3, 7]], atol=2e-6)


def test_width_of_a_code_must_be_a_multiple_of_four():
    with pytest.raises(ValueError, match="multiple of 4"):
        sine_points(jnp.zeros((1, 2)), 6)


def test_the_prior_is_the_log_of_a_gaussian_around_the_shifted_point():
    rng = np.random.default_rng(0)
    points, tokens = rng.uniform(size=(2, 3, 2)), rng.uniform(size=(2, 5, 2))
    net, queries = positional.SpatialFocus(heads=4), rng.normal(size=(2, 3, 8))
    inputs = jnp.asarray(queries, jnp.float32), positional.Focus(jnp.asarray(points), jnp.asarray(tokens))
    variables = net.init(jax.random.key(0), *inputs)

    def literal(shift, spread):
        out = np.zeros((2, 4, 3, 5))
        for b, h, q, t in np.ndindex(*out.shape):
            away = tokens[b, t] - points[b, q] - shift[b, q, h]
            out[b, h, q, t] = -0.5 * ((away / spread[b, q, h]) ** 2).sum()
        return out

    angle = np.arange(4) * math.pi / 2
    circle = positional.SHIFT * np.stack([np.cos(angle), np.sin(angle)], axis=-1)
    at_start = literal(np.broadcast_to(circle, (2, 3, 4, 2)), np.full((2, 3, 4, 2), positional.SPREAD))
    np.testing.assert_allclose(net.apply(variables, *inputs), at_start, rtol=1e-4, atol=1e-4)

    kernel, bias = rng.normal(scale=0.2, size=(8, 16)), rng.normal(scale=0.2, size=16)
    place = {"kernel": jnp.asarray(kernel, jnp.float32), "bias": jnp.asarray(bias, jnp.float32)}
    raw = (queries @ kernel + bias).reshape(2, 3, 4, 4)
    trained = literal(raw[..., :2], np.exp(raw[..., 2:]))
    np.testing.assert_allclose(net.apply({"params": {"place": place}}, *inputs), trained, rtol=1e-3, atol=1e-3)
