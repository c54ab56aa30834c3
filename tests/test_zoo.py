"""The zoo: every exported checkpoint loads, is whole, is in the tables, and still has the scores it says."""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from hoi_jax import io, zoo
from hoi_jax.serialization import exported as exported_folder
from hoi_jax.training import CheckpointError, InitFromSettings, Metadata, init_from, load_for_evaluation
from hoi_jax.training.exported import write_exported
from scripts import zoo_tables
from tests.helpers.paths import ROOT

NAMES = exported_folder.exported_names()
BUILT_DATA = Path(os.environ.get("HOI_JAX_BUILT_DATA", ROOT / "data"))
VARIABLES = {
    "params": {"a": {"kernel": np.zeros((3, 4), np.float32)}, "b": np.zeros(5, np.float32)},
    "batch_stats": {"mean": np.ones(7, np.float32)},
}
CONFIG = {
    "system": "tin",
    "dataset": {"name": "hoi_scenes/tiny", "train_split": "train:fit"},
    "train": {"best_metric": "own/metric"},
}


def make_exported(folder, metrics=None, scores=None, config=CONFIG):
    write_exported(folder, VARIABLES, Metadata(1500, 1500, json.dumps(config), "print", metrics or {}))
    if scores:
        io.write_json_atomic(folder / "scores.json", scores)
    exported_folder.write_sums(folder)


@pytest.fixture
def small_zoo(tmp_path, monkeypatch):
    """Two exported checkpoints and something else, where the zoo is looked for."""
    folder = tmp_path / "zoo"
    folder.mkdir()
    make_exported(folder / "first", metrics={"own/metric": 0.5})
    make_exported(
        folder / "second",
        metrics={"default/full": 0.1},
        scores={
            "metrics": {"default/full": 0.25, "default/rare": 0.125, "default/non_rare": None, "other": 1.0},
            "compared": {
                "no_suppression": {"default/full": 0.9},
                "class_frequency": {"default/full": 0.0625},
                "guess": {"default/full": 0.03},
            },
        },
    )
    (folder / "notes").mkdir()
    monkeypatch.setenv("HOI_JAX_CHECKPOINTS", str(folder))
    return folder


def test_names_are_the_folders_with_weights(small_zoo):
    assert exported_folder.exported_names() == ("first", "second")


def test_a_name_leads_to_its_folder_and_an_existing_folder_goes_first(small_zoo, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert exported_folder.find_folder("second") == small_zoo / "second"
    (tmp_path / "second").mkdir()
    assert exported_folder.find_folder("second") == Path("second")
    assert exported_folder.find_folder("runs/second") == Path("runs/second")


def test_an_unknown_name_lists_the_known_ones_and_the_nearest(small_zoo):
    message = r"secnd: no such folder.*Did you mean 'second'\? Exported: first, second"
    for ask in (exported_folder.find_folder, load_for_evaluation, zoo.load):
        with pytest.raises(io.DataError, match=message):
            ask("secnd")


def test_names_stand_where_a_workdir_is_asked(small_zoo):
    variables, text, metadata = load_for_evaluation("first")
    assert json.loads(text) == CONFIG and metadata.step == 1500
    target = {"params": {"b": np.ones(5, np.float32)}}
    merged, report = init_from(target, InitFromSettings("first"))
    assert report.loaded == ("params/b",) and merged["params"]["b"].tolist() == [0.0] * 5
    assert variables["batch_stats"]["mean"].tolist() == [1.0] * 7


def test_a_path_without_a_checkpoint_is_said_to_have_none(small_zoo, tmp_path):
    with pytest.raises(CheckpointError, match="no checkpoints here"):
        load_for_evaluation(tmp_path / "nothing")


def test_trained_numbers_are_counted_from_the_header(small_zoo):
    assert exported_folder.parameter_count(small_zoo / "first") == 3 * 4 + 5  # statistics are not trained
    (small_zoo / "first" / "params.safetensors").write_bytes(b"\xff" * 20)
    with pytest.raises(io.CorruptFileError, match=r"first/params\.safetensors"):
        exported_folder.parameter_count(small_zoo / "first")


def test_one_changed_bit_of_any_file_is_found_and_named(small_zoo):
    for name in ("params.safetensors", "config.json", "manifest.json", "scores.json"):
        path = small_zoo / "second" / name
        old = path.read_bytes()
        path.write_bytes(old[:-1] + bytes([old[-1] ^ 1]))
        assert exported_folder.changed_files(small_zoo / "second") == [
            f"{path}: the file was changed after the export (its SHA-256 differs)"
        ]
        if name != "scores.json":  # not needed to load
            with pytest.raises(io.CorruptFileError, match=f"second/{name}: the file was changed after the export"):
                load_for_evaluation("second")
        path.write_bytes(old)
    assert exported_folder.changed_files(small_zoo / "second") == []


def test_lost_and_added_files_are_named(small_zoo):
    (small_zoo / "second" / "scores.json").unlink()
    (small_zoo / "second" / "extra.txt").write_text("x")
    assert [line.rpartition(": ")[2] for line in exported_folder.changed_files(small_zoo / "second")] == [
        "not among the exported files", "missing",
    ]  # fmt: skip
    (small_zoo / "second" / "SHA256SUMS").write_text("no digests\n")
    with pytest.raises(io.CorruptFileError, match="SHA256SUMS: line 1"):
        load_for_evaluation("second")


def test_digests_are_lines_as_sha256sum_writes_them(small_zoo):
    lines = (small_zoo / "second" / "SHA256SUMS").read_text().splitlines()
    names = sorted(path.name for path in (small_zoo / "second").iterdir() if path.name != "SHA256SUMS")
    expected = {name: hashlib.sha256((small_zoo / "second" / name).read_bytes()).hexdigest() for name in names}
    assert sorted(lines) == sorted(f"{digest}  {name}" for name, digest in expected.items()) and len(lines) == 4


def test_scores_come_from_the_evaluation_else_from_the_run(small_zoo):
    first, second = zoo.entries()
    assert str(first.scores[0]) == "own/metric 50.00" and first.scores[0].baseline is None
    assert str(second.scores[0]) == "HOI mAP 25.00 (rare 12.50)"  # null: nothing can be said
    assert second.scores[0].baseline == ("class_frequency", 0.0625)  # the best baseline; a variant of the model is none
    assert (first.trained_on, first.step, first.parameters) == ("hoi_scenes/tiny (train:fit)", 1500, 17)


def test_the_table_is_written_between_its_markers_only(small_zoo, tmp_path):
    (tmp_path / "docs").mkdir()
    for name in zoo_tables.TABLE_FILES:
        (tmp_path / name).write_text(f"above\n{zoo_tables.BEGIN}\nold\n{zoo_tables.END}\nbelow\n")
    assert zoo_tables.write_tables(tmp_path) == [tmp_path / name for name in zoo_tables.TABLE_FILES]
    text = (tmp_path / "README.md").read_text()
    assert text.startswith(f"above\n{zoo_tables.BEGIN}\n| name |") and text.endswith(f"{zoo_tables.END}\nbelow\n")
    assert "`second` | tin" in text and "old" not in text
    assert zoo_tables.write_tables(tmp_path) == []
    for bad in (
        "nothing",
        f"{zoo_tables.END}{zoo_tables.BEGIN}",
        f"{zoo_tables.BEGIN}{zoo_tables.BEGIN}{zoo_tables.END}",
    ):
        with pytest.raises(ValueError, match="needs one line"):
            zoo_tables.with_table(bad, "x")


def test_the_command_lists_checks_and_seals(small_zoo, capsys):
    assert zoo.main(["list"]) == 0
    printed = capsys.readouterr().out
    assert "first: tin, 0.0 k parameters" in printed and "1,500 steps; own/metric 50.00" in printed
    assert zoo.main(["check"]) == 0
    (small_zoo / "first" / "calibration.json").write_text("{}")
    assert zoo.main(["check", "first"]) == 1
    assert "calibration.json: not among the exported files" in capsys.readouterr().out
    assert zoo.main(["seal", "first"]) == 0 and zoo.main(["check", "first"]) == 0
    assert zoo.main(["check", "third"]) == 2
    assert "Exported: first, second" in capsys.readouterr().err


def test_an_unfinished_folder_is_named(small_zoo):
    (small_zoo / "first" / "config.json").write_text("{}")
    with pytest.raises(io.DataError, match="first: config.json"):
        zoo.entries()


# What this repository keeps.


@pytest.mark.parametrize("name", NAMES)
def test_a_kept_checkpoint_is_whole_small_and_scored(name):
    folder = exported_folder.zoo_folder() / name
    assert exported_folder.changed_files(folder) == []
    entry = zoo.describe(folder)
    assert entry.scores and entry.size_bytes < 5e6


def test_the_tables_of_the_documents_are_up_to_date():
    """Otherwise: python -m scripts.zoo_tables --write"""
    new = zoo_tables.table(zoo.entries())
    for name in zoo_tables.TABLE_FILES:
        text = (ROOT / name).read_text()
        assert zoo_tables.with_table(text, new) == text, f"{name}: run `python -m scripts.zoo_tables --write`"


_LOAD_ALL = """
import jax, numpy as np
from hoi_jax import schema, zoo
for entry in zoo.entries():
    model = zoo.load(entry.name)
    sizes = model.config["sizes"]
    axes = {"H": sizes["image_hw"][0], "W": sizes["image_hw"][1], "D": sizes["detections"], "G": 8, "P": 8, "N": 8,
            "E": 8, "V": len(model.vocabulary.verbs), "A": len(model.vocabulary.actions),
            "C": len(model.vocabulary.hois), "h": 32, "w": 32, "U": 8}
    batch = {}
    for name in model.system.needs_predict | schema.ALWAYS_PRESENT:
        field = schema.BATCH_FIELDS[name]
        shape = (2, *(n if isinstance(n, int) else axes[n] for n in field.axes))
        batch[name] = jax.ShapeDtypeStruct(shape, field.dtype)
    found = jax.eval_shape(model.system.predict, model.variables, batch)
    print(entry.name, sorted(found)[0])
"""


def test_all_models_load_in_a_fresh_interpreter_and_fit_their_systems(tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"}
    done = subprocess.run(
        [sys.executable, "-c", _LOAD_ALL], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert [line.split()[0] for line in done.stdout.splitlines()] == list(NAMES)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_the_scores_come_out_again_to_the_last_printed_digit(name, tmp_path):
    folder = exported_folder.zoo_folder() / name
    dataset = json.loads((folder / "config.json").read_text())["dataset"]["name"]
    if not (BUILT_DATA / dataset / "hoi_jax.json").is_file():
        pytest.skip(f"{BUILT_DATA / dataset} is not built ($HOI_JAX_BUILT_DATA names another folder)")
    scores = json.loads((folder / "scores.json").read_text())["metrics"]
    command = [ROOT / "evaluate.py", "--workdir", name, "--data_dir", BUILT_DATA, "--out", tmp_path / "again.json"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu", "XLA_FLAGS": ""}
    done = subprocess.run([sys.executable, *map(str, command)], cwd=tmp_path, env=environment, capture_output=True)
    assert done.returncode == 0, done.stderr.decode()
    again = json.loads((tmp_path / "again.json").read_text())["metrics"]
    printed = {metric: f"{100 * value:.2f}" for metric, value in scores.items() if value is not None}
    assert {metric: f"{100 * again[metric]:.2f}" for metric in printed} == printed
