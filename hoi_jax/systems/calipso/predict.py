"""Scores of any detector's boxes from CALIPSO's maps (section 3.3).

The network runs once per image; a pair costs one embedding distance and a few sums per verb.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool

from hoi_jax.arrays import ArrayLike
from hoi_jax.ops.anchors import nearest_anchor
from hoi_jax.ops.boxes import pairwise_iou
from hoi_jax.ops.pairs import enumerate_pairs, gather_rows, top_rows
from hoi_jax.system import Batch, Predictions, Variables
from hoi_jax.systems.calipso import scores
from hoi_jax.systems.calipso.config import CalipsoConfig
from hoi_jax.systems.calipso.model import CalipsoNet, Readout, anchors_of, usable_anchors
from hoi_jax.vocab.tables import Vocabulary

DETECTION_FIELDS = tuple(f"detections_{column}" for column in ("xyxy_px", "class", "score", "valid"))
PREDICTION_FIELDS = frozenset(("image", "image_hw_px", *DETECTION_FIELDS))


class Candidates(NamedTuple):
    """People (N) and objects (M) of one image, best first: boxes, confidences, classes, and masks of used rows."""

    human_xyxy_px: Array
    human_score: Array
    human_used: Array
    object_xyxy_px: Array
    object_score: Array
    object_class: Array
    object_used: Array


class BoxReadout(NamedTuple):
    """Network outputs for the boxes of one image: probabilities [D, halves, V] and embeddings [D, V, T].

    `target` is None if the network does not predict target presence.
    """

    verb: Array
    target: Array | None
    embedding: Array


def choose_candidates(example: Batch, human_class: int, config: CalipsoConfig) -> Candidates:
    """Select the most confident people, and the most confident detections of any class (people can be objects)."""
    valid, score = example["detections_valid"], example["detections_score"]
    person = valid & (example["detections_class"] == human_class) & (score >= config.predict.human_threshold)
    people = top_rows(score, person, config.max_humans)
    objects = top_rows(score, valid & (score >= config.predict.object_threshold), config.max_objects)
    boxes = example["detections_xyxy_px"]
    return Candidates(
        gather_rows(boxes, *people), gather_rows(score, *people), people[1],
        gather_rows(boxes, *objects), gather_rows(score, *objects), gather_rows(example["detections_class"], *objects),
        objects[1],
    )  # fmt: skip


def anchors_to_read(
    boxes: ArrayLike, anchors: ArrayLike, usable: ArrayLike, config: CalipsoConfig
) -> tuple[Array, Array]:
    """(anchors [D, R] from which each box is read, their weights, which sum to one)."""
    if config.predict.readout == "best":
        index = nearest_anchor(anchors, boxes, usable)[:, None]
        return index, jnp.ones(index.shape)
    shared = jnp.where(usable[None], pairwise_iou(boxes, anchors), -1.0)
    best, index = jax.lax.top_k(shared, config.predict.readout_anchors)
    first = jnp.arange(best.shape[1])[None] == 0
    taken = (best > config.loss.overlap) | first
    return index, taken / jnp.sum(taken, axis=1, keepdims=True)


def box_readout(readout: Readout, index_shape: tuple[int, int], weights: Array) -> BoxReadout:
    """Means over the anchors of each box; `readout` of one image at [D * R] anchors."""

    def mean(x: Array) -> Array:
        rows = x.reshape((*index_shape, -1))
        return jnp.sum(rows * weights[..., None], axis=1).reshape((index_shape[0], *x.shape[1:]))

    target = mean(jax.nn.sigmoid(readout["target"])) if "target" in readout else None
    return BoxReadout(mean(jax.nn.sigmoid(readout["verb"])), target, mean(readout["embedding"]))


def score_pairs(
    candidates: Candidates, human: BoxReadout, obj: BoxReadout, vocabulary: Vocabulary, config: CalipsoConfig
) -> tuple[Array, Array, Array]:
    """Scores of one image by Eqs. 10 to 12, and the selection of the best.

    Returns:
      scores of triplets [N, M, V] (zero unless selected), of roles without visible object [N, V] (zero unless
      selected), and of each person's verbs [N, V], regardless of the selection.
    """
    c = candidates
    takes_object = (
        np.asarray(vocabulary.verb_role) >= 0 if vocabulary.verb_role else np.ones(len(vocabulary.verbs), bool)
    )
    distance = scores.embedding_distance(human.embedding, obj.embedding, config.predict.norm)
    presence = None if human.target is None else human.target[:, 0]
    passive = obj.verb[:, 1] if config.subnet.passive else None
    triplet = scores.triplet_scores(c.human_score, human.verb[:, 0], c.object_score, passive, presence, distance)
    single = scores.pair_scores(c.human_score, human.verb[:, 0], presence)
    pairs = enumerate_pairs(c.human_xyxy_px, c.object_xyxy_px, c.human_used, c.object_used)
    candidate = pairs[:, None, :] & jnp.asarray(takes_object)[None, :, None]
    # Without target presence, pair scores are used only for verbs without object, which have no triplet scores.
    allowed = jnp.asarray(~takes_object) if presence is None else jnp.ones(takes_object.shape, bool)
    winner = scores.select(triplet, single, candidate, allowed)
    done = jnp.where(c.human_used[:, None], winner.score, 0.0)
    done = jnp.where(done >= config.predict.threshold, done, 0.0)
    with_object = winner.object_index >= 0
    empty = jnp.where(with_object, 0.0, done)
    if config.predict.keep == "all":
        kept = jnp.where(candidate & (triplet >= config.predict.threshold), triplet, 0.0)
        return jnp.swapaxes(kept, 1, 2), empty, done
    chosen = winner.object_index[:, None, :] == jnp.arange(c.object_used.shape[0])[None, :, None]
    return jnp.where(chosen, done[:, None], 0.0), empty, done


def _possible(object_class: Array, vocabulary: Vocabulary) -> Bool[Array, "objects verbs"]:
    """Mask of (object, verb) combinations that are HOI classes; the paper does not restrict them any further."""
    if not vocabulary.hois:
        return jnp.ones((object_class.shape[0], len(vocabulary.verbs)), bool)
    return jnp.take(jnp.asarray(vocabulary.verb_object_mask.T), object_class, axis=0)


def result_rows(
    candidates: Candidates, triplets: Array, empty: Array, vocabulary: Vocabulary, config: CalipsoConfig
) -> dict[str, Array]:
    """The best pairs of one image as rows of a table; in action style also people whose object is not visible."""
    c = candidates
    table = jnp.where(_possible(c.object_class, vocabulary)[None], triplets, 0.0)
    humans, objects, verbs = table.shape
    flat = table.reshape((-1, verbs))
    best = jnp.max(flat, axis=1)
    row, used = top_rows(best, best > 0, min(config.predict.max_pairs, flat.shape[0]))
    human, obj = row // objects, row % objects
    out = {
        "human_xyxy_px": gather_rows(c.human_xyxy_px, human, used),
        "object_xyxy_px": gather_rows(c.object_xyxy_px, obj, used),
        "object_class": gather_rows(c.object_class, obj, used),
        "human_score": gather_rows(c.human_score, human, used),
        "object_score": gather_rows(c.object_score, obj, used),
        "verb_scores": gather_rows(flat, row, used),
        "pair_valid": used,
    }
    if vocabulary.hois:
        return out
    has_role = jnp.asarray(np.asarray(vocabulary.verb_role) >= 0)[None]
    single = jnp.where(has_role, empty, 0.0)
    lonely = c.human_used & jnp.any(single > 0, axis=1)
    nowhere = jnp.full((humans, 4), jnp.nan)
    people = {
        "human_xyxy_px": c.human_xyxy_px,
        "object_xyxy_px": jnp.where(lonely[:, None], nowhere, 0.0),
        "object_class": jnp.where(lonely, -1, 0).astype(c.object_class.dtype),
        "human_score": c.human_score,
        "object_score": jnp.zeros(humans),
        "verb_scores": single,
        "pair_valid": lonely,
    }
    return {name: jnp.concatenate([value, people[name].astype(value.dtype)]) for name, value in out.items()}


def read_maps(
    net: CalipsoNet, variables: Mapping[str, Any], maps: tuple[Array, ...], index: Array, dense: bool
) -> dict[str, Array]:
    """The tasks at chosen anchors [B, K], taken from the dense maps or computed directly; the values are the same."""
    if not dense:
        return cast(dict[str, Array], net.apply(dict(variables), maps, index, method="at_anchors"))
    everywhere = cast(dict[str, Array], net.apply(dict(variables), maps, method="dense"))
    return {name: jax.vmap(lambda rows, at: rows[at])(x, index) for name, x in everywhere.items()}


def make_predict(net: CalipsoNet, config: CalipsoConfig, vocabulary: Vocabulary):
    """Return the `predict` function of a System: verb scores by Eqs. 11 and 12; agent scores in action style."""

    def predict(variables: Variables, batch: Batch) -> Predictions:
        image_hw = cast(tuple[int, int], batch["image"].shape[1:3])
        anchors = jnp.asarray(anchors_of(config, image_hw))
        usable = usable_anchors(config, image_hw, batch["image_hw_px"])
        examples = {name: batch[name] for name in DETECTION_FIELDS}
        people = jax.vmap(lambda e: choose_candidates(e, vocabulary.human_class, config))(examples)
        boxes = jnp.concatenate([people.human_xyxy_px, people.object_xyxy_px], axis=1)
        index, weights = jax.vmap(lambda b, u: anchors_to_read(b, anchors, u, config))(boxes, usable)
        maps = cast(Any, net.apply(dict(variables), batch["image"], batch["image_hw_px"], method="trunk"))
        readout = read_maps(net, variables, maps, index.reshape((index.shape[0], -1)), config.predict.dense)
        humans = people.human_used.shape[1]

        def one(candidates: Candidates, said: dict[str, Array], weights: Array) -> dict[str, Array]:
            read = box_readout(said, (weights.shape[0], weights.shape[1]), weights)
            human, obj = (
                jax.tree.map(lambda x, part=part: x[part], read) for part in (slice(humans), slice(humans, None))
            )
            triplets, empty, done = score_pairs(candidates, human, obj, vocabulary, config)
            out = result_rows(candidates, triplets, empty, vocabulary, config)
            if vocabulary.actions:
                used = candidates.human_used
                out |= {"agent_xyxy_px": candidates.human_xyxy_px, "agent_scores": done, "agent_valid": used}
            return out

        return jax.vmap(one)(people, readout, weights)

    return predict
