"""Conversion of ResNet weights: torchvision's, slim's `resnet_v1_*` and Keras' first ResNet-50.

Slim (iCAN, TIN): layout "slim". Keras (Caffe's weights): layout "caffe"; its convolutions have biases, which are folded
into the stored means: norm(conv(x) + b; mean) = norm(conv(x); mean - b).
"""

import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from hoi_jax.serialization.conversion import Entries, convert_state, convolution
from hoi_jax.serialization.state import read_state
from hoi_jax.serialization.tfjs_file import read_tfjs

_NORM = {"weight": "scale", "bias": "bias", "running_mean": "mean", "running_var": "var"}


def resnet_rule(name: str, tensor: np.ndarray, *, prefix: str = "backbone") -> Entries | None:
    """Entries, below `prefix`, for a tensor of a torchvision ResNet with frozen batch norm; None for its classifier."""
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


_SLIM_NORM = {"gamma": "scale", "beta": "bias", "moving_mean": "mean", "moving_variance": "var"}
_BRANCH = {"1": "downsample", "2a": "conv1", "2b": "conv2", "2c": "conv3"}
KERAS_EPSILON = 1.001e-5
"""Epsilon of the norms in Keras today; the first files have 1e-3 with the same weights. Ours is 1e-5."""


def is_slim(state: Mapping[str, np.ndarray]) -> bool:
    """Whether the names are those of slim's resnet_v1."""
    return any(re.match(r"resnet_v1_\d+/", name) for name in state)


def is_keras(state: Mapping[str, np.ndarray]) -> bool:
    """Whether the names are those of Keras' first ResNet-50."""
    return any(name.startswith("res2a_branch2a/") for name in state)


def slim_rule(name: str, tensor: np.ndarray, *, prefix: str = "backbone") -> Entries | None:
    """Entries, below `prefix`, for a variable of slim's ResNet; None for its classifier, optimizer and others."""
    match = re.fullmatch(
        r"resnet_v1_\d+/(?:block(\d)/unit_(\d+)/bottleneck_v1/)?(conv\d|shortcut)/(?:BatchNorm/)?(\w+)", name
    )
    if not match:
        return None
    block, unit, layer, leaf = match.groups()
    path = f"{prefix}/stem"
    if block is not None:
        path = f"{prefix}/stage{int(block) - 1}/block{int(unit) - 1}/{layer.replace('shortcut', 'downsample')}"
    elif layer != "conv1":
        return None
    if leaf == "weights":  # [h, w, in, out], as here
        return [(f"params/{path}/conv/kernel", tensor)]
    return [(f"batch_stats/{path}/norm/{_SLIM_NORM[leaf]}", tensor)] if leaf in _SLIM_NORM else None


def without_biases(state: Mapping[str, np.ndarray], *, epsilon: float = KERAS_EPSILON) -> dict[str, np.ndarray]:
    """The same Keras network with biases of convolutions folded into the norms, which get an epsilon of 1e-5."""
    out = {}
    for name, tensor in state.items():
        layer, _, leaf = name.partition("/")
        if leaf == "bias" and (layer == "conv1" or layer.startswith("res")):
            continue
        if leaf == "moving_mean":
            convolution = "conv1" if layer == "bn_conv1" else f"res{layer.removeprefix('bn')}"
            tensor = tensor - state.get(f"{convolution}/bias", np.zeros_like(tensor))
        if leaf == "moving_variance":
            tensor = tensor + np.float32(epsilon - 1e-5)
        out[name] = tensor
    return out


def keras_rule(name: str, tensor: np.ndarray, *, prefix: str = "backbone") -> Entries | None:
    """Entries, below `prefix`, for a weight of Keras' ResNet-50 (`without_biases`); None for its classifier."""
    match = re.fullmatch(r"(?:(bn_|)conv1|(res|bn)(\d)([a-z])_branch(1|2[abc]))/(\w+)", name)
    if not match:
        return None
    stem, kind, stage, block, branch, leaf = match.groups()
    path = f"{prefix}/stem"
    if stage is not None:
        path = f"{prefix}/stage{int(stage) - 2}/block{ord(block) - ord('a')}/{_BRANCH[branch]}"
    if leaf == "kernel" and (stem == "" or kind == "res"):
        return [(f"params/{path}/conv/kernel", tensor)]
    if leaf in _SLIM_NORM and (stem == "bn_" or kind == "bn"):
        return [(f"batch_stats/{path}/norm/{_SLIM_NORM[leaf]}", tensor)]
    return None


def backbone_arrays(state: Mapping[str, np.ndarray]) -> tuple[dict[str, np.ndarray], tuple[str, ...], str]:
    """(arrays under our names in float32, names of unused tensors, layout of `ResNet` that they need).

    Raises:
      ValueError: no tensor is that of a supported ResNet.
    """
    if is_keras(state):
        state, rule, layout = without_biases(state), keras_rule, "caffe"
    elif is_slim(state):
        rule, layout = slim_rule, "slim"
    else:
        rule, layout = resnet_rule, "torchvision"
    flat, unknown = convert_state(state, rule)
    if not flat:
        raise ValueError(f"unknown tensor names, not those of a supported ResNet, for example {sorted(state)[:5]}")
    return {name: np.asarray(array, np.float32) for name, array in flat.items()}, unknown, layout


def read_weights(path: Path) -> dict[str, np.ndarray]:
    """Tensors of a file under their original names."""
    return read_tfjs(path) if path.suffix == ".json" else read_state(path)
