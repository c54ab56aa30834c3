"""Scores for pairs that another detector proposed (Table 4 of the body-part paper: iCAN on QPIC's or CDN's pairs).

Pairs are neither enumerated nor suppressed: every given pair gets a score per verb, and detector confidences are left
to the caller. Features of a box that occurs in several pairs are computed once.
"""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int, UInt8

from hoi_jax.ops.pairs import gather_rows
from hoi_jax.settings import from_config
from hoi_jax.systems.tin.config import TinConfig
from hoi_jax.systems.tin.model import PairInputs, TinNet, chunked_logits
from hoi_jax.systems.tin.predict import by_verb, class_scores, interaction_scores
from hoi_jax.systems.tin.scores import logit_scales, probabilities
from hoi_jax.vocab.tables import Vocabulary

ScorePairs = Callable[..., Float[np.ndarray, "pairs verbs"]]


def pair_scorer(model_config: Mapping[str, Any], vocabulary: Vocabulary, variables: Mapping[str, Any]) -> ScorePairs:
    """Return score_pairs(image, human_boxes, object_boxes, object_labels, keypoints=None) -> [pairs, verbs].

    Scores are the fused scores of C's streams, times P's with `score.times_interactiveness`; detector confidences are
    not included. The function is compiled once per image size and per power of two of boxes and pairs.
    """
    config = from_config(TinConfig, model_config, "model")
    if config.backbone.cached:
        raise ValueError("backbone.cached is True, but pairs are scored on images, not on cached feature maps")
    net = TinNet(config, len(vocabulary.hois) or len(vocabulary.verbs), len(vocabulary.objects))

    scales = logit_scales(config, vocabulary)

    @jax.jit
    def run(variables, image, human, obj, object_class, keypoints, human_index, object_index, valid):
        hw = jnp.asarray([image.shape[1:3]], jnp.int32)
        inputs = PairInputs(image, hw, human, keypoints, obj, object_class, human_index, object_index)
        probability = probabilities(chunked_logits(net, variables, inputs, valid), scales)
        fused = class_scores(config, probability, human_index, object_index)
        verbs = by_verb(fused, gather_rows(object_class, object_index), config, vocabulary)
        interactive, _ = interaction_scores(probability.get("interactiveness"), valid.shape)
        exempt = np.arange(len(vocabulary.verbs)) == vocabulary.no_interaction
        exempt = exempt & config.score.spare_no_interaction
        if config.score.times_interactiveness:
            verbs = verbs * jnp.where(exempt[None, None], 1.0, interactive[:, :, None])
        return verbs[0]

    def score_pairs(
        image: UInt8[np.ndarray, "height width 3"],
        human_boxes: Float[np.ndarray, "pairs 4"],
        object_boxes: Float[np.ndarray, "pairs 4"],
        object_labels: Int[np.ndarray, " pairs"],
        keypoints: Float[np.ndarray, "pairs 17 3"] | None = None,
    ) -> Float[np.ndarray, "pairs verbs"]:
        """Score pairs of boxes (pixels of `image`, continuous corners); `keypoints` of the humans, if known."""
        count = len(human_boxes)
        if not (len(object_boxes) == len(object_labels) == count):
            raise ValueError(f"{count} human boxes, {len(object_boxes)} object boxes, {len(object_labels)} labels")
        if count == 0:
            return np.zeros((0, len(vocabulary.verbs)), np.float32)
        poses = np.zeros((count, 17, 3), np.float32) if keypoints is None else np.asarray(keypoints, np.float32)
        people = np.concatenate([np.asarray(human_boxes, np.float32), poses.reshape(count, -1)], axis=1)
        objects = np.concatenate([object_boxes, np.asarray(object_labels)[:, None]], axis=1).astype(np.float32)
        people, human_index = np.unique(people, axis=0, return_inverse=True)
        objects, object_index = np.unique(objects, axis=0, return_inverse=True)
        people, objects = _filled(people), _filled(objects)
        padded = [_filled(index.reshape(-1).astype(np.int32)) for index in (human_index, object_index)]
        valid = np.arange(len(padded[0])) < count
        scores = run(
            dict(variables),
            np.asarray(image)[None],
            people[None, :, :4],
            objects[None, :, :4],
            objects[None, :, 4].astype(np.int32),
            people[None, :, 4:].reshape(1, -1, 17, 3),
            padded[0][None],
            padded[1][None],
            valid[None],
        )
        return np.asarray(scores)[:count]

    return score_pairs


def _filled(rows: np.ndarray) -> np.ndarray:
    """Pad rows with zeros to the next power of two, so that few shapes are compiled."""
    fill = (1 << max(len(rows) - 1, 0).bit_length()) - len(rows)
    return np.pad(rows, [(0, fill)] + [(0, 0)] * (rows.ndim - 1))
