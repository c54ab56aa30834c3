"""V-COCO predictions: flat arrays and official detections give the golden scores; broken ones are refused by name."""

import pickle

import numpy as np
import pytest

from hoi_jax import io
from hoi_jax.evaluation.score import evaluate_action_predictions
from hoi_jax.formats.labels.detect import read_annotations
from hoi_jax.formats.predictions import vcoco_pickle as pickle_writer
from hoi_jax.formats.predictions.detect import detect_format, read_predictions, write_official
from hoi_jax.vocab.datasets import VCOCO


@pytest.mark.parametrize(
    "field, value, message",
    [
        ("role_action", [26], "field 'role_action' row 0 is 26"),
        ("role_slot", [2], "field 'role_slot' row 0 is 2"),
        ("role_slot", [1], "role row 0: action 'hold' has no role 1"),
        ("role_det", [1], "field 'role_det' row 0 is 1"),
        ("role_label", [81], "field 'role_label' row 0 is 81"),
        ("role_box", [[0.0, 0, 1]], "'role_box' has 3 numbers per row"),
        ("role_box", [[0.0, 0, 1, 1]] * 2, "different lengths"),
        ("det_agent_score", [[0.0] * 25], "expected 26 actions"),
    ],
)
def test_flat_vcoco_rows_that_do_not_fit_are_refused(field, value, message, tmp_path):
    content = {
        "det_image": np.array([7]),
        "det_person_box": np.zeros((1, 4)),
        "det_agent_score": np.zeros((1, 26)),
        "role_det": np.array([0]),
        "role_action": np.array([0]),
        "role_slot": np.array([0]),
        "role_box": np.zeros((1, 4)),
        "role_score": np.array([0.5]),
        "role_label": np.array([39]),
    }
    labels = small_vcoco(tmp_path)
    np.savez(tmp_path / "p.npz", **content)
    assert read_predictions(tmp_path / "p.npz", VCOCO, labels).pair_object_class.tolist() == [39]
    np.savez(tmp_path / "p.npz", **content | {field: np.array(value)})
    with pytest.raises(io.DataError, match=message) as error:
        read_predictions(tmp_path / "p.npz", VCOCO, labels)
    assert "p.npz" in str(error.value)


def golden_vcoco(golden_dir, split):
    labels = read_annotations(golden_dir / f"vcoco_eval_{split}_gt.npz")
    predictions = read_predictions(golden_dir / f"vcoco_eval_{split}_preds.npz", VCOCO, labels)
    return labels, predictions, io.read_npz(golden_dir / f"vcoco_eval_{split}_results.npz")


def assert_golden(predictions, labels, expected):
    result = evaluate_action_predictions(predictions, labels, VCOCO)
    roles = [verb for verb, slot in enumerate(VCOCO.verb_role) if slot >= 0]
    where = [VCOCO.verb_action[v] for v in roles], [VCOCO.verb_role[v] for v in roles]
    np.testing.assert_allclose(result.per_class["agent/ap"], expected["official/agent_ap"], rtol=0, atol=1e-6)
    for scenario in (1, 2):
        golden = expected[f"official/scenario_{scenario}_ap"][where]
        np.testing.assert_allclose(result.per_class[f"role_s{scenario}/ap"], golden, rtol=0, atol=1e-6)


@pytest.mark.parametrize("split", ["val", "test"])
def test_flat_vcoco_gives_the_golden_scores(split, golden_dir):
    labels, predictions, expected = golden_vcoco(golden_dir, split)
    assert_golden(predictions, labels, expected)


@pytest.mark.parametrize("split", ["val", pytest.param("test", marks=pytest.mark.slow)])
def test_a_written_detections_file_gives_the_golden_scores(split, golden_dir, tmp_path):
    labels, predictions, expected = golden_vcoco(golden_dir, split)
    count = write_official(tmp_path / "d.pkl", predictions, labels, VCOCO)
    # A record per detection, and a few more for people that were detected twice with the same box.
    assert len(predictions.agent_image) <= count < 1.01 * len(predictions.agent_image)
    assert detect_format(tmp_path / "d.pkl") == "vcoco-pickle"
    assert_golden(read_predictions(tmp_path / "d.pkl", VCOCO, labels), labels, expected)


def small_vcoco(tmp_path):
    """One person, labelled: holds and looks at nothing that is visible."""
    label = np.zeros((1, 26), np.int8)
    label[0, [VCOCO.actions.index("hold"), VCOCO.actions.index("look")]] = 1
    content = {
        "image_ids": np.array([7]),
        "ann_id": np.array([11]),
        "ann_image": np.array([7]),
        "ann_category": np.array([1]),
        "ann_xyxy": np.array([[10.0, 10, 60, 60]]),
        "person_ann_id": np.array([11]),
        "person_image": np.array([7]),
        "label": label,
        "role_ann_id": np.zeros((1, 26, 2), np.int64),
    }
    np.savez(tmp_path / "gt.npz", **content)
    return read_annotations(tmp_path / "gt.npz")


def test_an_official_pickle_written_by_python_is_read(tmp_path):
    labels = small_vcoco(tmp_path)
    record = {"image_id": np.int64(7), "person_box": np.array([10, 10, 59, 59], np.float32)}
    record |= {f"{action}_agent": np.float32(np.nan) for action in VCOCO.actions} | {"hold_agent": 0.9}
    record |= {
        "hold_obj": np.zeros(5) + [0, 0, 0, 0, 0.8],
        "look_obj": [20, 20, 30, 30, 0.7],
        "sit_instr": [np.nan] * 5,
    }
    (tmp_path / "d.pkl").write_bytes(pickle.dumps([record]))
    result = evaluate_action_predictions(read_predictions(tmp_path / "d.pkl", VCOCO, labels), labels, VCOCO)
    names = result.manifest["role_classes"]
    first, second = (dict(zip(names, result.per_class[f"role_s{s}/ap"], strict=True)) for s in (1, 2))
    # The role is not visible: scenario 1 wants an empty box, scenario 2 takes any.
    assert (first["hold_obj"], first["look_obj"]) == (1.0, 0.0)
    assert (second["hold_obj"], second["look_obj"]) == (1.0, 1.0)
    agent = dict(zip(VCOCO.actions, result.per_class["agent/ap"], strict=True))
    assert (agent["hold"], agent["look"]) == (1.0, 0.0)


class CacheTemplate(dict):
    """As UPT pickles an entry: its class stands for the keys that are absent."""

    def __reduce__(self):
        return CacheTemplate, (), None, None, iter(self.items())


def test_absent_keys_are_tiny_boxes_in_upts_cache_and_nothing_elsewhere(tmp_path):
    labels = small_vcoco(tmp_path)
    fields = {"image_id": 7, "person_box": [10.0, 10.0, 59.0, 59.0], "hold_agent": 0.9, "hold_obj": [0.0] * 4 + [0.8]}
    (tmp_path / "upt.pkl").write_bytes(pickle.dumps([CacheTemplate(fields)], 2))
    (tmp_path / "plain.pkl").write_bytes(pickle.dumps([fields], 2))
    upt, plain = (read_predictions(tmp_path / f"{name}.pkl", VCOCO, labels) for name in ("upt", "plain"))
    assert len(plain.triplet_score) == 1 and len(upt.triplet_score) == 25
    verb = VCOCO.verbs.index("look_obj")
    row = int(np.flatnonzero(upt.triplet_verb == verb)[0])
    np.testing.assert_allclose(upt.pair_object_xyxy_px[row], [0, 0, 1.1, 1.1])
    assert upt.triplet_score[row] == 0
    look = VCOCO.actions.index("look")
    assert np.nanmax(upt.agent_scores[0][np.array(VCOCO.verb_action) == look]) == 0
    assert np.isnan(plain.agent_scores[0][np.array(VCOCO.verb_action) == look]).all()


@pytest.mark.parametrize(
    "value, message",
    [
        ({"a": 1}, "contains dict, expected a list"),
        ([{}, 3], "record 0: field 'image_id' is absent"),
        ([3], "record 0 is int"),
        ([{"image_id": 1e300, "person_box": [1, 2, 3, 4]}], "record 0: field 'image_id' is 1e[+]300"),
        ([{"image_id": float("nan"), "person_box": [1, 2, 3, 4]}], "record 0: field 'image_id' is nan"),
        ([{"image_id": 7.5, "person_box": [1, 2, 3, 4]}], "record 0: field 'image_id' is 7.5"),
        ([{"image_id": 7, "person_box": [1, 2, 3]}], "record 0: field 'person_box' is list, expected 4 numbers"),
        ([{"image_id": 7, "person_box": "abcd"}], "record 0: field 'person_box' is str"),
        ([{"image_id": 7, "person_box": [1, 2, 3, 4], "hold_obj": [[1], 2, 3, 4, 5]}], "record 0: field 'hold_obj'"),
        ([{"image_id": 7, "person_box": [1, 2, 3, 4], "hold_agent": "x"}], "record 0: field 'hold_agent' is str"),
    ],
)
def test_broken_detections_name_file_record_and_field(value, message, tmp_path):
    (tmp_path / "d.pkl").write_bytes(pickle_writer.dumps(value))
    with pytest.raises(io.CorruptFileError, match=message) as error:
        read_predictions(tmp_path / "d.pkl", VCOCO, small_vcoco(tmp_path))
    assert "d.pkl" in str(error.value)
