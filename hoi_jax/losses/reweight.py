"""Weights of classes from their counts, fixed or following training (dynamic re-weighting of CDN, NeurIPS 2021).

A table of counts has one column per class and a last one for "background": queries without a pair, or without a verb.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

DECAY, LEAST_STATIC = 0.999, 0.9
"""The share of the fixed weights is min(DECAY ** entries of the queue, LEAST_STATIC), as released."""


class CountQueue(NamedTuple):
    """The last counts that a loss has seen. Float32 throughout, so that averages over devices keep the type.

    Attributes:
      counts: [entries, classes + 1], the oldest are overwritten. appended: [] how many were ever put in.
    """

    counts: Array
    appended: Array


def empty_queue(entries: int, classes: int) -> CountQueue:
    """A queue for `entries` rows of `classes` + 1 counts."""
    return CountQueue(jnp.zeros((entries, classes + 1), jnp.float32), jnp.zeros((), jnp.float32))


def weights_from_counts(counts: Float[Array, "classes_1"], power: float) -> Float[Array, "classes_1"]:
    """(N / count)^power with N the sum without background; 0 for a class without any.

    Classes are divided by the mean of their positive weights, the background is not.
    """
    total = jnp.sum(counts[:-1])
    weights = jnp.where(counts > 0, total / jnp.where(counts > 0, counts, 1.0), 0.0) ** power
    present = jnp.sum(weights[:-1] > 0)
    mean = jnp.sum(weights[:-1]) / jnp.maximum(present, 1)
    return weights.at[:-1].divide(jnp.where(mean > 0, mean, 1.0))


def queue_weights(
    queue: CountQueue, counts: Float[Array, "calls classes_1"], static: Float[Array, "classes_1"], power: float
) -> tuple[Float[Array, "calls classes_1"], CountQueue]:
    """Weights of several calls of a loss, each of which first puts its counts into the queue.

    Weights are a * static + (1 - a) * `weights_from_counts`(sum over the queue), a = min(0.999^length, 0.9).

    Args:
      counts: of all devices together, so that every device has the same queue.
    """

    def call(queue: CountQueue, row: Array) -> tuple[CountQueue, Array]:
        entries = len(queue.counts)
        slot = jnp.mod(queue.appended, entries).astype(jnp.int32)
        queue = CountQueue(queue.counts.at[slot].set(row), queue.appended + 1.0)
        share = jnp.minimum(DECAY ** jnp.minimum(queue.appended, entries), LEAST_STATIC)
        return queue, share * static + (1.0 - share) * weights_from_counts(jnp.sum(queue.counts, axis=0), power)

    queue, weights = jax.lax.scan(call, queue, counts)
    return weights, queue
