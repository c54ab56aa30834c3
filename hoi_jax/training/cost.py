"""Operation and memory counts of programs, from shapes: nothing is computed, and compilation is optional."""

import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn
from jax.interpreters.partial_eval import dce_jaxpr

from hoi_jax.system import System
from hoi_jax.training.optimizer import make_optimizer
from hoi_jax.training.settings import OptimizerSettings
from hoi_jax.training.step import AXIS, make_loss, make_state, make_train_step


@dataclasses.dataclass(frozen=True)
class StepCost:
    """One training step on one device.

    Attributes:
      parameters: numbers in `params`. flops: as `count_flops` counts.
      state_bytes: parameters, slots of the optimiser and the rest of the training state.
      stored_bytes: arrays of the forward pass that its gradient reads, each once. The compiler frees and fuses some of
        them, and needs room for results on the way: a figure to plan with, not a peak.
      planned_bytes: what the compiler sets aside for loss and gradient beside arguments and results, on the device at
        hand; None when it was not asked. CPUs compute bfloat16 in float32 buffers; an accelerator needs less.
    """

    parameters: int
    flops: int
    state_bytes: int
    stored_bytes: int
    planned_bytes: int | None = None


def step_cost(
    system: System,
    settings: OptimizerSettings,
    batch: Mapping[str, Any],
    accumulate: int = 1,
    *,
    compiled: bool = False,
) -> StepCost:
    """The cost of a step with all of `batch` on one device, whose memory holds one of `accumulate` parts at a time.

    With `compiled`, loss and gradient are compiled too (minutes for large images), and never run.
    """
    shapes = {name: jax.ShapeDtypeStruct(value.shape, value.dtype) for name, value in batch.items()}
    part = {name: jax.ShapeDtypeStruct((x.shape[0] // accumulate, *x.shape[1:]), x.dtype) for name, x in shapes.items()}
    variables = jax.eval_shape(system.init, jax.random.key(0), shapes)
    optimizer = make_optimizer(settings, variables["params"], num_steps=1, frozen=system.frozen)
    ema = settings.ema_decay is not None
    state = jax.eval_shape(lambda variables: make_state(variables, optimizer.tx, 0, ema), variables)

    def loss(params: Any, model_state: Any, batch: Mapping[str, Any]) -> Any:
        output = make_loss(system, optimizer.frozen, jax.random.key(0))(params, model_state, batch, None)
        return output.value, output

    arguments = (state.params, state.model_state, part)
    return StepCost(
        parameters=sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(state.params)),
        flops=count_flops(make_train_step(system, optimizer, accumulate), state, shapes),
        state_bytes=_bytes(state),
        stored_bytes=_bytes(jax.eval_shape(_residuals(loss), *arguments)),
        planned_bytes=_planned(loss, arguments) if compiled else None,
    )


def _bytes(tree: Any) -> int:
    return sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))


def _residuals(loss: Callable[..., Any]) -> Callable[..., list[jax.Array]]:
    """Values that the backward pass of `loss` stores, besides its arguments."""

    def residuals(params: Any, *rest: Any) -> list[jax.Array]:
        _, backward, _ = jax.vjp(lambda params: loss(params, *rest), params, has_aux=True)
        arguments = {id(leaf) for leaf in jax.tree.leaves((params, rest))}
        kept = {id(leaf): leaf for leaf in jax.tree.leaves(backward) if id(leaf) not in arguments}
        return [jnp.asarray(leaf) for leaf in kept.values()]

    return residuals


def _planned(loss: Callable[..., Any], arguments: tuple[Any, ...]) -> int:
    plan = jax.jit(jax.value_and_grad(loss, has_aux=True)).lower(*arguments).compile().memory_analysis()
    if plan is None:
        raise RuntimeError("the compiler of this device does not say how much memory it sets aside")
    return plan.temp_size_in_bytes


def count_flops(function: Callable[..., Any], *args: Any) -> int:
    """Floating-point operations of the convolutions and matrix products in one call of `function`.

    A multiplication and its addition are two operations; papers of the field often count them as one. Everything else
    (sums, activations, boxes) is left out, as there. Zeros that stand between the rows of a strided convolution's
    gradient are not counted, those of its padding are; nor is what nobody reads, such as the rest of the pass in which
    accumulation looks for its counts. A loop counts as often as it runs; one that ends by its values (suppression,
    matching) counts once, and of the branches of a condition the largest.

    Args:
      function: may use the axis of devices, which has one of them here.
      args: arrays, or `jax.ShapeDtypeStruct`s in their place.

    >>> import jax.numpy as jnp
    >>> count_flops(lambda a, b: a @ b, jnp.zeros((2, 3)), jnp.zeros((3, 4)))
    48
    """
    jaxpr = jax.make_jaxpr(function, axis_env=[(AXIS, 1)])(*args).jaxpr
    return _of_jaxpr(dce_jaxpr(jaxpr, [True] * len(jaxpr.outvars))[0])


def _of_jaxpr(jaxpr: Jaxpr) -> int:
    return sum(_of_equation(equation) for equation in jaxpr.eqns)


def _of_equation(equation: JaxprEqn) -> int:
    name = equation.primitive.name
    if name == "dot_general":
        return _dot(equation)
    if name == "conv_general_dilated":
        return _convolution(equation)
    inner = [_of_jaxpr(jaxpr) for jaxpr in _inside(equation.params.values())]
    if name == "cond":
        return max(inner)
    return sum(inner) * (equation.params["length"] if name == "scan" else 1)


def _inside(values: Any) -> Iterator[Jaxpr]:
    """The programs among an equation's parameters."""
    for value in values:
        if isinstance(value, ClosedJaxpr):
            yield value.jaxpr
        elif isinstance(value, Jaxpr):
            yield value
        elif isinstance(value, (tuple, list)):
            yield from _inside(value)


def _shape(variable: Any) -> tuple[int, ...]:
    return variable.aval.shape


def _dot(equation: JaxprEqn) -> int:
    (contracted, _), _ = equation.params["dimension_numbers"]
    left = _shape(equation.invars[0])
    return 2 * math.prod(_shape(equation.outvars[0])) * math.prod(left[axis] for axis in contracted)


def _convolution(equation: JaxprEqn) -> int:
    kernel, spec = _shape(equation.invars[1]), equation.params["dimension_numbers"].rhs_spec
    window = math.prod(kernel[axis] for axis in spec[1:])  # input channels of a group, and cells
    taps = 2 * math.prod(_shape(equation.outvars[0])) * window
    return taps // math.prod(equation.params["lhs_dilation"])
