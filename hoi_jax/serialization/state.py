"""State dicts (tensor names to arrays) of any framework, detected from content."""

import os

import numpy as np

from hoi_jax import io
from hoi_jax.serialization.torch_file import is_torch, read_torch

WEIGHT_ENDINGS = (".npz", ".safetensors", ".pth", ".pt")


def read_state(path: str | os.PathLike[str], *, max_bytes: int = io.DEFAULT_LIMIT) -> dict[str, np.ndarray]:
    """Names and arrays of a safetensors, npz or PyTorch file, whatever its suffix.

    Raises:
      io.DataError: the file has none of these formats, or is damaged; the message names it.
    """
    head = io.read_head(path, 64)
    if is_torch(head, lambda: io.read_bytes(path, max_bytes=max_bytes)):
        return read_torch(path, max_bytes=max_bytes)
    if head[:4] == b"PK\x03\x04":
        return io.read_npz(path, max_bytes=max_bytes)
    return io.read_safetensors(path, max_bytes=max_bytes)
