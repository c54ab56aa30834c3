"""Turns torchvision's ResNet weights into the file that detection systems start their backbone from.

    python -m hoi_jax.backbones.convert resnet50.pth resnet50.npz

Reads a state dict (.pth, .safetensors or .npz; nothing in the file is executed). Start a run by
`config.train.init_from = (dict(path="resnet50.npz", include=(".*/backbone/.*",)),)`; the classifier is left out.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path

import numpy as np

from hoi_jax import io
from hoi_jax.backbones.torchvision_names import convert_state, resnet_rule
from hoi_jax.files.state import read_state


def backbone_arrays(state: Mapping[str, np.ndarray]) -> tuple[dict[str, np.ndarray], tuple[str, ...]]:
    """Arrays by our names in float32, and the tensors without a place. Raises ValueError when nothing has one."""
    flat, unknown = convert_state(state, resnet_rule)
    if not flat:
        raise ValueError(f"names of no ResNet of torchvision; some of them: {sorted(state)[:5]}")
    return {name: np.asarray(array, np.float32) for name, array in flat.items()}, unknown


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, help="state dict: .pth, .safetensors or .npz")
    parser.add_argument("target", type=Path, help="npz file to write")
    options = parser.parse_args(arguments)
    try:
        flat, unknown = backbone_arrays(read_state(options.source))
    except ValueError as error:
        print(f"error: {options.source}: {error}", file=sys.stderr)
        return 2
    data = BytesIO()
    np.savez(data, **dict(flat))  # type: ignore[arg-type]
    io.write_bytes_atomic(options.target, data.getvalue())
    print(f"{options.target}: {len(flat)} arrays, left out: {list(unknown) or 'nothing'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
