"""Names and layouts of PyTorch weights in ours: linear and convolution layers, and torchvision's ResNets.

A rule maps one tensor of a state dict to the arrays it becomes: (name, array) pairs with names such as
"params/backbone/stem/conv/kernel", or None where it does not know the tensor.
"""

import re
from collections.abc import Callable, Mapping

import numpy as np

Entries = list[tuple[str, np.ndarray]]
Rule = Callable[[str, np.ndarray], Entries | None]

_NORM = {"weight": "scale", "bias": "bias", "running_mean": "mean", "running_var": "var"}


class ConversionError(ValueError):
    """Two tensors claim one place with different values, or a tensor is of no use."""


def convert_state(state: Mapping[str, np.ndarray], rule: Rule) -> tuple[dict[str, np.ndarray], tuple[str, ...]]:
    """All tensors by our names, and the names that `rule` does not know.

    Raises:
      ConversionError: two tensors become the same array with different values.
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
                raise ConversionError(f"{name!r} and an earlier tensor become {ours!r} with different values")
            converted[ours] = array
    return converted, tuple(unknown)


def linear(path: str, leaf: str, tensor: np.ndarray) -> Entries:
    """A linear layer's weight [out, in] or [out, in, 1, 1], or its bias, as a Dense layer's at `path`."""
    if leaf == "weight":
        return [(f"params/{path}/kernel", tensor.reshape(tensor.shape[:2]).T)]
    return [(f"params/{path}/bias", tensor)]


def convolution(path: str, tensor: np.ndarray) -> Entries:
    """[out, in, h, w] as a Conv layer's kernel [h, w, in, out] at `path`."""
    return [(f"params/{path}/kernel", tensor.transpose(2, 3, 1, 0))]


def resnet_rule(name: str, tensor: np.ndarray, *, prefix: str = "backbone") -> Entries | None:
    """A tensor of a torchvision ResNet with frozen batch norm, below `prefix`; None for its classifier."""
    match = re.fullmatch(r"(?:layer([1-9])\.(\d+)\.)?(conv|bn|downsample\.)(\d)\.(\w+)", name)
    if not match:
        return None
    stage, block, kind, number, leaf = match.groups()
    unit = "downsample" if kind == "downsample." else f"conv{number}"
    path = f"{prefix}/stem" if stage is None else f"{prefix}/stage{int(stage) - 1}/block{block}/{unit}"
    if leaf == "num_batches_tracked":
        return []
    if kind == "conv" or (kind == "downsample." and number == "0"):
        return convolution(f"{path}/conv", tensor) if leaf == "weight" else None
    return [(f"batch_stats/{path}/norm/{_NORM[leaf]}", tensor)] if leaf in _NORM else None
