"""Tests with missing files are skipped, or fail where the files are expected."""

import pytest

from tests.helpers.named_files import dataset_files, golden_files
from tests.helpers.paths import GOLDEN


def outcome(files, name):
    """Effect of requesting a file: "path", "skip" or "fail"."""
    try:
        path = files / name
    except pytest.skip.Exception as error:
        assert name in str(error)
        return "skip"
    except pytest.fail.Exception as error:
        assert name in str(error)
        return "fail"
    assert path.exists()
    return "path"


@pytest.fixture(params=["true", ""], ids=["ci", "at home"])
def ci(request, monkeypatch):
    monkeypatch.setenv("CI", request.param)
    return request.param == "true"


def test_a_committed_golden_that_is_missing_fails_everywhere(ci):
    files = golden_files(None)
    assert outcome(files, "tin.npz") == "path" and files / "tin.npz" == GOLDEN / "tin.npz"
    assert outcome(files, "never_committed.npz") == "fail"


def test_a_named_folder_is_the_only_one_and_may_lack_goldens_outside_ci(ci, tmp_path):
    (tmp_path / "tin.npz").touch()
    files = golden_files(str(tmp_path))
    assert files / "tin.npz" == tmp_path / "tin.npz"
    assert outcome(files, "defr.npz") == ("fail" if ci else "skip")


@pytest.mark.parametrize(
    ("named", "neighbour", "in_ci"),
    [
        (False, False, "skip"),  # only a clone
        (False, True, "fail"),  # a machine with the datasets beside the clone
        (True, False, "fail"),
        (True, True, "fail"),
    ],
)
def test_files_of_datasets_are_skipped_but_in_ci_where_somebody_promised_them(ci, tmp_path, named, neighbour, in_ci):
    beside = tmp_path / "beside" / "data"
    given = str(tmp_path / "given") if named else None
    if neighbour:
        beside.parent.mkdir()
    assert outcome(dataset_files(given, beside), "labels.json") == (in_ci if ci else "skip")


def test_files_of_datasets_come_from_the_named_folder_before_the_neighbour(tmp_path):
    beside = tmp_path / "beside" / "data"
    given = tmp_path / "given"
    for folder in (beside, given):
        folder.mkdir(parents=True)
        (folder / "labels.json").touch()
    assert dataset_files(None, beside) / "labels.json" == beside / "labels.json"
    assert dataset_files(str(given), beside) / "labels.json" == given / "labels.json"
