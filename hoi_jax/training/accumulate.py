"""Exact gradient accumulation: micro-batches are processed in turn and normalised as one batch.

Terms of a loss are sums and counts (`losses.terms`). A first pass adds up the counts of all micro-batches of all
devices; if they depend on labels alone, the compiler removes the network from that pass. The second pass adds up each
micro-batch's share of the loss and of its gradient, given these counts. If terms need more of the whole batch than
counts, such as class weights computed from it, `System.batch_sums` are added up before both passes.

Results are exact if examples interact in these sums only. A loss that uses the device axis itself (synchronised batch
statistics) would see one micro-batch at a time and raises an error. Every micro-batch starts from the same mutable
collections, and the new ones are averaged, which is exact if they are averages.
"""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from hoi_jax.losses.terms import counts_of, shares
from hoi_jax.settings import SettingsError
from hoi_jax.system import Batch, LossOutput

UPDATE = "all micro-batches of all devices"
"""Axis name passed to the loss of micro-batches. It is not bound, so that any use of it raises an error."""


class AccumulationError(SettingsError):
    """The loss cannot be accumulated exactly."""


def split_batch(batch: Batch, count: int) -> dict[str, Any]:
    """Reshape fields [b, ...] to [count, b / count, ...]. Raises ValueError if b is not a multiple of count."""
    size = len(next(iter(batch.values())))
    if size % count:
        raise ValueError(f"accumulate is {count}, which does not divide the {size} examples per device")
    return {name: value.reshape((count, size // count) + value.shape[1:]) for name, value in batch.items()}


def accumulated_gradients(
    loss: Callable[..., LossOutput],
    params: Any,
    model_state: Mapping[str, Any],
    batch: Batch,
    count: int,
    axis_name: str,
    batch_sums: Callable[..., Any] | None = None,
) -> tuple[dict[str, Any], Any, Any]:
    """Compute loss and gradients of this device's batch in `count` micro-batches.

    Args:
      loss: (params, model state, batch, axis name, batch sums) -> LossOutput.
      batch: [b, ...] per field, b divisible by count.
      batch_sums: batch -> sums over its examples that the loss needs of the whole batch (`System.batch_sums`).

    Returns:
      (shares of the terms' values, new model state, gradients); add shares and gradients over devices, and average the
      model state.

    Raises:
      AccumulationError: the loss uses the device axis.
      ValueError: b is not a multiple of count.
    """
    micro = split_batch(batch, count)

    def output_of(params: Any, part: Batch) -> LossOutput:
        try:
            return loss(params, model_state, part, UPDATE, sums)
        except NameError as error:
            if UPDATE not in str(error):
                raise
            raise AccumulationError(
                "train.accumulate: the loss needs the whole batch at once, for example for synchronised batch "
                "statistics, and cannot be computed on micro-batches; set accumulate to 1"
            ) from error

    def share(params: Any, part: Batch, counts: Mapping[str, Any]) -> tuple[Any, tuple[dict[str, Any], Any]]:
        output = output_of(params, part)
        parts = shares(output.terms, counts)
        return sum(parts.values()), (parts, output.state)

    def total(of_part: Callable[[Batch], Any]) -> Any:
        _, parts = jax.lax.scan(lambda _, part: (None, of_part(part)), None, micro)
        return jax.lax.psum(jax.tree.map(lambda x: jnp.sum(x, axis=0), parts), axis_name)

    def add_gradients(summed: Any, part: Batch) -> tuple[Any, tuple[dict[str, Any], Any]]:
        gradients, output = jax.grad(share, has_aux=True)(params, part, counts)
        return jax.tree.map(jnp.add, summed, gradients), output

    sums = None if batch_sums is None else total(batch_sums)
    counts = total(lambda part: counts_of(output_of(params, part).terms))
    gradients, (parts, states) = jax.lax.scan(add_gradients, jax.tree.map(jnp.zeros_like, params), micro)
    state = jax.tree.map(lambda x: jnp.mean(x, axis=0).astype(x.dtype), states)
    return jax.tree.map(lambda x: jnp.sum(x, axis=0), parts), state, gradients
