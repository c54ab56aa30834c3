"""The joint loss L_det + L_int (+ L_verb) over matched queries (paper, section 3.5; QPIC's and CDN's by settings)."""

from collections.abc import Callable, Mapping
from typing import cast

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from hoi_jax.arrays import ArrayLike
from hoi_jax.losses.elementwise import binary_cross_entropy, binary_focal, softmax_cross_entropy
from hoi_jax.losses.terms import Term, mean_term, stacked
from hoi_jax.ops.boxes import cxcywh_to_xyxy, generalized_iou
from hoi_jax.ops.pairs import gather_rows
from hoi_jax.system import Batch, LossOutput, Variables
from hoi_jax.systems.body_part.config import BodyPartConfig, LossConfig
from hoi_jax.systems.body_part.model import HoiTransformer, network_inputs, person_fields
from hoi_jax.systems.body_part.reweight import NO_WEIGHTS, ClassWeights, batch_counts, class_weights, training_counts
from hoi_jax.systems.body_part.targets import Targets, match_layers, pair_targets
from hoi_jax.vocab.tables import Vocabulary

_PAIR_FIELDS = ("pairs_human", "pairs_object", "pairs_verbs", "pairs_verbs_known", "pairs_valid")
LAYERED = ("object_logits", "human_cxcywh", "object_cxcywh", "verb_logits", "interactiveness_logits")
"""Outputs whose first axis is the decoder layer."""


def training_fields(config: BodyPartConfig) -> frozenset[str]:
    """Batch fields that the loss reads."""
    states = ("pairs_part_states",) if config.loss.parts else ()
    boxes = ("instances_xyxy_px", "instances_class")
    return frozenset(("image", "image_hw_px", *boxes, *_PAIR_FIELDS, *states, *person_fields(config)))


def paired_layers(outputs: Mapping[str, ArrayLike]) -> dict[str, ArrayLike]:
    """Outputs of the supervised layers, the final one last.

    Box and verb decoders are paired from the end, so the first layers of the deeper one are not supervised (CDN's
    rule). A separate interactiveness head has only the final layer.
    """
    layers = outputs["object_logits"].shape[0]
    if "verb_logits" in outputs:
        layers = min(layers, outputs["verb_logits"].shape[0])
    return {name: outputs[name][-layers:] for name in LAYERED if name in outputs}


def _target_of_query(query: Array, num_queries: int) -> Array:
    """Invert an assignment [L, B, T] of queries to pairs: the pair of each query [L, B, Q], -1 = none."""

    def invert(row):
        empty = jnp.full(num_queries, -1, jnp.int32)
        at = jnp.where(row >= 0, row, num_queries)
        return empty.at[at].set(jnp.arange(row.shape[0], dtype=jnp.int32), mode="drop")

    return jax.vmap(jax.vmap(invert))(query)


def _sum(values: Array) -> Array:
    """Sum over all axes but the first."""
    return jnp.sum(values, axis=tuple(range(1, values.ndim)))


def detection_terms(
    outputs: Mapping[str, ArrayLike],
    targets: Targets,
    query: ArrayLike,
    of_query: ArrayLike,
    used: Bool[ArrayLike, " batch"],
    config: LossConfig,
    class_weight: Float[ArrayLike, "layers classes"] | None = None,
) -> dict[str, Term]:
    """L_det: object classes of all queries and boxes of matched ones; unweighted, one entry per layer.

    Args:
      class_weight: weight of every object class, "no pair" last; None = 1, and `config.no_object` for "no pair".
    """
    classes = outputs["object_logits"].shape[-1]
    matched = of_query >= 0
    label = jnp.where(matched, gather_rows(targets.object_class[None], jnp.maximum(of_query, 0)), classes - 1)
    entropy = softmax_cross_entropy(outputs["object_logits"], label)
    weight = jnp.where(matched, 1.0, config.no_object)
    if class_weight is not None:
        weight = jnp.take_along_axis(class_weight[:, None], label, axis=2)
    weight = weight * used[None, :, None]
    terms = {"object": Term(_sum(entropy * weight), _sum(weight))}
    served = query >= 0
    for name in ("human", "object"):
        exists = served if name == "human" else served & targets.has_object[None]
        count = _sum(exists.astype(jnp.float32))
        # As released, human terms are divided by max(pairs, 1) and object terms by their number plus a small constant.
        plus = 0.0 if name == "human" else 1e-4
        box = gather_rows(outputs[f"{name}_cxcywh"], jnp.maximum(query, 0))
        truth = getattr(targets, f"{name}_cxcywh")[None]
        distance = jnp.sum(jnp.abs(box - truth), axis=-1)
        overlap = generalized_iou(cxcywh_to_xyxy(box), cxcywh_to_xyxy(truth))
        terms[f"{name}_box"] = Term(_sum(jnp.where(exists, distance, 0.0)), count, plus)
        terms[f"{name}_giou"] = Term(_sum(jnp.where(exists, 1.0 - overlap, 0.0)), count, plus)
    return terms


def verb_term(
    logits: Float[ArrayLike, "layers batch queries verbs"], targets: Targets, of_query: ArrayLike, used: ArrayLike,
    config: LossConfig, positive_weight: Float[ArrayLike, "layers verbs"] | None = None,
) -> Term:  # fmt: skip
    """L_verb: focal loss divided by the number of positives, or mean cross-entropy.

    All verbs of a query without a pair are negative.

    Args:
      positive_weight: weight of the positives of each verb (focal loss only).
    """
    matched, pair = (of_query >= 0)[..., None], jnp.maximum(of_query, 0)
    labels = gather_rows(targets.verbs[None], pair) & matched
    known = (gather_rows(targets.verbs_known[None], pair) | ~matched) & used[None, :, None, None]
    if config.verb_loss == "bce":
        entropy = jnp.where(known, binary_cross_entropy(logits, labels), 0.0)
        return Term(_sum(entropy), _sum(known.astype(jnp.float32)))
    count = _sum((labels & known).astype(jnp.float32))
    entries = binary_focal(logits, labels, alpha=config.verb_alpha)
    if positive_weight is not None:
        entries = entries * jnp.where(labels, positive_weight[:, None, None], 1.0)
    return Term(_sum(jnp.where(known, entries, 0.0)), count)


def interactiveness_terms(
    outputs: Mapping[str, ArrayLike], targets: Targets, of_query: ArrayLike, used: ArrayLike, config: BodyPartConfig
) -> dict[str, Term]:  # fmt: skip
    """L_int: interactiveness of queries, its consistency with the best part, and part labels if they are used."""
    logits = outputs["interactiveness_logits"]
    of_query = of_query[-logits.shape[0] :]
    label = gather_rows(targets.interactive[None], jnp.maximum(of_query, 0)) & (of_query >= 0)
    used = used[:, None]
    every = jnp.broadcast_to(used, of_query.shape[1:])

    def mean(values, valid=every):
        return stacked([mean_term(layer, valid) for layer in values])

    terms = {"interactiveness": mean(softmax_cross_entropy(logits, label.astype(jnp.int32)))}
    if not config.scores_parts:
        return terms
    parts = outputs["part_logits"]
    best = jnp.max(jax.nn.softmax(parts, axis=-1)[..., 1], axis=-1)
    agreement = jnp.square(jax.nn.softmax(logits[-1], axis=-1)[..., 1] - best)
    terms["consistency"] = mean(agreement[None])
    if config.loss.parts:
        matched = (of_query[-1] >= 0)[..., None]
        states = gather_rows(targets.part_states[None], jnp.maximum(of_query[-1:], 0))[0]
        entropy = softmax_cross_entropy(parts, ((states == 1) & matched).astype(jnp.int32))
        known = ((states >= 0) | ~matched) & used[..., None]
        terms["parts"] = stacked([mean_term(entropy[..., k], known[..., k]) for k in range(parts.shape[2])])
    return terms


def matched_queries(
    layered: Mapping[str, Array], targets: Targets, config: BodyPartConfig
) -> tuple[Int[Array, "layers batch pairs"], Int[Array, "layers batch queries"]]:
    """(query of each pair, pair of each query), -1 = none; `layered` are the outputs of `paired_layers`."""
    query = match_layers(layered, targets, config.matching)
    return query, _target_of_query(query, layered["object_logits"].shape[2])


def terms_of_matched(
    outputs: Mapping[str, ArrayLike],
    targets: Targets,
    query: ArrayLike,
    of_query: ArrayLike,
    used: Bool[ArrayLike, " batch"],
    config: BodyPartConfig,
    weights: ClassWeights = NO_WEIGHTS,
) -> dict[str, Term]:
    """All terms, unweighted, with one entry per supervised layer (final last) or body part.

    Args:
      outputs: outputs of `HoiTransformer`.
      query, of_query: assignment by `matched_queries`.
      used: False for examples that pad a batch.
      weights: weights of object and verb classes.
    """
    layered = paired_layers(outputs)
    terms = detection_terms(layered, targets, query, of_query, used, config.loss, weights.object)
    if "verb_logits" in layered:
        terms["verb"] = verb_term(layered["verb_logits"], targets, of_query, used, config.loss, weights.verb)
    if "interactiveness_logits" in layered:
        terms |= interactiveness_terms({**outputs, **layered}, targets, of_query, used, config)
    return terms


def loss_terms(
    outputs: Mapping[str, Array], targets: Targets, used: Bool[Array, " batch"], config: BodyPartConfig
) -> dict[str, Term]:  # fmt: skip
    """`terms_of_matched` with the assignment of `matched_queries` and no class weights."""
    query, of_query = matched_queries(paired_layers(outputs), targets, config)
    return terms_of_matched(outputs, targets, query, of_query, used, config)


def term_weights(config: LossConfig) -> dict[str, float]:
    """Weight of every term that `loss_terms` can return."""
    boxes = {f"{name}_{kind}": getattr(config, kind) for name in ("human", "object") for kind in ("box", "giou")}
    names = ("object", "verb", "interactiveness", "consistency", "parts")
    return {**boxes, **{name: getattr(config, name) for name in names}}


def make_loss(
    net: HoiTransformer, config: BodyPartConfig, vocabulary: Vocabulary
) -> tuple[Callable[..., LossOutput], Callable[..., dict[str, Array]] | None]:
    """Return the `loss` and `batch_sums` functions of a System; the latter is None without dynamic class weights."""
    factor, counts = term_weights(config.loss), training_counts(config.loss.reweight, vocabulary)

    def matched(variables: Variables, batch: Batch, key: Array, train: bool):
        keys = jax.vmap(lambda number: jax.random.fold_in(key, number))(batch["example_id"]) if train else None
        outputs = cast(
            dict[str, Array], net.apply(dict(variables), *network_inputs(batch, config, vocabulary.human_class), keys)
        )
        targets = pair_targets(batch, vocabulary, config.loss)
        return outputs, targets, *matched_queries(paired_layers(outputs), targets, config)

    def loss(
        variables: Variables, batch: Batch, key: Array, *, train: bool = True, axis_name: str | None = None,
        sums: Mapping[str, Array] | None = None,
    ) -> LossOutput:  # fmt: skip
        outputs, targets, query, of_query = matched(variables, batch, key, train)
        used = batch["batch_valid"]
        weights, queues = class_weights(
            variables, of_query, targets, used, config.loss.reweight, counts, axis_name, sums
        )
        terms = terms_of_matched(outputs, targets, query, of_query, used, config, weights)
        weighted = {name: term.scaled(factor[name]) for name, term in terms.items()}
        state = {name: value for name, value in variables.items() if name != "params"} | queues
        return LossOutput(terms=weighted, state=state)

    def batch_sums(variables: Variables, batch: Batch, key: Array, *, train: bool = True) -> dict[str, Array]:
        _, targets, _, of_query = matched(variables, batch, key, train)
        return batch_counts(of_query, targets, batch["batch_valid"], config.loss.reweight, counts)

    dynamic = "dynamic" in (config.loss.reweight.object, config.loss.reweight.verb)
    return loss, batch_sums if dynamic else None
