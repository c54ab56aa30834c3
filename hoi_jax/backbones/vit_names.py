"""Conversion of ViT and CLIP weights: OpenAI's and open_clip's layout, Hugging Face's, timm's, and DEFR's release.

The image tower is put below "params/backbone", the text tower below "params/text". The projection of a ViT's feature
becomes "params/image_projection", which is not part of DEFR's network but maps text embeddings to its classifier.
"""

import re
from collections.abc import Mapping

import numpy as np

from hoi_jax.serialization.conversion import Entries, Rule, convolution, linear

_NORM = {"weight": "scale", "bias": "bias"}
_STATISTICS = {"running_mean": "mean", "running_var": "var"}
_BLOCK_NORM = {"ln_1": "norm1", "ln_2": "norm2"}
_BLOCK_LINEAR = {"attn.out_proj": "attention/out", "mlp.c_fc": "linear1", "mlp.c_proj": "linear2"}
_POOL = {"q_proj": "query", "k_proj": "key", "v_proj": "value", "c_proj": "out"}
LOG_GAMMA = "params/classifier/log_gamma"
IGNORED = frozenset({"input_resolution", "context_length", "vocab_size", "logit_scale", "attn_mask"})
"""Entries that the model does not need; DEFR's temperature is a setting."""


def packed_projections(path: str, leaf: str, tensor: np.ndarray) -> Entries:
    """PyTorch's packed input projection [3 D, D] (or its bias) as query, key and value layers below `path`."""
    parts = zip(("query", "key", "value"), np.split(tensor, 3), strict=True)
    return [entry for name, part in parts for entry in linear(f"{path}/{name}", leaf, part)]


def _block(path: str, rest: str, tensor: np.ndarray) -> Entries | None:
    layer, _, leaf = rest.rpartition(".")
    if layer in _BLOCK_NORM and leaf in _NORM:
        return [(f"params/{path}/{_BLOCK_NORM[layer]}/{_NORM[leaf]}", tensor)]
    if rest in ("attn.in_proj_weight", "attn.in_proj_bias"):
        return packed_projections(f"{path}/attention", rest.rpartition("_")[2], tensor)
    if layer in _BLOCK_LINEAR and leaf in ("weight", "bias"):
        return linear(f"{path}/{_BLOCK_LINEAR[layer]}", leaf, tensor)
    return None


def _resnet(name: str, tensor: np.ndarray, prefix: str) -> Entries | None:
    match = re.fullmatch(r"(?:layer([1-9])\.(\d+)\.)?(conv|bn|downsample\.)(-?\d)\.(\w+)", name)
    if not match:
        return None
    stage, block, kind, number, leaf = match.groups()
    place = f"stage{int(stage) - 1}_block{block}" if stage else ""
    unit = "downsample" if kind == "downsample." else f"conv{number}" if stage else f"stem{int(number) - 1}"
    path = "/".join(part for part in (prefix, place, unit) if part)
    if leaf == "num_batches_tracked":
        return []
    if kind == "conv" or (kind == "downsample." and number == "0"):
        return convolution(f"{path}/conv", tensor) if leaf == "weight" else None
    if leaf in _NORM:
        return [(f"params/{path}/norm/{_NORM[leaf]}", tensor)]
    return [(f"batch_stats/{path}/norm/{_STATISTICS[leaf]}", tensor)] if leaf in _STATISTICS else None


def _image(name: str, tensor: np.ndarray, prefix: str) -> Entries | None:
    if name == "conv1.weight" and tensor.shape[-1] != 3:
        return convolution(f"{prefix}/patch_embed", tensor)
    if name in ("class_embedding", "positional_embedding"):
        return [(f"params/{prefix}/{name}", tensor)]
    if name == "proj":
        return [("params/image_projection", tensor)]
    if match := re.fullmatch(r"ln_(pre|post)\.(weight|bias)", name):
        return [(f"params/{prefix}/norm_{match[1]}/{_NORM[match[2]]}", tensor)]
    if match := re.fullmatch(r"transformer\.resblocks\.(\d+)\.(.+)", name):
        return _block(f"{prefix}/blocks_{match[1]}", match[2], tensor)
    if name == "attnpool.positional_embedding":
        return [(f"params/{prefix}/pool/positional_embedding", tensor)]
    if match := re.fullmatch(r"attnpool\.([qkvc]_proj)\.(weight|bias)", name):
        return linear(f"{prefix}/pool/{_POOL[match[1]]}", match[2], tensor)
    return _resnet(name, tensor, prefix)


def _text(name: str, tensor: np.ndarray, prefix: str) -> Entries | None:
    if name == "token_embedding.weight":
        return [(f"params/{prefix}/token_embedding", tensor)]
    if name == "positional_embedding":
        return [(f"params/{prefix}/positional_embedding", tensor)]
    if name == "text_projection":
        return [(f"params/{prefix}/projection", tensor)]
    if match := re.fullmatch(r"ln_final\.(weight|bias)", name):
        return [(f"params/{prefix}/norm/{_NORM[match[1]]}", tensor)]
    if match := re.fullmatch(r"transformer\.resblocks\.(\d+)\.(.+)", name):
        return _block(f"{prefix}/blocks_{match[1]}", match[2], tensor)
    return None


def defr_rule(name: str, tensor: np.ndarray) -> Entries | None:
    """Entries for a tensor of the checkpoints published by DEFR's authors (hts, clip/clip_hico.py).

    They contain CLIP's image tower without its projection, and the classifier with one row per class or, in their
    "-linear" ablations, a linear layer. The temperature `logit_scale` becomes "params/classifier/log_gamma", which is a
    setting here, not a parameter.
    """
    name = name.removeprefix("module.")
    if name.startswith("visual_encoder.visual."):
        return _image(name.removeprefix("visual_encoder.visual."), tensor, "backbone")
    if name in ("classifier", "classifier.weight"):
        return [("params/classifier/kernel", tensor)]
    if name == "classifier.bias":
        return [("params/classifier/bias", tensor)]
    return [(LOG_GAMMA, tensor)] if name == "logit_scale" else None


def clip_rule(name: str, tensor: np.ndarray, *, image: str = "backbone", text: str = "text") -> Entries | None:
    """Entries for a tensor of an OpenAI or open_clip state dict (image tower `visual.`, text tower with or without
    `text.`)."""
    if name in IGNORED:
        return []
    if name.startswith("visual."):
        return _image(name.removeprefix("visual."), tensor, image)
    return _text(name.removeprefix("text."), tensor, text)


_CLIP_LAYER = {
    "self_attn.q_proj": "attention/query", "self_attn.k_proj": "attention/key", "self_attn.v_proj": "attention/value",
    "self_attn.out_proj": "attention/out", "mlp.fc1": "linear1", "mlp.fc2": "linear2",
    "layer_norm1": "norm1", "layer_norm2": "norm2",
}  # fmt: skip
_VIT_LAYER = {
    **{f"attention.attention.{name}": f"attention/{name}" for name in ("query", "key", "value")},
    "attention.output.dense": "attention/out", "intermediate.dense": "linear1", "output.dense": "linear2",
    "layernorm_before": "norm1", "layernorm_after": "norm2",
}  # fmt: skip
_TIMM_LAYER = {
    "attn.proj": "attention/out",
    "mlp.fc1": "linear1",
    "mlp.fc2": "linear2",
    "norm1": "norm1",
    "norm2": "norm2",
}
_CLIP_TOP = {
    "vision_model.pre_layrnorm": "backbone/norm_pre", "vision_model.post_layernorm": "backbone/norm_post",
    "text_model.final_layer_norm": "text/norm",
}  # fmt: skip


def _leaf(path: str, leaf: str, tensor: np.ndarray) -> Entries | None:
    """Weight or bias of a norm or linear layer, distinguished by `path`."""
    if leaf not in _NORM:
        return None
    if re.search(r"/norm(\d|_pre|_post)?$", path):
        return [(f"params/{path}/{_NORM[leaf]}", tensor)]
    return linear(path, leaf, tensor)


def _layer(path: str, rest: str, tensor: np.ndarray, table: Mapping[str, str]) -> Entries | None:
    unit, _, leaf = rest.rpartition(".")
    return _leaf(f"{path}/{table[unit]}", leaf, tensor) if unit in table else None


def _patch_embed(leaf: str, tensor: np.ndarray) -> Entries:
    if leaf == "weight":
        return convolution("backbone/patch_embed", tensor)
    return [("params/backbone/patch_embed/bias", tensor)]


def huggingface_clip_rule(name: str, tensor: np.ndarray) -> Entries | None:
    """Entries for a tensor of Hugging Face's CLIPModel (ViT image towers only)."""
    fixed = {
        "vision_model.embeddings.class_embedding": ("backbone/class_embedding", tensor),
        "vision_model.embeddings.position_embedding.weight": ("backbone/positional_embedding", tensor),
        "text_model.embeddings.token_embedding.weight": ("text/token_embedding", tensor),
        "text_model.embeddings.position_embedding.weight": ("text/positional_embedding", tensor),
        "visual_projection.weight": ("image_projection", tensor.T),
        "text_projection.weight": ("text/projection", tensor.T),
    }
    if name in fixed:
        path, array = fixed[name]
        return [(f"params/{path}", array)]
    if name == "logit_scale" or name.endswith(".position_ids"):
        return []
    if name == "vision_model.embeddings.patch_embedding.weight":
        return _patch_embed("weight", tensor)
    unit, _, leaf = name.rpartition(".")
    if unit in _CLIP_TOP:
        return _leaf(_CLIP_TOP[unit], leaf, tensor)
    if match := re.fullmatch(r"(vision|text)_model\.encoder\.layers\.(\d+)\.(.+)", name):
        tower = "backbone" if match[1] == "vision" else "text"
        return _layer(f"{tower}/blocks_{match[2]}", match[3], tensor, _CLIP_LAYER)
    return None


def huggingface_vit_rule(name: str, tensor: np.ndarray) -> Entries | None:
    """Entries for a tensor of Hugging Face's ViT; pooler and classifier are dropped."""
    name = name.removeprefix("vit.")
    if name.startswith(("pooler.", "classifier.")):
        return []
    if name == "embeddings.cls_token":
        return [("params/backbone/class_embedding", tensor.reshape(-1))]
    if name == "embeddings.position_embeddings":
        return [("params/backbone/positional_embedding", tensor[0])]
    if match := re.fullmatch(r"embeddings\.patch_embeddings\.projection\.(weight|bias)", name):
        return _patch_embed(match[1], tensor)
    if match := re.fullmatch(r"layernorm\.(weight|bias)", name):
        return _leaf("backbone/norm_post", match[1], tensor)
    if match := re.fullmatch(r"encoder\.layer\.(\d+)\.(.+)", name):
        return _layer(f"backbone/blocks_{match[1]}", match[2], tensor, _VIT_LAYER)
    return None


def timm_vit_rule(name: str, tensor: np.ndarray) -> Entries | None:
    """Entries for a tensor of timm's ViT (ImageNet-1K and -21K); the classifier is dropped."""
    if name.startswith(("head.", "pre_logits.")):
        return []
    if name == "cls_token":
        return [("params/backbone/class_embedding", tensor.reshape(-1))]
    if name == "pos_embed":
        return [("params/backbone/positional_embedding", tensor[0])]
    if match := re.fullmatch(r"patch_embed\.proj\.(weight|bias)", name):
        return _patch_embed(match[1], tensor)
    if match := re.fullmatch(r"norm\.(weight|bias)", name):
        return _leaf("backbone/norm_post", match[1], tensor)
    if match := re.fullmatch(r"blocks\.(\d+)\.attn\.qkv\.(weight|bias)", name):
        return packed_projections(f"backbone/blocks_{match[1]}/attention", match[2], tensor)
    if match := re.fullmatch(r"blocks\.(\d+)\.(.+)", name):
        return _layer(f"backbone/blocks_{match[1]}", match[2], tensor, _TIMM_LAYER)
    return None


_SIGNS: tuple[tuple[str, str, Rule], ...] = (
    ("DEFR of its authors", "visual_encoder.visual.conv1.weight", defr_rule),
    ("OpenAI or open_clip CLIP", "visual.conv1.weight", clip_rule),
    ("Hugging Face CLIP", "vision_model.embeddings.class_embedding", huggingface_clip_rule),
    ("Hugging Face ViT", "embeddings.patch_embeddings.projection.weight", huggingface_vit_rule),
    ("timm ViT", "patch_embed.proj.weight", timm_vit_rule),
)


def find_rule(state: Mapping[str, np.ndarray]) -> tuple[str, Rule]:
    """(name, rule) of the layout, detected from a tensor that only it has. Raises ValueError for unknown layouts."""
    for title, sign, rule in _SIGNS:
        if any(name == sign or name.endswith(f".{sign}") for name in state):
            return title, rule
    raise ValueError(
        f"tensor names fit none of the layouts {', '.join(title for title, _, _ in _SIGNS)}: {sorted(state)[:5]}"
    )
