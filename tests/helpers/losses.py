"""Losses in the forms that tests need: value first, or as the share of one device."""

import jax
import jax.numpy as jnp

from hoi_jax.losses.terms import counts_of, shares


def value_and_output(output):
    """(loss, output), as `jax.value_and_grad(..., has_aux=True)` expects."""
    return output.value, output


def entries(terms):
    """Name -> values of the term, one per decoder layer, stage or part."""
    return {name: term.entries for name, term in terms.items()}


def device_share(terms, axis_name):
    """This device's share of a loss; the sum of shares (or gradients) over devices is the loss (or its gradient)."""
    counts = counts_of(terms) if axis_name is None else jax.lax.psum(counts_of(terms), axis_name)
    return sum(shares(terms, counts).values(), jnp.zeros(()))
