"""Optimizers whose parameter groups are selected by name patterns."""

import dataclasses
import math
import re
from collections.abc import Hashable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax

from hoi_jax.training.schedules import Schedule, make_schedule
from hoi_jax.training.settings import OptimizerSettings, ParameterRule


class RuleError(ValueError):
    """A parameter matches no rule, or a rule matches no parameter."""


@dataclasses.dataclass(frozen=True)
class Optimizer:
    """An optax transformation with further settings of the step.

    Attributes:
      tx: gradients -> updates.
      frozen: tree of bools like the parameters; the step stops gradients where True.
      learning_rate: step -> the base learning rate, for logs.
      ema_decay: decay of the parameter average, or None.
    """

    tx: optax.GradientTransformation
    frozen: Any
    learning_rate: Schedule
    ema_decay: float | None


def path_name(path: tuple[Any, ...]) -> str:
    """Convert a key path of `jax.tree_util` to "a/b/c"."""
    return "/".join(str(getattr(key, "key", getattr(key, "name", getattr(key, "idx", key)))) for key in path)


def match_rules(rules: tuple[ParameterRule, ...], params: Any) -> Any:
    """Tree like `params` with the index of the first rule that matches each parameter's whole path.

    Raises:
      RuleError: a parameter has no rule, or a rule is no parameter's first match; the message names them.
    """
    compiled = [re.compile(rule.pattern) for rule in rules]
    unmatched: list[str] = []

    def first_match(path: tuple[Any, ...], _: Any) -> int:
        name = path_name(path)
        for index, pattern in enumerate(compiled):
            if pattern.fullmatch(name):
                return index
        unmatched.append(name)
        return -1

    labels = jax.tree_util.tree_map_with_path(first_match, params)
    if unmatched:
        raise RuleError(f"no optimizer rule matches the parameters {unmatched}; rules: {[r.pattern for r in rules]}")
    unused = [rule.pattern for i, rule in enumerate(rules) if i not in set(jax.tree.leaves(labels))]
    if unused:
        raise RuleError(f"the optimizer rules {unused} match no parameter (or only those matched by earlier rules)")
    return labels


def clip_by_leaf_norm(max_norm: float) -> optax.GradientTransformation:
    """Return a transformation that scales every leaf by its own factor so that its norm is at most `max_norm`."""

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        def clip(g: jax.Array) -> jax.Array:
            norm = jnp.sqrt(jnp.sum(jnp.square(g)))
            return g * jnp.minimum(1.0, max_norm / jnp.maximum(norm, 1e-16))

        return jax.tree.map(clip, updates), state

    return optax.GradientTransformation(lambda params: optax.EmptyState(), update)


def scale_by_adam(b1: float, b2: float, eps: float) -> optax.GradientTransformation:
    """Adam (Kingma & Ba 2015) with the state of `optax.scale_by_adam` and bias corrections exact to float32 rounding.

    optax computes 1 - decay ** count from the float32 value of 0.999, which is 1.3e-5 too small after the first update
    and makes the first steps 6e-6 too long. PyTorch computes it in double precision; comparisons with the authors'
    training show the difference (`tests/golden/test_trajectories.py`).
    """
    init = optax.scale_by_adam(b1, b2, eps).init

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        mu = jax.tree.map(lambda m, g: b1 * m + (1 - b1) * g, state.mu, updates)
        nu = jax.tree.map(lambda v, g: b2 * v + (1 - b2) * jnp.square(g), state.nu, updates)
        count = optax.safe_increment(state.count)
        # The logarithm is computed in double precision on the host; expm1 avoids the rounding error of 1 - b ** count.
        first, second = (-jnp.expm1(count * math.log(b)) if b else jnp.float32(1.0) for b in (b1, b2))
        steps = jax.tree.map(lambda m, v: (m / first) / (jnp.sqrt(v / second) + eps), mu, nu)
        return steps, state._replace(count=count, mu=mu, nu=nu)

    return optax.GradientTransformation(init, update)


def _group(settings: OptimizerSettings, rule: ParameterRule, schedule: Schedule) -> optax.GradientTransformation:
    if rule.frozen:
        return optax.set_to_zero()
    base = settings.learning_rate if rule.learning_rate is None else rule.learning_rate
    peak = base * rule.multiplier
    decay = settings.weight_decay if rule.weight_decay is None else rule.weight_decay
    decayed = [optax.add_decayed_weights(decay)] if decay else []
    scale = optax.scale_by_learning_rate(lambda count: peak * schedule(jnp.asarray(count)))
    if settings.name == "adamw":
        adam = scale_by_adam(settings.b1, settings.b2, settings.eps)
        return optax.chain(adam, *decayed, scale)
    trace = [optax.trace(settings.momentum, settings.nesterov)] if settings.name == "momentum" else []
    return optax.chain(*decayed, *trace, scale)


_FROZEN = -1
"""Name of the group of parameters that the system itself freezes, in addition to those of the rules."""


def matching(patterns: Sequence[str], params: Any) -> Any:
    """Tree of bools like `params`: whether a pattern matches the whole path. RuleError for an unmatched pattern."""
    compiled, used = [re.compile(pattern) for pattern in patterns], set()

    def matches(path: tuple[Any, ...], _: Any) -> bool:
        found = {pattern.pattern for pattern in compiled if pattern.fullmatch(path_name(path))}
        used.update(found)
        return bool(found)

    tree = jax.tree_util.tree_map_with_path(matches, params)
    if unused := [pattern for pattern in patterns if pattern not in used]:
        raise RuleError(f"the system freezes {unused}, which match no parameter")
    return tree


def make_optimizer(settings: OptimizerSettings, params: Any, num_steps: int, frozen: Sequence[str] = ()) -> Optimizer:
    """Build the optimizer for these parameters. Raises RuleError (see `match_rules`).

    Clipping is applied first, over all parameters that are trained; frozen ones have zero gradients.

    Args:
      frozen: patterns of parameters that are frozen regardless of the rules (`System.frozen`). They have no gradient,
        but weight decay would still change them.
    """
    labels = match_rules(settings.rules, params)
    labels = jax.tree.map(lambda label, stop: _FROZEN if stop else label, labels, matching(frozen, params))
    schedule = make_schedule(settings.schedule, num_steps)
    groups: dict[Hashable, optax.GradientTransformation] = {
        i: _group(settings, rule, schedule) for i, rule in enumerate(settings.rules)
    }
    groups[_FROZEN] = optax.set_to_zero()
    clips = {
        "none": [],
        "global": [optax.clip_by_global_norm(settings.clip_norm)],
        "leaf": [clip_by_leaf_norm(settings.clip_norm)],
    }[settings.clip]
    return Optimizer(
        tx=optax.chain(*clips, optax.multi_transform(groups, labels)),
        frozen=jax.tree.map(lambda label: label == _FROZEN or settings.rules[label].frozen, labels),
        learning_rate=lambda step: settings.learning_rate * schedule(step),
        ema_decay=settings.ema_decay,
    )
