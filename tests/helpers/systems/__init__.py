"""Small systems for the contract suite (`tests/systems/test_contract.py`), one module per registered system.

A module defines `small_config(**groups)`: a configuration that compiles and runs in seconds, with `groups` merged in.
Where the defaults below do not fit a system, the module also defines, with the reason:

- `VARIANTS`: name -> groups for `small_config`. The first has the whole suite, the others only tests without a second
  training program. Default: one, without changes.
- `BFLOAT16`: groups that make the system compute in bfloat16, or None if it only computes in float32.
- `adjust(variables)`: changes the random variables, for example so that a detector finds something.
- `UNREAD`: style -> fields of `needs_train` that are unused with this label style.
- `PAIRS_WITHOUT_DETECTIONS`: True if pairs do not come from the batch's detections.
- `PADDED_LOSS`: loss that must be invariant to padding: "train", the training loss (default); "evaluated", the loss
  without randomness, if dropout is drawn over the padded image; "image", the training loss with only the image padded,
  if random numbers are drawn over the rows of padded tables.
- `AGENTS`: False if labels in the style of V-COCO do not lead to a table of people.
- `LOSS_RTOL`: relative tolerance of the losses of padded batches (default 1e-4).
- `ACCUMULATES`: False if gradient accumulation is refused.
- `PLAIN`: groups for running without jit, where every operation is compiled separately; default: none.
"""

import dataclasses
import importlib
from collections.abc import Mapping
from types import ModuleType
from typing import Any

import jax
import numpy as np

from hoi_jax.schema import ALWAYS_PRESENT
from hoi_jax.system import System
from hoi_jax.systems.registry import build_system, system_names
from tests.helpers.batches import STYLES, uneven_batch
from tests.helpers.losses import value_and_output
from tests.helpers.variables import random_variables

KEY = 3
"""Seed of the random key of losses."""
FOLDER = "tests/helpers/systems"


@dataclasses.dataclass(frozen=True)
class Case:
    """A small system to build: its name, style of labels ("hoi" or "action") and variant."""

    name: str
    style: str = "hoi"
    variant: str = ""

    def __str__(self) -> str:
        return "-".join(filter(None, (self.name, self.variant, self.style)))


def small_module(name: str) -> ModuleType | None:
    """Module with the small configuration of a system; None if there is none."""
    try:
        return importlib.import_module(f"{__name__}.{name}")
    except ModuleNotFoundError as error:
        if error.name != f"{__name__}.{name}":
            raise
        return None


def missing_message(name: str) -> str:
    return (
        f"system {name!r} is registered but has no small configuration; add {FOLDER}/{name}.py with a function "
        f"small_config(**groups) that returns a `model` section which compiles in seconds ({FOLDER}/__init__.py lists "
        f"further definitions, {FOLDER}/two_boxes.py is the shortest example)"
    )


def variants(name: str) -> Mapping[str, Mapping[str, Any]]:
    return getattr(small_module(name), "VARIANTS", {"": {}})


def first_cases() -> list[Case]:
    """Every registered system once."""
    return [Case(name, "hoi", next(iter(variants(name)))) for name in system_names()]


def further_cases() -> list[Case]:
    """The other variants, and the first one with labels in the style of V-COCO."""
    found = [Case(name, "hoi", variant) for name in system_names() for variant in list(variants(name))[1:]]
    return found + [dataclasses.replace(case, style="action") for case in first_cases()]


class Small:
    """A small system with a batch, random variables and its programs, each compiled once per shape of the batch.

    Programs get only the fields that the system needs and those that every batch has.
    """

    def __init__(self, case: Case, **groups: Any):
        module = small_module(case.name)
        if module is None:
            raise LookupError(missing_message(case.name))
        self.case, self.module = case, module
        self.vocabulary = STYLES[case.style]
        self.system: System = self.build(**groups)
        self.batch = uneven_batch(self.vocabulary)
        drawn = random_variables(self.system.init, self.batch)
        self.variables = self.setting("adjust", lambda variables: variables)(drawn)
        self._predict = jax.jit(self.system.predict)
        self._gradient = jax.jit(jax.value_and_grad(self._loss, has_aux=True))
        self._evaluated = jax.jit(
            lambda v, b: self.system.loss(v, b, jax.random.key(KEY), train=False, axis_name=None).value
        )

    def setting(self, name: str, default: Any) -> Any:
        """Value of a name in the system's module, or the default."""
        return getattr(self.module, name, default)

    def build(self, **groups: Any) -> System:
        """The system with further groups of settings merged in."""
        return build_system(self.case.name, self.config(**groups), self.vocabulary)

    def config(self, **groups: Any) -> dict[str, Any]:
        """The configuration of this variant, with further groups merged in."""
        merged = {name: dict(v) if isinstance(v, Mapping) else v for name, v in self._variant.items()}
        for name, values in groups.items():
            merged[name] = {**merged.get(name, {}), **values} if isinstance(values, Mapping) else values
        return self.module.small_config(**merged)

    @property
    def _variant(self) -> Mapping[str, Any]:
        return variants(self.case.name)[self.case.variant]

    def fields(self, batch: Mapping[str, np.ndarray], train: bool) -> dict[str, np.ndarray]:
        """The fields of a batch that the pipeline would build."""
        needs = (self.system.needs_train if train else self.system.needs_predict) | ALWAYS_PRESENT
        return {name: batch[name] for name in needs}

    def _loss(self, params: Any, rest: Any, batch: Any, key: Any) -> Any:
        return value_and_output(self.system.loss({**rest, "params": params}, batch, key, train=True, axis_name=None))

    @property
    def params(self) -> Any:
        return self.variables["params"]

    @property
    def rest(self) -> dict[str, Any]:
        """Mutable collections."""
        return {name: value for name, value in self.variables.items() if name != "params"}

    def predict(self, batch: Mapping[str, np.ndarray], variables: Any = None) -> dict[str, np.ndarray]:
        """Predictions on the host."""
        found = self._predict(self.variables if variables is None else variables, self.fields(batch, False))
        return {name: np.asarray(value) for name, value in found.items()}

    def gradient(self, batch: Mapping[str, np.ndarray], key: Any = None) -> tuple[float, dict[str, float], Any, Any]:
        """Training loss, its terms, the new mutable collections, and the gradient, on the host."""
        key = jax.random.key(KEY) if key is None else key
        (loss, output), slope = self._gradient(self.params, self.rest, self.fields(batch, True), key)
        terms = {name: float(value) for name, value in output.values.items()}
        return float(loss), terms, *jax.tree.map(np.asarray, (dict(output.state), slope))

    def evaluated_loss(self, batch: Mapping[str, np.ndarray]) -> float:
        """The loss without randomness of training."""
        return float(self._evaluated(self.variables, self.fields(batch, True)))
