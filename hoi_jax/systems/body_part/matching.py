"""Which query answers for which annotated pair: costs of QPIC, CDN and body-part, and the assignment."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from hoi_jax.ops.boxes import cxcywh_to_xyxy, generalized_iou
from hoi_jax.ops.matching import assign_targets
from hoi_jax.systems.body_part.config import MatchingConfig
from hoi_jax.systems.body_part.targets import Targets


def matching_cost(
    outputs: Mapping[str, Array], targets: Targets, config: MatchingConfig
) -> Float[Array, "batch queries pairs"]:
    """Cost of every query for every pair, from one layer's outputs [B, Q, ...], but for interactiveness.

    The worse of human and object counts for boxes. A pair without an object has no L1 cost of the object, and the
    object's GIoU cost (with an empty box at the origin) has the human's added to it, as released.
    """
    cost = config.object * -_of_class(jax.nn.softmax(outputs["object_logits"], axis=-1), targets.object_class)
    distance, giou = [], []
    for name in ("human", "object"):
        a, b = outputs[f"{name}_cxcywh"][:, :, None], getattr(targets, f"{name}_cxcywh")[:, None]
        distance.append(jnp.sum(jnp.abs(a - b), axis=-1))
        giou.append(-generalized_iou(cxcywh_to_xyxy(a), cxcywh_to_xyxy(b)))
    exists = targets.has_object[:, None]
    cost += config.box * jnp.maximum(distance[0], jnp.where(exists, distance[1], 0.0))
    cost += config.giou * jnp.maximum(giou[0], giou[1] + jnp.where(exists, 0.0, giou[0]))
    if "verb_logits" in outputs and config.verb:
        cost += config.verb * _verb_cost(jax.nn.sigmoid(outputs["verb_logits"]), targets.verbs.astype(jnp.float32))
    return cost


def _of_class(probability: Array, label: Array) -> Array:
    """[B, Q, C], [B, T] -> [B, Q, T]: probability of each target's class."""
    index = jnp.broadcast_to(label[:, None], (*probability.shape[:2], label.shape[1]))
    return jnp.take_along_axis(probability, index, axis=2)


def _verb_cost(p: Array, y: Array) -> Array:
    """Minus the mean of the probabilities of present and of absent verbs (QPIC's verb cost)."""
    present = jnp.einsum("bqv,btv->bqt", p, y) / (jnp.sum(y, axis=-1) + 1e-4)[:, None]
    absent = jnp.einsum("bqv,btv->bqt", 1 - p, 1 - y) / (jnp.sum(1 - y, axis=-1) + 1e-4)[:, None]
    return -0.5 * (present + absent)


def match_layers(
    outputs: Mapping[str, Array], targets: Targets, config: MatchingConfig
) -> Int[Array, "layers batch pairs"]:
    """Query of each pair per layer, -1 for pairs that do not exist.

    Args:
      outputs: [layers, B, Q, ...], the final layer last; "interactiveness_logits" may have that layer only.
    """
    outputs = jax.lax.stop_gradient(dict(outputs))
    interactive = outputs.pop("interactiveness_logits", None)
    layers = outputs["object_logits"].shape[0]
    chosen = {name: value[-1:] for name, value in outputs.items()} if config.aux == "final" else outputs
    cost = jax.vmap(lambda layer: matching_cost(layer, targets, config))(chosen)
    if interactive is not None:
        sigmoid = config.interactiveness_score == "sigmoid"
        score = jax.nn.sigmoid(interactive[..., 1]) if sigmoid else jax.nn.softmax(interactive, axis=-1)[..., 1]
        score = score[-len(cost) :]
        score = jnp.pad(score, ((len(cost) - len(score), 0), (0, 0), (0, 0)))
        cost -= config.interactiveness * score[..., None]
    valid = jnp.broadcast_to(targets.valid[None], (len(cost), *targets.valid.shape))
    found = assign_targets(cost, valid)
    return jnp.broadcast_to(found, (layers, *found.shape[1:]))
