"""Losses as tests want them: with the value in front, and as one device of several has it."""

import jax
import jax.numpy as jnp

from hoi_jax.losses.terms import counts_of, shares


def value_and_output(output):
    """(loss, output): what `jax.value_and_grad(..., has_aux=True)` takes."""
    return output.value, output


def entries(terms):
    """{name: the term's values, one per decoder layer, stage or part}."""
    return {name: term.entries for name, term in terms.items()}


def device_share(terms, axis_name):
    """This device's share of a loss; shares and their gradients are to be added over devices."""
    counts = counts_of(terms) if axis_name is None else jax.lax.psum(counts_of(terms), axis_name)
    return sum(shares(terms, counts).values(), jnp.zeros(()))
