"""Exported checkpoints: small folders without optimizer state, accepted wherever a workdir is.

`params.safetensors` has all variables by name ("params/..."), `config.json` the config, `manifest.json` step, metrics
and the fingerprint of the training records. `python -m hoi_jax.commands.export` writes such a folder, including the
run's log.
"""

import dataclasses
import math
import os
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import traverse_util

from hoi_jax import io
from hoi_jax.serialization.exported import CONFIG, MANIFEST, WEIGHTS, changed_files, is_exported
from hoi_jax.training.optimizer import path_name

__all__ = ["is_exported", "load_exported", "write_exported"]


class CheckpointError(RuntimeError):
    """There is no usable checkpoint, or it is from a different run."""


@dataclasses.dataclass(frozen=True)
class Metadata:
    """The JSON part of a checkpoint.

    Attributes:
      step: number of completed updates.
      data_position: index of the next batch.
      metrics: metrics of the evaluation at this step, {} without one.
    """

    step: int
    data_position: int
    config_text: str
    dataset_fingerprint: str
    metrics: dict[str, float]


def write_exported(
    folder: str | os.PathLike[str], variables: dict[str, Any], metadata: Metadata, *, half: bool = False
) -> int:
    """Write variables and metadata, as returned by `load_for_evaluation`. Returns the size of the weights in bytes.

    Args:
      half: store float32 numbers in 16 bits (half the size, three digits); they are read as float32.
    """
    folder = Path(folder)

    def stored(value: Any) -> np.ndarray:
        array = np.asarray(value)
        return array.astype(np.float16) if half and array.dtype == np.float32 else array

    leaves = jax.tree_util.tree_leaves_with_path(variables)
    size = io.write_safetensors_atomic(folder / WEIGHTS, {path_name(p): stored(x) for p, x in leaves})
    values = dataclasses.asdict(metadata)
    # JSON has no NaN, so undefined metrics are left out.
    values["metrics"] = {name: value for name, value in metadata.metrics.items() if math.isfinite(value)}
    io.write_bytes_atomic(folder / CONFIG, values.pop("config_text").encode())
    io.write_json_atomic(folder / MANIFEST, values)
    return size


def exported_config(folder: str | os.PathLike[str]) -> str:
    """The config text. Raises io.DataError if the file is missing or was changed after the export."""
    if changed := changed_files(Path(folder), only=(CONFIG,)):
        raise io.CorruptFileError("; ".join(changed))
    return io.read_text_bytes(Path(folder) / CONFIG).decode()


def load_exported(folder: str | os.PathLike[str]) -> tuple[dict[str, Any], str, Metadata]:
    """(variables, config text, metadata), as from `load_for_evaluation`.

    Raises:
      CheckpointError: the manifest is not that of an exported checkpoint.
      io.DataError: a file is missing, damaged or, if the folder has digests, changed after the export.
    """
    folder = Path(folder)
    if changed := changed_files(folder, only=(WEIGHTS, CONFIG, MANIFEST)):
        raise io.CorruptFileError("; ".join(changed))
    arrays = io.read_safetensors(folder / WEIGHTS)
    text, manifest = io.read_text_bytes(folder / CONFIG).decode(), io.read_json(folder / MANIFEST)
    try:
        metadata = Metadata(config_text=text, **manifest)
    except TypeError as error:
        raise CheckpointError(f"{folder / MANIFEST}: not the manifest of an exported checkpoint ({error})") from error
    whole = {k: v.astype(np.float32) if v.dtype == np.float16 else v for k, v in arrays.items()}
    variables = traverse_util.unflatten_dict({tuple(name.split("/")): value for name, value in whole.items()})
    return variables, text, metadata
