"""Assignment of predictions to annotations: one to one (set prediction), or by IoU with sampling (detectors)."""

import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from hoi_jax.arrays import ArrayLike
from hoi_jax.ops.pairs import top_rows

# Larger than any real cost, but small enough that sums with it still resolve differences of real costs in float32.
_FORBIDDEN = 1e4


@functools.partial(jnp.vectorize, signature="(q,t),(t)->(t)")
def assign_targets(
    cost: Float[ArrayLike, "*batch queries targets"], valid: Bool[ArrayLike, "*batch targets"]
) -> Int[Array, "*batch targets"]:
    """Assign every valid target a different query such that the total cost is minimal.

    Shortest augmenting paths (Jonker and Volgenant 1987), one per valid target, so that padding takes no time.

    Args:
      cost: lower is better; entries that are not finite are treated as very high.
      valid: targets that exist. If there are more of them than queries, only the first ones are assigned.

    Returns:
      query of each target, -1 if it has none.
    """
    queries, targets = cost.shape
    rows = jnp.where(jnp.isfinite(cost), cost, _FORBIDDEN).T.astype(jnp.float32)
    served = valid & (jnp.cumsum(valid) <= queries)

    def search(carry):
        u, v, owner, best, via, used, at = carry
        # `at` is the column just reached; column `queries` is the virtual start, owned by the new target.
        used = used.at[at].set(True)
        row = owner[at]
        reduced = rows[row] - u[row] - v[:queries]
        better = (reduced < best) & ~used[:queries]
        best, via = jnp.where(better, reduced, best), jnp.where(better, at, via)
        open_cost = jnp.where(used[:queries], jnp.inf, best)
        nearest = jnp.argmin(open_cost).astype(jnp.int32)
        step = open_cost[nearest]
        # Potentials of targets on the path rise and those of their columns fall, so that reduced costs stay >= 0.
        u = u.at[jnp.where(used, owner, targets)].add(step, mode="drop")
        v = jnp.where(used, v - step, v)
        best = jnp.where(used[:queries], best, best - step)
        return u, v, owner, best, via, used, nearest

    def add_target(number, carry):
        u, v, owner = carry
        owner = owner.at[queries].set(jnp.where(served[number], number, -1))
        start = (
            u,
            v,
            owner,
            jnp.full(queries, jnp.inf, jnp.float32),
            jnp.full(queries, queries, jnp.int32),
            jnp.zeros(queries + 1, bool),
            jnp.int32(queries),
        )
        u, v, owner, _, via, _, at = jax.lax.while_loop(lambda c: c[2][c[-1]] >= 0, search, start)

        def flip(carry):
            owner, at = carry
            before = via[at]
            return owner.at[at].set(owner[before]), before

        owner, _ = jax.lax.while_loop(lambda c: c[1] != queries, flip, (owner, at))
        return u, v, owner

    zeros = jnp.zeros(targets, jnp.float32), jnp.zeros(queries + 1, jnp.float32)
    _, _, owner = jax.lax.fori_loop(0, targets, add_target, (*zeros, jnp.full(queries + 1, -1, jnp.int32)))
    owner = owner[:queries]
    result = jnp.full(targets, -1, jnp.int32)
    return result.at[jnp.where(owner >= 0, owner, targets)].set(jnp.arange(queries, dtype=jnp.int32), mode="drop")


NEGATIVE, IGNORED = -1, -2


def match_truth(
    overlap: Float[ArrayLike, "rows truth"],
    row_valid: Bool[ArrayLike, " rows"],
    truth_valid: Bool[ArrayLike, " truth"],
    *,
    positive: float,
    negative: float | None = None,
    best_of_truth: float | None = None,
) -> Int[Array, " rows"]:
    """Match each candidate to the annotated row with the largest IoU, if that is at least `positive`.

    Args:
      negative: IoU below which candidates are NEGATIVE (default: `positive`); those in between are IGNORED.
      best_of_truth: also match every annotated row to the candidates of largest IoU with it, if at least this.

    Returns:
      row, NEGATIVE or IGNORED; invalid candidates are IGNORED. Of equal IoUs the first row is taken.
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
    positive: Bool[ArrayLike, " rows"],
    negative: Bool[ArrayLike, " rows"],
    total: int,
    quota: int,
    *,
    fill: bool = True,
) -> tuple[Int[Array, " chosen"], Bool[Array, " chosen"], Bool[Array, " chosen"]]:
    """Draw at most `quota` positives and, after them, negatives at random; the size is min(total, rows).

    Args:
      fill: fill the places that positives leave with negatives; otherwise there are at most total - quota of these.

    Returns:
      row per place (0 if unused), mask of positives, mask of used places; positives are within the first `quota`.
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
