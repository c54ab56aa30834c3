"""Turns a pretrained ResNet into the file that detection systems start their backbone from.

    python -m hoi_jax.backbones.convert resnet50.pth resnet50.npz
    python -m hoi_jax.backbones.convert ResNet50/model.json resnet50.npz

Reads torchvision's state dicts (.pth, .safetensors, .npz), and by the same names as npz slim's resnet_v1 (see
`data_prep.tf_checkpoint`) and Keras' first ResNet-50, that one also as a TensorFlow.js model. Nothing in a file is
executed. The model's `backbone.layout` must be the one that is printed. Start a run by
`config.train.init_from = (dict(path="resnet50.npz", include=(".*/backbone/.*",)),)`; the classifier is left out.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path

import numpy as np

from hoi_jax import io
from hoi_jax.backbones.tensorflow_names import is_keras, is_slim, keras_rule, slim_rule, without_biases
from hoi_jax.backbones.torchvision_names import convert_state, resnet_rule
from hoi_jax.files.state import read_state
from hoi_jax.files.tfjs_file import read_tfjs


def backbone_arrays(state: Mapping[str, np.ndarray]) -> tuple[dict[str, np.ndarray], tuple[str, ...], str]:
    """Arrays by our names in float32, the tensors without a place, and the layout of `ResNet` that they need.

    Raises:
      ValueError: nothing has a place.
    """
    if is_keras(state):
        state, rule, layout = without_biases(state), keras_rule, "caffe"
    elif is_slim(state):
        rule, layout = slim_rule, "slim"
    else:
        rule, layout = resnet_rule, "torchvision"
    flat, unknown = convert_state(state, rule)
    if not flat:
        raise ValueError(f"names of no ResNet that is known; some of them: {sorted(state)[:5]}")
    return {name: np.asarray(array, np.float32) for name, array in flat.items()}, unknown, layout


def read_weights(path: Path) -> dict[str, np.ndarray]:
    """Tensors by their own names."""
    return read_tfjs(path) if path.suffix == ".json" else read_state(path)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, help=".pth, .safetensors, .npz, or model.json")
    parser.add_argument("target", type=Path, help="npz file to write")
    options = parser.parse_args(arguments)
    try:
        flat, unknown, layout = backbone_arrays(read_weights(options.source))
    except ValueError as error:
        print(f"error: {options.source}: {error}", file=sys.stderr)
        return 2
    data = BytesIO()
    np.savez(data, **dict(flat))  # type: ignore[arg-type]
    io.write_bytes_atomic(options.target, data.getvalue())
    print(f"{options.target}: {len(flat)} arrays for layout {layout!r}, left out: {list(unknown) or 'nothing'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
