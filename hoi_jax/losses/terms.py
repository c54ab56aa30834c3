"""Loss terms as sums and counts, so that a batch can be split over devices and micro-batches with exact results.

The value of a term is sum / count, both taken over the whole batch. Averaging the quotients of parts of the batch (of
devices or micro-batches) would give sparse parts too much weight. Therefore losses return sum and count, and
`training.step`, which has all parts, divides.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from hoi_jax.arrays import ArrayLike


class Term(NamedTuple):
    """One named term of a loss: the sum of `total / count` over its entries (decoder layers, stages; often just one).

    Attributes:
      total: weighted sums over this part of the batch; totals of parts add up to the total of the batch.
      count: this part's contribution to the divisor, without gradient. If the count of the whole batch is 0, the total
        is divided by 1.
      plus: constant added to the count of the whole batch, as in some released code (QPIC: 1e-4 for object boxes).
    """

    total: Float[Array, "*entries"]
    count: Float[Array, "*entries"]
    plus: float | Float[Array, "*entries"] = 0.0

    def over(self, count: Float[ArrayLike, "*entries"]) -> Float[Array, "*entries"]:
        """Quotients of the entries if the count of the whole batch is `count`."""
        count = jax.lax.stop_gradient(count) + self.plus
        return self.total / jnp.where(count > 0, count, 1.0)

    @property
    def entries(self) -> Float[Array, "*entries"]:
        """Values of the entries if this part is the whole batch."""
        return self.over(self.count)

    @property
    def value(self) -> Float[Array, ""]:
        """Value of the term if this part is the whole batch."""
        return jnp.sum(self.entries)

    def scaled(self, weight: float | ArrayLike) -> "Term":
        """The term multiplied by a weight."""
        return self._replace(total=weight * self.total)


def mean_term(values: Float[ArrayLike, "*shape"], valid: Bool[ArrayLike, "*shape"]) -> Term:
    """The mean of `values` over True entries of `valid`; 0 if there are none. Other entries must be finite."""
    return Term(jnp.sum(jnp.where(valid, values, 0.0)), jnp.sum(valid.astype(values.dtype)))


def valid_mean(values: Float[ArrayLike, "*shape"], valid: Bool[ArrayLike, "*shape"]) -> Float[Array, ""]:
    """The value of `mean_term` for these entries alone, such as those of one image."""
    return mean_term(values, valid).value


def stacked(terms: Sequence[Term]) -> Term:
    """Combine terms into one, whose value is the sum of theirs, each divided by its own count."""
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *terms)


def counts_of(terms: Mapping[str, Term]) -> dict[str, Array]:
    """Counts of named terms; add those of all parts to obtain the counts of the batch."""
    return {name: jax.lax.stop_gradient(term.count) for name, term in terms.items()}


def shares(terms: Mapping[str, Term], counts: Mapping[str, Any]) -> dict[str, Float[Array, ""]]:
    """Contribution of this part to the terms' values, given the counts of the whole batch; gradients add likewise."""
    return {name: jnp.sum(term.over(counts[name])) for name, term in terms.items()}
