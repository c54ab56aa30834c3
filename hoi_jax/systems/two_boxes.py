"""Two boxes: verbs from a pair's boxes and classes alone. A baseline, and the shortest complete system.

Sections: settings, network, targets, loss, prediction, `build`; explained in `docs/add_a_system.md`.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, cast

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from hoi_jax.arrays import ArrayLike
from hoi_jax.losses.elementwise import binary_cross_entropy
from hoi_jax.losses.terms import mean_term
from hoi_jax.nn.mlp import MLP
from hoi_jax.ops.boxes import area, pairwise_iou, xyxy_to_cxcywh
from hoi_jax.ops.pairs import Boxes, enumerate_pairs, gather_rows, propose_pairs, zero_unused
from hoi_jax.settings import check_positive, from_config
from hoi_jax.system import Batch, LossOutput, Predictions, System, Variables
from hoi_jax.vocab.tables import Vocabulary

TRAIN_FIELDS = frozenset(
    ("instances_xyxy_px", "instances_class", "instances_valid")
    + ("pairs_human", "pairs_object", "pairs_verbs", "pairs_verbs_known", "pairs_valid")
)
PREDICT_FIELDS = frozenset(f"detections_{column}" for column in ("xyxy_px", "class", "score", "valid"))


@dataclasses.dataclass(frozen=True)
class TwoBoxesConfig:
    """two_boxes hyperparameters: `layers`, widths of the network; `max_pairs`, number of pairs returned per image."""

    layers: tuple[int, ...] = (128, 128)
    max_pairs: int = 96

    def __post_init__(self):
        check_positive(max_pairs=self.max_pairs)


class TwoBoxesNet(nn.Module):
    """Verb logits of every person with every box.

    The features are part of those of Zhang et al. (SCG, ICCV 2021): offsets and sizes relative to the person, overlap,
    aspect ratios, and the logarithms of all these; then the object's class.
    """

    layers: tuple[int, ...]
    num_objects: int
    num_verbs: int

    @nn.compact
    def __call__(self, boxes: Float[ArrayLike, "batch n 4"], classes: Int[ArrayLike, "batch n"]) -> Array:
        """Logits [B, n, n, V]: row = person, column = object. Boxes may have any unit; sides must be above 0."""
        centre = xyxy_to_cxcywh(boxes)
        human, obj = centre[:, :, None], centre[:, None]
        size = jnp.maximum(human[..., 2:], 1e-3)
        away = (obj[..., :2] - human[..., :2]) / size
        log_size = jnp.log(jnp.maximum(obj[..., 2:], 1e-3) / size)
        near = jax.vmap(pairwise_iou)(boxes, boxes)[..., None]
        shape = jnp.broadcast_to(size[..., :1] / size[..., 1:], near.shape)
        geometry = jnp.concatenate([away, jnp.log1p(jnp.abs(away)), log_size, near, shape], axis=-1)
        kind = jnp.broadcast_to(jax.nn.one_hot(classes, self.num_objects)[:, None], (*near.shape[:3], self.num_objects))
        x = jnp.concatenate([geometry, kind], axis=-1)
        rows = MLP(self.layers)(x.reshape(x.shape[0], -1, x.shape[-1]), None)
        prior = nn.initializers.constant(-3.0)  # most pairs have no verb
        return nn.Dense(self.num_verbs, bias_init=prior)(rows).reshape(*near.shape[:3], self.num_verbs)


def pair_targets(example: Batch, human_class: int) -> tuple[Bool[Array, "n n verbs"], Bool[Array, "n n verbs"]]:
    """(verbs, known) of every person with every annotated box; a pair without annotation has no verb."""
    boxes, valid = example["instances_xyxy_px"], example["instances_valid"]
    person = valid & (example["instances_class"] == human_class) & (area(boxes) > 0)
    grid = enumerate_pairs(boxes, boxes, person, valid)[:, :, None]
    # Unused rows and pairs without an object get an out-of-range index, so that the scatter drops them.
    used = example["pairs_valid"] & (example["pairs_object"] >= 0)
    at = tuple(jnp.where(used, example[name], len(boxes)) for name in ("pairs_human", "pairs_object"))
    shape = (*grid.shape[:2], example["pairs_verbs"].shape[-1])
    verbs = jnp.zeros(shape, bool).at[at].max(example["pairs_verbs"], mode="drop")
    known = jnp.ones(shape, bool).at[at].min(example["pairs_verbs_known"], mode="drop")
    return verbs, known & grid


def best_pairs(example: Batch, verbs: Float[Array, "n n verbs"], human_class: int, limit: int) -> dict[str, Array]:
    """The `limit` best pairs of one image as the rows of a table, best first by the product of confidences."""
    boxes, valid, score = (example[f"detections_{name}"] for name in ("xyxy_px", "valid", "score"))
    people = valid & (example["detections_class"] == human_class)
    pairs = propose_pairs(Boxes(boxes, score, people), Boxes(boxes, score, valid), limit=limit)
    verb_scores = verbs[pairs.human, pairs.object] * pairs.score[:, None]
    return {
        "human_xyxy_px": gather_rows(boxes, pairs.human, pairs.used),
        "object_xyxy_px": gather_rows(boxes, pairs.object, pairs.used),
        "object_class": gather_rows(example["detections_class"], pairs.object, pairs.used),
        "human_score": gather_rows(score, pairs.human, pairs.used),
        "object_score": gather_rows(score, pairs.object, pairs.used),
        "verb_scores": zero_unused(verb_scores, pairs.used),
        "pair_valid": pairs.used,
    }


def build(model_config: Mapping[str, Any], vocabulary: Vocabulary) -> System:
    """Build the system for a vocabulary of either style. Raises SettingsError for an invalid key or value."""
    config = from_config(TwoBoxesConfig, model_config, "model")
    net = TwoBoxesNet(config.layers, len(vocabulary.objects), len(vocabulary.verbs))
    can_be = jnp.asarray(vocabulary.verb_object_mask.T)

    def init(key: Array, batch: Batch) -> Variables:
        return net.init(key, jnp.ones((1, 1, 4)), jnp.zeros((1, 1), jnp.int32))

    def loss(
        variables: Variables, batch: Batch, key: Array, *, train: bool, axis_name: str | None = None
    ) -> LossOutput:
        logits = cast(Array, net.apply(dict(variables), batch["instances_xyxy_px"], batch["instances_class"]))
        tables = {name: batch[name] for name in TRAIN_FIELDS}
        verbs, known = jax.vmap(lambda example: pair_targets(example, vocabulary.human_class))(tables)
        known &= can_be[batch["instances_class"]][:, None] & batch["batch_valid"][:, None, None, None]
        term = mean_term(binary_cross_entropy(logits, verbs), known)
        return LossOutput(terms={"verbs": term}, state={})

    def predict(variables: Variables, batch: Batch) -> Predictions:
        tables = {name: batch[name] for name in PREDICT_FIELDS}
        logits = cast(Array, net.apply(dict(variables), tables["detections_xyxy_px"], tables["detections_class"]))
        verbs = jax.nn.sigmoid(logits) * can_be[tables["detections_class"]][:, None]
        side = tables["detections_valid"].shape[1]
        limit = min(config.max_pairs, side * side)
        return jax.vmap(lambda e, v: best_pairs(e, v, vocabulary.human_class, limit))(tables, verbs)

    return System("two_boxes", TRAIN_FIELDS, PREDICT_FIELDS, init, loss, predict)
