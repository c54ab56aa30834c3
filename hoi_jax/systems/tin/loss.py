"""TIN's joint loss: L = L_C + L_P, sigmoid cross-entropy on the streams of C and on P (paper, section 3.4)."""

import functools
from collections.abc import Mapping
from typing import cast

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from hoi_jax.arrays import ArrayLike
from hoi_jax.losses.elementwise import binary_cross_entropy, weighted_binary_cross_entropy
from hoi_jax.losses.terms import Term, mean_term, valid_mean
from hoi_jax.system import Batch, LossOutput, Variables
from hoi_jax.systems.tin.config import TinConfig
from hoi_jax.systems.tin.model import PairInputs, TinNet, image_field, image_of
from hoi_jax.systems.tin.sampling import DETECTION_FIELDS, sample_pairs
from hoi_jax.systems.tin.scores import class_weights
from hoi_jax.systems.tin.targets import Targets, action_targets, hoi_targets
from hoi_jax.vocab.tables import Vocabulary

_PAIR_FIELDS = ("pairs_human", "pairs_object", "pairs_verbs", "pairs_verbs_known", "pairs_valid")
_PERSON_FIELDS = ("persons_instance", "persons_actions", "persons_roles", "persons_valid")
_BOX_FIELDS = ("instances_xyxy_px", "instances_class", "instances_keypoints_px", *DETECTION_FIELDS)


def training_fields(vocabulary: Vocabulary, config: TinConfig) -> frozenset[str]:
    """Batch fields that the loss reads."""
    style = () if vocabulary.hois else _PERSON_FIELDS
    return frozenset(("image_hw_px", *image_field(config), *_BOX_FIELDS, *_PAIR_FIELDS, *style))


def _stream_entropy(logits: Array, labels: Array, weights: np.ndarray | None, weighting: str) -> Array:
    if weights is None:
        return binary_cross_entropy(logits, labels)
    if weighting == "logit_scale":
        return binary_cross_entropy(logits * weights[None, None], labels)
    return weighted_binary_cross_entropy(logits, labels, jnp.asarray(weights))


def _interactiveness_entropy(logits: Array, interactive: Array, weights: tuple[float, ...]) -> Array:
    """Cross-entropy [B, P] of one logit, or the mean over two, the second being for "does not interact"."""
    labels = jnp.stack([interactive, ~interactive][: logits.shape[-1]], axis=-1)
    if weights:
        logits = logits * np.asarray(weights, np.float32)[None, None]
    return jnp.mean(binary_cross_entropy(logits, labels), axis=-1)


def _mean(entropy: ArrayLike, known: ArrayLike, *, valid: ArrayLike, per_image: bool) -> Term:
    """Mean of `entropy` [B, P, ...] over known entries of valid examples [B], with `per_image` of each image first.

    An image without known entries counts as 0 among the means of images, like an update on that image alone.
    """
    used = valid.reshape(-1, *(1,) * (known.ndim - 1))
    if not per_image:
        return mean_term(entropy, known & used)
    of_image = jax.vmap(valid_mean)(entropy, jnp.broadcast_to(known, entropy.shape))
    return mean_term(of_image, valid)


def _terms(
    logits: Mapping[str, ArrayLike],
    targets: Targets,
    valid: ArrayLike,
    config: TinConfig,
    weights: Mapping[str, np.ndarray | None],
) -> dict[str, Term]:
    """Named loss terms; `targets` have a batch axis, `valid` [B] is False for examples that pad a batch."""
    places = targets.human.shape[1]
    mean = functools.partial(_mean, valid=valid, per_image=config.loss.mean == "image")
    # The human and object streams are trained on positives, the streams with maps on all pairs.
    everything = (targets.pair, targets.pair_known)
    parts = {
        "human": (targets.human, targets.human_known),
        "object": (targets.pair[:, :places], targets.pair_known[:, :places]),
        "spatial": everything,
        "joint": everything,
    }
    terms = {}
    for name in config.classifier.streams:
        labels, known = parts[name]
        entropy = _stream_entropy(logits[name][:, : labels.shape[1]], labels, weights[name], config.loss.weighting)
        terms[name] = mean(entropy, known).scaled(getattr(config.loss, name))
    if config.interactiveness.streams:
        p = config.interactiveness
        entropy = _interactiveness_entropy(logits["interactiveness"], targets.interactive, p.logit_weights)
        terms["interactiveness"] = mean(entropy, targets.interactive_known).scaled(config.loss.interactiveness)
    return terms


def make_loss(net: TinNet, config: TinConfig, vocabulary: Vocabulary):
    """Return the `loss` function of a System (see `system.System`)."""
    weights = {name: class_weights(config, vocabulary, name) for name in config.classifier.streams}
    fields = training_fields(vocabulary, config) - {*image_field(config)}
    make_targets = hoi_targets if vocabulary.hois else action_targets

    def draw(key, example):
        sample = sample_pairs(key, example, vocabulary.human_class, config)
        return sample, make_targets(sample, example, vocabulary, config)

    def loss(
        variables: Variables, batch: Batch, key: Array, *, train: bool = True, axis_name: str | None = None
    ) -> LossOutput:
        keys = jax.vmap(lambda number: jax.random.split(jax.random.fold_in(key, number)))(batch["example_id"])
        examples = {name: batch[name] for name in fields}
        sample, targets = jax.vmap(draw)(keys[:, 0], examples)
        inputs = PairInputs(
            image=image_of(batch, config),
            image_hw_px=batch["image_hw_px"],
            human_xyxy_px=sample.human_xyxy_px,
            human_keypoints_px=sample.human_keypoints_px,
            object_xyxy_px=sample.object_xyxy_px,
            object_class=sample.table_class,
            human_index=sample.human_index,
            object_index=sample.object_index,
            negative=sample.negative,
        )
        logits = cast(dict[str, Array], net.apply(dict(variables), inputs, keys[:, 1] if train else None))
        terms = _terms(logits, targets, batch["batch_valid"], config, weights)
        state = {name: value for name, value in variables.items() if name != "params"}
        return LossOutput(terms=terms, state=state)

    return loss
