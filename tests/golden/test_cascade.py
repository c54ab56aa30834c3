"""HOI-W mAP_rel and PIC recall equal the official code on made-up inputs (`cascade_eval.json`)."""

import numpy as np
import pytest

from hoi_jax import io
from hoi_jax.evaluation.files.hoi_w_files import read_hoi_w
from hoi_jax.evaluation.hoi_w import evaluate_hoi_w
from hoi_jax.evaluation.pic import OFFICIAL_WH, RELATIONS, Scene, evaluate_pic, group_recall, recalled_triplets

PIC_CASES = {"resized_640x480": OFFICIAL_WH, "native_size": None}


@pytest.fixture(scope="module")
def golden(golden_dir):
    return io.read_json(golden_dir / "cascade_eval.json")


def test_the_file_holds_a_known_evaluation_case(golden):
    assert {"pic_recall", "hoiw_map"} & set(golden)


def hoiw_case(golden, name):
    if name not in golden.get("hoiw_map", {}):
        pytest.skip(f"the file has no case hoiw_map.{name}")
    return golden["hoiw_map"][name]


@pytest.mark.parametrize("name", ["plain", "quirks"])
def test_hoi_w_scores_and_counts_equal_the_official_script(golden, name):
    case = hoiw_case(golden, name)
    truth, found, _ = read_hoi_w(case["inputs"]["annotations"], case["inputs"]["predictions"])
    result, expected = evaluate_hoi_w(truth, found), case["results"]
    assert result.metrics["hoi_w/map_rel"] == pytest.approx(expected["mAP"], abs=1e-9)
    assert result.metrics["hoi_w/mean_max_recall"] == pytest.approx(expected["max_recall_mean"], abs=1e-9)
    for verb in expected["ap"]:
        index = int(verb) - 1
        assert result.per_class["hoi_w/ap"][index] == pytest.approx(expected["ap"][verb], abs=1e-9)
        assert result.per_class["hoi_w/max_recall"][index] == pytest.approx(expected["max_recall"][verb], abs=1e-9)
        counts = {
            "num_gt": result.per_class["hoi_w/num_positives"][index],
            "num_pred": result.per_class["hoi_w/num_predictions"][index],
            "num_tp": result.per_class["hoi_w/true_positives"][index],
        }
        assert counts == expected["counts"][verb]


def scene(image, side):
    """Rectangles painted in list order on zero maps; later ones overwrite."""
    semantic = np.zeros((image["height"], image["width"]), np.int64)
    instance = np.zeros_like(semantic)
    if not image.get(side):
        return None
    for row in image[side]["instances"]:
        x0, y0, x1, y1 = row["rect"]
        semantic[y0:y1, x0:x1], instance[y0:y1, x0:x1] = row["category"], row["id"]
    relations = image[side]["relations"]
    table = np.array([[r["subject"], r["object"], r["relation"]] for r in relations], np.int64).reshape(-1, 3)
    return Scene(semantic, instance, table, np.array([r.get("score", 0.0) for r in relations], np.float64))


@pytest.fixture(scope="module")
def scenes(golden):
    if "pic_recall" not in golden:
        pytest.skip("the file has no case pic_recall")
    return [(scene(image, "gt"), scene(image, "pred")) for image in golden["pic_recall"]["images"]]


def pic_case(golden, name):
    """{K: {threshold: numbers}} and the mean over thresholds of every K."""
    found = {
        int(key.split("R@")[1]): value
        for key, value in golden["pic_recall"]["results"].items()
        if key.startswith(f"{name}_R@")
    }
    if not found:
        pytest.skip(f"the file has no case pic_recall.{name}")
    return found


@pytest.mark.parametrize("name", PIC_CASES)
def test_pic_recall_equals_the_official_code(golden, scenes, name):
    expected = pic_case(golden, name)
    thresholds = [float(key) for key in next(iter(expected.values())) if key != "average"]
    result = evaluate_pic(scenes, kept=list(expected), thresholds=thresholds, resize_wh=PIC_CASES[name])
    for count, table in expected.items():
        assert result.metrics[f"pic/recall@{count}"] == pytest.approx(table["average"], abs=1e-9)
        for threshold in thresholds:
            key, row = f"pic/recall@{count}/{threshold}", table[str(threshold)]
            assert result.metrics[key] == pytest.approx(row["final"], abs=1e-9)
            by_name = dict(zip(RELATIONS, result.per_class[key], strict=True))
            by_name["geometric_rel"] = result.metrics[f"{key}/geometric"]
            by_name["non_geometric_rel"] = result.metrics[f"{key}/non_geometric"]
            for category, value in row["mean_recall_by_category_rounded4"].items():
                assert by_name[category] == pytest.approx(value, abs=1e-9)


@pytest.mark.parametrize("name", PIC_CASES)
def test_pic_recall_of_every_image_equals_the_official_code(golden, scenes, name):
    expected = pic_case(golden, name)
    thresholds = [float(key) for key in next(iter(expected.values())) if key != "average"]
    for position, (truth, found) in enumerate(scenes):
        hits = np.zeros((len(expected), len(thresholds), len(truth.relations)), bool)
        if found is not None:
            options = {"kept": list(expected), "thresholds": thresholds, "resize_wh": PIC_CASES[name]}
            hits = recalled_triplets(truth, found, **options)
        rates = group_recall(hits, truth.relations[:, 2])
        for k, table in enumerate(expected.values()):
            for t, threshold in enumerate(thresholds):
                row = table[str(threshold)]
                reference = [row["per_image_geometric"][position], row["per_image_non_geometric"][position]]
                np.testing.assert_allclose(rates[k, t, -2:], np.array(reference, np.float64), rtol=0, atol=1e-12)
