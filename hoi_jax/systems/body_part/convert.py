"""Weights of the authors' PyTorch code (body-part, QPIC, CDN, DETR) under this system's names.

    python -m hoi_jax.systems.body_part.convert weights.safetensors weights.npz [--detr-queries 64 [--absent-class]]

reads a state dict (safetensors, npz with one array per tensor, or PyTorch's .pth: alone or the "model" of a checkpoint;
nothing in the file is executed) and writes what `train.init_from` takes; every tensor without a place is named.
"""

import argparse
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from hoi_jax.backbones.torchvision_names import ConversionError, Entries, convert_state, linear, resnet_rule
from hoi_jax.files.converted import Converted, write_converted
from hoi_jax.files.state import read_state
from hoi_jax.systems.body_part.absent_class import with_absent_row
from hoi_jax.vocab.datasets import COCO_CATEGORY_IDS

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


def start_from_detr(
    state: Mapping[str, np.ndarray], queries: int, *, absent_class: bool = False
) -> dict[str, np.ndarray]:
    """A COCO DETR's state dict under the names of this system's authors, as they start training.

    Both box heads copy DETR's; object classes take the rows of the 80 COCO classes and of "no object"; the first
    `queries` query embeddings stay. Whatever DETR lacks is left out and starts at random.

    Args:
      absent_class: V-COCO's class "object absent" gets a fresh row before the last one (`absent_class`).

    Raises:
      ConversionError: the tensors are not DETR's.
    """
    wanted = ("class_embed.weight", "class_embed.bias", "query_embed.weight", "bbox_embed.layers.0.weight")
    missing = [name for name in wanted if name not in state]
    if missing:
        raise ConversionError(f"not a DETR state dict: {missing} are absent")
    classes = len(state["class_embed.bias"])
    if classes <= max(COCO_CATEGORY_IDS) or len(state["query_embed.weight"]) < queries:
        known = len(state["query_embed.weight"])
        raise ConversionError(f"DETR has {classes} classes and {known} queries, expected COCO's and {queries}")
    rows = np.array([*COCO_CATEGORY_IDS, classes - 1])
    weight, bias = state["class_embed.weight"][rows], state["class_embed.bias"][rows]
    if absent_class:
        weight, bias = with_absent_row(weight, bias)
    started = {"obj_class_embed.weight": weight, "obj_class_embed.bias": bias}
    for name, tensor in state.items():
        if name.startswith("class_embed."):
            continue
        if name.startswith("bbox_embed."):
            started |= {f"sub_{name}": tensor, f"obj_{name}": tensor}
        else:
            started[name] = tensor[:queries] if name == "query_embed.weight" else tensor
    return started


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, help="state dict: .safetensors, .npz, .pth or .pt")
    parser.add_argument("target", type=Path, help="npz file to write")
    parser.add_argument("--detr-queries", type=int, metavar="N", help="the source is COCO's DETR; keep N queries")
    parser.add_argument("--absent-class", action="store_true", help="with --detr-queries, for V-COCO: one class more")
    options = parser.parse_args(arguments)

    def convert() -> Converted:
        state: Mapping[str, np.ndarray] = read_state(options.source)
        if options.detr_queries is not None:
            state = start_from_detr(state, options.detr_queries, absent_class=options.absent_class)
        return Converted("DETR family, for body_part", *convert_state(state, checkpoint_rule))

    return write_converted(options.source, options.target, convert)


if __name__ == "__main__":
    sys.exit(main())
