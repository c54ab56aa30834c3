"""Folders of exported checkpoints: names, and verification of their files.

An exported folder has weights (`params.safetensors`), `config.json`, `manifest.json`, the log, scores, and
`SHA256SUMS` with one line "digest  file" per file, in the format of `sha256sum -c`. This module does not need JAX.
"""

import difflib
import hashlib
import json
import os
from collections.abc import Collection
from pathlib import Path

from hoi_jax import io

WEIGHTS, CONFIG, MANIFEST, SUMS = "params.safetensors", "config.json", "manifest.json", "SHA256SUMS"
ENVIRONMENT = "HOI_JAX_CHECKPOINTS"
_MAX_HEADER = 64 * io.MEGABYTE


def zoo_folder() -> Path:
    """Folder of exported checkpoints: `checkpoints/` beside the library, or $HOI_JAX_CHECKPOINTS."""
    given = os.environ.get(ENVIRONMENT)
    return Path(given) if given else Path(__file__).resolve().parents[2] / "checkpoints"


def is_exported(folder: str | os.PathLike[str]) -> bool:
    """Whether a folder is an exported checkpoint (and not the workdir of a run)."""
    return (Path(folder) / WEIGHTS).is_file()


def exported_names() -> tuple[str, ...]:
    """Names of all exported checkpoints, sorted."""
    folder = zoo_folder()
    return tuple(sorted(p.name for p in folder.iterdir() if is_exported(p))) if folder.is_dir() else ()


def find_folder(name_or_folder: str | os.PathLike[str]) -> Path:
    """The folder as given, or that of the exported checkpoint of this name; an unknown path is returned unchanged.

    A folder in the working directory takes precedence over an exported checkpoint of the same name.

    Raises:
      io.MissingFileError: the name (without separator) is neither; the message lists the known names.
    """
    path = Path(name_or_folder)
    if path.exists() or path.name != str(path) or not path.name:
        return path
    known = exported_names()
    if path.name not in known:
        near = difflib.get_close_matches(path.name, known, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise io.MissingFileError(
            f"{path}: no such folder, and no exported checkpoint of this name.{hint} "
            f"Exported: {', '.join(known) or 'none'}"
        )
    return zoo_folder() / path.name


def write_sums(folder: str | os.PathLike[str]) -> None:
    """Write the digests of all files of the folder, except those with names that begin with a dot."""
    folder = Path(folder)
    lines = [f"{_digest(path)}  {path.name}\n" for path in _files(folder)]
    io.write_bytes_atomic(folder / SUMS, "".join(lines).encode())


def changed_files(folder: str | os.PathLike[str], only: Collection[str] = ()) -> list[str]:
    """Files that were changed, removed or added since the export, one readable line each.

    Args:
      only: check these files only, and accept a folder without digests; empty = all files.

    Raises:
      io.CorruptFileError: the list of digests is malformed.
    """
    folder = Path(folder)
    if not (folder / SUMS).is_file():
        return [] if only else [f"{folder / SUMS}: no such file"]
    sums = _read_sums(folder / SUMS)
    wanted = set(only) if only else {*sums, *(path.name for path in _files(folder))}
    problems = []
    for name in sorted(wanted):
        path = folder / name
        if name not in sums:
            problems += [] if only else [f"{path}: not among the exported files"]
        elif not path.is_file():
            problems.append(f"{path}: missing")
        elif _digest(path) != sums[name]:
            problems.append(f"{path}: the file was changed after the export (its SHA-256 differs)")
    return problems


def parameter_count(folder: str | os.PathLike[str]) -> int:
    """Number of trainable parameters, from the header of the weights file.

    Raises:
      io.CorruptFileError: the file is damaged; the message names it.
    """
    path = Path(folder) / WEIGHTS
    size = int.from_bytes(io.read_head(path, 8), "little")
    try:
        if size > _MAX_HEADER:
            raise ValueError(f"the header has {size} bytes")
        header = json.loads(io.read_head(path, 8 + size)[8:])
        shapes = [entry["shape"] for name, entry in header.items() if name.startswith("params/")]
        return sum(_product(shape) for shape in shapes)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise io.CorruptFileError(f"{path}: not a readable safetensors file ({error})") from error


def _product(shape: list[int]) -> int:
    total = 1
    for side in shape:
        total *= int(side)
    return total


def _files(folder: Path) -> list[Path]:
    inside = folder.iterdir() if folder.is_dir() else ()
    return sorted(p for p in inside if p.is_file() and p.name != SUMS and not p.name.startswith("."))


def _digest(path: Path) -> str:
    return hashlib.sha256(io.read_bytes(path)).hexdigest()


def _read_sums(path: Path) -> dict[str, str]:
    table = {}
    text = io.read_bytes(path, max_bytes=io.MEGABYTE).decode("utf-8", "replace")
    for number, line in enumerate(text.splitlines(), 1):
        digest, gap, name = line.partition("  ")
        if len(digest) != 64 or not gap or Path(name).name != name or not name:
            raise io.CorruptFileError(f"{path}: line {number} is not a digest and a file name")
        table[name] = digest
    return table
