"""The claims study: claims name runs that exist, intervals are Student's, the page says what the results say."""

import importlib
import json
import math

import pytest

from studies import claims
from studies.claims import CLAIMS, Claim, Effect, effect_of, student


def _stem(claim, run):
    study, run = run.split("/") if "/" in run else (claim.study, run)
    return study, run.partition("+")[0]


def test_there_are_fifteen_claims_of_all_five_papers_and_no_two_alike():
    assert len(CLAIMS) >= 15 and len(set(CLAIMS)) == len(CLAIMS)
    assert {claim.paper for claim in CLAIMS} == {"tin", "body_part", "defr", "calipso", "cascade"}


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: f"{claim.better}>{claim.worse}")
def test_both_runs_of_a_claim_are_runs_of_its_study(claim):
    for run in (claim.better, claim.worse):
        study, stem = _stem(claim, run)
        runs = importlib.import_module(f"studies.{study}").RUNS
        assert f"{stem}_seed0" in runs or stem in runs


def test_the_interval_is_students():
    # Table value t(0.975, 2) = 4.3027; sleep data of Student (1908), group differences: mean 1.58, 0.70 to 2.46.
    sleep = [1.2, 2.4, 1.3, 1.3, 0.0, 1.0, 1.8, 0.8, 4.6, 1.4]
    assert student(sleep) == pytest.approx((1.58, 0.7001, 2.4599), abs=1e-4)
    mean, low, high = student([1.0, 2.0, 3.0])
    assert mean == 2 and (low, high) == pytest.approx((2 - 4.3027 / math.sqrt(3), 2 + 4.3027 / math.sqrt(3)), abs=1e-4)
    assert math.isnan(student([1.0])[1]) and math.isnan(student([])[0])


@pytest.mark.parametrize(
    ("effect", "verdict"),
    [
        (Effect({}, math.nan, math.nan, math.nan, 0.0), "not run"),
        (Effect({0: 5.0}, 5.0, math.nan, math.nan, 0.0), "one seed"),
        (Effect({0: 1.0, 1: 2.0}, 1.5, 0.1, 2.9, 0.0), "confirmed"),
        (Effect({0: 1.0, 1: -2.0}, -0.5, -2.0, 1.0, 0.0), "not confirmed"),
        (Effect({0: -1.0, 1: -2.0}, -1.5, -2.9, -0.1, 0.0), "reversed"),
    ],
)
def test_a_verdict_follows_from_the_interval(effect, verdict):
    assert effect.verdict == verdict


def test_runs_are_paired_by_seed_and_one_without_its_partner_does_not_count(tmp_path, monkeypatch):
    monkeypatch.setattr(claims, "RESULTS", tmp_path)
    (tmp_path / "s").mkdir()
    for name, score in (("a_seed0", 0.30), ("b_seed0", 0.20), ("a_seed1", 0.50), ("b_seed1", 0.45), ("a_seed2", 0.9)):
        metrics = {"model": {"default/full": score}}
        (tmp_path / "s" / f"{name}.json").write_text(json.dumps({"metrics": metrics, "minutes": 2.0}))
    effect = effect_of(Claim("tin", "1", "a above b", "s", "a", "b"))
    assert effect.by_seed == pytest.approx({0: 10.0, 1: 5.0}) and effect.mean == pytest.approx(7.5)
    assert effect.minutes == 8.0


def test_the_page_is_what_the_committed_results_say():
    assert claims.PAGE.read_text() == claims.page()


def test_compute_counts_a_run_that_several_claims_share_once(tmp_path, monkeypatch):
    monkeypatch.setattr(claims, "RESULTS", tmp_path)
    (tmp_path / "s").mkdir()
    for name in ("a_seed0", "b_seed0", "c_seed1"):
        result = {"metrics": {"model": {"default/full": 0.5}}, "minutes": 30.0}
        (tmp_path / "s" / f"{name}.json").write_text(json.dumps(result))
    shared = [Claim("tin", "1", "x", "s", "a", other) for other in "bc"]
    assert claims.compute(shared) == (3, 1.5)
