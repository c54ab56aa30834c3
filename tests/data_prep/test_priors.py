"""Tables counted from training labels: by a slow loop, kept with a fingerprint, and read by the cascade."""

import numpy as np
import pytest

from data_prep import build, priors
from data_prep.relation_counts import all_counts
from hoi_jax.annotations import Annotations
from hoi_jax.data.records import part_mask
from hoi_jax.io import read_npz
from hoi_jax.systems.cascade.relation_features import read_prior
from hoi_jax.vocab import get_vocabulary
from tests.helpers import minis


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The folder of built own data: four images, six relations, one of them without an object."""
    folder = tmp_path_factory.mktemp("priors")
    files = minis.own(folder)
    command = ["own", "--images", str(folder), "--data-dir", str(folder / "data"), "--annotations"]
    assert build.main([*command, *(f"{split}={path}" for split, path in files.items())]) == 0
    return folder / "data"


def test_tables_are_those_of_a_literal_loop_and_the_cascade_reads_them(built, capsys):
    assert priors.main(["own", "--data-dir", str(built), "--check"]) == 0
    assert "counted, 7 relations, 2 combinations" in capsys.readouterr().out
    found = read_npz(built / "own" / "priors_train.npz")
    vocabulary = get_vocabulary(f"file:{built / 'own_classes.json'}")
    annotations = Annotations.load(built / "own" / "annotations_train.npz")
    first = np.repeat(np.cumsum([0, *annotations.counts["instances"][:-1]]), annotations.counts["pairs"])
    table = np.zeros((len(vocabulary.verbs), len(vocabulary.objects)), int)
    verbs = np.zeros(len(vocabulary.verbs), int)
    for row, verb in enumerate(annotations["pairs_verb"]):
        verbs[verb] += 1
        if annotations["pairs_object"][row] >= 0:
            table[verb, annotations["instances_class"][first[row] + annotations["pairs_object"][row]]] += 1
    np.testing.assert_array_equal(found["verb_object"], table)
    np.testing.assert_array_equal(found["verb_object_valid"], table > 0)
    np.testing.assert_array_equal(found["verb_counts"], verbs)
    assert found["hoi_counts"].tolist() == [table[verb, obj] for verb, obj in vocabulary.hois] == [4, 2]
    np.testing.assert_allclose(found["hoi_weights"], np.log([6 / 4, 6 / 2]))
    np.testing.assert_array_equal(found["counts"][:, 1:], table.T)
    share = read_prior(built / "own" / "priors_train.npz", vocabulary)
    np.testing.assert_allclose(share.sum(-1), 1, rtol=1e-6)


def test_a_table_is_counted_once_and_again_when_labels_or_rules_change(built, capsys, monkeypatch):
    path = built / "own" / "priors_train.npz"
    path.unlink(missing_ok=True)
    states = []
    for _ in range(2):
        assert priors.main(["own", "--data-dir", str(built)]) == 0
        states.append("counted" in capsys.readouterr().out)
    monkeypatch.setattr(priors, "VERSION", priors.VERSION + 1)
    assert priors.main(["own", "--data-dir", str(built)]) == 0
    states.append("counted" in capsys.readouterr().out)
    labels = Annotations.load(built / "own" / "annotations_train.npz")
    vocabulary = get_vocabulary(f"file:{built / 'own_classes.json'}")
    half = labels.select(np.arange(labels.num_images) < 2)
    assert states == [True, False, True]
    assert priors.fingerprint(labels, vocabulary) != priors.fingerprint(half, vocabulary)


def test_a_part_of_a_split_is_counted_into_a_file_of_its_own(built, capsys):
    counted = {}
    for part in ("ablation_train", "ablation_val"):
        assert priors.main(["own", "--data-dir", str(built), "--split", f"train:{part}"]) == 0
        counted[part] = read_npz(built / "own" / f"priors_train_{part}.npz")["verb_counts"].sum()
    labels = Annotations.load(built / "own" / "annotations_train.npz")
    chosen = part_mask("train:ablation_val", labels.num_images)
    assert counted["ablation_val"] == labels.counts["pairs"][chosen].sum()
    assert counted["ablation_train"] == labels.counts["pairs"][~chosen].sum()
    assert priors.main(["own", "--data-dir", str(built), "--split", "train:other"]) == 2
    assert "split 'train:other' has no part 'other'" in capsys.readouterr().err


def test_absent_splits_and_datasets_are_named(built, capsys):
    assert priors.main(["own", "--data-dir", str(built), "--split", "val"]) == 2
    assert "no split 'val'; there are ['test', 'train']" in capsys.readouterr().err
    assert priors.main(["other", "--data-dir", str(built)]) == 2
    assert "has no finished dataset" in capsys.readouterr().err


def test_differences_from_the_class_table_are_named(built):
    vocabulary = get_vocabulary(f"file:{built / 'own_classes.json'}")
    labels = Annotations.load(built / "own" / "annotations_train.npz")
    found = all_counts(labels, vocabulary)
    assert priors.differences(found, vocabulary) == []
    found["hoi_counts"] = found["hoi_counts"] + [0, 1]
    found["verb_object_valid"] = np.ones_like(found["verb_object_valid"])
    texts = priors.differences(found, vocabulary)
    assert texts[0] == "wave flag: 3 counted, 2 in the class table" and "hold person: annotated, but not in" in texts[1]
