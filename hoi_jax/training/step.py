"""The training state and one training step per device: loss, gradients, update, finite checks."""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any, no_type_check

import flax.struct
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array

from hoi_jax.losses.terms import counts_of, shares
from hoi_jax.system import Batch, LossOutput, System
from hoi_jax.training.accumulate import accumulated_gradients
from hoi_jax.training.optimizer import Optimizer, path_name

AXIS = "batch"

Params = Mapping[str, Any]
"""Nested mappings of arrays by name, as in linen."""


@no_type_check
class TrainState(flax.struct.PyTreeNode):
    """Contents of a checkpoint, and the input and output of a step.

    Fields are not checked at run time, because on the host they are NumPy arrays and tree functions may replace them by
    other objects.

    Attributes:
      step: int32[], completed updates; also the position in the data.
      params: nested dict, float32.
      model_state: the mutable collections, e.g. {"batch_stats": ...}; {} for models without any.
      opt_state: state of the optax transformation.
      ema_params: averaged parameters, like params, or None if no average is kept.
      key: uint32[2], key data of the run's root key; step s draws from fold_in(root, s).
      healthy: bool[]; False once a loss, gradient or parameter was not finite. From then on steps change no other
        field, so that they keep the values of the last good step.
    """

    step: Array
    params: Params
    model_state: Mapping[str, Params]
    opt_state: optax.OptState
    ema_params: Params | None
    key: Array
    healthy: Array


def init_variables(system: System, seed: int, batch: Mapping[str, Any]) -> dict[str, Any]:
    """Initial variables, made on one device from the seed alone, so that they do not depend on the device count."""
    key = jax.random.fold_in(jax.random.key(seed), 0x1217)
    return dict(jax.jit(system.init)(key, {name: jnp.asarray(value) for name, value in batch.items()}))


def make_state(variables: dict[str, Any], tx: optax.GradientTransformation, seed: int, ema: bool) -> TrainState:
    """The state before the first step. Raises ValueError if a parameter is not float32."""
    params = variables["params"]
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        if leaf.dtype != jnp.float32:
            raise ValueError(f"parameter {jax.tree_util.keystr(path)} is {leaf.dtype}, expected float32")
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        params=params,
        model_state={name: value for name, value in variables.items() if name != "params"},
        opt_state=tx.init(params),
        ema_params=jax.tree.map(jnp.copy, params) if ema else None,
        key=jax.random.key_data(jax.random.key(seed)),
        healthy=jnp.ones((), bool),
    )


def evaluation_variables(state: TrainState) -> dict[str, Any]:
    """Variables for prediction, with the averaged parameters if they are kept."""
    params = state.params if state.ema_params is None else state.ema_params
    return {"params": params, **state.model_state}


StepReport = dict[str, Any]
"""{"metrics": {name: float32[]}, "nonfinite": {kind: {name: bool[]}}, "healthy": bool[]}."""
TrainStep = Callable[[TrainState, Batch], tuple[TrainState, StepReport]]


def step_key(root_key_data: Array, step: Array) -> Array:
    """The typed key of one step; systems fold `example_id` into it."""
    return jax.random.fold_in(jax.random.wrap_key_data(root_key_data), step)


def _nonfinite_groups(tree: Any, depth: int = 2) -> dict[str, Array]:
    """One flag per group of leaves that share the first `depth` names of their path."""
    flags: dict[str, Array] = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        name = path_name(path[:depth])
        bad = jnp.logical_not(jnp.all(jnp.isfinite(leaf)))
        flags[name] = jnp.logical_or(flags[name], bad) if name in flags else bad
    return flags


def make_loss(system: System, frozen: Any, key: Array) -> Callable[..., LossOutput]:
    """Return (params, model state, batch, axis name, sums) -> LossOutput, with all of the state.

    Gradients to `frozen` parameters are stopped. The function raises TypeError if a term is not float32.
    """

    def loss(params: Any, model_state: Any, batch: Batch, axis_name: Any, sums: Any = None) -> LossOutput:
        params = jax.tree.map(lambda p, stop: jax.lax.stop_gradient(p) if stop else p, params, frozen)
        more = {} if sums is None else {"sums": sums}
        output = system.loss({"params": params, **model_state}, batch, key, train=True, axis_name=axis_name, **more)
        for name, term in output.terms.items():
            if term.total.dtype != jnp.float32:
                raise TypeError(f"system {system.name!r}: loss term {name!r} is {term.total.dtype}, expected float32")
        return dataclasses.replace(output, state={**model_state, **output.state})

    return loss


def make_gradients(
    system: System, optimizer: Optimizer, accumulate: int = 1, axis_name: str = AXIS
) -> Callable[[TrainState, Batch], tuple[Array, dict[str, Array], Any, Any]]:
    """Return (state, batch of this device) -> (loss, values of terms, new model state, gradients) of all devices."""

    def gradients(state: TrainState, batch: Batch) -> tuple[Array, dict[str, Array], Any, Any]:
        key = step_key(state.key, state.step)
        loss = make_loss(system, optimizer.frozen, key)

        def share(params: Any) -> tuple[Array, tuple[dict[str, Array], Any]]:
            output = loss(params, state.model_state, batch, axis_name)
            parts = shares(output.terms, jax.lax.psum(counts_of(output.terms), axis_name))
            return sum(parts.values(), jnp.zeros(())), (parts, output.state)

        if accumulate > 1:
            sums = system.batch_sums and functools.partial(
                system.batch_sums, {"params": state.params, **state.model_state}, key=key, train=True
            )
            terms, model_state, grads = accumulated_gradients(
                loss, state.params, state.model_state, batch, accumulate, axis_name, sums
            )
        else:
            grads, (terms, model_state) = jax.grad(share, has_aux=True)(state.params)
        terms, grads = jax.lax.psum((terms, grads), axis_name)
        return sum(terms.values(), jnp.zeros(())), terms, jax.lax.pmean(model_state, axis_name), grads

    return gradients


def make_train_step(system: System, optimizer: Optimizer, accumulate: int = 1, axis_name: str = AXIS) -> TrainStep:
    """Return the per-device step, which `Parallel.compile_step` runs on all devices with the named axis bound.

    A step with a non-finite loss, gradient or new parameter changes nothing but `healthy`, and so do all later steps,
    so that the host can check one step late and still has the last good state.
    """
    gradients = make_gradients(system, optimizer, accumulate, axis_name)

    def step(state: TrainState, batch: Batch) -> tuple[TrainState, StepReport]:
        loss, terms, model_state, grads = gradients(state, batch)
        updates, opt_state = optimizer.tx.update(grads, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        nonfinite = {
            "loss": {name: ~jnp.isfinite(value) for name, value in {**terms, "(total)": loss}.items()},
            "gradient": _nonfinite_groups(grads),
            "updated parameter": _nonfinite_groups(params),
            "model state": _nonfinite_groups(model_state),
        }
        # A sum, because XLA would repeat a chain of "or" in the update of every parameter, which triples compile time.
        flags = jnp.stack(jax.tree.leaves(nonfinite)).astype(jnp.float32)
        healthy = state.healthy & (jnp.dot(flags, jnp.ones_like(flags)) == 0)
        metrics = {f"loss/{name}": value for name, value in terms.items()}
        metrics |= {
            "loss": loss,
            "gradient_norm": optax.tree.norm(grads),
            "learning_rate": optimizer.learning_rate(state.step),
        }
        new = state.replace(
            step=state.step + 1,
            params=params,
            model_state=model_state,
            opt_state=opt_state,
            ema_params=_average(state.ema_params, params, optimizer),
        )
        kept = jax.tree.map(lambda fresh, old: jnp.where(healthy, fresh, old), new, state)
        report = {"metrics": metrics, "nonfinite": nonfinite, "healthy": healthy}
        return kept.replace(healthy=healthy), report

    return step


def _average(ema: Any, params: Any, optimizer: Optimizer) -> Any:
    decay = optimizer.ema_decay
    if decay is None:
        return ema
    # Frozen parameters are copied, so that their average is bit-identical.
    return jax.tree.map(lambda e, p, stop: p if stop else decay * e + (1.0 - decay) * p, ema, params, optimizer.frozen)
