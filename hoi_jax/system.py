"""The `System` interface: three pure functions of a HOI method, and the batch fields they need."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from hoi_jax.arrays import ArrayLike
from hoi_jax.losses.terms import Term

Batch = Mapping[str, ArrayLike]
"""Fields of `schema.BATCH_FIELDS`, each with a leading batch axis."""
Variables = Mapping[str, Any]
"""Linen variables: {"params": ..., and mutable collections such as "batch_stats"}."""
Predictions = Mapping[str, Array]
"""Fields of `schema.PREDICTION_FIELDS`, each with a leading batch axis."""


@dataclasses.dataclass(frozen=True)
class LossOutput:
    """Output of a loss function.

    Attributes:
      terms: named terms, whose values add up to the loss. Each is a sum and a count over the examples passed to the
        loss; the caller adds both over all parts of the batch and divides (`losses.terms`).
      state: new values of the mutable collections (empty for models without any).
    """

    terms: Mapping[str, Term]
    state: Mapping[str, Any]

    @property
    def values(self) -> dict[str, Array]:
        """Value of each term, for a loss that was given the whole batch."""
        return {name: term.value for name, term in self.terms.items()}

    @property
    def value(self) -> Array:
        """The loss, if it was given the whole batch."""
        return sum(self.values.values(), jnp.zeros(()))


jax.tree_util.register_dataclass(LossOutput, data_fields=["terms", "state"], meta_fields=[])


@dataclasses.dataclass(frozen=True)
class AttentionMaps:
    """Maps that explain the scores of pairs, such as attention; the rows are those of `predict`.

    Attributes:
      titles: one per shown layer (L), naming the cells that it may attend to.
      cell_px: side of a cell in pixels of `batch["image"]`; None if the cells cover the unpadded image.
      explain: (variables, batch) -> "weights" [B, Q, L, h, w], such as attention averaged over heads; "allowed"
        [B, Q, L, h, w] bool, cells that the layer may attend to; and, if body parts are chosen, "chosen" [B, Q, 6].
      captions: one per layer, naming the kind of weights; empty for attention.
      legend: description of the two rows of the drawing, in lines of about 40 characters; empty for attention layers.
    """

    titles: tuple[str, ...]
    cell_px: int | None
    explain: Callable[[Variables, Batch], Mapping[str, Array]]
    captions: tuple[str, ...] = ()
    legend: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Requirement:
    """An input that a configuration of a method cannot omit: a column of the records that must have content.

    Attributes:
      column: "detections" or "pairs" (any row at all), or a column of `schema.RECORD_FIELDS` such as
        "detections_keypoints_px" (any row with content: a scored keypoint, a box with an area, a mask).
      why: its purpose in the method, in a few words.
      bring: the command or option that adds it to the records.
      when: "train", "predict" or "both".
    """

    column: str
    why: str
    bring: str
    when: str = "both"


@dataclasses.dataclass(frozen=True)
class System:
    """One published HOI method.

    Attributes:
      name: its name in the registry and in configs.
      needs_train, needs_predict: names of `schema.BATCH_FIELDS`; the pipeline builds only these.
      init: (key, batch) -> variables. Uses shapes only, never values.
      loss: (variables, batch, key, *, train, axis_name) -> LossOutput. Every random draw is keyed by
        `fold_in(key, example_id)`. `axis_name` is for quantities of the whole batch that the terms depend on, such as
        batch statistics; a loss that uses it cannot be accumulated over micro-batches without `batch_sums`. The terms
        themselves need no reduction.
      predict: (variables, batch) -> predictions of fixed size, in pixels of `batch["image"]`.
      features: (variables, batch) -> [B, y, x, F], a feature map that depends only on `image` and `image_hw_px` and can
        be cached when it is frozen (`data.feature_cache`); None for systems without one.
      attention: maps that explain scores of pairs; None for systems without any.
      requires: inputs that must have content; checked against the records before the first step.
      frozen: patterns of whole parameter paths ("backbone/.*") that receive no gradient. The optimizer skips them too
        (weight decay would change them), and a run must load them, because random frozen weights are useless.
      batch_sums: (variables, batch, key, *, train) -> sums over examples that the loss needs of the whole batch before
        any term, such as counts for class weights. Accumulation adds them up and passes them to the loss as `sums`;
        the loss then ignores `axis_name`. None if the loss needs no such sums.
      start_from: how to obtain initial weights, in a sentence or two; part of the error when they are missing.
    """

    name: str
    needs_train: frozenset[str]
    needs_predict: frozenset[str]
    init: Callable[[Array, Batch], Variables]
    loss: Callable[..., LossOutput]
    predict: Callable[[Variables, Batch], Predictions]
    features: Callable[[Variables, Batch], Array] | None = None
    attention: AttentionMaps | None = None
    requires: tuple[Requirement, ...] = ()
    frozen: tuple[str, ...] = ()
    start_from: str = ""
    batch_sums: Callable[..., Any] | None = None
