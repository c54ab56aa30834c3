"""Hashes of scenes."""

import hashlib

import numpy as np

from hoi_jax.schema import RECORD_FIELDS


def digest(record: dict) -> str:
    """Hash of all fields of a record."""
    total = hashlib.sha256()
    for name in RECORD_FIELDS:
        value = record[name]
        parts = value if isinstance(value, list) else [value]
        for part in parts:
            total.update(part if isinstance(part, bytes) else np.asarray(part).tobytes())
        total.update(name.encode())
    return total.hexdigest()
