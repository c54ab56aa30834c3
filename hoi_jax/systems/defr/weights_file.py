"""The file of class weights for the weighted cross-entropy, as `python -m hoi_jax.commands.count_labels` writes it."""

from pathlib import Path

import numpy as np

from hoi_jax import io
from hoi_jax.settings import SettingsError

KEY = "positive_weights"


def read_weights(path: str, classes: int) -> np.ndarray:
    """[classes] float32 of such a file.

    Raises:
      SettingsError: there is no such file, or it has another number of classes.
    """
    if not Path(path).is_file():
        raise SettingsError(
            f"model.loss.positive_weights: no file {path}; python -m hoi_jax.commands.count_labels writes it"
        )
    arrays = io.read_npz(path, max_bytes=io.MEGABYTE)
    if KEY not in arrays or arrays[KEY].shape != (classes,):
        found = arrays[KEY].shape if KEY in arrays else "nothing"
        raise SettingsError(f"model.loss.positive_weights: {path} has {found} for {classes} classes")
    return arrays[KEY].astype(np.float32)
