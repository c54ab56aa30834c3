"""Dynamic re-weighting of object and verb classes (CDN, NeurIPS 2021): class weights from counts, fixed or queued.

A table of counts has one column per class and a last one for "background": queries without a pair, or without a verb.
The queues of dynamic weights live in the collection "reweight" beside the parameters; checkpoints hold them. The
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


COLLECTION = "reweight"
KINDS = ("object", "verb")


class ClassWeights(NamedTuple):
    """Per supervised layer: object [L, C + 1] (last = no pair), verb [L, V] (of positives). None = as without."""

    object: Array | None = None
    verb: Array | None = None


NO_WEIGHTS = ClassWeights()


def training_counts(config: ReweightConfig, vocabulary: Vocabulary) -> dict[str, np.ndarray]:
    """Counts of pairs per class with the background's at the end, for every kind that is re-weighted.

    Raises:
      ValueError: the vocabulary has no counts and the config gives none, or not one per class.
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
    """The collection before training: {} unless weights are dynamic."""
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
    used: Bool[ArrayLike, "batch"],
    config: ReweightConfig,
    tables: Mapping[str, np.ndarray],
    axis_name: str | None = None,
    sums: Mapping[str, ArrayLike] | None = None,
) -> tuple[ClassWeights, dict[str, Any]]:
    """Weights of all layers, and the collection after these calls.

    Args:
      state: the variables; only the collection "reweight" is looked at.
      of_query: the pair that each query answers for, -1 = none; final layer last.
      used: False for examples that only fill up a batch: nothing of them is counted.
      tables: of `training_counts`.
      sums: `batch_counts` of the whole batch where this is a part of it; None: they are added over `axis_name`.
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
    used: Bool[ArrayLike, "batch"],
    config: ReweightConfig,
    tables: Mapping[str, np.ndarray],
) -> dict[str, Float[Array, "layers classes_1"]]:
    """Counts of a batch for dynamic weights; the counts of two parts of a batch add up to its own."""
    dynamic = [kind for kind in tables if getattr(config, kind) == "dynamic"]
    return {kind: _counts(kind, of_query, targets, used, len(tables[kind])) for kind in dynamic}


def _counts(kind: str, of_query: Array, targets: Targets, used: Array, columns: int) -> Array:
    """[L, columns]: what the queries of each layer answer for, the background last."""
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
