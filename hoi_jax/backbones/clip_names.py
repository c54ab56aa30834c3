"""Names of CLIP checkpoints in ours: the layout of OpenAI and open_clip (see `torchvision_names` for what a rule is).

The image tower goes below "params/backbone", the text tower below "params/text". The projection of a ViT's feature
becomes "params/image_projection": DEFR has none, and uses it to bring text embeddings to the classifier.
"""

import re

import numpy as np

from hoi_jax.backbones.torchvision_names import Entries, convolution, linear

_NORM = {"weight": "scale", "bias": "bias"}
_STATISTICS = {"running_mean": "mean", "running_var": "var"}
_BLOCK_NORM = {"ln_1": "norm1", "ln_2": "norm2"}
_BLOCK_LINEAR = {"attn.out_proj": "attention/out", "mlp.c_fc": "linear1", "mlp.c_proj": "linear2"}
_POOL = {"q_proj": "query", "k_proj": "key", "v_proj": "value", "c_proj": "out"}
LOG_GAMMA = "params/classifier/log_gamma"
IGNORED = frozenset({"input_resolution", "context_length", "vocab_size", "logit_scale", "attn_mask"})
"""Entries that say nothing the model needs: DEFR's temperature is a setting."""


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
    """A tensor of the checkpoints that DEFR's authors publish (hts, clip/clip_hico.py): CLIP's image tower without its
    projection, and the classifier with one row per class, or, in their "-linear" ablations, a linear layer.

    The temperature `logit_scale` becomes "params/classifier/log_gamma", a setting of ours and no parameter.
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
    """A tensor of an OpenAI or open_clip state dict (`visual.` for the image tower, `text.` optional for the other)."""
    if name in IGNORED:
        return []
    if name.startswith("visual."):
        return _image(name.removeprefix("visual."), tensor, image)
    return _text(name.removeprefix("text."), tensor, text)
