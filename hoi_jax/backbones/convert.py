"""Conversion of a pretrained ResNet to the initial weights of detection systems.

    python -m hoi_jax.backbones.convert resnet50.pth resnet50.npz
    python -m hoi_jax.backbones.convert ResNet50/model.json resnet50.npz

Sources: torchvision's state dicts (.pth, .safetensors, .npz); slim's resnet_v1 as npz (see `data_prep.tf_checkpoint`);
Keras' first ResNet-50 as npz or as a TensorFlow.js model. Nothing in a file is executed. Set the model's
`backbone.layout` to the printed layout, and start a run with
`config.train.init_from = (dict(path="resnet50.npz", include=(".*/backbone/.*",)),)`; the classifier is left out.
"""

import argparse
import functools
import sys

from hoi_jax.backbones.resnet_names import (
    backbone_arrays,
    read_weights,
)
from hoi_jax.serialization.conversion import Converted, run_converter


def convert(options: argparse.Namespace) -> Converted:
    """Weights of the source under our names."""
    arrays, unknown, layout = backbone_arrays(read_weights(options.source))
    return Converted(f"ResNet of layout {layout!r}", arrays, unknown)


main = functools.partial(run_converter, __doc__, convert)

if __name__ == "__main__":
    sys.exit(main())
