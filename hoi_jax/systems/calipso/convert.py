"""Convert backbone and pyramid of torchvision's COCO RetinaNets to initial weights of CALIPSO.

    python -m hoi_jax.systems.calipso.convert retinanet_resnet50_fpn_coco.pth retinanet.npz

Reads a state dict (PyTorch's file, safetensors or npz) of `retinanet_resnet50_fpn` (set `backbone.p6_source` to "p5")
or `retinanet_resnet50_fpn_v2` ("c5"). Unused tensors (the detector's heads) are listed.
"""

import argparse
import functools
import sys
from collections.abc import Mapping

import numpy as np

from hoi_jax.backbones.fpn import resnet_fpn_rule
from hoi_jax.backbones.resnet import FrozenBatchNorm
from hoi_jax.serialization.conversion import ConversionError, Converted, convert_state, run_converter
from hoi_jax.serialization.state import read_state

EPSILON = {"v1": 0.0, "v2": 1e-5}
"""torchvision runs the published weights of its first RetinaNet without an epsilon in batch normalisation."""


def layout_of(state: Mapping[str, np.ndarray]) -> str:
    """Return "v1" or "v2", determined from the norms in the heads and the input width of P6.

    Raises:
      ConversionError: the tensors are not those of a RetinaNet.
    """
    p6 = state.get("backbone.fpn.extra_blocks.p6.weight")
    if p6 is None or "backbone.body.conv1.weight" not in state:
        raise ConversionError("not a RetinaNet with FPN: backbone.fpn.extra_blocks.p6.weight or the body is missing")
    last = next(t for n, t in state.items() if n.startswith("backbone.fpn.layer_blocks.2.") and n.endswith("weight"))
    # In v2 P6 reads C5, which has eight times the pyramid's channels, except in narrow networks.
    normed = "head.classification_head.conv.0.1.weight" in state
    return "v2" if normed or p6.shape[1] != last.shape[0] else "v1"


def retinanet_arrays(
    state: Mapping[str, np.ndarray], epsilon: float | None = None
) -> tuple[dict[str, np.ndarray], tuple[str, ...], str]:
    """(arrays under our names, names of unused tensors, layout).

    Args:
      epsilon: epsilon of the source's batch normalisation, None = `EPSILON` of its layout. Our networks use 1e-5; the
        difference is folded into the variances, so that the function is the same.
    """
    layout = layout_of(state)
    flat, unknown = convert_state(state, resnet_fpn_rule)
    shift = (EPSILON[layout] if epsilon is None else epsilon) - FrozenBatchNorm.epsilon
    for name in flat:
        if name.endswith("/var"):
            flat[name] = (flat[name].astype(np.float64) + shift).astype(np.float32)
    return flat, unknown, layout


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--epsilon", type=float, help="epsilon of the source's batch norms (default: by its layout)")


def convert(options: argparse.Namespace) -> Converted:
    """Weights of the source under CALIPSO's names."""
    arrays, unknown, layout = retinanet_arrays(read_state(options.source), options.epsilon)
    return Converted(f"RetinaNet {layout}", arrays, unknown)


main = functools.partial(run_converter, __doc__, convert, add_options=add_options)

if __name__ == "__main__":
    sys.exit(main())
