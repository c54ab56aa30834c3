"""Exact gradient accumulation: micro-batches one after the other, normalised as if they were one batch.

A loss normalises by counts that it averages over the named device axis. Summing micro-batches that each use their own
count would weigh sparse micro-batches too much. So the loss is traced with a named axis "micro" that stands for all
micro-batches of all devices: first the averaged quantities of all micro-batches are computed alone (everything else of
that pass is dead code to the compiler), then each micro-batch's loss is evaluated with the totals put in their place.
The mean of the micro-batch losses is then the loss of the whole batch, and so are the gradients.

Exact as long as what is averaged depends neither differentiably on parameters (synchronised BatchNorm) nor on another
average, and lies outside scan, while, cond and remat; anything else is refused by name. Every micro-batch starts from
the same mutable collections, and the new ones are averaged: exact where they are averages over devices themselves.
"""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend import core

from hoi_jax.settings import SettingsError

MICRO = "micro"
_INLINED = ("jit", "pjit", "closed_call", "core_call")


class AccumulationError(SettingsError):
    """The loss cannot be accumulated exactly."""


def _uses_micro(params: Mapping[str, Any]) -> bool:
    for name in ("axes", "axis_name", "axis_index_groups"):
        value = params.get(name)
        if value == MICRO or (isinstance(value, tuple) and MICRO in value):
            return True
    return any(_uses_micro(eqn.params) for inner in _inner(params) for eqn in inner.eqns)


def _inner(params: Mapping[str, Any]) -> list[Any]:
    found = []
    for value in params.values():
        for item in value if isinstance(value, tuple | list) else (value,):
            inner = getattr(item, "jaxpr", item)
            if hasattr(inner, "eqns"):
                found.append(inner)
    return found


def _evaluate(jaxpr: Any, consts: Any, args: Any, average: Callable[[Any, list[Any]], list[Any]]) -> list[Any]:
    """Evaluates a jaxpr, handing every sum over "micro" to `average(equation, operands)`."""
    values: dict[Any, Any] = dict(zip(jaxpr.constvars, consts, strict=True))
    values.update(zip(jaxpr.invars, args, strict=True))
    for eqn in jaxpr.eqns:
        operands = [v.val if isinstance(v, core.Literal) else values[v] for v in eqn.invars]
        if not _uses_micro(eqn.params):
            out = eqn.primitive.bind(*operands, **_bind_params(eqn))
            results = list(out) if eqn.primitive.multiple_results else [out]
        elif eqn.primitive.name in _INLINED:
            closed = eqn.params["jaxpr"]
            results = _evaluate(closed.jaxpr, closed.consts, operands, average)
        else:
            results = average(eqn, operands)
        values.update(zip(eqn.outvars, results, strict=True))
    return [v.val if isinstance(v, core.Literal) else values[v] for v in jaxpr.outvars]


def _bind_params(eqn: Any) -> dict[str, Any]:
    # custom_jvp and friends carry jaxprs where bind wants functions; the primitive knows how to turn them back.
    params = eqn.primitive.get_bind_params(eqn.params)
    return params[1] if isinstance(params, tuple) else params


def _check(jaxpr: Any, differentiable: list[bool], averaged: list[bool]) -> tuple[list[bool], list[bool]]:
    """Follows which values depend differentiably on parameters, and which on an average over "micro"."""
    grad = dict(zip(jaxpr.invars, differentiable, strict=True))
    mean = dict(zip(jaxpr.invars, averaged, strict=True))
    for eqn in jaxpr.eqns:
        flags = [(grad.get(v, False), mean.get(v, False)) for v in eqn.invars if not isinstance(v, core.Literal)]
        g, m = any(f[0] for f in flags), any(f[1] for f in flags)
        if not _uses_micro(eqn.params):
            outs_g, outs_m = [g] * len(eqn.outvars), [m] * len(eqn.outvars)
        elif eqn.primitive.name in _INLINED:
            pairs = [
                (False, False) if isinstance(v, core.Literal) else (grad.get(v, False), mean.get(v, False))
                for v in eqn.invars
            ]
            outs_g, outs_m = _check(eqn.params["jaxpr"].jaxpr, [p[0] for p in pairs], [p[1] for p in pairs])
        elif eqn.primitive.name != "psum":
            raise AccumulationError(
                f"gradient accumulation: the loss uses {eqn.primitive.name!r} over the device axis; only psum and "
                "pmean outside loops and remat can be accumulated exactly"
            )
        elif g or m:
            what = "parameters (synchronised normalisation?)" if g else "another average over devices"
            raise AccumulationError(f"gradient accumulation: an average over devices depends on {what}")
        else:
            outs_g, outs_m = [False] * len(eqn.outvars), [True] * len(eqn.outvars)
        for var, out_g, out_m in zip(eqn.outvars, outs_g, outs_m, strict=True):
            grad[var] = out_g and jnp.issubdtype(var.aval.dtype, jnp.inexact)
            mean[var] = out_m
    read = [(grad.get(v, False), mean.get(v, False)) if not isinstance(v, core.Literal) else (False, False)
            for v in jaxpr.outvars]  # fmt: skip
    return [r[0] for r in read], [r[1] for r in read]


def split_batch(batch: Mapping[str, Any], count: int) -> dict[str, Any]:
    """[b, ...] -> [count, b / count, ...] per field. Raises ValueError when count does not divide b."""
    size = len(next(iter(batch.values())))
    if size % count:
        raise ValueError(f"accumulate is {count}, which does not divide the {size} examples of a device")
    return {name: value.reshape((count, size // count) + value.shape[1:]) for name, value in batch.items()}


def accumulated_value_and_grad(
    loss: Callable[..., tuple[Any, Any]], params: Any, state: Any, batch: Mapping[str, Any], count: int, axis_name: str
) -> tuple[tuple[Any, Any, Any], Any]:
    """Value and gradient of a loss over `count` micro-batches of this device's batch.

    Args:
      loss: (params, state, batch, axis name) -> (loss, (terms, new state)).
      batch: [b, ...] per field, b divisible by count.
    Returns:
      ((loss, terms, state), gradients), the means over micro-batches. Raises AccumulationError (see the module).
    """
    micro = split_batch(batch, count)
    first = {name: value[0] for name, value in micro.items()}
    closed, shape = jax.make_jaxpr(
        lambda p, s, b: loss(p, s, b, MICRO),
        axis_env=[(MICRO, count * jax.lax.axis_size(axis_name))],
        return_shape=True,
    )(params, state, first)
    tree = jax.tree.structure(shape)
    parts = [jax.tree.leaves(part) for part in (params, state, first)]
    _check(closed.jaxpr, [i == 0 for i, part in enumerate(parts) for _ in part], [False] * sum(map(len, parts)))

    def run(p: Any, s: Any, b: Any, average: Callable[[Any, list[Any]], list[Any]]) -> Any:
        return jax.tree.unflatten(tree, _evaluate(closed.jaxpr, closed.consts, jax.tree.leaves((p, s, b)), average))

    def counts_of(_: None, b: Any) -> tuple[None, list[Any]]:
        seen: list[Any] = []

        def collect(eqn: Any, operands: list[Any]) -> list[Any]:
            seen.extend(operands)
            return operands

        run(params, state, b, collect)
        return None, seen

    _, counts = jax.lax.scan(counts_of, None, micro)
    totals = [jax.lax.psum(jnp.sum(c, axis=0, dtype=c.dtype), axis_name) for c in counts]

    def value(p: Any, s: Any, b: Any) -> Any:
        remaining = list(totals)

        def replace(eqn: Any, operands: list[Any]) -> list[Any]:
            return [remaining.pop(0) for _ in operands]

        return run(p, s, b, replace)

    def one(grads: Any, b: Any) -> tuple[Any, Any]:
        (total, (terms, new)), g = jax.value_and_grad(value, has_aux=True)(params, state, b)
        return jax.tree.map(jnp.add, grads, g), (total, terms, new)

    zeros = jax.tree.map(jnp.zeros_like, params)
    grads, outputs = jax.lax.scan(one, zeros, micro)
    means = jax.tree.map(lambda x: jnp.mean(x, axis=0).astype(x.dtype), outputs)
    return means, jax.tree.map(lambda g: g / count, grads)
