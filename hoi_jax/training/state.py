"""Everything that changes while training, and nothing else."""

from collections.abc import Mapping
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import optax

from hoi_jax.system import System


class TrainState(flax.struct.PyTreeNode):
    """What a checkpoint holds and a step maps to its successor.

    Fields are arrays on devices or on the host, or whatever a tree function puts in their place; hence `Any`.

    Attributes:
      step: int32[], completed updates; also the position in the data.
      params: nested dict, float32.
      model_state: the mutable collections, e.g. {"batch_stats": ...}; {} for models without any.
      opt_state: of the optax transformation.
      ema_params: like params, or None when no average is kept.
      key: uint32[2], key data of the run's root key; step s draws from fold_in(root, s).
      healthy: bool[]; False once a loss, gradient or parameter was not finite. From then on steps change nothing,
        so the other fields stay those of the last good step.
    """

    step: Any
    params: Any
    model_state: Any
    opt_state: Any
    ema_params: Any
    key: Any
    healthy: Any


def init_variables(system: System, seed: int, batch: Mapping[str, Any]) -> dict[str, Any]:
    """First variables, on one device from the seed alone, so that they do not depend on the device count."""
    key = jax.random.fold_in(jax.random.key(seed), 0x1217)
    return dict(jax.jit(system.init)(key, {name: jnp.asarray(value) for name, value in batch.items()}))


def make_state(variables: dict[str, Any], tx: optax.GradientTransformation, seed: int, ema: bool) -> TrainState:
    """The state before the first step. Raises ValueError when a parameter is not float32."""
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
    """Variables to predict with: the averaged parameters where they are kept."""
    params = state.params if state.ema_params is None else state.ema_params
    return {"params": params, **state.model_state}
