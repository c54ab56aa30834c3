"""COCO detectors of torchvision (Faster, Mask R-CNN) and mmdetection (Cascade, Mask, HTC) as a start of the cascade.

    python -m hoi_jax.systems.cascade.convert maskrcnn_resnet50_fpn_coco.pth detector.npz

Layers keep their meaning wherever the layouts match; what does not match is listed, never guessed. Class logits put
background first here, as in torchvision and the first mmdetection; later ones have it last. `--vocabulary vcoco` (or
hoi_w, pic, hico_det) rearranges class layers for its objects; without it they keep COCO's classes, and a config starts
from the other layers: `init_from` with include patterns.
"""

import argparse
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from hoi_jax.backbones.fpn import fpn_rule, resnet_fpn_rule
from hoi_jax.backbones.resnet import FrozenBatchNorm
from hoi_jax.backbones.torchvision_names import (
    ConversionError,
    Entries,
    convert_state,
    convolution,
    linear,
    resnet_rule,
)
from hoi_jax.files.converted import Converted, write_converted
from hoi_jax.files.state import read_state
from hoi_jax.systems.cascade.coco_classes import with_classes
from hoi_jax.vocab import get_vocabulary

_TORCHVISION = {
    r"rpn\.head\.conv(?:\.0\.0)?": "rpn_head/conv",
    r"rpn\.head\.cls_logits": "rpn_head/score",
    r"rpn\.head\.bbox_pred": "rpn_head/deltas",
    r"roi_heads\.box_head\.fc(?P<fc>[67])": "box_heads_0/fc{fc}",
    r"roi_heads\.box_predictor\.cls_score": "box_heads_0/score",
    r"roi_heads\.box_predictor\.bbox_pred": "box_heads_0/deltas",
    r"roi_heads\.mask_head\.(?P<conv>\d+)\.0": "mask_heads_0/conv{conv}",
    r"roi_heads\.mask_head\.mask_fcn(?P<next>\d+)": "mask_heads_0/conv{conv}",
    r"roi_heads\.mask_predictor\.conv5_mask": "mask_heads_0/enlarge",
    r"roi_heads\.mask_predictor\.mask_fcn_logits": "mask_heads_0/score",
}
_STAGE = r"(?:\.(?P<stage>\d))?\."
_MMDETECTION = {
    r"rpn_head\.rpn_conv": "rpn_head/conv",
    r"rpn_head\.rpn_cls": "rpn_head/score",
    r"rpn_head\.rpn_reg": "rpn_head/deltas",
    r"(?:roi_head\.)?bbox_head" + _STAGE + r"shared_fcs\.(?P<hidden>[01])": "box_heads_{stage}/fc{fc}",
    r"(?:roi_head\.)?bbox_head" + _STAGE + r"fc_cls": "box_heads_{stage}/score",
    r"(?:roi_head\.)?bbox_head" + _STAGE + r"fc_reg": "box_heads_{stage}/deltas",
    r"(?:roi_head\.)?mask_head" + _STAGE + r"convs\.(?P<conv>\d+)\.conv": "mask_heads_{stage}/conv{conv}",
    r"(?:roi_head\.)?mask_head" + _STAGE + r"upsample": "mask_heads_{stage}/enlarge",
    r"(?:roi_head\.)?mask_head" + _STAGE + r"conv_logits": "mask_heads_{stage}/score",
    r"(?:roi_head\.)?mask_head" + _STAGE + r"conv_res\.conv": "mask_heads_{stage}/before",
}


def _place(name: str) -> tuple[str, str, bool] | None:
    """Our path, "weight" or "bias", and whether background is last; None for unknown names."""
    layer, _, leaf = name.rpartition(".")
    if leaf not in ("weight", "bias"):
        return None
    for pattern, path in (*_TORCHVISION.items(), *_MMDETECTION.items()):
        match = re.fullmatch(pattern, layer)
        if match:
            parts = {key: value for key, value in match.groupdict().items() if value is not None}
            numbers = {"stage": "0", **parts}
            if "next" in parts:
                numbers["conv"] = str(int(parts["next"]) - 1)
            if "hidden" in parts:
                numbers["fc"] = str(6 + int(parts["hidden"]))
            return path.format(**numbers), leaf, layer.startswith("roi_head.")
    return None


def _background_first(tensor: np.ndarray, path: str) -> np.ndarray:
    """Class rows of newer mmdetection: boxes have background last, masks have no background."""
    if path.startswith("box_heads"):
        return np.concatenate([tensor[-1:], tensor[:-1]])
    return np.concatenate([np.zeros_like(tensor[:1]), tensor])


def detector_rule(name: str, tensor: np.ndarray) -> Entries | None:
    """A tensor of a COCO detector by our name; None for what has no place here."""
    if name.startswith(("backbone.body.", "backbone.fpn.")):
        return resnet_fpn_rule(name, tensor)
    if name.startswith("backbone."):
        return resnet_rule(name.removeprefix("backbone."), tensor)
    neck = re.fullmatch(r"neck\.(lateral|fpn)_convs\.(\d)\.conv\.(weight|bias)", name)
    if neck:
        return fpn_rule(f"{'inner' if neck[1] == 'lateral' else 'layer'}_blocks.{neck[2]}.{neck[3]}", tensor)
    place = _place(name)
    if place is None:
        return None
    path, leaf, background_last = place
    if background_last and path.endswith("/score"):
        tensor = _background_first(tensor, path)
    if path.endswith("/enlarge"):
        array = tensor.transpose(2, 3, 0, 1) if leaf == "weight" else tensor
        return [(f"params/{path}_{'kernel' if leaf == 'weight' else 'bias'}", array)]
    if leaf == "bias":
        return [(f"params/{path}/bias", tensor)]
    if path.endswith("/fc6"):
        # The first layer reads maps [C, size, size] there and [size, size, C] here; pyramids are 256 wide.
        size = int(round((tensor.shape[1] / 256) ** 0.5))
        maps = tensor.reshape((tensor.shape[0], -1, size, size)).transpose(2, 3, 1, 0)
        return [(f"params/{path}/kernel", maps.reshape((-1, tensor.shape[0])))]
    return convolution(path, tensor) if tensor.ndim == 4 else linear(path, leaf, tensor)


def detector_arrays(
    state: Mapping[str, np.ndarray], epsilon: float | None = None
) -> tuple[dict[str, np.ndarray], tuple[str, ...]]:
    """Arrays by our names and names of tensors without a place.

    Args:
      epsilon: of the source's batch normalisation; None: 0 for torchvision, whose published COCO detectors run without
        one, 1e-5 for mmdetection. Ours adds 1e-5, so that the difference is taken off the variances.

    Raises:
      ConversionError: the tensors are no detector's.
    """
    flat, unknown = convert_state(state, detector_rule)
    if not any(name.startswith("params/rpn_head/") for name in flat):
        raise ConversionError("no region proposal head of torchvision or mmdetection among the tensors")
    if epsilon is None:
        epsilon = 0.0 if any(name.startswith("backbone.body.") for name in state) else FrozenBatchNorm.epsilon
    for name in flat:
        if name.endswith("/var"):
            flat[name] = (flat[name].astype(np.float64) + epsilon - FrozenBatchNorm.epsilon).astype(np.float32)
    return flat, unknown


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, help="state dict: .pth, .safetensors or .npz")
    parser.add_argument("target", type=Path, help="npz file to write")
    parser.add_argument("--epsilon", type=float, help="of the source's batch norms (default: by its layout)")
    parser.add_argument("--vocabulary", help="class layers for the objects of this vocabulary")
    options = parser.parse_args(arguments)

    def convert() -> Converted:
        arrays, unknown = detector_arrays(read_state(options.source), options.epsilon)
        absent: tuple[str, ...] = ()
        if options.vocabulary:
            arrays, absent = with_classes(arrays, get_vocabulary(options.vocabulary))
        notes = [f"no COCO class for {name}: it starts with the mean of all" for name in absent]
        return Converted("detector", arrays, unknown, notes)

    return write_converted(options.source, options.target, convert)


if __name__ == "__main__":
    sys.exit(main())
