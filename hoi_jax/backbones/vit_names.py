"""Names of ViT and CLIP checkpoints of Hugging Face and of timm's ViTs in ours (see `torchvision_names` for rules).

Places are those of `clip_names`: "params/backbone", "params/text", "params/image_projection".
"""

import re
from collections.abc import Mapping

import numpy as np

from hoi_jax.backbones.clip_names import clip_rule, defr_rule, packed_projections
from hoi_jax.backbones.torchvision_names import Entries, Rule, convolution, linear

_NORM = {"weight": "scale", "bias": "bias"}
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
    """A norm's or linear layer's weight or bias, told apart by the place it goes to."""
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
    """A tensor of Hugging Face's CLIPModel (ViT image towers only)."""
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
    """A tensor of Hugging Face's ViT; pooler and classifier are dropped."""
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
    """A tensor of timm's ViT (ImageNet-1K and -21K); the classifier is dropped."""
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
    """Name of the layout, and its rule, from a tensor that only this layout has. Raises ValueError."""
    for title, sign, rule in _SIGNS:
        if any(name == sign or name.endswith(f".{sign}") for name in state):
            return title, rule
    raise ValueError(
        f"names of no known layout ({', '.join(title for title, _, _ in _SIGNS)}); some of them: {sorted(state)[:5]}"
    )
