"""What a study consists of: runs that may build on one another."""

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
      config: config file, with options after a colon; "{name}" in it stands for the folder of the run `name`, which is
        made first, "{study/name}" for that of another study's run.
      changes: values of the config that are changed.
      after: runs that come first though the config names no folder of theirs (a feature cache).
      of: scores the checkpoint of this run under `config`, and trains nothing.
      stage: a step on the way: trained when a run that is missing needs it, never scored.
      cache: when trained, its feature maps are stored under this name (`hoi_jax.commands.cache_features`).
    """

    config: str
    changes: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    after: tuple[str, ...] = ()
    of: str = ""
    stage: bool = False
    cache: str = ""


def runs_of(study: str) -> dict[str, Run]:
    """The runs of `studies/<study>.py`, whose `RUNS` holds `Run`s or plain (config, changes)."""
    runs = importlib.import_module(f"studies.{study}").RUNS
    return {name: run if isinstance(run, Run) else Run(*run) for name, run in runs.items()}


def whole_name(study: str, name: str) -> str:
    """ "study/run" of a name as a run of `study` writes it."""
    return name if "/" in name else f"{study}/{name}"


def find(name: str) -> Run:
    """The run "study/run". Raises KeyError where there is none."""
    study, run = name.split("/")
    return runs_of(study)[run]


def needed(study: str, run: Run) -> list[str]:
    """ "study/run" names of the runs that must be made before, without those that they need in turn."""
    names = [*run.after, *_NAME.findall(run.config), *([run.of] if run.of else [])]
    return list(dict.fromkeys(whole_name(study, name) for name in names))


def config_of(study: str, run: Run, folder: Callable[[str], str | Path] = str) -> str:
    """The config as a flag, with folders in place of names; by default the names themselves stand there."""
    return _NAME.sub(lambda match: str(folder(whole_name(study, match[1]))), run.config)


def values_of(study: str, run: Run) -> dict[str, Any]:
    """The values that the run trains with, names in place of folders."""
    path, _, argument = config_of(study, run).partition(":")
    module = importlib.import_module(path.removesuffix(".py").replace("/", "."))
    values = module.get_config(argument) if argument else module.get_config()
    for key, value in run.changes.items():
        values.update_from_flattened_dict({key: value})
    return values.to_dict()


def fingerprint(study: str, run: Run) -> str:
    """Of these values, and of those of all runs that it builds on."""
    parts = [values_of(study, run)]
    names = needed(study, run)
    if names:
        parts.append({name: fingerprint(name.split("/")[0], find(name)) for name in names})
        parts.append({"of": run.of})
    text = "".join(json.dumps(part, sort_keys=True) for part in parts)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
