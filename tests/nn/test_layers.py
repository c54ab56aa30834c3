"""Shared layers: sizes of the paper, and dropout that follows the example."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hoi_jax.nn.mlp import MLP
from hoi_jax.nn.streams import PairMapStream, Rectangles


def test_the_spatial_stream_flattens_to_5408():
    maps = jax.ShapeDtypeStruct((1, 2, 64, 64, 2), jnp.float32)
    out, _ = jax.eval_shape(PairMapStream().init_with_output, jax.random.key(0), maps)
    assert out.shape == (1, 2, 5408)


def test_maps_too_small_for_the_convolutions_are_refused():
    maps = jax.ShapeDtypeStruct((1, 2, 8, 8, 2), jnp.float32)
    with pytest.raises(ValueError, match="too few cells for 2 unpadded 5x5"):
        jax.eval_shape(PairMapStream().init, jax.random.key(0), maps)


def test_the_stream_equals_convolve_relu_pool_written_out():
    rng = np.random.default_rng(0)
    maps = rng.normal(size=(1, 1, 8, 8, 2)).astype(np.float32)
    net = PairMapStream(features=(3,), kernel=3)
    variables = net.init(jax.random.key(0), jnp.asarray(maps))
    kernel, bias = (np.asarray(variables["params"]["conv0"][name]) for name in ("kernel", "bias"))
    conv = np.zeros((6, 6, 3))
    for y in range(6):
        for x in range(6):
            conv[y, x] = np.einsum("hwc,hwco->o", maps[0, 0, y : y + 3, x : x + 3], kernel) + bias
    pooled = np.maximum(conv, 0).reshape(3, 2, 3, 2, 3).max(axis=(1, 3))
    got = net.apply(variables, jnp.asarray(maps))
    np.testing.assert_allclose(got[0, 0], pooled.ravel(), rtol=1e-4, atol=1e-5)


def test_an_mlp_without_keys_drops_nothing():
    net, x = MLP((8, 4), dropout=0.5), jnp.ones((1, 2, 3))
    variables = net.init(jax.random.key(0), x)
    np.testing.assert_array_equal(net.apply(variables, x), net.apply(variables, x))


def test_rectangles_give_the_stream_what_their_maps_give_it():
    rng = np.random.default_rng(0)
    first = rng.integers(0, 8, (2, 3, 2, 2))
    last = first + rng.integers(1, 6, first.shape)
    inside = (np.arange(12) >= first[..., None]) & (np.arange(12) < last[..., None])  # [B, P, channel, axis, size]
    sides = Rectangles(*(jnp.asarray(inside[:, :, :, axis].swapaxes(2, 3)) for axis in (0, 1)))
    maps = np.einsum("bpcy,bpcx->bpyxc", inside[:, :, :, 0], inside[:, :, :, 1]).astype(np.float32)
    np.testing.assert_array_equal(sides.maps(), maps)
    net = PairMapStream(features=(3, 2), kernel=3)
    variables = net.init(jax.random.key(0), jnp.asarray(maps))
    assert jax.tree.map(jnp.shape, variables) == jax.tree.map(jnp.shape, net.init(jax.random.key(1), sides))
    np.testing.assert_allclose(net.apply(variables, sides), net.apply(variables, jnp.asarray(maps)), atol=1e-5)
