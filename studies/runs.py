"""Runs of a study, which may depend on one another."""

import dataclasses
import hashlib
import importlib
import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

_NAME = re.compile(r"\{([\w./-]+)\}")


@dataclasses.dataclass(frozen=True)
class Run:
    """One run.

    Attributes:
      config: config file, with options after a colon; "{name}" in it is replaced by the folder of the run `name`, which
        runs first, "{study/name}" by that of another study's run.
      changes: changed values of the config.
      after: further runs that have to come first, such as that of a feature cache.
      of: run whose checkpoint is scored under `config`, instead of training.
      stage: whether this is only an intermediate stage, trained if a missing run needs it and never scored.
      cache: name under which its feature maps are cached after training (`hoi_jax.commands.cache_features`).
    """

    config: str
    changes: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    after: tuple[str, ...] = ()
    of: str = ""
    stage: bool = False
    cache: str = ""


def runs_of(study: str) -> dict[str, Run]:
    """The runs of `studies/<study>.py`, whose `RUNS` has `Run` values or plain (config, changes)."""
    runs = importlib.import_module(f"studies.{study}").RUNS
    return {name: run if isinstance(run, Run) else Run(*run) for name, run in runs.items()}


def whole_name(study: str, name: str) -> str:
    """Full name "study/run" of a run name used within `study`."""
    return name if "/" in name else f"{study}/{name}"


def find(name: str) -> Run:
    """The run "study/run". Raises KeyError if it does not exist."""
    study, run = name.split("/")
    return runs_of(study)[run]


def needed(study: str, run: Run) -> list[str]:
    """Full names of the runs that this run directly depends on."""
    names = [*run.after, *_NAME.findall(run.config), *([run.of] if run.of else [])]
    return list(dict.fromkeys(whole_name(study, name) for name in names))


def config_of(study: str, run: Run, folder: Callable[[str], str | Path] = str) -> str:
    """The value of `--config`, with run names replaced by `folder(name)`; by default they remain names."""
    return _NAME.sub(lambda match: str(folder(whole_name(study, match[1]))), run.config)


def values_of(study: str, run: Run) -> dict[str, Any]:
    """Config values of the run, with run names instead of folders."""
    path, _, argument = config_of(study, run).partition(":")
    module = importlib.import_module(path.removesuffix(".py").replace("/", "."))
    values = module.get_config(argument) if argument else module.get_config()
    for key, value in run.changes.items():
        values.update_from_flattened_dict({key: value})
    return values.to_dict()


def fingerprint(study: str, run: Run) -> str:
    """Fingerprint of the values of the run and of all runs that it depends on."""
    parts = [values_of(study, run)]
    names = needed(study, run)
    if names:
        parts.append({name: fingerprint(name.split("/")[0], find(name)) for name in names})
        parts.append({"of": run.of})
    text = "".join(json.dumps(part, sort_keys=True) for part in parts)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
