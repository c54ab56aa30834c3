"""Weights of the authors' PyTorch code (body-part, QPIC, CDN, DETR) and of Scenic's DETR under this system's names.

    python -m hoi_jax.systems.body_part.convert weights.safetensors weights.npz [--detr-queries 64 [--absent-class]]

reads a state dict (safetensors, npz with one array per tensor, or PyTorch's .pth: alone or the "model" of a checkpoint;
nothing in the file is executed) and writes a file for `train.init_from`. Tensors that this system does not use are
listed.

Scenic's DETR (google-research/scenic, `projects/baselines/detr/model.py`) is read by `hoi_jax.integrations`: both box
heads copy DETR's, as `start_from_detr` does with the authors' DETR. In Scenic, class 0 is "no object" and 1 to 80 are
COCO's in the order of their numbers; here "no pair" is last. Scenic's norms use epsilon 1e-6, ours 1e-5.
"""

import argparse
import functools
import re
import sys
from collections.abc import Mapping

import numpy as np

from hoi_jax.backbones import scenic_names
from hoi_jax.backbones.resnet_names import resnet_rule
from hoi_jax.serialization.conversion import (
    ConversionError,
    Converted,
    Entries,
    Rule,
    convert_state,
    linear,
    run_converter,
)
from hoi_jax.serialization.state import read_state
from hoi_jax.vocab.datasets import COCO_CATEGORY_IDS

SEED = 0


def with_absent_row(weight: np.ndarray, bias: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Insert a new row before the last one ("no pair") of a class head, as QPIC and CDN convert DETR for V-COCO.

    The row is initialised as PyTorch's linear layers, uniform within 1 / sqrt(width), with a fixed seed.

    Args:
      weight: [classes, width]; bias: [classes].
    """
    bound = weight.shape[1] ** -0.5
    draw = np.random.default_rng(SEED).uniform(-bound, bound, weight.shape[1] + 1).astype(weight.dtype)
    return np.insert(weight, -1, draw[:-1], axis=0), np.insert(bias, -1, draw[-1])


_ROOT = "DETRTransformer_0"
_COCO_CLASSES = 80
_BLOCKS = (
    (rf"{_ROOT}/encoder/encoderblock_(\d+)/(.+)", "encoder", ("norm1", "norm2")),
    (rf"{_ROOT}/decoder/decoderblock_(\d+)/(.+)", "box_decoder", ("norm1", "norm2", "norm3")),
)
_SCENIC_ATTENTION = ("self_attention", "cross_attention")


def is_detr(state: Mapping[str, np.ndarray]) -> bool:
    """Whether the names are those of Scenic's DETR."""
    return f"params/{_ROOT}/LayerNorm_0/scale" in state and "params/backbone/stem_conv/kernel" in state


def _block(path: str, rest: str, norms: tuple[str, ...], tensor: np.ndarray) -> Entries | None:
    unit, _, leaf = rest.rpartition("/")
    if match := re.fullmatch(r"LayerNorm_(\d)", unit):
        return [(f"params/{path}/{norms[int(match[1])]}/{leaf}", tensor)] if int(match[1]) < len(norms) else None
    if match := re.fullmatch(r"MlpBlock_0/Dense_([01])", unit):
        return [(f"params/{path}/linear{int(match[1]) + 1}/{leaf}", tensor)]
    if match := re.fullmatch(r"MultiHeadDotProductAttention_([01])/(\w+)", unit):
        return scenic_names.attention(f"{path}/{_SCENIC_ATTENTION[int(match[1])]}", match[2], leaf, tensor)
    return None


def _class_rows(tensor: np.ndarray) -> np.ndarray:
    return np.concatenate([tensor[..., 1 : _COCO_CLASSES + 1], tensor[..., :1]], axis=-1)


def _class_head(state: Mapping[str, np.ndarray], absent_class: bool) -> dict[str, np.ndarray]:
    """The class head in our order of classes, with a row for absent objects if `absent_class`."""
    kernel, bias = (_class_rows(state[f"params/ObjectClassPredictor_0/Dense_0/{leaf}"]) for leaf in ("kernel", "bias"))
    if absent_class:
        weight, bias = with_absent_row(kernel.T, bias)
        kernel = weight.T
    return {"kernel": kernel, "bias": bias}


def detr_rule(state: Mapping[str, np.ndarray], queries: int | None = None, *, absent_class: bool = False) -> Rule:
    """Conversion rule for all variables of Scenic's DETR.

    Args:
      queries: number of queries to keep, the first ones; None = all.
      absent_class: insert a new row for V-COCO's class "object absent" before the last one.

    Raises:
      ConversionError: DETR has too few queries, or normalises before attention, which this system does not support.
    """
    if f"params/{_ROOT}/LayerNorm_1/scale" in state:
        raise ConversionError("Scenic's DETR with transformer_normalize_before=True is not supported")
    known = len(state["params/QueryPosEmbedding_0/query_emb"])
    if queries is not None and queries > known:
        raise ConversionError(f"DETR has {known} queries, expected at least {queries}")
    coco = state["params/ObjectClassPredictor_0/Dense_0/bias"].shape == (_COCO_CLASSES + 1,)
    head = _class_head(state, absent_class) if coco else {}
    backbone = scenic_names.resnet_rule(scenic_names.block_places(state, "backbone/"), root="backbone/")

    def rule(name: str, tensor: np.ndarray) -> Entries | None:
        if re.match(r"(params|batch_stats)/backbone/", name):
            return backbone(name, tensor)
        name = name.removeprefix("params/")
        if name == "QueryPosEmbedding_0/query_emb":
            return [("params/query_embed", tensor[:queries])]
        if match := re.fullmatch(rf"{_ROOT}/LayerNorm_0/(\w+)", name):
            return [(f"params/box_decoder/norm/{match[1]}", tensor)]
        if match := re.fullmatch(r"Conv_0/(kernel|bias)", name):
            return [(f"params/input_projection/fc0/{match[1]}", tensor[0, 0] if tensor.ndim == 4 else tensor)]
        if match := re.fullmatch(r"BBoxCoordPredictor_0/Dense_(\d)/(\w+)", name):
            return [(f"params/{box}_box/fc{match[1]}/{match[2]}", tensor) for box in ("human", "object")]
        if match := re.fullmatch(r"ObjectClassPredictor_0/Dense_0/(\w+)", name):
            return [(f"params/object_class/fc0/{match[1]}", head[match[1]])] if match[1] in head else None
        for pattern, stack, norms in _BLOCKS:
            if match := re.fullmatch(pattern, name):
                return _block(f"{stack}/layer{match[1]}", match[2], norms, tensor)
        return None

    return rule


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
    # The four decoders share their norm, which is one tensor under four names.
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
    """Rule for `backbones.resnet_names.convert_state` that covers body-part, QPIC and CDN state dicts."""
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
    """Rename a COCO DETR's state dict to the names of this system's authors, as they do to start training.

    Both box heads copy DETR's; object classes take the rows of the 80 COCO classes and of "no object"; the first
    `queries` query embeddings are kept. Parameters that DETR lacks are left out and will be initialised at random.

    Args:
      absent_class: insert a new row for V-COCO's class "object absent" before the last one.

    Raises:
      ConversionError: the tensors are not those of a COCO DETR with at least `queries` queries.
    """
    wanted = ("class_embed.weight", "class_embed.bias", "query_embed.weight", "bbox_embed.layers.0.weight")
    missing = [name for name in wanted if name not in state]
    if missing:
        raise ConversionError(f"not a DETR state dict: {missing} are missing")
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


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--detr-queries", type=int, metavar="N", help="the source is COCO's DETR; keep N queries")
    parser.add_argument("--absent-class", action="store_true", help="with --detr-queries, for V-COCO: one class more")


def convert(options: argparse.Namespace) -> Converted:
    """Weights of the source under this system's names."""
    state: Mapping[str, np.ndarray] = read_state(options.source)
    if options.detr_queries is not None:
        state = start_from_detr(state, options.detr_queries, absent_class=options.absent_class)
    return Converted("DETR family, for body_part", *convert_state(state, checkpoint_rule))


main = functools.partial(run_converter, __doc__, convert, add_options=add_options)

if __name__ == "__main__":
    sys.exit(main())
