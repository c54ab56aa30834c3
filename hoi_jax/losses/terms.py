"""Loss terms as a sum and a count, so that a batch can be split over devices and micro-batches and stay one batch.

The value of a term is sum / count with both taken over the whole batch. A part of the batch (one device's, one
micro-batch) knows its own sum and its own count; dividing these alone and averaging would weigh sparse parts too much.
So losses return both, and whoever knows all parts divides: `training.step`.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from hoi_jax.arrays import ArrayLike


class Term(NamedTuple):
    """One named part of a loss: the sum of `total / count` over its entries (decoder layers, stages; often just one).

    Attributes:
      total: sums over this part of the batch, with weights multiplied in. Linear in examples: the total of two parts
        is the sum of theirs.
      count: what the whole batch's total is divided by, of this part alone; no gradient passes through it. Where the
        whole batch's count is 0, the total is divided by 1.
      plus: added to the whole batch's count, as some released codes do (QPIC: 1e-4 for object boxes).
    """

    total: Float[Array, "*entries"]
    count: Float[Array, "*entries"]
    plus: float | Float[Array, "*entries"] = 0.0

    def over(self, count: Float[ArrayLike, "*entries"]) -> Float[Array, "*entries"]:
        """The entries' quotients when the whole batch's count is `count`."""
        count = jax.lax.stop_gradient(count) + self.plus
        return self.total / jnp.where(count > 0, count, 1.0)

    @property
    def entries(self) -> Float[Array, "*entries"]:
        """The entries' values where this part is the whole batch."""
        return self.over(self.count)

    @property
    def value(self) -> Float[Array, ""]:
        """The term's value where this part is the whole batch."""
        return jnp.sum(self.entries)

    def scaled(self, weight: float | ArrayLike) -> "Term":
        """The term times a weight."""
        return self._replace(total=weight * self.total)


def mean_term(values: Float[ArrayLike, "*shape"], valid: Bool[ArrayLike, "*shape"]) -> Term:
    """The mean of `values` over True entries of `valid`; 0 if there are none. Others may be anything finite."""
    return Term(jnp.sum(jnp.where(valid, values, 0.0)), jnp.sum(valid.astype(values.dtype)))


def valid_mean(values: Float[ArrayLike, "*shape"], valid: Bool[ArrayLike, "*shape"]) -> Float[Array, ""]:
    """The value of `mean_term` of these entries alone, such as those of one image."""
    return mean_term(values, valid).value


def stacked(terms: Sequence[Term]) -> Term:
    """One term whose value is the sum of those of `terms`, each divided by its own count."""
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *terms)


def counts_of(terms: Mapping[str, Term]) -> dict[str, Array]:
    """The counts of named terms; those of all parts are to be added."""
    return {name: jax.lax.stop_gradient(term.count) for name, term in terms.items()}


def shares(terms: Mapping[str, Term], counts: Mapping[str, Any]) -> dict[str, Float[Array, ""]]:
    """Contribution of this part to the terms' values, given the counts of the whole batch; gradients add likewise."""
    return {name: jnp.sum(term.over(counts[name])) for name, term in terms.items()}
