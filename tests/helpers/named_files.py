"""Golden files and dataset files by name; tests with missing files are skipped or fail."""

import os
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.helpers.paths import GOLDEN


@dataclass(frozen=True)
class NamedFiles:
    """The files of one folder: `files / "tin.npz"` is the path of a file that exists.

    Attributes:
      folder: folder of the files, which need not exist.
      absent: effect of a missing file on its test, "skip" or "fail".
      advice: end of the message about a missing file.
    """

    folder: Path
    absent: str
    advice: str

    def __truediv__(self, name: str) -> Path:
        path = self.folder / name
        if path.exists():
            return path
        reason = f"needs {name}: {self.advice}"
        if self.absent == "skip":
            pytest.skip(reason)
        pytest.fail(reason)


def _in_ci() -> bool:
    return os.environ.get("CI") == "true"


def golden_files(given: str | None) -> NamedFiles:
    """Golden files: the committed ones, all of which must exist, or those in the folder of `--golden-dir`.

    That folder may have only some of the files; tests of the others are skipped, or fail in CI (CI=true).
    """
    if given:
        return NamedFiles(Path(given), "fail" if _in_ci() else "skip", f"it is not in {given}")
    return NamedFiles(GOLDEN, "fail", f"it belongs in {GOLDEN}")


def dataset_files(given: str | None, beside: Path) -> NamedFiles:
    """Annotations and photographs of the datasets, which are not part of the repository.

    Args:
      given: folder of `--data-dir`, if any.
      beside: default folder. If its parent exists, the files are expected and CI fails without them; elsewhere tests
        that need them are skipped, also in CI.
    """
    promised = given is not None or beside.parent.exists()
    folder = Path(given) if given else beside
    advice = f"it is not in {folder}" if promised else "--data-dir names the folder of the datasets' own files"
    return NamedFiles(folder, "fail" if promised and _in_ci() else "skip", advice)
