"""Scenic's DETR (google-research/scenic, `projects/baselines/detr/model.py`) under this system's names.

Both box heads copy DETR's, as `convert.start_from_detr` does with the authors' DETR. Scenic's classes are 0 "no object"
and 1 to 80 COCO's in the order of their numbers; ours have "no pair" last. Its norms have epsilon 1e-6, ours 1e-5.
"""

import re
from collections.abc import Mapping

import numpy as np

from hoi_jax.backbones import scenic_names
from hoi_jax.backbones.torchvision_names import ConversionError, Entries, Rule
from hoi_jax.systems.body_part.absent_class import with_absent_row

_ROOT = "DETRTransformer_0"
_COCO_CLASSES = 80
_BLOCKS = (
    (rf"{_ROOT}/encoder/encoderblock_(\d+)/(.+)", "encoder", ("norm1", "norm2")),
    (rf"{_ROOT}/decoder/decoderblock_(\d+)/(.+)", "box_decoder", ("norm1", "norm2", "norm3")),
)
_ATTENTION = ("self_attention", "cross_attention")


def is_detr(state: Mapping[str, np.ndarray]) -> bool:
    """Whether names are those of Scenic's DETR."""
    return f"params/{_ROOT}/LayerNorm_0/scale" in state and "params/backbone/stem_conv/kernel" in state


def _block(path: str, rest: str, norms: tuple[str, ...], tensor: np.ndarray) -> Entries | None:
    unit, _, leaf = rest.rpartition("/")
    if match := re.fullmatch(r"LayerNorm_(\d)", unit):
        return [(f"params/{path}/{norms[int(match[1])]}/{leaf}", tensor)] if int(match[1]) < len(norms) else None
    if match := re.fullmatch(r"MlpBlock_0/Dense_([01])", unit):
        return [(f"params/{path}/linear{int(match[1]) + 1}/{leaf}", tensor)]
    if match := re.fullmatch(r"MultiHeadDotProductAttention_([01])/(\w+)", unit):
        return scenic_names.attention(f"{path}/{_ATTENTION[int(match[1])]}", match[2], leaf, tensor)
    return None


def _class_rows(tensor: np.ndarray) -> np.ndarray:
    return np.concatenate([tensor[..., 1 : _COCO_CLASSES + 1], tensor[..., :1]], axis=-1)


def _class_head(state: Mapping[str, np.ndarray], absent_class: bool) -> dict[str, np.ndarray]:
    """The class head in our order of classes, with a row for absent objects where one is wanted."""
    kernel, bias = (_class_rows(state[f"params/ObjectClassPredictor_0/Dense_0/{leaf}"]) for leaf in ("kernel", "bias"))
    if absent_class:
        weight, bias = with_absent_row(kernel.T, bias)
        kernel = weight.T
    return {"kernel": kernel, "bias": bias}


def detr_rule(state: Mapping[str, np.ndarray], queries: int | None = None, *, absent_class: bool = False) -> Rule:
    """Rule for all variables of Scenic's DETR; the first `queries` of its queries stay (None: all).

    Args:
      absent_class: V-COCO's class "object absent" gets a fresh row before the last one (`absent_class`).

    Raises:
      ConversionError: DETR with normalisation before attention, which this system does not have, or too few queries.
    """
    if f"params/{_ROOT}/LayerNorm_1/scale" in state:
        raise ConversionError("Scenic's DETR with transformer_normalize_before=True; norms here come after attention")
    known = len(state["params/QueryPosEmbedding_0/query_emb"])
    if queries is not None and queries > known:
        raise ConversionError(f"DETR has {known} queries, {queries} are wanted")
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
