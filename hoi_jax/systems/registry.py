"""Registry of systems by name. A new method adds one line to `_BUILDERS`."""

import difflib
import importlib
from collections.abc import Mapping
from typing import Any

from hoi_jax.system import System
from hoi_jax.vocab.tables import Vocabulary

_BUILDERS = {
    "body_part": "hoi_jax.systems.body_part",
    "calipso": "hoi_jax.systems.calipso",
    "cascade": "hoi_jax.systems.cascade",
    "defr": "hoi_jax.systems.defr",
    "tin": "hoi_jax.systems.tin",
    "two_boxes": "hoi_jax.systems.two_boxes",
}


def system_names() -> tuple[str, ...]:
    """Every name that `build_system` accepts, sorted."""
    return tuple(sorted(_BUILDERS))


def build_system(name: str, model_config: Mapping[str, Any], vocabulary: Vocabulary) -> System:
    """Build a system by name; its module is imported on demand.

    Raises:
      ValueError: unknown name; the message suggests the nearest one.
      SettingsError: a key or value of `model_config` is not valid.
    """
    if name not in _BUILDERS:
        near = difflib.get_close_matches(name, _BUILDERS, n=1, cutoff=0.3)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise ValueError(f"unknown system {name!r}: {hint}systems: {list(system_names())}")
    return importlib.import_module(_BUILDERS[name]).build(model_config, vocabulary)
