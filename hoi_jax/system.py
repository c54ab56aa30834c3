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
      terms: named terms, whose values add up to the loss. Each is a sum and a count over the examples that the loss was
        given; whoever knows the rest of the batch divides (`losses.terms`).
      state: new values of the mutable collections (empty for models without any).
    """

    terms: Mapping[str, Term]
    state: Mapping[str, Any]

    @property
    def values(self) -> dict[str, Array]:
        """The terms' values where the loss was given the whole batch."""
        return {name: term.value for name, term in self.terms.items()}

    @property
    def value(self) -> Array:
        """The loss where it was given the whole batch."""
        return sum(self.values.values(), jnp.zeros(()))


jax.tree_util.register_dataclass(LossOutput, data_fields=["terms", "state"], meta_fields=[])


@dataclasses.dataclass(frozen=True)
class AttentionMaps:
    """Maps that explain the scores of pairs, such as attention; the rows are those of `predict`.

    Attributes:
      titles: one per layer shown, L: the cells that it may attend to.
      cell_px: side of a cell in pixels of `batch["image"]`; None: the cells cover the unpadded image.
      explain: (variables, batch) -> "weights" [B, Q, L, h, w], such as attention, mean over heads; "allowed"
        [B, Q, L, h, w] bool, cells that the layer may attend to; and, where body parts are chosen, "chosen" [B, Q, 6].
      captions: one per layer: what the weights are; empty: attention.
      legend: what the two rows of the drawing are, in lines of some 40 characters; empty: those of attention layers.
    """

    titles: tuple[str, ...]
    cell_px: int | None
    explain: Callable[[Variables, Batch], Mapping[str, Array]]
    captions: tuple[str, ...] = ()
    legend: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Requirement:
    """An input without which a configuration is another method: a column of the records that must have content.

    Attributes:
      column: "detections" or "pairs" (any row at all), or a column of `schema.RECORD_FIELDS` such as
        "detections_keypoints_px" (any row with content: a scored keypoint, a box with an area, a mask).
      why: what the method does with it, in a few words.
      bring: the command, or the option of one, that brings it.
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
      name: as in the registry and in configs.
      needs_train, needs_predict: names of `schema.BATCH_FIELDS`; the pipeline builds only these.
      init: (key, batch) -> variables. Uses shapes only, never values.
      loss: (variables, batch, key, *, train, axis_name) -> LossOutput. Every random draw is keyed by
        `fold_in(key, example_id)`. `axis_name` is for what needs the whole batch before its terms (batch statistics);
        a loss that uses it cannot be accumulated over micro-batches, unless there are `batch_sums`. Terms do not
        need it.
      predict: (variables, batch) -> predictions of fixed size, in pixels of `batch["image"]`.
      features: (variables, batch) -> [B, y, x, F], what depends on `image` and `image_hw_px` alone and may be stored
        when it is frozen (`data.feature_cache`); None for systems without such a part.
      attention: maps that explain scores of pairs; None for systems without any.
      requires: inputs that must have content; checked against the records before the first step.
      frozen: patterns of whole parameter paths ("backbone/.*") that the model passes no gradient to. The optimiser
        leaves them alone too (weight decay would move them), and a run must load them: random numbers teach nothing.
      batch_sums: (variables, batch, key, *, train) -> sums over examples that the loss needs of the whole batch before
        any term, such as counts that make class weights. Accumulation adds them up and hands them to the loss as
        `sums`, which then leaves `axis_name` alone. None: the terms' counts are all that is shared.
      start_from: how to get weights to start from, in a sentence or two; part of the error when they are missing.
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
