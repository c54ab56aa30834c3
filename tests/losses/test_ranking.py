"""Drawn combinations of the ranking module, and the released head's loss where nothing is hidden."""

import jax
import jax.numpy as jnp
import numpy as np

from hoi_jax.losses.metric_learning import draw_combinations, separated_ranking_loss


def test_drawn_combinations_are_valid_and_all_equally_likely():
    better, worse = np.array([False, True, True]), np.array([True, False, True, True, False])
    first, second = draw_combinations(jax.random.key(0), better, worse, 12_000)
    cells, counts = np.unique(np.stack([first, second]), axis=1, return_counts=True)
    assert {(int(a), int(b)) for a, b in cells.T} == {(a, b) for a in (1, 2) for b in (0, 2, 3)}
    # Six cells of 2,000 with a standard deviation of 41.
    assert np.abs(counts - 2000).max() < 5 * 41


def test_a_side_without_rows_gives_row_zero():
    none = np.zeros(3, bool)
    first, second = draw_combinations(jax.random.key(0), none, ~none, 8)
    assert not np.any(first) and np.all(np.asarray(second) < 3)


def test_slopes_are_finite_where_a_hidden_layer_is_zero():
    score, hidden = jnp.array([0.3, 0.6]), jnp.zeros((2, 4))
    slope = jax.grad(lambda h: sum(separated_ranking_loss(score, score, h, h).values()))(hidden)
    assert np.all(np.isfinite(slope))
