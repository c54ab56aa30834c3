"""Anchors: layout, assignment and the choice of foreground, against loops and by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hoi_jax.ops.anchors import assign_anchors, cell_anchors, choose_foreground, make_anchors, nearest_anchor
from hoi_jax.ops.boxes import pairwise_iou
from hoi_jax.systems.calipso.targets import connected_components


def some_boxes(rng, count):
    corner = rng.uniform(0, 80, (count, 2))
    return np.concatenate([corner, corner + rng.uniform(10, 60, (count, 2))], axis=1).astype(np.float32)


def test_exact_cell_anchors_have_the_area_of_their_size_and_the_asked_ratio():
    boxes = cell_anchors([32, 64], scales=(1.0, 2.0), ratios=(0.5, 2.0), rounded=False)
    size = boxes[..., 2:] - boxes[..., :2]
    np.testing.assert_allclose(size.prod(-1), np.square([[32, 64, 32, 64], [64, 128, 64, 128]]))
    np.testing.assert_allclose(size[..., 1] / size[..., 0], [[0.5, 0.5, 2, 2]] * 2)


def test_anchors_are_centred_at_multiples_of_the_stride_rows_first():
    boxes = make_anchors((64, 128), [(8, 16), (1, 2)], cell_anchors([16, 64]))
    centre = (boxes[:, :2] + boxes[:, 2:]) / 2
    assert len(boxes) == 9 * (8 * 16 + 2)
    np.testing.assert_allclose(centre[9 * 17], [8, 8], atol=0.5)
    np.testing.assert_allclose(centre[-1], [64, 0], atol=0.5)


def test_anchors_of_the_papers_largest_image_are_184140():
    levels = [(768 // s, 1280 // s) for s in (8, 16, 32, 64, 128)]
    assert make_anchors((768, 1280), levels, cell_anchors([32, 64, 128, 256, 512])).shape == (184140, 4)


@pytest.mark.parametrize("force_best", [False, True])
def test_assignment_equals_a_loop(force_best):
    rng = np.random.default_rng(0)
    anchors, boxes = some_boxes(rng, 80), some_boxes(rng, 7)
    boxes[5] = boxes[2]  # Equal boxes: the first one wins.
    anchor_valid, box_valid = rng.random(80) < 0.9, np.array([True] * 6 + [False])
    row, best = assign_anchors(
        jnp.asarray(anchors), jnp.asarray(boxes), jnp.asarray(anchor_valid), jnp.asarray(box_valid),
        force_best=force_best,
    )  # fmt: skip
    shared = np.asarray(pairwise_iou(jnp.asarray(anchors), jnp.asarray(boxes)))
    shared = shared * anchor_valid[:, None] * box_valid
    wanted = [int(np.argmax(s)) if s.max() > 0.5 else -1 for s in shared]
    if force_best:
        for box in range(7):
            if shared[:, box].max() > 0:
                wanted[int(np.argmax(shared[:, box]))] = box
    np.testing.assert_array_equal(row, wanted)
    np.testing.assert_allclose(best, shared.max(1))
    assert (np.asarray(row) >= 0).any() and not np.isin(np.asarray(row), [6]).any()


def test_nearest_anchor_skips_invalid_anchors():
    rng = np.random.default_rng(1)
    anchors = some_boxes(rng, 30)
    valid = np.ones(30, bool)
    valid[4] = False
    at = nearest_anchor(jnp.asarray(anchors), jnp.asarray(anchors[3:6]), jnp.asarray(valid))
    assert at[0] == 3 and at[1] != 4 and at[2] == 5


def test_foreground_is_shared_out_among_boxes_and_whole_where_it_fits():
    row = jnp.asarray([0, 0, 0, 0, -1, 1, 2, 2, -1])
    overlap = jnp.asarray([0.6, 0.9, 0.8, 0.7, 0.4, 0.55, 0.7, 0.6, 0.1])
    chosen, used = choose_foreground(row, overlap, 5)
    assert used.all() and set(np.asarray(chosen[:3]).tolist()) == {1, 5, 6}
    assert set(np.asarray(chosen[3:]).tolist()) == {2, 7}
    chosen, used = choose_foreground(row, overlap, 9)
    assert sorted(np.asarray(chosen)[np.asarray(used)].tolist()) == [0, 1, 2, 3, 5, 6, 7]


def test_components_equal_a_flood_fill():
    rng = np.random.default_rng(2)
    linked = rng.random((40, 9, 9)) < 0.08
    present = rng.random((40, 9)) < 0.8
    ours = np.asarray(jax.jit(connected_components)(jnp.asarray(linked), jnp.asarray(present)))
    for graph, there, label in zip(linked, present, ours, strict=True):
        for node in range(9):
            reached = {node} if there[node] else set()
            while True:
                more = {b for a in reached for b in range(9) if there[b] and (graph[a, b] or graph[b, a])} | reached
                if more == reached:
                    break
                reached = more
            assert label[node] == (min(reached) if reached else -1)
    chain = jnp.asarray(np.eye(64, k=1, dtype=bool))
    assert (np.asarray(connected_components(chain, jnp.ones(64, bool))) == 0).all()
