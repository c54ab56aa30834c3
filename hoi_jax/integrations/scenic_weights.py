"""Convert a checkpoint of Scenic (google-research/scenic) to a file for `train.init_from`, without Scenic.

    python -m hoi_jax.integrations.scenic_weights checkpoint_90000 weights.npz [--detr-queries 64]

Sources: ResNet, ViT and DETR of Scenic's `projects/baselines`, and checkpoints of a system of this library written by
Scenic's trainer (`integrations.scenic`). Nothing in a file is executed; unused arrays are listed.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hoi_jax import io
from hoi_jax.backbones import scenic_names
from hoi_jax.serialization.conversion import Converted, convert_state, write_converted
from hoi_jax.serialization.flax_file import flat_arrays, read_flax
from hoi_jax.systems.body_part import convert


def scenic_variables(tree: Mapping[str, Any], where: str) -> dict[str, np.ndarray]:
    """Parameters and statistics of a saved `TrainState` by flat names, "params/..." and "batch_stats/...".

    The layouts are those of `scenic.train_lib.pretrain_utils.restore_pretrained_checkpoint`: parameters are below
    "params", or in older files below "optimizer/target" or "optimizer/target/params"; statistics are below
    "model_state/batch_stats", or in older files directly below "model_state".

    Raises:
      io.DataError: there are no parameters; the message begins with `where`.
    """
    params = tree.get("params")
    if params is None and isinstance(tree.get("optimizer"), Mapping):
        params = tree["optimizer"].get("target")
        params = params.get("params", params) if isinstance(params, Mapping) else params
    if not isinstance(params, Mapping) or not flat_arrays(params):
        raise io.DataError(f"{where}: no parameters found; Scenic's checkpoints have 'params' or 'optimizer/target'")
    state = tree.get("model_state")
    state = state if isinstance(state, Mapping) else {}
    state = state if "batch_stats" in state or not state else {"batch_stats": state}
    return {**flat_arrays(params, "params"), **flat_arrays(state)}


def convert_scenic(
    state: Mapping[str, np.ndarray], queries: int | None = None, *, absent_class: bool = False
) -> tuple[str, dict[str, np.ndarray], tuple[str, ...]]:
    """(description of the network, arrays under our names, names of unused arrays).

    Args:
      queries, absent_class: for DETR, see `systems.body_part.convert.detr_rule`.

    Raises:
      ValueError: the network is a variant that is not supported.
    """
    if convert.is_detr(state):
        rule = convert.detr_rule(state, queries, absent_class=absent_class)
        return "DETR, for body_part", *convert_state(state, rule)
    if "params/stem_conv/kernel" in state:
        rule = scenic_names.resnet_rule(scenic_names.block_places(state))
        return "ResNet, layout 'torchvision'", *convert_state(state, rule)
    if "params/embedding/kernel" in state and "params/Transformer/encoder_norm/scale" in state:
        if "params/cls" not in state:
            raise ValueError("a ViT without class token (such as classifier 'gap') is not supported")
        return "ViT, kind 'scenic'", *convert_state(state, scenic_names.vit_rule)
    if "params/Transformer/encoder_norm/scale" in state or "params/embedding/kernel" in state:
        raise ValueError("a hybrid ViT, or one without patches, is not supported")
    return "a system of this library", dict(state), ()


def read_scenic(
    path: str | Path, queries: int | None = None, *, absent_class: bool = False
) -> tuple[str, dict[str, np.ndarray], tuple[str, ...]]:
    """`convert_scenic` of a checkpoint file. Raises io.DataError, ValueError."""
    return convert_scenic(scenic_variables(read_flax(path), str(path)), queries, absent_class=absent_class)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command. Returns its exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, help="checkpoint file written by Scenic (checkpoint_<step>)")
    parser.add_argument("target", type=Path, help="npz file to write")
    parser.add_argument("--detr-queries", type=int, metavar="N", help="for DETR: keep the first N queries")
    parser.add_argument("--absent-class", action="store_true", help="for DETR and V-COCO: add a class")
    options = parser.parse_args(arguments)

    def convert() -> Converted:
        return Converted(*read_scenic(options.source, options.detr_queries, absent_class=options.absent_class))

    return write_converted(options.source, options.target, convert)


if __name__ == "__main__":
    sys.exit(main())
