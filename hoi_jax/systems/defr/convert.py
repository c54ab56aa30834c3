"""Convert a checkpoint of CLIP or an ImageNet ViT to initial weights of DEFR, or the authors' checkpoints to ours.

    python -m hoi_jax.systems.defr.convert --weights ViT-B-16.safetensors --size 672 --out clip_b16_672.npz
    python -m hoi_jax.systems.defr.convert --weights DEFR-vitbp16-b4-lr75e6-65.62.pt --out defr_b16.npz

Weights: safetensors, npz, or PyTorch's .pth and .pt (also OpenAI's TorchScript archives) with the names of OpenAI and
open_clip, Hugging Face (CLIP, ViT) or timm (ViT); nothing in a file is executed. Position tables are resized here, to
images of --size pixels, as the authors do on loading. Start a run with
`config.train.init_from = (dict(path="clip_b16_672.npz", include=("params/backbone/.*", "batch_stats/.*")),)`.

Checkpoints published by DEFR's authors (`module.visual_encoder.visual.*`, `module.classifier`, `module.logit_scale`)
are converted to whole networks: image tower and classifier. Their temperature is printed; here it is a setting
(`config.model.classifier.gamma`). `python -m hoi_jax.commands.adopt configs/defr_hico_release.py defr_b16.npz FOLDER`
makes a checkpoint of the file.
"""

import argparse
import functools
import math
import sys
from collections.abc import Mapping

import jax.numpy as jnp
import numpy as np

from hoi_jax.backbones.vit_names import LOG_GAMMA, find_rule
from hoi_jax.ops.resample import resize_positions
from hoi_jax.serialization.conversion import Converted, convert_state, run_converter
from hoi_jax.serialization.state import read_state

VIT_POSITIONS = "params/backbone/positional_embedding"
POOL_POSITIONS = "params/backbone/pool/positional_embedding"
RESNET_STRIDE = 32
_PARTS = {"backbone": "the image tower", "classifier": "the classifier"}


def backbone_arrays(state: Mapping[str, np.ndarray], size: int | None) -> tuple[dict[str, np.ndarray], str]:
    """(arrays under our names in float32, name of the layout).

    Position tables are resized for images of `size` pixels (None: not resized).

    Raises:
      ValueError: the layout or a tensor is unknown, or the size is not a whole number of patches.
    """
    title, rule = find_rule(state)
    flat, unknown = convert_state(state, rule)
    if unknown:
        raise ValueError(f"{title}: unknown tensors {list(unknown)[:10]}")
    flat = {name: np.asarray(array, np.float32) for name, array in flat.items()}
    name = VIT_POSITIONS if VIT_POSITIONS in flat else POOL_POSITIONS
    if name not in flat:
        raise ValueError(f"{title}: the checkpoint has no image tower")
    stride = flat["params/backbone/patch_embed/kernel"].shape[0] if name == VIT_POSITIONS else RESNET_STRIDE
    side = round((len(flat[name]) - 1) ** 0.5)
    wanted = side * stride if size is None else size
    if wanted % stride or side * side != len(flat[name]) - 1:
        raise ValueError(
            f"size {wanted} is not a multiple of {stride}, or the table of {len(flat[name])} positions is not square"
        )
    cells = wanted // stride
    flat[name] = np.asarray(resize_positions(jnp.asarray(flat[name]), (side, side), (cells, cells)))
    return flat, f"{title}, positions {side} x {side} -> {cells} x {cells}"


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--size", type=int, default=672, help="side of images, pixels (default: %(default)s)")


def convert(options: argparse.Namespace) -> Converted:
    """The image tower, and the classifier if the source has one."""
    flat, about = backbone_arrays(read_state(options.source), options.size)
    gamma = flat.pop(LOG_GAMMA, None)
    arrays = {name: array for name, array in flat.items() if name.split("/")[1] in _PARTS}
    present = {name.split("/")[1] for name in flat}
    parts = " and ".join(text for part, text in _PARTS.items() if part in present)
    left_out = sorted(present - set(_PARTS))
    notes = [] if gamma is None else [f"temperature: config.model.classifier.gamma = {math.exp(float(gamma)):.2f}"]
    return Converted(f"{about}; {parts}", arrays, left_out, notes)


main = functools.partial(run_converter, __doc__, convert, add_options=add_options, source="--weights", target="--out")

if __name__ == "__main__":
    sys.exit(main())
