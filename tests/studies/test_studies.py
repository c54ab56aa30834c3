"""Studies: every run is a config that loads, and every committed result belongs to a run."""

import importlib
import json

import pytest

from hoi_jax.experiment import load_experiment
from studies.run import RESULTS, main
from studies.runs import find, fingerprint, needed, runs_of, values_of
from tests.helpers.paths import ROOT

FILES = sorted(path.stem for path in (ROOT / "studies").glob("*.py"))
STUDIES = [name for name in FILES if hasattr(importlib.import_module(f"studies.{name}"), "RUNS")]
TRAINED = [name for name in STUDIES if not hasattr(importlib.import_module(f"studies.{name}"), "run_all")]


@pytest.mark.parametrize("study", TRAINED)
def test_every_run_is_a_config_that_loads_and_no_two_are_the_same(study):
    runs = runs_of(study)
    fingerprints = [fingerprint(study, run) for run in runs.values()]
    assert len(set(fingerprints)) == len(runs)
    for run in runs.values():
        load_experiment(values_of(study, run))
        assert all(find(name).stage or not find(name).of for name in needed(study, run))


def test_every_committed_result_belongs_to_a_run_and_has_scores():
    paths = sorted(RESULTS.glob("*/*.json"))
    for path in paths:
        result = json.loads(path.read_text())
        scores = [value for values in result["metrics"].values() for value in values.values() if value is not None]
        assert scores and all(0 <= score <= 1 for score in scores)
        headlines = {"default/full", "image/default", "role_s1/12", "interactiveness_complete/ap", "pairs_role_ap/24"}
        assert headlines & result["metrics"]["model"].keys()
        if path.parent.name not in TRAINED:
            continue
        assert path.stem in importlib.import_module(f"studies.{path.parent.name}").RUNS
        assert {"config_fingerprint", "annotations_fingerprint", "code", "minutes"} <= result.keys()
    assert {path.parent.name for path in paths} <= set(FILES)


def test_an_unknown_run_is_refused_with_the_known_ones(capsys):
    with pytest.raises(SystemExit):
        main(["tin_probes", "--only", "everything"])
    assert "['everything']; there are ['appearance', 'full'" in capsys.readouterr().err
