"""Conversion of Scenic's ResNet and ViT (google-research/scenic, `projects/baselines/{resnet,vit}.py`).

Names begin with "params/" or "batch_stats/", as in Scenic's variables. Scenic numbers residual blocks consecutively;
the stage of a block follows from its width. ResNet: layout "torchvision", with `mask_padding` False. ViT: kind "scenic"
of `backbones.vit` (tanh approximation of GELU, epsilon 1e-6), classifier "token".
"""

import re
from collections.abc import Mapping

import numpy as np

from hoi_jax.serialization.conversion import Entries, Rule

_UNITS = {
    **{f"{kind}{number}": f"conv{number}" for kind in ("conv", "bn") for number in (1, 2, 3)},
    "proj_conv": "downsample", "proj_bn": "downsample",
}  # fmt: skip
_NORM = {"scale", "bias", "mean", "var"}
_VIT_UNITS = {
    "LayerNorm_0": "norm1", "LayerNorm_1": "norm2", "MlpBlock_0/Dense_0": "linear1", "MlpBlock_0/Dense_1": "linear2",
}  # fmt: skip


def block_places(state: Mapping[str, np.ndarray], root: str = "") -> dict[int, tuple[int, int]]:
    """(stage, block in the stage) by number of residual block below `root`.

    Raises:
      ValueError: the blocks have two convolutions; Scenic projects all their skips, which is not supported here.
    """
    stem = state[f"params/{root}stem_conv/kernel"].shape[-1]
    places: dict[int, tuple[int, int]] = {}
    seen: dict[int, int] = {}
    number = 0
    while f"params/{root}ResidualBlock_{number}/conv2/kernel" in state:
        block = f"params/{root}ResidualBlock_{number}"
        if f"{block}/conv1/kernel" not in state:
            raise ValueError("Scenic's ResNets with two convolutions per block are not supported, only bottlenecks")
        stage = (state[f"{block}/conv2/kernel"].shape[-1] // stem).bit_length() - 1
        places[number] = (stage, seen.get(stage, 0))
        seen[stage] = seen.get(stage, 0) + 1
        number += 1
    return places


def resnet_rule(places: Mapping[int, tuple[int, int]], *, root: str = "", prefix: str = "backbone") -> Rule:
    """Rule for a ResNet's variables below `root`, without its classifier; `places` are from `block_places`."""

    def rule(name: str, tensor: np.ndarray) -> Entries | None:
        if name.startswith(f"params/{root}output_projection/"):
            return []
        match = re.fullmatch(rf"(?:params|batch_stats)/{re.escape(root)}(?:ResidualBlock_(\d+)/)?(\w+)/(\w+)", name)
        if not match or (match[1] and int(match[1]) not in places):
            return None
        block, unit, leaf = match.groups()
        if block is None:
            path = f"{prefix}/stem" if unit in ("stem_conv", "init_bn") else None
        else:
            stage, place = places[int(block)]
            path = f"{prefix}/stage{stage}/block{place}/{_UNITS[unit]}" if unit in _UNITS else None
        if path is None:
            return None
        if "conv" in unit:
            return [(f"params/{path}/conv/kernel", tensor)] if leaf == "kernel" else None
        return [(f"batch_stats/{path}/norm/{leaf}", tensor)] if leaf in _NORM else None

    return rule


def attention(path: str, unit: str, leaf: str, tensor: np.ndarray) -> Entries | None:
    """Entries of a Dense layer for a projection of Flax's multi-head attention, which has a separate axis of heads."""
    if unit not in ("query", "key", "value", "out") or leaf not in ("kernel", "bias"):
        return None
    if leaf == "bias":
        return [(f"params/{path}/{unit}/bias", tensor.reshape(-1))]
    inputs = tensor.shape[0] if unit != "out" else tensor.shape[0] * tensor.shape[1]
    return [(f"params/{path}/{unit}/kernel", tensor.reshape(inputs, -1))]


def vit_rule(name: str, tensor: np.ndarray) -> Entries | None:
    """Entries, below "backbone", for a parameter of Scenic's ViT; head and representation layer are dropped."""
    name = name.removeprefix("params/")
    if name.startswith(("output_projection/", "pre_logits/")):
        return []
    if name == "cls":
        return [("params/backbone/class_embedding", tensor.reshape(-1))]
    if name == "Transformer/posembed_input/pos_embedding":
        return [("params/backbone/positional_embedding", tensor[0])]
    if match := re.fullmatch(r"embedding/(kernel|bias)", name):
        return [(f"params/backbone/patch_embed/{match[1]}", tensor)]
    if match := re.fullmatch(r"Transformer/encoder_norm/(scale|bias)", name):
        return [(f"params/backbone/norm_post/{match[1]}", tensor)]
    match = re.fullmatch(r"Transformer/encoderblock_(\d+)/(.+)/(\w+)", name)
    if not match:
        return None
    block, unit, leaf = match.groups()
    path = f"backbone/blocks_{block}"
    if unit.startswith("MultiHeadDotProductAttention_0/"):
        return attention(f"{path}/attention", unit.partition("/")[2], leaf, tensor)
    return [(f"params/{path}/{_VIT_UNITS[unit]}/{leaf}", tensor)] if unit in _VIT_UNITS else None
