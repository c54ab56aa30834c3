"""Conversion of published weights: rules from their names to ours, and the program that all converters share.

A rule maps a tensor of a state dict to arrays of this library: (name, array) pairs with names such as
"params/backbone/stem/conv/kernel", or None for a tensor that it does not know.
"""

import argparse
import dataclasses
import sys
from collections.abc import Callable, Mapping, Sequence
from io import BytesIO
from pathlib import Path

import numpy as np

from hoi_jax import io

Entries = list[tuple[str, np.ndarray]]
Rule = Callable[[str, np.ndarray], Entries | None]


class ConversionError(ValueError):
    """Two tensors are converted to the same array with different values, or a tensor cannot be converted."""


def convert_state(state: Mapping[str, np.ndarray], rule: Rule) -> tuple[dict[str, np.ndarray], tuple[str, ...]]:
    """(arrays under our names, names that `rule` does not know).

    Raises:
      ConversionError: two tensors are converted to the same array with different values.
    """
    converted: dict[str, np.ndarray] = {}
    unknown = []
    for name, tensor in state.items():
        entries = rule(name, np.asarray(tensor))
        if entries is None:
            unknown.append(name)
            continue
        for ours, array in entries:
            if ours in converted and not np.array_equal(converted[ours], array):
                raise ConversionError(f"{name!r} and an earlier tensor both become {ours!r}, with different values")
            converted[ours] = array
    return converted, tuple(unknown)


def linear(path: str, leaf: str, tensor: np.ndarray) -> Entries:
    """Entries of a Dense layer at `path` for a linear layer's weight, [out, in] or [out, in, 1, 1], or bias."""
    if leaf == "weight":
        return [(f"params/{path}/kernel", tensor.reshape(tensor.shape[:2]).T)]
    return [(f"params/{path}/bias", tensor)]


def convolution(path: str, tensor: np.ndarray) -> Entries:
    """Entries of a Conv layer's kernel [h, w, in, out] at `path` for a weight [out, in, h, w]."""
    return [(f"params/{path}/kernel", tensor.transpose(2, 3, 1, 0))]


@dataclasses.dataclass(frozen=True)
class Converted:
    """A converted checkpoint.

    Attributes:
      title: description for the last line that the program prints.
      arrays: arrays under our names.
      unknown: names of unused tensors of the source.
      notes: further lines to print.
    """

    title: str
    arrays: Mapping[str, np.ndarray]
    unknown: Sequence[str]
    notes: Sequence[str] = ()


def write_converted(source: Path, target: Path, convert: Callable[[], Converted]) -> int:
    """Write the result of `convert` as an npz file for `train.init_from`, and list unused tensors.

    Returns the exit status of a command: 2, with the reason on standard error, if `convert` raises ValueError or
    OSError or returns no array.
    """
    try:
        converted = convert()
        if not converted.arrays:
            raise ValueError(f"no tensor matches this network, for example {list(converted.unknown)[:5]}")
        buffer = BytesIO()
        np.savez(buffer, allow_pickle=False, **converted.arrays)
        io.write_bytes_atomic(target, buffer.getvalue())
    except (ValueError, OSError) as error:
        reason = str(error) if str(source) in str(error) else f"{source}: {error}"
        print(f"error: {reason}", file=sys.stderr)
        return 2
    for line in (*(f"not used: {name}" for name in converted.unknown), *converted.notes):
        print(line)
    print(f"{target}: {converted.title}, {len(converted.arrays)} arrays, {len(converted.unknown)} tensors not used")
    return 0


def run_converter(
    description: str | None,
    convert: Callable[[argparse.Namespace], Converted],
    arguments: Sequence[str] | None = None,
    *,
    add_options: Callable[[argparse.ArgumentParser], object] | None = None,
    source: str = "source",
    target: str = "target",
) -> int:
    """Run a converter, `python -m MODULE SOURCE TARGET [options]`. Returns its exit status.

    Args:
      description: the module's docstring, printed by --help.
      convert: function of the options, of which `source` is the file to read.
      add_options: function that adds the converter's own options.
      source, target: names of the two arguments; with leading dashes they are required options.
    """
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    helps = "weights: .safetensors, .npz, .pth or .pt", "npz file to write"
    for name, dest, text in zip((source, target), ("source", "target"), helps, strict=True):
        required = {"dest": dest, "required": True} if name.startswith("-") else {}
        parser.add_argument(name, type=Path, help=text, **required)
    if add_options is not None:
        add_options(parser)
    options = parser.parse_args(arguments)
    return write_converted(options.source, options.target, lambda: convert(options))
