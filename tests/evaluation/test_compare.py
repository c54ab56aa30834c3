"""Comparing two results: what is refused and why, where intervals come from, and what is printed."""

import dataclasses
import json
import subprocess
import sys

import numpy as np
import pytest

from hoi_jax.commands import compare as command
from hoi_jax.evaluation.analysis import compare
from hoi_jax.evaluation.analysis.bootstrap import difference, intervals, prediction_rankings, resample
from hoi_jax.evaluation.metrics.protocols import hoi_protocol
from hoi_jax.evaluation.metrics.result import EvaluationResult, read_result
from hoi_jax.evaluation.score import evaluate
from hoi_jax.vocab.datasets import HICO, VCOCO
from tests.helpers.scored_splits import hico_split, predictions_of, vcoco_predictions, vcoco_split


@pytest.fixture
def pair(tmp_path):
    """Two sets of predictions of one split on disk, the second with worse boxes, and their results."""
    annotations = hico_split(1)
    annotations.save(tmp_path / "labels.npz")
    for name, jitter in (("a", 3), ("b", 25)):
        predictions = predictions_of(annotations, jitter=jitter)
        predictions.save(tmp_path / f"{name}.npz")
        evaluate(predictions, annotations).write(tmp_path / f"{name}.json")
    return tmp_path


def with_draws(result, drawn):
    """The result with its draws in the manifest, as `Scorer.with_intervals` writes them."""
    return dataclasses.replace(result, manifest={**result.manifest, "bootstrap": drawn.to_json()})


def run(folder, *arguments, a="a", b="b"):
    return command.main([str(folder / f"{a}.json"), str(folder / f"{b}.json"), *map(str, arguments)])


def predictions(folder, a="a", b="b"):
    return (
        "--predictions-a", folder / f"{a}.npz", "--predictions-b", folder / f"{b}.npz",
        "--annotations", folder / "labels.npz", "--replicates", 200,
    )  # fmt: skip


def test_without_predictions_the_differences_stand_alone_and_say_so(pair, capsys):
    assert run(pair) == 0
    text = capsys.readouterr().out
    a, b = (json.loads((pair / f"{n}.json").read_text())["metrics"]["default/full"] for n in "ab")
    line = next(line for line in text.splitlines() if line.startswith("default/full"))
    assert line.split()[1:] == [f"{100 * a:.2f}", f"{100 * b:.2f}", f"{100 * (b - a):+.2f}"]
    assert "no intervals: give --predictions-a" in text and "[" not in line


def test_with_predictions_differences_have_paired_intervals(pair, capsys):
    assert run(pair, *predictions(pair), "--out", pair / "out.json") == 0
    line = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("default/full"))
    assert line.endswith("] *")
    row = json.loads((pair / "out.json").read_text())["metrics"]["default/full"]
    assert row["low"] < row["difference"] < row["high"] < 0
    assert row["difference"] == pytest.approx(row["b"] - row["a"])
    prediction_files = [predictions_of(hico_split(1), jitter=jitter) for jitter in (3, 25)]
    drawn = [
        resample(prediction_rankings(loaded, hico_split(1), HICO), replicates=200, seed=0)
        for loaded in prediction_files
    ]
    expected = intervals(difference(*drawn))["default/full"]
    assert (row["low"], row["high"]) == (pytest.approx(expected.low), pytest.approx(expected.high))


def test_results_that_carry_their_draws_need_no_predictions(pair, capsys):
    for name in "ab":
        result = read_result(pair / f"{name}.json")
        path, annotations = pair / f"{name}.npz", hico_split(1)
        drawn = compare.resample_predictions(path, annotations, result, replicates=200, seed=0)
        with_draws(result, drawn).write(pair / f"{name}.json")
    assert run(pair, "--out", pair / "carried.json") == run(pair, *predictions(pair), "--out", pair / "made.json") == 0
    carried, made = (json.loads((pair / name).read_text())["metrics"] for name in ("carried.json", "made.json"))
    for metric, row in made.items():
        for key, value in row.items():
            assert carried[metric][key] == pytest.approx(value, abs=1e-8)


def test_a_result_compared_with_itself_differs_by_nothing(pair, capsys):
    assert run(pair, *predictions(pair, "a", "a"), b="a") == 0
    assert "*" not in capsys.readouterr().out


CHANGES = {
    "vocabulary": ("vcoco", "vocabulary: 'hico_det' and 'vcoco'"),
    "annotations_fingerprint": ("0", "and '0'"),
    "num_images": (7, "num_images: 12 and 7"),
    "dataset": ("hico_det", "dataset: None and 'hico_det'"),
    "split": ("train", "split: None and 'train'"),
    "protocol": (dataclasses.asdict(hoi_protocol("octave")), "protocol.thresholds: 'matlab' and 'arange'"),
}


@pytest.mark.parametrize("field", CHANGES)
def test_unlike_results_are_refused_with_the_reason_unless_allowed(pair, capsys, field):
    value, reason = CHANGES[field]
    result = read_result(pair / "b.json")
    dataclasses.replace(result, manifest={**result.manifest, field: value}).write(pair / "b.json")
    assert run(pair) == 2
    error = capsys.readouterr().err
    assert reason in error and "--allow-unlike" in error
    assert run(pair, "--allow-unlike") == 0
    assert reason in capsys.readouterr().out


def test_protocols_that_differ_in_name_only_are_alike():
    results = [
        EvaluationResult({"default/full": 0.5}, {}, {"protocol": dataclasses.asdict(hoi_protocol(name))})
        for name in ("octave", "ppdm")
    ]
    assert compare.protocol_mismatches(*results) == []


def test_results_without_a_common_metric_are_unlike():
    reasons = compare.protocol_mismatches(EvaluationResult({"a": 0.1}, {}, {}), EvaluationResult({"b": 0.1}, {}, {}))
    assert reasons == ["no metric in common: ['a'] and ['b']"]


def test_predictions_that_do_not_give_the_stated_numbers_are_refused(pair, capsys):
    assert run(pair, *predictions(pair, "b", "a")) == 2
    error = capsys.readouterr().err
    assert "b.npz: default/full is" in error and "but its result file has" in error


def test_labels_other_than_those_of_the_results_are_refused(pair, capsys):
    hico_split(2).save(pair / "labels.npz")
    assert run(pair, *predictions(pair)) == 2
    assert "labels.npz differ" in capsys.readouterr().err


def test_a_protocol_of_another_version_is_refused(pair, capsys):
    for name in "ab":
        result = read_result(pair / f"{name}.json")
        dataclasses.replace(result, manifest={**result.manifest, "protocol": {"soft": 1}}).write(pair / f"{name}.json")
    assert run(pair, *predictions(pair)) == 2
    assert "its result has an unknown protocol" in capsys.readouterr().err


def test_malformed_draws_and_draws_of_other_images_give_no_intervals(pair, capsys):
    results = {name: read_result(pair / f"{name}.json") for name in "ab"}
    for name, result in results.items():
        with_draws(
            result, resample(prediction_rankings(predictions_of(hico_split(1)), hico_split(1), HICO), replicates=5)
        ).write(pair / f"{name}.json")
    changed = read_result(pair / "b.json")
    dataclasses.replace(changed, manifest={**changed.manifest, "annotations_fingerprint": "0"}).write(pair / "b.json")
    assert run(pair, "--allow-unlike") == 0
    assert "the two results have draws of different images" in capsys.readouterr().out
    dataclasses.replace(results["b"], manifest={**results["b"].manifest, "bootstrap": {}}).write(pair / "b.json")
    assert run(pair) == 2
    assert "not the resampled metrics" in capsys.readouterr().err


def test_action_results_are_compared_by_their_names(tmp_path, capsys):
    annotations = vcoco_split()
    annotations.save(tmp_path / "labels.npz")
    holder, bottle = [0, 0, 40, 80], [30, 30, 50, 60]
    for name, rows in (("a", [(holder, bottle, "hold_obj", 0.9)]), ("b", [(bottle, holder, "hold_obj", 0.9)])):
        loaded = vcoco_predictions(rows)
        loaded.save(tmp_path / f"{name}.npz")
        evaluate(loaded, annotations).write(tmp_path / f"{name}.json")
    assert run(tmp_path, *predictions(tmp_path)) == 0
    text = capsys.readouterr().out
    assert "role_s1/24" in text and "role_s1/25" in text


def test_labels_that_allow_no_official_action_score_allow_no_interval():
    annotations = vcoco_split()
    columns = dict(annotations.columns)
    columns["persons_actions"] = np.where(columns["persons_actions"] == 1, 1, -1)
    partial = dataclasses.replace(annotations, columns=columns)
    with pytest.raises(ValueError, match="no official score to give an interval"):
        prediction_rankings(vcoco_predictions([]), partial, VCOCO)


@pytest.mark.parametrize(
    "arguments", [["--predictions-a", "a.npz"], ["--level", "95"], ["--replicates", "1"]], ids=lambda a: a[0]
)
def test_impossible_arguments_are_refused(pair, arguments):
    with pytest.raises(SystemExit) as stopped:
        run(pair, *arguments)
    assert stopped.value.code == 2


def test_an_absent_file_is_named(tmp_path, capsys):
    assert run(tmp_path) == 2
    assert "a.json: no such file" in capsys.readouterr().err


def test_the_command_runs_without_jax_and_tensorflow(pair):
    code = (
        "import runpy, sys; sys.argv = ['compare', *sys.argv[1:]]\n"
        "try: runpy.run_module('hoi_jax.commands.compare', run_name='__main__')\n"
        "except SystemExit as stop: assert stop.code == 0, stop.code\n"
        "assert not {'jax', 'tensorflow'} & set(sys.modules)"
    )
    command = [sys.executable, "-c", code, str(pair / "a.json"), str(pair / "b.json")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "default/full" in done.stdout
