"""The assignment against SciPy's, and pair-wise NMS against a loop."""

import functools

import jax
import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

from hoi_jax.ops.boxes import cxcywh_to_xyxy, generalized_iou, iou, xyxy_to_cxcywh
from hoi_jax.ops.matching import assign_targets
from hoi_jax.ops.scoring import pair_nms

solve = jax.jit(assign_targets)


@pytest.mark.parametrize(("queries", "targets"), [(24, 10), (9, 9), (4, 7)])
@pytest.mark.parametrize("ties", [False, True])
def test_total_cost_is_scipys_optimum(queries, targets, ties):
    rng = np.random.default_rng(queries)
    cost = rng.normal(size=(40, queries, targets)).astype(np.float32)
    cost = np.round(cost) if ties else cost
    valid = rng.random((40, targets)) < rng.random((40, 1))
    found = np.asarray(solve(cost, valid))
    for table, used, query in zip(cost, valid, found, strict=True):
        served = np.flatnonzero(used)[:queries]
        assert (np.delete(query, served) == -1).all()
        assert len(set(query[served])) == len(served) and (query[served] >= 0).all()
        rows, columns = linear_sum_assignment(table[:, served])
        wanted = table[:, served][rows, columns].sum()
        np.testing.assert_allclose(table[query[served], served].sum(), wanted, rtol=0, atol=1e-5)


def test_costs_that_are_not_finite_are_avoided_and_never_hang():
    cost = np.array([[np.nan, 1.0], [2.0, np.inf], [np.inf, np.nan]], np.float32)
    np.testing.assert_array_equal(solve(cost, np.ones(2, bool)), [1, 0])
    assert set(np.asarray(solve(np.full((3, 2), np.nan, np.float32), np.ones(2, bool)))) <= {0, 1, 2}


def test_generalized_iou_closed_forms():
    unit, far = np.float32([0, 0, 1, 1]), np.float32([3, 0, 4, 1])
    np.testing.assert_allclose(generalized_iou(unit, unit), 1.0)
    np.testing.assert_allclose(generalized_iou(unit, far), -0.5)  # two of four cells of the hull are covered
    inner = np.float32([0, 0, 0.5, 0.5])
    np.testing.assert_allclose(generalized_iou(unit, inner), 0.25)
    point = np.zeros(4, np.float32)
    assert float(generalized_iou(point, point)) == 0.0
    assert np.isfinite(jax.grad(lambda box: generalized_iou(box, point))(point)).all()


def test_centre_and_corner_formats_are_inverse():
    boxes = np.random.default_rng(0).random((20, 4)).astype(np.float32)
    np.testing.assert_allclose(xyxy_to_cxcywh(cxcywh_to_xyxy(boxes)), boxes, atol=1e-6)


def test_pair_nms_equals_a_loop():
    rng = np.random.default_rng(1)
    run = functools.partial(jax.jit(pair_nms, static_argnames="threshold"), threshold=0.5)
    for _ in range(20):
        corner = rng.uniform(0, 3, (2, 30, 2))
        human, obj = np.concatenate([corner, corner + 4], axis=-1).astype(np.float32)
        label, score = rng.integers(0, 2, 30), np.round(rng.random(30), 1).astype(np.float32)
        left, kept = sorted(range(30), key=lambda r: -score[r]), []
        while left:
            best = left.pop(0)
            kept.append(best)
            left = [
                r for r in left
                if label[r] != label[best] or not (iou(human[r], human[best]) > 0.5 and iou(obj[r], obj[best]) > 0.5)
            ]  # fmt: skip
        np.testing.assert_array_equal(np.flatnonzero(run(human, obj, label, score)), sorted(kept))
