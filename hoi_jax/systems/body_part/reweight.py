"""Re-weighting of object and verb classes (CDN, NeurIPS 2021): class weights from fixed counts or from recent batches.

A table of counts has one column per class and a last one for "background": queries without a pair, or without a verb.
The queues of dynamic weights are in the collection "reweight" beside the parameters and are saved in checkpoints. The
released code keeps one queue per process; here all devices share one, and their counts are added.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from hoi_jax.arrays import ArrayLike
from hoi_jax.ops.pairs import gather_rows
from hoi_jax.systems.body_part.config import ReweightConfig
from hoi_jax.systems.body_part.targets import Targets, has_absent_class
from hoi_jax.vocab.tables import Vocabulary

DECAY, LEAST_STATIC = 0.999, 0.9
"""The fixed weights have a share of min(DECAY ** entries of the queue, LEAST_STATIC), as released."""


class CountQueue(NamedTuple):
    """Counts of the most recent loss calls. All float32, so that averages over devices keep the dtype.

    Attributes:
      counts: [entries, classes + 1]; the oldest are overwritten.
      appended: [] number of rows ever added.
    """

    counts: Array
    appended: Array


def empty_queue(entries: int, classes: int) -> CountQueue:
    """An empty queue for `entries` rows of `classes` + 1 counts."""
    return CountQueue(jnp.zeros((entries, classes + 1), jnp.float32), jnp.zeros((), jnp.float32))


def weights_from_counts(counts: Float[Array, " classes_1"], power: float) -> Float[Array, " classes_1"]:
    """(N / count)^power, where N is the sum of counts without background; 0 for a class with count 0.

    The weights of classes, but not that of the background, are divided by the mean of the positive ones.
    """
    total = jnp.sum(counts[:-1])
    weights = jnp.where(counts > 0, total / jnp.where(counts > 0, counts, 1.0), 0.0) ** power
    present = jnp.sum(weights[:-1] > 0)
    mean = jnp.sum(weights[:-1]) / jnp.maximum(present, 1)
    return weights.at[:-1].divide(jnp.where(mean > 0, mean, 1.0))


def queue_weights(
    queue: CountQueue, counts: Float[Array, "calls classes_1"], static: Float[Array, " classes_1"], power: float
) -> tuple[Float[Array, "calls classes_1"], CountQueue]:
    """(weights, new queue) after several calls of a loss, each of which first adds its counts to the queue.

    Weights are a * static + (1 - a) * `weights_from_counts`(sum over the queue), a = min(0.999^length, 0.9).

    Args:
      counts: sums over all devices, so that every device has the same queue.
    """

    def call(queue: CountQueue, row: Array) -> tuple[CountQueue, Array]:
        entries = len(queue.counts)
        slot = jnp.mod(queue.appended, entries).astype(jnp.int32)
        queue = CountQueue(queue.counts.at[slot].set(row), queue.appended + 1.0)
        share = jnp.minimum(DECAY ** jnp.minimum(queue.appended, entries), LEAST_STATIC)
        return queue, share * static + (1.0 - share) * weights_from_counts(jnp.sum(queue.counts, axis=0), power)

    queue, weights = jax.lax.scan(call, queue, counts)
    return weights, queue


COLLECTION = "reweight"
KINDS = ("object", "verb")


class ClassWeights(NamedTuple):
    """Class weights per supervised layer: object [L, C + 1] (last = no pair), verb [L, V] (positives); None = off."""

    object: Array | None = None
    verb: Array | None = None


NO_WEIGHTS = ClassWeights()


def training_counts(config: ReweightConfig, vocabulary: Vocabulary) -> dict[str, np.ndarray]:
    """Training pairs per class, background last, for each of "object" and "verb" that is re-weighted.

    Raises:
      ValueError: neither the config nor the vocabulary gives one count per class.
    """
    combination, known = np.asarray(vocabulary.hois, np.int64).reshape(-1, 2), len(vocabulary.train_counts) > 0
    verb_of, object_of = combination[:, 0], combination[:, 1]
    sizes = {"object": len(vocabulary.objects) + has_absent_class(vocabulary), "verb": len(vocabulary.verbs)}
    columns, tables = {"object": object_of, "verb": verb_of}, {}
    for kind in KINDS:
        if getattr(config, kind) == "none":
            continue
        counts = np.asarray(getattr(config, f"{kind}_counts"), np.float64)
        if not len(counts) and known:
            counts = np.bincount(columns[kind], np.asarray(vocabulary.train_counts), minlength=sizes[kind])
        if len(counts) != sizes[kind]:
            raise ValueError(
                f"{kind} re-weighting in {vocabulary.name!r} needs loss.reweight.{kind}_counts with {sizes[kind]} "
                f"entries, got {len(counts)}"
            )
        tables[kind] = np.append(counts, config.background * counts.sum())
    return tables


def initial_state(config: ReweightConfig, tables: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Initial value of the collection "reweight"; {} unless weights are dynamic."""
    queues = {
        kind: empty_queue(config.queue, len(table) - 1)._asdict()
        for kind, table in tables.items()
        if getattr(config, kind) == "dynamic"
    }
    return {COLLECTION: queues} if queues else {}


def class_weights(
    state: Mapping[str, Any],
    of_query: Int[ArrayLike, "layers batch queries"],
    targets: Targets,
    used: Bool[ArrayLike, " batch"],
    config: ReweightConfig,
    tables: Mapping[str, np.ndarray],
    axis_name: str | None = None,
    sums: Mapping[str, ArrayLike] | None = None,
) -> tuple[ClassWeights, dict[str, Any]]:
    """(weights of all layers, updated collection).

    Args:
      state: the variables; only the collection "reweight" is read.
      of_query: the pair assigned to each query, -1 = none; final layer last.
      used: False for examples that pad a batch, which are not counted.
      tables: result of `training_counts`.
      sums: `batch_counts` of the whole batch, if this is a part of it; None = counts are summed over `axis_name`.
    """
    found: dict[str, Array] = {}
    queues: dict[str, Any] = {}
    for kind, table in tables.items():
        power = getattr(config, f"{kind}_power")
        static = weights_from_counts(jnp.asarray(table, jnp.float32), power)
        if getattr(config, kind) == "static":
            found[kind] = jnp.broadcast_to(static[None], (of_query.shape[0], len(static)))
            continue
        if sums is not None:
            counts = sums[kind]
        else:
            counts = _counts(kind, of_query, targets, used, len(table))
            counts = counts if axis_name is None else jax.lax.psum(counts, axis_name)
        # The released code computes the final layer's loss first, then those of the others.
        weights, queue = queue_weights(
            CountQueue(**state[COLLECTION][kind]), jnp.roll(counts, 1, axis=0), static, power
        )
        found[kind] = jax.lax.stop_gradient(jnp.roll(weights, -1, axis=0))
        queues[kind] = queue._asdict()
    if "verb" in found:
        found["verb"] = found["verb"][:, :-1]  # queries without a verb have no positive entry to weigh
    return ClassWeights(**found), {COLLECTION: queues} if queues else {}


def batch_counts(
    of_query: Int[ArrayLike, "layers batch queries"],
    targets: Targets,
    used: Bool[ArrayLike, " batch"],
    config: ReweightConfig,
    tables: Mapping[str, np.ndarray],
) -> dict[str, Float[Array, "layers classes_1"]]:
    """Counts of a batch for dynamic weights; the counts of its parts add up to those of the whole batch."""
    dynamic = [kind for kind in tables if getattr(config, kind) == "dynamic"]
    return {kind: _counts(kind, of_query, targets, used, len(tables[kind])) for kind in dynamic}


def _counts(kind: str, of_query: Array, targets: Targets, used: Array, columns: int) -> Array:
    """Counts [L, columns] of the classes assigned to each layer's queries, background last."""
    matched = of_query >= 0
    index = jnp.maximum(of_query, 0)
    if kind == "object":
        label = gather_rows(targets.object_class[None], index)
        present = jax.nn.one_hot(label, columns - 1) * matched[..., None]
    else:
        verbs = gather_rows(targets.verbs[None], index) & matched[..., None]
        present = verbs.astype(jnp.float32)
    nothing = ~jnp.any(present > 0, axis=-1, keepdims=True)
    present = jnp.concatenate([present, nothing.astype(jnp.float32)], axis=-1)
    return jnp.sum(present * used[None, :, None, None], axis=(1, 2))
