"""Dropout: what its draws depend on, and the quality of its random bits."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hoi_jax.nn.dropout import counter_bits, example_dropout

ROWS, COLUMNS = 200, 500


@pytest.fixture(scope="module")
def bits():
    """Bits of four examples of consecutive numbers, as training makes their keys, under two tags."""
    keys = jax.vmap(lambda number: jax.random.fold_in(jax.random.key(0), number))(jnp.arange(4))
    return [np.asarray(counter_bits(keys, tag, ROWS, COLUMNS)) for tag in ("a", "b")]


def test_dropout_depends_on_the_key_of_the_example_not_on_its_place():
    x, keys = jnp.ones((3, 2, 50)), jax.random.split(jax.random.key(0), 3)
    here = example_dropout(x, keys, 0.5, "layer")
    there = example_dropout(x, keys[::-1], 0.5, "layer")
    np.testing.assert_array_equal(here, there[::-1])


def test_dropout_keeps_the_mean_and_differs_between_places():
    x, keys = jnp.ones((4, 10, 500)), jax.random.split(jax.random.key(0), 4)
    a, b = (np.asarray(example_dropout(x, keys, 0.2, tag)) for tag in ("a", "b"))
    np.testing.assert_allclose(a.mean(), 1.0, atol=0.02)
    np.testing.assert_allclose((a == 0).mean(), 0.2, atol=0.02)
    assert not np.array_equal(a, b)


def test_further_rows_leave_the_draws_of_the_others_alone():
    keys = jax.random.split(jax.random.key(0), 3)
    few, many = (example_dropout(jnp.ones((3, rows, 50)), keys, 0.5, "layer") for rows in (4, 7))
    np.testing.assert_array_equal(many[:, :4], few)


def test_a_rate_of_zero_and_absent_keys_drop_nothing():
    x = jnp.ones((2, 3, 4))
    assert example_dropout(x, None, 0.5, "layer") is x
    assert example_dropout(x, jax.random.split(jax.random.key(0)), 0.0, "layer") is x


def test_every_bit_is_set_half_of_the_time(bits):
    for bit in range(32):
        share = np.mean(bits[0] >> bit & 1)
        assert abs(share - 0.5) * 2 * bits[0].size ** 0.5 < 4.5, bit  # standard deviations


def test_neighbours_in_rows_columns_examples_and_tags_are_independent(bits):
    """Numbers of equal bits are binomial (mean 16 of 32, variance 8), and pairs of leading bytes uniform."""
    a, b = bits
    neighbours = {
        "rows": (a[:, 1:], a[:, :-1]), "columns": (a[:, :, 1:], a[:, :, :-1]), "examples": (a[1:], a[:-1]),
        "tags": (a, b), "powers of two": (a.reshape(4, -1)[:, 1024:], a.reshape(4, -1)[:, :-1024]),
    }  # fmt: skip
    for name, (x, y) in neighbours.items():
        deviation = (np.bitwise_count(x ^ y).mean() - 16) / (8 / x.size) ** 0.5
        assert abs(deviation) < 4.5, name
        pairs = (x >> 24).astype(np.int64) << 8 | y >> 24
        counts, expected = np.bincount(pairs.ravel(), minlength=2**16), x.size / 2**16
        chi_square = np.sum((counts - expected) ** 2) / expected
        assert abs(chi_square - (2**16 - 1)) < 4.5 * (2 * (2**16 - 1)) ** 0.5, name


def test_dropped_entries_of_rows_and_columns_are_binomial_in_number(bits):
    dropped = bits[0] < np.uint32(round(0.1 * 2**32))
    for axis in (1, 2):
        counts = dropped.sum(axis)
        ratio = counts.var() / (dropped.shape[axis] * 0.1 * 0.9)
        assert abs(ratio - 1) < 4.5 * (2 / counts.size) ** 0.5
