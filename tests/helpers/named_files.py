"""Golden files and the datasets' own files by name, and whether a test skips or fails where one is absent."""

import os
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.helpers.paths import GOLDEN


@dataclass(frozen=True)
class NamedFiles:
    """The files of one folder: `files / "tin.npz"` is the path of a file that exists.

    Attributes:
      folder: where the files are; it need not exist.
      absent: what an absent file does to its test, "skip" or "fail".
      advice: what to do about it, the end of the reason.
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
    """Golden files: the committed ones, which must all be there, or those of the folder that `--golden-dir` names.

    A folder that is named may hold a few files only; what it lacks is skipped, but fails in CI (CI=true).
    """
    if given:
        return NamedFiles(Path(given), "fail" if _in_ci() else "skip", f"it is not in {given}")
    return NamedFiles(GOLDEN, "fail", f"it belongs in {GOLDEN}")


def dataset_files(given: str | None, beside: Path) -> NamedFiles:
    """Annotations and photographs of the datasets, which are not part of the repository.

    Args:
      given: the folder that `--data-dir` names, if any.
      beside: the folder that is read otherwise. A machine that has its parent promises the files, and CI fails without
        them; elsewhere the tests that need them are skipped, in CI too.
    """
    promised = given is not None or beside.parent.exists()
    folder = Path(given) if given else beside
    advice = f"it is not in {folder}" if promised else "--data-dir names the folder of the datasets' own files"
    return NamedFiles(folder, "fail" if promised and _in_ci() else "skip", advice)
