"""Convert the variables of a TensorFlow checkpoint (such as resnet_v1_50.ckpt) to an npz file of plain arrays.

    python -m data_prep.tf_checkpoint resnet_v1_50.ckpt weights.npz
    python -m hoi_jax.backbones.convert weights.npz resnet50.npz

Both checkpoint formats are supported; no graph is loaded and no code is executed. Optimiser slots and counters are left
out.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

import numpy as np

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from hoi_jax import io

_SLOTS = ("/Momentum", "/Adam", "/Adam_1", "/RMSProp", "/ExponentialMovingAverage")


def read_checkpoint(prefix: Path) -> dict[str, np.ndarray]:
    """Arrays by variable name.

    Raises:
      io.MissingFileError: there is no checkpoint with that prefix.
      io.CorruptFileError: the checkpoint is malformed.
    """
    import tensorflow as tf

    if not any(prefix.parent.glob(f"{prefix.name}*")):
        raise io.MissingFileError(f"{prefix}: no such checkpoint")
    try:
        reader = tf.train.load_checkpoint(str(prefix))
        names = [n for n in reader.get_variable_to_shape_map() if not n.endswith(_SLOTS) and n != "global_step"]
        return {name: np.asarray(reader.get_tensor(name)) for name in sorted(names)}
    except (tf.errors.OpError, ValueError, RuntimeError) as error:
        raise io.CorruptFileError(f"{prefix}: is not a readable checkpoint ({error})") from error


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "checkpoint", type=Path, help="prefix of the checkpoint's files, or the single file of version 1"
    )
    parser.add_argument("target", type=Path, help="npz file to write")
    options = parser.parse_args(arguments)
    try:
        state = read_checkpoint(options.checkpoint)
    except io.DataError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    data = BytesIO()
    np.savez(data, **{name: value for name, value in state.items() if value.dtype != object})  # type: ignore[arg-type]
    io.write_bytes_atomic(options.target, data.getvalue())
    print(f"{options.target}: {len(state)} variables")
    return 0


if __name__ == "__main__":
    sys.exit(main())
