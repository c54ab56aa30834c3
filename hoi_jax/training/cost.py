"""Operation and memory counts of programs, from shapes alone; nothing is executed, and compilation is optional."""

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
    """Cost of one training step on one device.

    Attributes:
      parameters: number of parameters.
      flops: operations, counted by `count_flops`.
      state_bytes: size of parameters, optimizer state and the rest of the training state.
      stored_bytes: size of the arrays of the forward pass that its gradient reads. The compiler frees and fuses some of
        them and needs memory for intermediate results, so this is an estimate for planning, not the peak.
      planned_bytes: memory that the compiler allocates for loss and gradient in addition to arguments and results, on
        the current device; None if not compiled. CPUs use float32 buffers for bfloat16; an accelerator needs less.
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
    """The cost of a step with all of `batch` on one device, in `accumulate` micro-batches.

    With `compiled`, loss and gradient are also compiled (minutes for large images), but not run.
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
    """Return a function that gives the values stored for the backward pass of `loss`, without its arguments."""

    def residuals(params: Any, *rest: Any) -> list[jax.Array]:
        _, backward, _ = jax.vjp(lambda params: loss(params, *rest), params, has_aux=True)
        arguments = {id(leaf) for leaf in jax.tree.leaves((params, rest))}
        kept = {id(leaf): leaf for leaf in jax.tree.leaves(backward) if id(leaf) not in arguments}
        return [jnp.asarray(leaf) for leaf in kept.values()]

    return residuals


def _planned(loss: Callable[..., Any], arguments: tuple[Any, ...]) -> int:
    plan = jax.jit(jax.value_and_grad(loss, has_aux=True)).lower(*arguments).compile().memory_analysis()
    if plan is None:
        raise RuntimeError("the compiler of this device does not report how much memory it allocates")
    return plan.temp_size_in_bytes


def count_flops(function: Callable[..., Any], *args: Any) -> int:
    """Floating-point operations of the convolutions and matrix products in one call of `function`.

    A multiplication and its addition are two operations; papers often count them as one. Other operations (sums,
    activations, boxes) are not counted, as in papers. In the gradient of a strided convolution, zeros between rows are
    not counted, but zeros of its padding are. Operations with unused results, such as the network in accumulation's
    first pass, are not counted. The body of a loop is counted once per iteration; that of a loop with data-dependent
    length (suppression, matching) once. Of the branches of a condition the largest is counted.

    Args:
      function: it may use the device axis, which has size one here.
      args: arrays or `jax.ShapeDtypeStruct`s.

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
    """The jaxprs among an equation's parameters."""
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
