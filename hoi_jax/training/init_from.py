"""Initialisation from parts of another run's variables, selected by name, with a report."""

import dataclasses
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from hoi_jax.serialization.state import WEIGHT_ENDINGS, read_state
from hoi_jax.system import System
from hoi_jax.training.checkpoint import load_for_evaluation
from hoi_jax.training.optimizer import path_name
from hoi_jax.training.settings import InitFromSettings


class InitFromError(ValueError):
    """No parameter could be loaded or, if strict, not all; or frozen parameters were not loaded."""


@dataclasses.dataclass(frozen=True)
class InitReport:
    """Names ("params/backbone/conv1/kernel") by outcome; `str()` gives the text to print.

    Attributes:
      loaded: replaced by the source's values.
      missing: included, but not in the source.
      unfit: included, but with a different shape in the source (both shapes are given).
      excluded: matched by no include pattern.
      unused: only in the source.
    """

    source: str
    loaded: tuple[str, ...]
    missing: tuple[str, ...]
    unfit: tuple[str, ...]
    excluded: tuple[str, ...]
    unused: tuple[str, ...]

    def __str__(self) -> str:
        lines = [f"init_from {self.source}:"]
        for name in ("loaded", "missing", "unfit", "excluded", "unused"):
            entries = getattr(self, name)
            lines.append(f"  {name}: {len(entries)}")
            lines += [f"    {entry}" for entry in entries]
        return "\n".join(lines)


def flatten(variables: Mapping[str, Any]) -> dict[str, Any]:
    """Flatten nested variables to {"a/b/c": leaf}."""
    return {path_name(p): x for p, x in jax.tree_util.tree_leaves_with_path(dict(variables))}


def merge(
    variables: Mapping[str, Any], source: Mapping[str, np.ndarray], settings: InitFromSettings
) -> tuple[dict[str, Any], InitReport]:
    """Replace leaves of `variables` by those of the flat `source` with the same (renamed) name and shape.

    Raises:
      InitFromError: no leaf was loaded; two source names are renamed to the same one; or, with `strict`, an included
        leaf is missing in the source or has a different shape.
    """
    renamed: dict[str, np.ndarray] = {}
    for name, value in source.items():
        for pattern, replacement in settings.rename:
            name = re.sub(pattern, replacement, name)
        if name in renamed:
            raise InitFromError(f"init_from {settings.path}: two arrays are renamed to {name!r}")
        renamed[name] = value
    fates: dict[str, list[str]] = {"loaded": [], "missing": [], "unfit": [], "excluded": []}
    used: set[str] = set()

    def choose(path: Any, leaf: Any) -> Any:
        name = path_name(path)
        if not any(re.fullmatch(pattern, name) for pattern in settings.include):
            fates["excluded"].append(name)
            return leaf
        if name not in renamed:
            fates["missing"].append(name)
            return leaf
        used.add(name)
        value = renamed[name]
        if np.shape(value) != np.shape(leaf):
            fates["unfit"].append(f"{name}: source {np.shape(value)}, model {np.shape(leaf)}")
            return leaf
        fates["loaded"].append(name)
        return np.asarray(value, leaf.dtype)

    merged = jax.tree_util.tree_map_with_path(choose, dict(variables))
    unused = tuple(name for name in renamed if name not in used)
    report = InitReport(settings.path, **{k: tuple(v) for k, v in fates.items()}, unused=unused)
    if not report.loaded:
        raise InitFromError(f"no parameter was loaded\n{report}")
    if settings.strict and (report.missing or report.unfit):
        raise InitFromError(f"strict is True, but not all included parameters were loaded\n{report}")
    return merged, report


def init_from(variables: Mapping[str, Any], settings: InitFromSettings) -> tuple[dict[str, Any], InitReport]:
    """`merge` with the file or workdir in the settings. Raises DataError or CheckpointError if it cannot be read."""
    path = Path(settings.path)
    if path.suffix in WEIGHT_ENDINGS or path.is_file():
        source: Mapping[str, Any] = read_state(path)
    else:
        source = flatten(load_for_evaluation(path, settings.which)[0])
    return merge(variables, source, settings)


def check_frozen_are_loaded(
    system: System, frozen: Any, first: Mapping[str, Any], loaded: Mapping[str, Any], *, named: int = 3
) -> None:
    """Check that frozen parameters, and stored statistics of parts that the system freezes, were loaded.

    Args:
      frozen: tree of bools like the parameters.
      first, loaded: variables as initialised, and after `init_from`; leaves that were not replaced are the same object.
      named: maximum number of names in the message.

    Raises:
      InitFromError: some were not loaded; the message names them and explains how to obtain weights
        (`System.start_from`).
    """
    stays = {f"params/{name}" for name, stop in flatten(frozen).items() if stop}
    patterns = [re.compile(pattern) for pattern in system.frozen]
    before, missing = flatten(first), []
    for name, leaf in flatten(loaded).items():
        path = name.partition("/")[2]
        if leaf is before[name] and (name in stays or any(pattern.fullmatch(path) for pattern in patterns)):
            missing.append(name)
    if missing:
        missing.sort(key=lambda name: not name.startswith("params/"))
        rest = f" and {len(missing) - named} more" if len(missing) > named else ""
        raise InitFromError(
            f"{len(missing)} arrays are frozen in this training and not loaded by train.init_from, so they "
            f"would stay random: {', '.join(missing[:named])}{rest}. {system.start_from}".strip()
        )
