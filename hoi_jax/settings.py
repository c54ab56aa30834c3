"""Conversion of configuration mappings to frozen dataclasses; unknown keys are errors.

Configs are plain values (`configs/*.py`, ml_collections); the code that uses them needs checked, immutable objects.
`from_config` converts them: an unknown key, a wrong type or a value out of range raises `SettingsError` with the full
dotted name of the key and, for an unknown one, the nearest valid name. `with_changes` applies command-line overrides,
also to keys that the config leaves at their defaults.
"""

import ast
import copy
import dataclasses
import difflib
import types
import typing
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar

T = TypeVar("T")


class SettingsError(ValueError):
    """A configuration key is unknown, missing, of the wrong type, or has a value that is not allowed."""


def unknown_key(key: str, known: Iterable[str], path: str) -> SettingsError:
    """Return the error for an unknown key; its message suggests the nearest valid one."""
    known = list(known)
    near = difflib.get_close_matches(key, known, n=1, cutoff=0.4)
    hint = f"did you mean {_join(path, near[0])!r}? " if near else ""
    return SettingsError(f"unknown key {_join(path, key)!r}: {hint}valid keys: {sorted(known)}")


def _join(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key


def from_config(cls: type[T], values: Mapping[str, Any], path: str = "") -> T:
    """Build the frozen dataclass `cls` (nested ones too) from a mapping.

    `__post_init__` of the class checks values and may raise ValueError, whose message is prefixed with the path.

    Raises:
      SettingsError: a key is unknown, missing, of the wrong type, or has a value that is not allowed.

    >>> @dataclasses.dataclass(frozen=True)
    ... class Optimizer:
    ...     learning_rate: float = 1e-3
    >>> from_config(Optimizer, {"learning_rate": 0.1})
    Optimizer(learning_rate=0.1)
    >>> from_config(Optimizer, {"learnin_rate": 0.1})
    Traceback (most recent call last):
    hoi_jax.settings.SettingsError: unknown key 'learnin_rate'
    """
    fields = {f.name: f for f in dataclasses.fields(cls)}  # type: ignore[arg-type]
    hints = typing.get_type_hints(cls)
    for key in values:
        if key not in fields:
            raise unknown_key(key, fields, path)
    arguments = {}
    for name, field in fields.items():
        if name in values:
            arguments[name] = _convert(hints[name], values[name], _join(path, name))
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise SettingsError(f"required key {_join(path, name)!r} is missing")
    try:
        return cls(**arguments)
    except SettingsError:
        raise
    except ValueError as error:
        raise SettingsError(f"{path or cls.__name__}: {error}") from error


def with_changes(values: Mapping[str, Any], changes: Mapping[str, str]) -> dict[str, Any]:
    """Return a copy of a config with dotted keys set to values from a command line.

    A value is parsed as a Python literal; it stays a string if it is not one, or if the config has a string there.
    Missing groups are created. Whether the keys exist is checked by `from_config`.

    Raises:
      SettingsError: a part of a key before its last is a value, not a group.

    >>> with_changes({"train": {"seed": 0}}, {"train.num_steps": "30", "model.loss.kind": "bce"})
    {'train': {'seed': 0, 'num_steps': 30}, 'model': {'loss': {'kind': 'bce'}}}
    """
    changed = copy.deepcopy(dict(values))
    for key, text in changes.items():
        *groups, name = key.split(".")
        group = changed
        for depth, part in enumerate(groups, start=1):
            group = group.setdefault(part, {})
            if not isinstance(group, dict):
                raise SettingsError(f"key {'.'.join(groups[:depth])!r} is {group!r}, expected a group of keys")
        group[name] = _read(text, group.get(name))
    return changed


def config_changes(arguments: Sequence[str]) -> dict[str, str]:
    """Parse "--config.KEY=VALUE" and "--config.KEY VALUE" to {key: text}; the last value of a key counts.

    Raises:
      ValueError: any other argument, or a key without a value.
    """
    changes: dict[str, str] = {}
    words = iter(arguments)
    for word in words:
        name, equals, text = word.partition("=")
        key = name.removeprefix("--config.")
        if key == name or not key:
            raise ValueError(f"unknown argument {word!r}")
        value = text if equals else next(words, None)
        if value is None:
            raise ValueError(f"{name} needs a value")
        changes[key] = value
    return changes


def _read(text: str, before: Any) -> Any:
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text
    plain = isinstance(before, str) and not isinstance(value, str) and value is not None
    return text if plain else value


def _convert(hint: Any, value: Any, path: str) -> Any:
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return value
    if origin in (typing.Union, types.UnionType):
        return _convert_union(args, value, path)
    if origin is typing.Literal:
        if value not in args:
            near = difflib.get_close_matches(str(value), [str(option) for option in args], n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise SettingsError(f"key {path!r} is {value!r}, expected one of {list(args)}{hint}")
        return value
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        from_text = getattr(hint, "from_text", None)
        if from_text and isinstance(value, str):
            return from_text(value)
        if not hasattr(value, "items"):
            raise SettingsError(f"key {path!r} is {value!r}, expected a group of keys")
        return from_config(hint, dict(value.items()), path)
    if origin is tuple:
        return _convert_tuple(args, value, path)
    if origin in (dict, Mapping) or (isinstance(origin, type) and issubclass(origin, Mapping)):
        if not hasattr(value, "items"):
            raise SettingsError(f"key {path!r} is {value!r}, expected a mapping")
        return {k: _convert(args[1], v, _join(path, k)) for k, v in value.items()}
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(hint, type):
        raise TypeError(f"{path}: fields of type {hint} cannot be read from a config")
    if not isinstance(value, hint) or (hint is int and isinstance(value, bool)):
        raise SettingsError(f"key {path!r} is {value!r} ({type(value).__name__}), expected {hint.__name__}")
    return value


def _convert_union(args: tuple[Any, ...], value: Any, path: str) -> Any:
    if value is None and type(None) in args:
        return None
    errors = []
    for option in (a for a in args if a is not type(None)):
        try:
            return _convert(option, value, path)
        except SettingsError as error:
            errors.append(str(error))
    raise SettingsError("; or ".join(errors))


def _convert_tuple(args: tuple[Any, ...], value: Any, path: str) -> tuple[Any, ...]:
    variable = len(args) == 2 and args[1] is Ellipsis
    if variable and isinstance(value, str):
        value = (value,)  # a single string means a sequence of one: "--config.evaluation.metrics=hoi"
    if not isinstance(value, list | tuple):
        raise SettingsError(f"key {path!r} is {value!r}, expected a sequence")
    if variable:
        return tuple(_convert(args[0], item, f"{path}[{i}]") for i, item in enumerate(value))
    if len(args) != len(value):
        raise SettingsError(f"key {path!r} has {len(value)} entries, expected {len(args)}")
    return tuple(_convert(a, v, f"{path}[{i}]") for i, (a, v) in enumerate(zip(args, value, strict=True)))


def choice(name: str, value: str, options: Iterable[str]) -> None:
    """Raise ValueError unless `value` is one of `options`; for use in `__post_init__`."""
    options = sorted(options)
    if value not in options:
        near = difflib.get_close_matches(value, options, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ValueError(f"{name} is {value!r}, expected one of {options}{hint}")


def check_positive(**values: float | int | None) -> None:
    """Raise ValueError naming the first value that is not above 0; None is accepted."""
    for name, value in values.items():
        if value is not None and not value > 0:
            raise ValueError(f"{name} is {value}, expected a number above 0")


def check_not_negative(**values: float | int | None) -> None:
    """Raise ValueError naming the first value below 0; None is accepted."""
    for name, value in values.items():
        if value is not None and not value >= 0:
            raise ValueError(f"{name} is {value}, expected 0 or more")


def check_share(**values: float | int) -> None:
    """Raise ValueError naming the first value outside [0, 1]."""
    for name, value in values.items():
        if not 0 <= value <= 1:
            raise ValueError(f"{name} is {value}, expected a number in [0, 1]")
