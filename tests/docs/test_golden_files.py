"""The page of the golden files lists every file, who reads it, and nothing else."""

import re

import pytest

from tests.helpers.paths import GOLDEN, ROOT

PAGE = (GOLDEN / "README.md").read_text()
FILES = sorted(path.name for path in GOLDEN.iterdir() if path.suffix in (".npz", ".json"))
LARGEST = 5 * 2**20
"""Bytes; a clone fetches all of them."""


def rows() -> list[list[str]]:
    """The cells of the table of committed files."""
    table = PAGE.split("## Files and their sources")[1].split("\n## ")[0]
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines() if line.startswith("| `")]


def quoted(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def test_every_golden_file_is_listed_once():
    assert sorted(name for row in rows() for name in quoted(row[0])) == FILES


@pytest.mark.parametrize("row", rows(), ids=lambda row: row[0])
def test_the_tests_that_read_a_file_name_it(row):
    if row[3] == "no test yet":
        return
    paths = [ROOT / name if "/" in name else GOLDEN / name for name in quoted(row[3])]
    assert paths and all(path.exists() for path in paths)
    files = [file for path in paths for file in (path.rglob("*.py") if path.is_dir() else [path])]
    text = "".join(file.read_text() for file in files)
    for name in quoted(row[0]):
        assert re.split("_(?:val|test)_", name)[0] in text, name  # Tests fill in the split.


def test_no_file_is_larger_than_five_megabytes():
    assert max((GOLDEN / name).stat().st_size for name in FILES) < LARGEST
