"""Which candidates a detector learns from: matching to annotated boxes, and draws of fixed size."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from hoi_jax.ops.pairs import top_rows

NEGATIVE, IGNORED = -1, -2


def match_truth(
    overlap: Float[Array, "rows truth"],
    row_valid: Bool[Array, "rows"],
    truth_valid: Bool[Array, "truth"],
    *,
    positive: float,
    negative: float | None = None,
    best_of_truth: float | None = None,
) -> Int[Array, "rows"]:
    """The annotated row that each candidate shows: its largest IoU, if that is at least `positive`.

    Args:
      negative: candidates below it are NEGATIVE (default: below `positive`), those between are IGNORED.
      best_of_truth: every annotated row also takes the candidates that overlap it most, if by at least this much.

    Returns:
      Row, NEGATIVE or IGNORED; invalid candidates are IGNORED. Equal IoUs: the first row.
    """
    shared = jnp.where(row_valid[:, None] & truth_valid[None], overlap, -1.0)
    best, row = jnp.max(shared, axis=1), jnp.argmax(shared, axis=1).astype(jnp.int32)
    low = positive if negative is None else negative
    found = jnp.where(best >= positive, row, jnp.where(best < low, NEGATIVE, IGNORED))
    if best_of_truth is not None:
        reach = jnp.max(shared, axis=0)
        claimed = (shared == reach[None]) & (reach >= best_of_truth)[None]
        found = jnp.where(jnp.any(claimed, axis=1), jnp.argmax(claimed, axis=1).astype(jnp.int32), found)
    return jnp.where(row_valid, found, IGNORED)


def quota_sample(
    key: Array,
    positive: Bool[Array, "rows"],
    negative: Bool[Array, "rows"],
    total: int,
    quota: int,
    *,
    fill: bool = True,
) -> tuple[Int[Array, "chosen"], Bool[Array, "chosen"], Bool[Array, "chosen"]]:
    """A random draw of at most `quota` positives and, after them, negatives; fixed size min(total, rows).

    Args:
      fill: negatives take the places that positives leave; otherwise there are at most total - quota of them.

    Returns:
      Row per place (0 where unused), "is a positive", "is used". Positives come first, so within the first `quota`.
    """
    total = min(total, positive.shape[0])
    dice = jax.random.uniform(key, positive.shape)
    row, used = top_rows(dice, positive, min(quota, total))
    lucky = jnp.zeros_like(positive).at[row].max(used)
    others = negative
    if not fill:
        row, used = top_rows(dice, negative, max(total - quota, 1))
        others = jnp.zeros_like(negative).at[row].max(used)
    chosen, used = top_rows(dice + lucky.astype(dice.dtype) * 2.0, lucky | others, total)
    return chosen, lucky[chosen] & used, used
