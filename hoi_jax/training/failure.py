"""Handling of non-finite values: their location, a dump of the batch, and an error."""

from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.core
import jax.numpy as jnp
import numpy as np

from hoi_jax.io import write_bytes_atomic
from hoi_jax.system import System
from hoi_jax.training.step import TrainState, step_key


class NonFiniteError(FloatingPointError):
    """A loss, gradient, parameter or statistic became NaN or infinite.

    Attributes:
      step: number of the update that was not applied (1-based, as in the logs).
      where: the first non-finite object, such as "loss term 'verbs'" or "layer 'encoder/dense'".
      batch_path: npz file with this process's part of the batch.
    """

    def __init__(self, step: int, where: str, batch_path: Path, details: str):
        super().__init__(f"step {step}: {where} is not finite; {details}. The batch was saved to {batch_path}")
        self.step, self.where, self.batch_path = step, where, batch_path


class _FoundLayer(Exception):
    def __init__(self, path: str):
        self.path = path


def _is_nonfinite(tree: Any) -> bool:
    for leaf in jax.tree.leaves(tree):
        if isinstance(leaf, jax.core.Tracer):  # inside scan or jit; the enclosing layer is checked instead
            return False
        if jnp.issubdtype(jnp.result_type(leaf), jnp.inexact) and not bool(jnp.all(jnp.isfinite(leaf))):
            return True
    return False


def first_nonfinite_layer(
    system: System, variables: Mapping[str, Any], batch: Mapping[str, np.ndarray], key: jax.Array
) -> str | None:
    """Run the loss, uncompiled, and return the path of the first module with a non-finite output.

    The result is None if the outputs of all modules are finite (the cause is in the loss itself or the backward pass).
    """

    def watch(call: Any, args: Any, kwargs: Any, context: Any) -> Any:
        out = call(*args, **kwargs)
        # Methods such as setup() return None. Inner modules return before outer ones, so the first found is innermost.
        if _is_nonfinite(out) and not _is_nonfinite((args, kwargs)):
            raise _FoundLayer("/".join(context.module.path) or type(context.module).__name__)
        return out

    device_batch = {name: jnp.asarray(value) for name, value in batch.items()}
    try:
        with nn.intercept_methods(watch):
            system.loss(variables, device_batch, key, train=True, axis_name=None)
    except _FoundLayer as found:
        return found.path
    return None


def nonfinite_names(report: Mapping[str, Mapping[str, Any]]) -> dict[str, list[str]]:
    """Non-finite names by kind, {"loss": [...], "gradient": [...], ...}, in the order of computation."""
    order = ("loss", "gradient", "updated parameter", "model state")
    found = {kind: [name for name, bad in report[kind].items() if bool(bad)] for kind in order}
    return {kind: names for kind, names in found.items() if names}


def stop_on_nonfinite(
    system: System,
    state: TrainState,
    batch: Mapping[str, np.ndarray],
    nonfinite: Mapping[str, Mapping[str, Any]],
    workdir: Path,
    process: int,
) -> NonFiniteError:
    """Save the batch and return the error to raise; `state` is the last good one, on the host."""
    step = int(state.step) + 1
    buffer = BytesIO()
    arrays: dict[str, Any] = {name: np.asarray(value) for name, value in batch.items()}
    np.savez(buffer, allow_pickle=False, **arrays)
    path = workdir / f"nonfinite_step_{step}_process_{process}.npz"
    write_bytes_atomic(path, buffer.getvalue())
    flagged = nonfinite_names(nonfinite)
    details = "; ".join(f"{kind}: {', '.join(names[:8])}" for kind, names in flagged.items())
    kind, names = next(iter(flagged.items()))
    terms = [name for name in names if name != "(total)"]
    where = f"loss term {terms[0]!r}" if kind == "loss" and terms else f"{kind} {names[0]!r}"
    layer = None
    if kind == "loss":
        variables = {"params": state.params, **state.model_state}
        layer = first_nonfinite_layer(
            system, variables, batch, step_key(jnp.asarray(state.key), jnp.asarray(state.step))
        )
    if layer is not None:
        where = f"layer {layer!r} (then {where})"
    return NonFiniteError(step, where, path, f"flagged: {details}")
