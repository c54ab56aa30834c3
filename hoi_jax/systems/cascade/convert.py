"""Convert COCO detectors of torchvision (Faster, Mask R-CNN) and mmdetection (Cascade, Mask, HTC) to initial weights.

    python -m hoi_jax.systems.cascade.convert maskrcnn_resnet50_fpn_coco.pth detector.npz

Layers with the same layout are converted; tensors that do not match are listed. Here background is the first class, as
in torchvision and the first versions of mmdetection; in later versions it is the last. `--vocabulary vcoco` (or hoi_w,
pic, hico_det) rearranges class layers for its objects; without it they keep COCO's classes, and a config must load the
other layers only, by `init_from` with include patterns.
"""

import argparse
import functools
import re
import sys
from collections.abc import Mapping

import numpy as np

from hoi_jax.backbones.fpn import fpn_rule, resnet_fpn_rule
from hoi_jax.backbones.resnet import FrozenBatchNorm
from hoi_jax.backbones.resnet_names import resnet_rule
from hoi_jax.serialization.conversion import (
    ConversionError,
    Converted,
    Entries,
    convert_state,
    convolution,
    linear,
    run_converter,
)
from hoi_jax.serialization.state import read_state
from hoi_jax.vocab import get_vocabulary
from hoi_jax.vocab.datasets import COCO_CATEGORY_IDS, HICO
from hoi_jax.vocab.tables import Vocabulary

SYNONYMS = {
    "human": "person", "cellphone": "cell_phone", "phone": "cell_phone", "ball": "sports_ball", "computer": "laptop",
    "PC": "laptop", "racket": "tennis_racket", "bag": "handbag", "table": "dining_table", "sofa": "couch",
    "luggage": "suitcase", "aircraft": "airplane", "remote_control": "remote", "display": "tv", "document": "book",
}  # fmt: skip
"""Objects of HOI-W, PIC and the scenes whose nearest COCO class has another name; our choice, not from a paper."""


def source_columns(columns: int, vocabulary: Vocabulary) -> tuple[int | None, ...]:
    """Column of a COCO class layer for every object; None for objects without a COCO class.

    Args:
      columns: columns of the layer, background first: 81, or 91 if they are COCO's category numbers (torchvision).

    Raises:
      ValueError: any other number of columns.
    """
    if columns not in (81, 91):
        raise ValueError(f"the class layer has {columns} columns, expected 81 or 91 as in COCO detectors")
    place = {name: COCO_CATEGORY_IDS[i] if columns == 91 else i + 1 for i, name in enumerate(HICO.objects)}
    return tuple(place.get(SYNONYMS.get(name, name), place.get(name)) for name in vocabulary.objects)


def with_classes(
    arrays: Mapping[str, np.ndarray], vocabulary: Vocabulary
) -> tuple[dict[str, np.ndarray], tuple[str, ...]]:
    """(arrays with class layers for the vocabulary's objects, objects without a COCO class).

    The latter are initialised with the mean of all COCO classes.

    Raises:
      ValueError: a class layer is not that of a COCO detector.
    """
    out, absent = dict(arrays), set()
    for name, array in arrays.items():
        if "/score/" not in name or not name.startswith(("params/box_heads", "params/mask_heads")):
            continue
        columns = source_columns(array.shape[-1], vocabulary)
        used = [i for i in range(1, array.shape[-1]) if array.shape[-1] == 81 or i in COCO_CATEGORY_IDS]
        mean = array[..., used].mean(axis=-1)
        parts = [array[..., 0], *(mean if column is None else array[..., column] for column in columns)]
        out[name] = np.stack(parts, axis=-1).astype(array.dtype)
        absent |= {vocabulary.objects[i] for i, column in enumerate(columns) if column is None}
    return out, tuple(name for name in vocabulary.objects if name in absent)


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
    """(our path, "weight" or "bias", whether background is last); None for unknown names."""
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
    """Reorder class rows of newer mmdetection versions: boxes have background last, masks have none."""
    if path.startswith("box_heads"):
        return np.concatenate([tensor[-1:], tensor[:-1]])
    return np.concatenate([np.zeros_like(tensor[:1]), tensor])


def detector_rule(name: str, tensor: np.ndarray) -> Entries | None:
    """Entries for a tensor of a COCO detector under our names; None if it is not used."""
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
        # The first layer reads maps [C, size, size] in the source and [size, size, C] here; pyramids are 256 wide.
        size = int(round((tensor.shape[1] / 256) ** 0.5))
        maps = tensor.reshape((tensor.shape[0], -1, size, size)).transpose(2, 3, 1, 0)
        return [(f"params/{path}/kernel", maps.reshape((-1, tensor.shape[0])))]
    return convolution(path, tensor) if tensor.ndim == 4 else linear(path, leaf, tensor)


def detector_arrays(
    state: Mapping[str, np.ndarray], epsilon: float | None = None
) -> tuple[dict[str, np.ndarray], tuple[str, ...]]:
    """(arrays under our names, names of unused tensors).

    Args:
      epsilon: epsilon of the source's batch normalisation; None = 0 for torchvision, whose published COCO detectors use
        none, and 1e-5 for mmdetection. Ours is 1e-5; the difference is folded into the variances.

    Raises:
      ConversionError: the tensors are not those of a detector.
    """
    flat, unknown = convert_state(state, detector_rule)
    if not any(name.startswith("params/rpn_head/") for name in flat):
        raise ConversionError("the tensors contain no region proposal head of torchvision or mmdetection")
    if epsilon is None:
        epsilon = 0.0 if any(name.startswith("backbone.body.") for name in state) else FrozenBatchNorm.epsilon
    for name in flat:
        if name.endswith("/var"):
            flat[name] = (flat[name].astype(np.float64) + epsilon - FrozenBatchNorm.epsilon).astype(np.float32)
    return flat, unknown


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--epsilon", type=float, help="epsilon of the source's batch norms (default: by layout)")
    parser.add_argument("--vocabulary", help="class layers for the objects of this vocabulary")


def convert(options: argparse.Namespace) -> Converted:
    """Weights of the source under the cascade's names."""
    arrays, unknown = detector_arrays(read_state(options.source), options.epsilon)
    absent: tuple[str, ...] = ()
    if options.vocabulary:
        arrays, absent = with_classes(arrays, get_vocabulary(options.vocabulary))
    notes = [f"no COCO class for {name}: initialised with the mean of all" for name in absent]
    return Converted("detector", arrays, unknown, notes)


main = functools.partial(run_converter, __doc__, convert, add_options=add_options)

if __name__ == "__main__":
    sys.exit(main())
