"""Convert ResNet weights to the initial weights of TIN and iCAN: R, and the stage that follows it on every crop.

    python -m hoi_jax.systems.tin.convert resnet50.pth resnet50.npz

Sources are those of `hoi_jax.backbones.convert`: torchvision's state dicts, slim's resnet_v1 (of ImageNet, or of the
authors' Faster R-CNN by `data_prep.tf_checkpoint`) and Keras' first ResNet-50. The first three stages become R; the
fourth initialises the residual stages of both human and object, as in iCAN. Set `backbone.layout` to the printed
layout.
"""

import argparse
import functools
import re
import sys
from collections.abc import Mapping

import numpy as np

from hoi_jax.backbones.resnet_names import backbone_arrays, read_weights
from hoi_jax.serialization.conversion import Converted, run_converter

LAST = re.compile(r"(params|batch_stats)/backbone/stage3/(.*)")
EARLIER = re.compile(r"(params|batch_stats)/(backbone/.*)")


def tin_arrays(state: Mapping[str, np.ndarray]) -> tuple[dict[str, np.ndarray], tuple[str, ...], str]:
    """(arrays under TIN's names, names of unused tensors, layout of `ResNet` that they need).

    Raises:
      ValueError: the names are not those of a ResNet.
    """
    flat, unknown, layout = backbone_arrays(state)
    arrays = {}
    for name, array in flat.items():
        if last := LAST.fullmatch(name):
            for stage in ("human_stage", "object_stage"):
                arrays[f"{last[1]}/appearance/{stage}/{last[2]}"] = array
        elif earlier := EARLIER.fullmatch(name):
            arrays[f"{earlier[1]}/appearance/{earlier[2]}"] = array
    return arrays, unknown, layout


def convert(options: argparse.Namespace) -> Converted:
    """Weights of the source under TIN's names."""
    arrays, unknown, layout = tin_arrays(read_weights(options.source))
    return Converted(f"ResNet of layout {layout!r}, for tin", arrays, unknown)


main = functools.partial(run_converter, __doc__, convert)

if __name__ == "__main__":
    sys.exit(main())
