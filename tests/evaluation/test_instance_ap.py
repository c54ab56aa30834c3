"""COCO AP of boxes and masks: pycocotools' numbers on a small random set with equal scores and equal IoUs, and faults.

`tests/golden/coco_instance_ap.json` was written by pycocotools 2.0.11 (COCOeval, all areas, 100 detections). Rows are
(image, class, box x1 y1 x2 y2, shape of the mask in the box, score); class 4 has no annotation.
"""

import json

import numpy as np
import pytest

from hoi_jax.evaluation.metrics.coco import Instances, average_precision, box_iou, mask_iou, summary
from tests.helpers.paths import GOLDEN

GOLDEN = json.loads((GOLDEN / "coco_instance_ap.json").read_text())


def mask_of(box, shape: int) -> np.ndarray:
    """0: the whole box, 1: without every third diagonal, 2: its left half."""
    mask = np.zeros(GOLDEN["size"], bool)
    x1, y1, x2, y2 = box
    mask[y1:y2, x1:x2] = True
    if shape == 1:
        mask &= np.add.outer(np.arange(mask.shape[0]), np.arange(mask.shape[1])) % 3 != 0
    if shape == 2:
        mask[:, (x1 + x2) // 2 :] = False
    return mask


def instances(rows, image: int, masks: bool = True) -> Instances:
    own = [row for row in rows if row[0] == image]
    return Instances(
        np.array([row[2] for row in own], np.float64).reshape(-1, 4),
        np.array([row[1] for row in own], np.int64),
        np.array([row[4] if len(row) > 4 else 1.0 for row in own]),
        np.array([mask_of(row[2], row[3]) for row in own], bool).reshape(-1, *GOLDEN["size"]) if masks else None,
    )


@pytest.mark.parametrize("kind, iou", [("bbox", box_iou), ("segm", mask_iou)])
def test_average_precision_equals_that_of_pycocotools(kind, iou):
    found, truth = ([instances(GOLDEN[name], i) for i in range(GOLDEN["images"])] for name in ("dts", "gts"))
    table, expected = average_precision(found, truth, iou), GOLDEN["results"][kind]
    for label, row in enumerate(expected["per_class"]):
        if row[0] < 0:  # pycocotools' mark for a class without annotations
            assert np.isnan(table[label]).all()
        else:
            np.testing.assert_allclose(table[label], row, atol=1e-12)
    got = summary(table)
    assert got == pytest.approx({name: expected[name] for name in got}, abs=1e-12)
    assert 0 < got["AP"] < got["AP50"] < 1


def test_the_annotations_as_detections_are_perfect_and_nothing_found_is_zero():
    truth = [instances(GOLDEN["gts"], i) for i in range(GOLDEN["images"])]
    assert summary(average_precision(truth, truth, mask_iou)) == {"AP": 1.0, "AP50": 1.0, "AP75": 1.0}
    nothing = [t.chosen(np.zeros(0, int)) for t in truth]
    assert summary(average_precision(nothing, truth))["AP"] == 0.0
    assert np.isnan(summary(average_precision(nothing, nothing))["AP"])


def test_mask_scores_without_masks_are_refused():
    found, truth = ([instances(GOLDEN[name], i, masks=False) for i in range(4)] for name in ("dts", "gts"))
    with pytest.raises(ValueError, match="masks"):
        average_precision(found, truth, mask_iou)
