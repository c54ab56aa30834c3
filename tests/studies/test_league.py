"""The league table: the page says what the results say, and what a program costs is counted as by hand."""

import json
from types import SimpleNamespace

import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks import league_time
from hoi_jax.io import read_json
from hoi_jax.serialization import exported as exported_folder
from hoi_jax.systems.registry import build_system
from hoi_jax.vocab import get_vocabulary
from studies import league
from studies.league_measure import cost_of, given_to


def test_the_page_is_what_the_committed_results_say():
    """Otherwise: python -m studies.league (with --run where a checkpoint is new)"""
    assert league.PAGE.read_text() == league.page()


def test_all_five_systems_and_two_baselines_take_part_best_first():
    results = league.read_results()
    systems = {
        read_json(exported_folder.zoo_folder() / n / "config.json")["system"] for n in results if n != league.FREQUENCY
    }
    assert systems == {"tin", "body_part", "defr", "calipso", "cascade", "two_boxes"} and league.FREQUENCY in results
    scores = [result["metrics"]["model"].get(league.FULL, -1.0) for result in results.values()]
    assert scores == sorted(scores, reverse=True)


def test_scores_are_those_that_are_kept_with_the_checkpoints():
    for name, result in league.read_results().items():
        if name != league.FREQUENCY:
            kept = read_json(exported_folder.zoo_folder() / name / "scores.json")["metrics"]
            own = result["metrics"]["model"]
            shared = {m for m in own if kept.get(m) is not None}
            assert shared and {m: f"{own[m]:.4f}" for m in shared} == {m: f"{kept[m]:.4f}" for m in shared}


def test_a_result_of_another_checkpoint_is_not_shown(tmp_path, monkeypatch):
    name = league.FREQUENCY
    stale = json.loads((league.FOLDER / f"{name}.json").read_text()) | {"fingerprint": "0" * 16}
    monkeypatch.setattr(league, "FOLDER", tmp_path)
    for there in (name, "nowhere_kept"):
        (tmp_path / f"{there}.json").write_text(json.dumps(stale))
        with pytest.raises(ValueError, match=rf"{there}.json is of another checkpoint; .* --run"):
            league.read_results()
        (tmp_path / f"{there}.json").unlink()


def test_seeds_are_counted_and_runs_of_other_names_are_not(tmp_path, monkeypatch):
    monkeypatch.setattr(league, "RESULTS", tmp_path)
    (tmp_path / "s").mkdir()
    for name, score in (("a_seed0", 0.25), ("a_seed1", 0.5), ("a_seed0_mask-1", 0.75), ("ab_seed0", 1.0)):
        result = {"metrics": {"model": {"default/full": score}}}
        (tmp_path / "s" / f"{name}.json").write_text(json.dumps(result))
    assert league.over_seeds(league.Seeded("s", "a")) == [25.0, 50.0]
    assert league.over_seeds(league.Seeded("s", "a", tail="_mask-1")) == [75.0]
    monkeypatch.setattr(league, "SEEDED", {"x": league.Seeded("s", "a", "other steps")})
    assert league._seeds_cell("x") == "37.5, 25.0 to 50.0, n=2 (other steps)" and league._seeds_cell("y") == ""


def test_times_are_multiples_of_the_base_at_the_fewest_pairs():
    cost = {"parameters": 1234, "flops": 2.5e9, "memory_bytes": 3_000_000}
    results = {"a": {"cost": cost}, "b": {"cost": cost}, league.FREQUENCY: {"cost": {}}}
    times = {"base": "a", "pairs": [10, 400], "milliseconds": {"a": {"10": 2.0, "400": 3.0}, "b": {"10": 1.0}}}
    assert league.cost_table(results, times)[2:] == [
        "| `a` | 1,234 | 2.500 | 3.0 | 1.00 | 1.50 |",
        "| `b` | 1,234 | 2.500 | 3.0 | 0.50 | |",
    ]
    assert league.cost_table(results, None)[2:] == ["| `a` | 1,234 | 2.500 | 3.0 |", "| `b` | 1,234 | 2.500 | 3.0 |"]


def test_operations_and_bytes_of_a_matrix_product_are_counted_as_by_hand():
    system = SimpleNamespace(predict=lambda variables, batch: batch["x"] @ variables["w"])
    batch = {"x": np.ones((3, 64), np.float32)}
    cost = cost_of(system, {"w": jnp.ones((64, 32))}, batch)
    assert cost["flops"] == 2 * 3 * 64 * 32
    assert (cost["arguments"], cost["results"]) == (4 * (3 * 64 + 64 * 32), 4 * 3 * 32)
    assert cost["memory_bytes"] == cost["arguments"] + cost["results"] + cost["temporary"]


def test_what_is_given_is_what_the_system_needs_of_the_detector():
    needs = {"image", "instances_xyxy_px", "detections_keypoints_px", "detections_xyxy_px", "detections_score"}
    assert given_to(needs) == ["boxes", "poses"] and given_to({"image"}) == []


@pytest.mark.parametrize("pairs", league_time.PEOPLE_AND_OBJECTS)
def test_the_benchmarks_image_has_as_many_pairs_as_it_says(pairs):
    vocabulary = get_vocabulary("hoi_scenes")
    batch = league_time.random_batch(pairs, vocabulary, seed=0)
    label, used = batch["detections_class"][0], batch["detections_valid"][0]
    people = np.flatnonzero(used & (label == vocabulary.human_class))
    assert sum(bool(used[other]) and other != person for person in people for other in range(len(used))) == pairs
    assert batch["detections_score"][0].min() > 0.5


def test_room_for_pairs_changes_no_parameter():
    for name in league.contestants():
        if name == league.FREQUENCY:
            continue
        config = read_json(exported_folder.zoo_folder() / name / "config.json")
        settings = league_time.with_room(config, 400)
        assert (settings is None) == (config["system"] == "body_part")
        if settings:  # it is checked where it is built
            build_system(config["system"], settings, get_vocabulary("hoi_scenes"))
            sized = {"max_humans", "max_objects", "max_pairs", "detection", "boxes", "predict"}
            assert {k for k in settings if settings[k] != config["model"].get(k)} <= sized
