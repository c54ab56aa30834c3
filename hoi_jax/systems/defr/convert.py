"""Turns a checkpoint of CLIP or of an ImageNet ViT into the file that DEFR starts from, or the authors' into ours.

    python -m hoi_jax.systems.defr.convert --weights ViT-B-16.safetensors --size 672 --out clip_b16_672.npz
    python -m hoi_jax.systems.defr.convert --weights DEFR-vitbp16-b4-lr75e6-65.62.pt --out defr_b16.npz

Weights: safetensors, npz, or PyTorch's .pth and .pt (also OpenAI's TorchScript archives) with the names of OpenAI and
open_clip, Hugging Face (CLIP, ViT) or timm (ViT); nothing in a file is executed. Position tables are resized to
pictures of --size pixels once, here, as the authors do on loading, and trained from there. Start a run by
`config.train.init_from = (dict(path="clip_b16_672.npz", include=("params/backbone/.*", "batch_stats/.*")),)`.

The checkpoints that DEFR's authors publish (`module.visual_encoder.visual.*`, `module.classifier`,
`module.logit_scale`) become whole networks: image tower and classifier. Their temperature is printed; it is a setting
here (`config.model.classifier.gamma`). `python -m hoi_jax.commands.adopt configs/defr_hico_release.py defr_b16.npz
FOLDER` makes a checkpoint of the file.
"""

import argparse
import math
import sys
from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path

import jax.numpy as jnp
import numpy as np

from hoi_jax import io
from hoi_jax.backbones.clip_names import LOG_GAMMA
from hoi_jax.backbones.torchvision_names import convert_state
from hoi_jax.backbones.vit_names import find_rule
from hoi_jax.files.state import read_state
from hoi_jax.ops.resample import resize_positions

VIT_POSITIONS = "params/backbone/positional_embedding"
POOL_POSITIONS = "params/backbone/pool/positional_embedding"
RESNET_STRIDE = 32
_PARTS = {"backbone": "the image tower", "classifier": "the classifier"}


def backbone_arrays(state: Mapping[str, np.ndarray], size: int | None) -> tuple[dict[str, np.ndarray], str]:
    """Arrays by our names in float32, position tables for pictures of `size` pixels (None: as they are); and what the
    layout is.

    Raises:
      ValueError: an unknown layout, unknown tensors, or a size that is no whole number of patches.
    """
    title, rule = find_rule(state)
    flat, unknown = convert_state(state, rule)
    if unknown:
        raise ValueError(f"{title}: unknown tensors {list(unknown)[:10]}")
    flat = {name: np.asarray(array, np.float32) for name, array in flat.items()}
    name = VIT_POSITIONS if VIT_POSITIONS in flat else POOL_POSITIONS
    if name not in flat:
        raise ValueError(f"{title}: no image tower")
    stride = flat["params/backbone/patch_embed/kernel"].shape[0] if name == VIT_POSITIONS else RESNET_STRIDE
    side = round((len(flat[name]) - 1) ** 0.5)
    wanted = side * stride if size is None else size
    if wanted % stride or side * side != len(flat[name]) - 1:
        raise ValueError(f"size {wanted} is not a multiple of {stride}, or a table of {len(flat[name])} is not square")
    cells = wanted // stride
    flat[name] = np.asarray(resize_positions(jnp.asarray(flat[name]), (side, side), (cells, cells)))
    return flat, f"{title}, positions {side} x {side} -> {cells} x {cells}"


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", type=Path, required=True, help="safetensors, npz, .pth or .pt file")
    parser.add_argument("--size", type=int, default=672, help="side of the pictures (default: %(default)s)")
    parser.add_argument("--out", type=Path, required=True, help="npz file to write")
    options = parser.parse_args(arguments)
    try:
        flat, about = backbone_arrays(read_state(options.weights), options.size)
    except ValueError as error:
        print(f"error: {options.weights}: {error}", file=sys.stderr)
        return 2
    gamma = flat.pop(LOG_GAMMA, None)
    kept = {name: array for name, array in flat.items() if name.split("/")[1] in _PARTS}
    data = BytesIO()
    np.savez(data, **dict(kept))  # type: ignore[arg-type]
    io.write_bytes_atomic(options.out, data.getvalue())
    parts = " and ".join(_PARTS[part] for part in _PARTS if any(name.split("/")[1] == part for name in kept))
    dropped = sorted({name.split("/")[1] for name in flat} - set(_PARTS))
    print(f"{options.out}: {about}; {len(kept)} arrays of {parts}, left out: {dropped or 'nothing'}")
    if gamma is not None:
        print(f"temperature: config.model.classifier.gamma = {math.exp(float(gamma)):.2f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
