"""CALIPSO's anchors, assignment, losses with gradients and scores against calipso.npz (see its notes), in float64."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hoi_jax import io
from hoi_jax.losses.elementwise import binary_cross_entropy
from hoi_jax.losses.metric_learning import pull_push_loss
from hoi_jax.ops.anchors import assign_anchors, cell_anchors, make_anchors, nearest_anchor
from hoi_jax.systems.calipso import scores
from hoi_jax.systems.calipso.targets import connected_components

CASES = ("basic", "shared_object", "multi_target", "no_triplets", "one_instance", "absent_partner", "same_embedding")
ANCHOR_SIZES = (32, 64, 128, 256, 512)
EXACT = {"rtol": 1e-10, "atol": 1e-10}


@pytest.fixture(scope="module")
def golden(golden_dir):
    return io.read_npz(golden_dir / "calipso.npz", max_bytes=2**28)


def test_the_file_holds_a_known_case(golden):
    assert any(name.startswith(tuple(f"case_{case}_" for case in CASES)) for name in golden)


def take(golden, *names):
    missing = [name for name in names if name not in golden]
    if missing:
        pytest.skip(f"the file lacks {missing}")
    return [golden[name] for name in names]


def case(golden, name):
    """(embedding, instance, classes, target-like, triplets) of a case, with rows of padding behind anchors."""
    keys = ("emb", "inst", "triplets", "cls", "target_class_mask")
    emb, inst, triplets, cls, mask = take(golden, *(f"case_{name}_{key}" for key in keys))
    linked = np.zeros((emb.shape[1], len(cls), len(cls)), bool)
    linked[triplets[:, 1], triplets[:, 0], triplets[:, 2]] = True
    present = np.isin(np.arange(len(cls)), inst)
    classes = connected_components(jnp.asarray(linked), jnp.asarray(present)[None])
    padded = np.concatenate([emb, np.full((3, *emb.shape[1:]), 7.0)])
    return padded, np.concatenate([inst, np.full(3, -1)]), classes, mask[:, cls]


def test_the_file_holds_a_known_case_and_no_unknown_one(golden):
    names = {match[1] for key in golden if (match := re.fullmatch(r"case_(\w+)_emb", key))}
    assert names and names <= set(CASES)


def test_anchors_equal_the_stored_ones(golden):
    cells, exact, hw, levels, anchors = take(
        golden, "cell_anchors", "cell_anchors_exact", "image_hw", "feature_hw", "anchors"
    )
    np.testing.assert_array_equal(cell_anchors(ANCHOR_SIZES[: len(cells)]), cells)
    np.testing.assert_allclose(cell_anchors(ANCHOR_SIZES[: len(cells)], rounded=False), exact, rtol=1e-13)
    ours = make_anchors(tuple(hw.tolist()), [tuple(level) for level in levels.tolist()], cells)
    np.testing.assert_array_equal(ours, anchors)


def test_assignment_equals_the_stored_one(golden):
    anchors, boxes, row, overlap = take(golden, "anchors", "gt_boxes", "assign", "assign_iou")
    with jax.enable_x64(True):
        every = jnp.ones(len(anchors), bool), jnp.ones(len(boxes), bool)
        ours, best = assign_anchors(jnp.asarray(anchors), jnp.asarray(boxes), *every)
    np.testing.assert_array_equal(ours, row)
    np.testing.assert_allclose(best, overlap, **EXACT)


def test_assignment_in_float32_equals_the_stored_one(golden):
    anchors, boxes, row = take(golden, "anchors", "gt_boxes", "assign")
    anchors, boxes = jnp.asarray(anchors, jnp.float32), jnp.asarray(boxes, jnp.float32)
    ours, _ = assign_anchors(anchors, boxes, jnp.ones(len(anchors), bool), jnp.ones(len(boxes), bool))
    np.testing.assert_array_equal(ours, row)


def test_detections_read_the_stored_anchors(golden):
    anchors, boxes, nearest = take(golden, "anchors", "det_boxes", "det_anchor")
    with jax.enable_x64(True):
        ours = nearest_anchor(jnp.asarray(anchors), jnp.asarray(boxes), jnp.ones(len(anchors), bool))
    np.testing.assert_array_equal(ours, nearest)


@pytest.mark.parametrize("name", CASES)
def test_embedding_loss_equals_the_stored_one(golden, name):
    pull, push, number, classes, mean = take(
        golden, *(f"case_{name}_{key}" for key in ("pull", "push", "num_classes", "class_of_instance", "L_emb_mean"))
    )
    with jax.enable_x64(True):
        emb, inst, ours, target_like = case(golden, name)
        loss = jax.jit(pull_push_loss)(jnp.asarray(emb), jnp.asarray(inst), ours, jnp.asarray(target_like))
    loss = jax.tree.map(np.asarray, loss)
    np.testing.assert_array_equal(ours, classes)
    np.testing.assert_array_equal(loss.num_classes, number)
    np.testing.assert_allclose(loss.pull, pull, **EXACT)
    np.testing.assert_allclose(loss.push, push, **EXACT)
    np.testing.assert_allclose(np.mean(loss.pull + loss.push), mean, **EXACT)


@pytest.mark.parametrize("name", CASES)
def test_embedding_loss_in_float32_is_close(golden, name):
    pull, push = take(golden, f"case_{name}_pull", f"case_{name}_push")
    emb, inst, classes, target_like = case(golden, name)
    loss = jax.jit(pull_push_loss)(jnp.asarray(emb, jnp.float32), jnp.asarray(inst), classes, jnp.asarray(target_like))
    np.testing.assert_allclose(loss.pull, pull, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(loss.push, push, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", CASES)
def test_embedding_gradient_equals_central_differences(golden, name):
    """Where the file stores them, and everywhere against zero in unused places."""
    with jax.enable_x64(True):
        emb, inst, classes, target_like = case(golden, name)

        def mean_loss(e):
            loss = pull_push_loss(e, jnp.asarray(inst), classes, jnp.asarray(target_like))
            return jnp.mean(loss.pull + loss.push)

        gradient = np.asarray(jax.jit(jax.grad(mean_loss))(jnp.asarray(emb)))
    assert np.isfinite(gradient).all() and not gradient[-3:].any()
    (stored,) = take(golden, f"case_{name}_grad")
    np.testing.assert_allclose(gradient[:-3], stored, atol=2e-6 * max(1.0, np.abs(stored).max()))


@pytest.mark.parametrize("kind", ["verb", "target"])
def test_cross_entropies_equal_the_stored_ones(golden, kind):
    logits, labels, stored, mean = take(golden, f"{kind}_logits", f"{kind}_targets", f"{kind}_bce", f"{kind}_loss_mean")
    with jax.enable_x64(True):
        ours = np.asarray(binary_cross_entropy(jnp.asarray(logits), jnp.asarray(labels > 0)))
    np.testing.assert_allclose(ours, stored, **EXACT)
    np.testing.assert_allclose(np.mean(ours), mean, **EXACT)


@pytest.mark.parametrize("norm", ["l2", "l1"])
def test_scores_and_selection_equal_the_stored_ones(golden, norm):
    names = ("det_h", "det_o", "active", "passive", "target", "emb_h", "emb_o", "verb_has_target")
    det_h, det_o, active, passive, target, emb_h, emb_o, has_target = take(golden, *(f"inf_{name}" for name in names))
    stored, pair, winner, best = take(
        golden, f"inf_triplet_{norm}", "inf_pair", f"inf_best_object_{norm}", f"inf_best_score_{norm}"
    )
    with jax.enable_x64(True):
        as_jax = functools.partial(jnp.asarray, dtype=jnp.float64)
        distance = scores.embedding_distance(as_jax(emb_h), as_jax(emb_o), norm)
        person = as_jax(det_h), as_jax(active)
        triplet = scores.triplet_scores(*person, as_jax(det_o), as_jax(passive), as_jax(target), distance)
        alone = scores.pair_scores(*person, as_jax(target))
        candidate = jnp.broadcast_to(jnp.asarray(has_target)[None, :, None], triplet.shape)
        ours = scores.select(triplet, alone, candidate, jnp.ones(len(has_target), bool))
    np.testing.assert_allclose(np.where(np.asarray(candidate), np.asarray(triplet), 0.0), stored, **EXACT)
    np.testing.assert_allclose(alone, pair, **EXACT)
    np.testing.assert_array_equal(ours.object_index, winner)
    np.testing.assert_allclose(ours.score, best, **EXACT)
