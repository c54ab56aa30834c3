"""CALIPSO's joint loss: L = L_verb + L_target + mean_v (L_pull + L_push) (paper, Eqs. 4 to 9)."""

import functools
from typing import Any, cast

import jax
import jax.numpy as jnp
from jaxtyping import Array

from hoi_jax.arrays import ArrayLike
from hoi_jax.losses.elementwise import binary_cross_entropy, binary_focal
from hoi_jax.losses.metric_learning import pull_push_loss
from hoi_jax.losses.terms import Term, mean_term
from hoi_jax.system import Batch, LossOutput, Variables
from hoi_jax.systems.calipso.config import CalipsoConfig, LossConfig
from hoi_jax.systems.calipso.model import CalipsoNet, Readout, anchors_of, usable_anchors
from hoi_jax.systems.calipso.targets import Targets, make_targets
from hoi_jax.vocab.tables import Vocabulary

_BOX_FIELDS = ("instances_xyxy_px", "instances_class", "instances_valid")
_PAIR_FIELDS = ("pairs_human", "pairs_object", "pairs_verbs", "pairs_verbs_known", "pairs_valid")
_PERSON_FIELDS = ("persons_instance", "persons_actions", "persons_valid")


def training_fields(vocabulary: Vocabulary) -> frozenset[str]:
    """Batch fields that the loss reads."""
    style = _PERSON_FIELDS if vocabulary.actions else ()
    return frozenset(("image", "image_hw_px", *_BOX_FIELDS, *_PAIR_FIELDS, *style))


def loss_terms(readout: Readout, targets: Targets, valid: ArrayLike, config: LossConfig) -> dict[str, Term]:
    """Named terms; `readout` is at `targets.anchor`, both with a batch axis, `valid` [B] is False for padding examples.

    Cross-entropies are means over foreground anchors (`LossConfig.per`), embedding losses over verbs and images.
    """
    anchors = targets.used & valid[:, None]

    def cross_entropy(logits: Array, labels: Array, known: Array) -> Term:
        entropy, counted = binary_cross_entropy(logits, labels), known & valid[:, None, None, None]
        if config.per == "output":
            return mean_term(entropy, counted)
        return mean_term(jnp.sum(jnp.where(counted, entropy, 0.0), axis=(2, 3)), anchors)

    terms = {"verb": cross_entropy(readout["verb"], targets.verbs, targets.verbs_known).scaled(config.verb)}
    if "target" in readout:
        presence = cross_entropy(readout["target"], targets.present, targets.present_known)
        terms["target"] = presence.scaled(config.target)
    pull_push = functools.partial(
        pull_push_loss, sigma=config.sigma, pull_weight=config.pull_weight, push_weight=config.push_weight
    )
    embedding = jax.vmap(pull_push)(
        readout["embedding"], targets.instance, targets.class_of_instance, targets.target_like
    )
    terms["pull"] = mean_term(jnp.mean(embedding.pull, axis=1), valid).scaled(config.embedding)
    terms["push"] = mean_term(jnp.mean(embedding.push, axis=1), valid).scaled(config.embedding)
    return terms


def background_term(
    logits: ArrayLike, targets: Targets, usable: ArrayLike, valid: ArrayLike, config: LossConfig
) -> Term:
    """Focal loss of background anchors, which have no verb; per foreground anchor like the other terms (RetinaNet)."""
    focal = binary_focal(logits, jnp.zeros(logits.shape, bool), alpha=config.focal_alpha, gamma=config.focal_gamma)
    background = (targets.row < 0) & usable & valid[:, None]
    total = jnp.sum(jnp.where(background[:, :, None, None], focal, 0.0))
    foreground = jnp.sum((targets.row >= 0) & valid[:, None]).astype(jnp.float32)
    per_anchor = logits.shape[-1] * logits.shape[-2] if config.per == "output" else 1
    return Term(config.verb * total / per_anchor, foreground)


def make_loss(net: CalipsoNet, config: CalipsoConfig, vocabulary: Vocabulary):
    """Return the `loss` function of a System (see `system.System`); it draws no random numbers."""
    fields = training_fields(vocabulary)

    def loss(
        variables: Variables, batch: Batch, key: Array, *, train: bool = True, axis_name: str | None = None
    ) -> LossOutput:
        del key
        valid = batch["batch_valid"]
        image_hw = cast(tuple[int, int], batch["image"].shape[1:3])
        # An example that pads the batch has no valid cells and so does not contribute to statistics.
        hw = jnp.where(valid[:, None], batch["image_hw_px"], 0)
        anchors, usable = jnp.asarray(anchors_of(config, image_hw)), usable_anchors(config, image_hw, hw)
        examples = {name: batch[name] for name in fields - {"image", "image_hw_px"}}
        halves = config.subnet.halves
        targets = jax.vmap(lambda e, u: make_targets(e, anchors, u, vocabulary, config.loss, halves))(examples, usable)

        def forward(module: CalipsoNet) -> tuple[dict[str, Array], Array | None]:
            maps = module.trunk(batch["image"], hw, train, axis_name)
            everywhere = module.dense_verbs(maps) if config.loss.background == "focal" else None
            return module.at_anchors(maps, targets.anchor), everywhere

        apply = functools.partial(net.apply, dict(variables), method=forward)
        state = {name: value for name, value in variables.items() if name != "params"}
        if train:
            (readout, everywhere), updated = cast(Any, apply(mutable=["batch_stats"]))
            state |= updated
        else:
            readout, everywhere = cast(Any, apply())
        terms = loss_terms(readout, targets, valid, config.loss)
        if everywhere is not None:
            terms["background"] = background_term(everywhere, targets, usable, valid, config.loss)
        return LossOutput(terms=terms, state=state)

    return loss
