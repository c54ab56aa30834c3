"""Weights of the authors' PyTorch code (body-part, QPIC, CDN, DETR) under this system's names."""

import re

import numpy as np

from hoi_jax.backbones.torchvision_names import Entries, linear, resnet_rule

_STACKS = (
    (r"transformer\.encoder\.layers\.(\d+)\.(.*)", r"encoder/layer\1", r"\2"),
    (r"transformer\.(?:box_decoder|decoder)\.layers\.(\d+)\.(.*)", r"box_decoder/layer\1", r"\2"),
    (r"transformer\.(?:verb_decoder|interaction_decoder)\.layers\.(\d+)\.(.*)", r"verb_decoder/layer\1", r"\2"),
    (r"transformer\.binary_decoder_1\.layers\.0\.(.*)", r"interactiveness/importance", r"\1"),
    (r"transformer\.binary_decoder_2\.layers\.0\.(.*)", r"interactiveness/layer0", r"\1"),
    (r"transformer\.binary_decoder_3\.layers\.0\.(.*)", r"interactiveness/layer1", r"\1"),
    (r"transformer\.binary_decoder_4\.layers\.0\.(.*)", r"interactiveness/layer2", r"\1"),
)
_NORMS = (
    (r"transformer\.(?:box_decoder|decoder)\.norm\.(\w+)", "box_decoder/norm"),
    (r"transformer\.(?:verb_decoder|interaction_decoder)\.norm\.(\w+)", "verb_decoder/norm"),
    # One tensor under four names: the four decoders share their norm.
    (r"transformer\.binary_decoder_[1-4]\.norm\.(\w+)", "interactiveness/norm"),
)
_LINEAR = (
    (r"input_proj\.(\w+)", "input_projection/fc0"),
    (r"obj_class_embed\.(\w+)", "object_class/fc0"),
    (r"verb_class_embed\.(\w+)", "verb/fc0"),
    (r"matching_embed\.(\w+)", "matching/fc0"),
    (r"binary_class_embed\.(\w+)", "interactiveness/score/fc0"),
    (r"sub_bbox_embed\.layers\.(\d)\.(\w+)", r"human_box/fc\1"),
    (r"obj_bbox_embed\.layers\.(\d)\.(\w+)", r"object_box/fc\1"),
    (r"transformer\.classifier_6v\.layers\.(\d)\.(\w+)", r"interactiveness/part_score/fc\1"),
)
_PLAIN = {
    "query_embed.weight": "params/query_embed",
    "transformer.binary_weight": "params/interactiveness/query_scale",
    "transformer.binary_bias": "params/interactiveness/query_shift",
}
_ATTENTION = {"self_attn": "self_attention", "multihead_attn": "cross_attention"}


def _norm(path: str, leaf: str, tensor: np.ndarray) -> Entries:
    return [(f"params/{path}/{'scale' if leaf == 'weight' else 'bias'}", tensor)]


def _layer(path: str, name: str, tensor: np.ndarray) -> Entries | None:
    """One tensor of a PyTorch transformer layer; the packed projection becomes three."""
    unit, _, leaf = name.partition(".")
    if unit.startswith("norm"):
        return _norm(f"{path}/{unit}", leaf, tensor)
    if unit in ("linear1", "linear2"):
        return linear(f"{path}/{unit}", leaf, tensor)
    if unit not in _ATTENTION:
        return None
    unit = f"{path}/{_ATTENTION[unit]}"
    if leaf.startswith("out_proj."):
        return linear(f"{unit}/out", leaf.removeprefix("out_proj."), tensor)
    if leaf not in ("in_proj_weight", "in_proj_bias"):
        return None
    thirds = zip(("query", "key", "value"), np.split(tensor, 3), strict=True)
    return [entry for third, part in thirds for entry in linear(f"{unit}/{third}", leaf.removeprefix("in_proj_"), part)]


def checkpoint_rule(name: str, tensor: np.ndarray) -> Entries | None:
    """Rule for `backbones.torchvision_names.convert_state`: any tensor of a body-part, QPIC or CDN state dict."""
    if name in _PLAIN:
        return [(_PLAIN[name], tensor)]
    if name.startswith("backbone.0.body."):
        return resnet_rule(name.removeprefix("backbone.0.body."), tensor)
    for pattern, path, rest in _STACKS:
        if match := re.fullmatch(pattern, name):
            return _layer(match.expand(path), match.expand(rest), tensor)
    for pattern, path in _NORMS:
        if match := re.fullmatch(pattern, name):
            return _norm(path, match[1], tensor)
    for pattern, path in _LINEAR:
        if match := re.fullmatch(pattern, name):
            return linear(match.expand(path), match[match.lastindex or 1], tensor)
    return None
