"""Files that `tests/helpers/coverage_fuzz.py` found to end in an error without a file's name."""

from pathlib import Path

import pytest

from hoi_jax.io import DataError
from hoi_jax.serialization.state import read_state

FILES = sorted((Path(__file__).parent / "damaged").iterdir())


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_files_that_once_slipped_through_are_refused_by_name(path):
    with pytest.raises(DataError, match=path.name):
        read_state(path)
