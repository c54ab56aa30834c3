"""CDN's re-weighting of object and verb classes: which weights the loss of each layer has.

The queues of dynamic weights live in the collection "reweight" beside the parameters; checkpoints hold them. The
released code keeps one queue per process, here all devices share one, and their counts are added.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int

from hoi_jax.losses.reweight import CountQueue, empty_queue, queue_weights, weights_from_counts
from hoi_jax.systems.body_part.config import ReweightConfig
from hoi_jax.systems.body_part.targets import Targets, has_absent_class
from hoi_jax.vocab.tables import Vocabulary

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
    of_query: Int[Array, "layers batch queries"],
    targets: Targets,
    used: Bool[Array, "batch"],
    config: ReweightConfig,
    tables: Mapping[str, np.ndarray],
    axis_name: str | None = None,
) -> tuple[ClassWeights, dict[str, Any]]:
    """Weights of all layers, and the collection after these calls.

    Args:
      state: the variables; only the collection "reweight" is looked at.
      of_query: the pair that each query answers for, -1 = none; final layer last.
      used: False for examples that only fill up a batch: nothing of them is counted.
      tables: of `training_counts`.
    """
    found: dict[str, Array] = {}
    queues: dict[str, Any] = {}
    for kind, table in tables.items():
        power = getattr(config, f"{kind}_power")
        static = weights_from_counts(jnp.asarray(table, jnp.float32), power)
        if getattr(config, kind) == "static":
            found[kind] = jnp.broadcast_to(static[None], (of_query.shape[0], len(static)))
            continue
        counts = _counts(kind, of_query, targets, used, len(table))
        if axis_name is not None:
            counts = jax.lax.psum(counts, axis_name)
        # The released code computes the final layer's loss first, then those of the others.
        weights, queue = queue_weights(
            CountQueue(**state[COLLECTION][kind]), jnp.roll(counts, 1, axis=0), static, power
        )
        found[kind] = jax.lax.stop_gradient(jnp.roll(weights, -1, axis=0))
        queues[kind] = queue._asdict()
    if "verb" in found:
        found["verb"] = found["verb"][:, :-1]  # queries without a verb have no positive entry to weigh
    return ClassWeights(**found), {COLLECTION: queues} if queues else {}


def _counts(kind: str, of_query: Array, targets: Targets, used: Array, columns: int) -> Array:
    """[L, columns]: what the queries of each layer answer for, the background last."""
    matched = of_query >= 0
    index = jnp.maximum(of_query, 0)
    if kind == "object":
        label = jnp.take_along_axis(targets.object_class[None], index, axis=2)
        present = jax.nn.one_hot(label, columns - 1) * matched[..., None]
    else:
        verbs = jnp.take_along_axis(targets.verbs[None], index[..., None], axis=2) & matched[..., None]
        present = verbs.astype(jnp.float32)
    nothing = ~jnp.any(present > 0, axis=-1, keepdims=True)
    present = jnp.concatenate([present, nothing.astype(jnp.float32)], axis=-1)
    return jnp.sum(present * used[None, :, None, None], axis=(1, 2))
