"""Maps of pairs and poses: exactness on device, and what each mark means."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hoi_jax.ops import raster
from tests.helpers.raster_float64 import letterbox_float64, pose_joints_float64


def random_boxes(rng, rows: int, unit: int) -> np.ndarray:
    ends = rng.integers(0, 640 * unit, (2, rows, 2))
    return np.concatenate([ends.min(axis=0), ends.max(axis=0) + unit], axis=1) / unit


def ties(human: np.ndarray, obj: np.ndarray) -> np.ndarray:
    """[N] bool: some exact grid position lies half-way between two cells, by integer arithmetic."""
    human, obj = (np.rint(box * 16).astype(np.int64) for box in (human, obj))
    low = np.minimum(human[:, :2], obj[:, :2])
    extent = np.maximum(human[:, 2:], obj[:, 2:]) - low
    longest = extent.max(axis=1, keepdims=True)
    corners = np.stack([human[:, :2], human[:, 2:], obj[:, :2], obj[:, 2:]])
    numerator = 64 * (corners - low) + 32 * (longest - extent)
    return np.any(2 * numerator % (2 * longest) == longest, axis=(0, 2))


@pytest.mark.parametrize("unit", [1, 16])
def test_device_grid_boxes_equal_float64_on_20000_random_pairs(unit):
    """Apart from exact halves, where float64 itself may fall on either side."""
    rng = np.random.default_rng(unit)
    human, obj = random_boxes(rng, 20_000, unit), random_boxes(rng, 20_000, unit)
    host = letterbox_float64(human, obj)
    device = raster.letterbox(jnp.asarray(human, jnp.float32), jnp.asarray(obj, jnp.float32))
    clear = ~ties(human, obj)
    assert clear.mean() > 0.95
    for a, b in zip(host, device, strict=True):
        np.testing.assert_array_equal(a[clear], np.asarray(b)[clear])
        assert np.abs(a - np.asarray(b)).max() <= 1


def test_device_halves_go_to_the_even_cell():
    """Union 128 px wide and 2 px high: the object's left edge at 1 px lies at 0.5 cells, at 3 px at 1.5 cells."""
    human = jnp.asarray([[0.0, 0.0, 128.0, 2.0]] * 2)
    obj = jnp.asarray([[1.0, 0.0, 100.0, 2.0], [3.0, 0.0, 100.0, 2.0]])
    np.testing.assert_array_equal(np.asarray(raster.letterbox(human, obj)[1])[:, 0], [0, 2])


def test_stretched_unions_fill_the_map_on_both_axes_and_square_ones_are_letterboxed():
    rng = np.random.default_rng(3)
    human, obj = random_boxes(rng, 5_000, 1), random_boxes(rng, 5_000, 1)
    device = [np.asarray(g) for g in raster.stretch(jnp.asarray(human), jnp.asarray(obj))]
    low = np.minimum(human[:, :2], obj[:, :2])
    extent = np.maximum(human[:, 2:], obj[:, 2:]) - low
    for box, grid in zip((human, obj), device, strict=True):
        exact = 64 * (box.reshape(-1, 2, 2) - low[:, None]) / extent[:, None] - [[[0], [1]]]
        clear = np.abs(np.abs(exact - np.floor(exact)) - 0.5) > 1e-6
        np.testing.assert_array_equal(grid.reshape(-1, 2, 2)[clear], np.rint(exact)[clear])
    assert (np.minimum(device[0], device[1])[:, :2] == 0).all()
    assert (np.maximum(device[0], device[1])[:, 2:] == 63).all()
    square = jnp.asarray([[10.0, 20.0, 74.0, 84.0]]), jnp.asarray([[20.0, 30.0, 40.0, 70.0]])
    for a, b in zip(raster.stretch(*square), raster.letterbox(*square), strict=True):
        np.testing.assert_array_equal(a, b)
    # A wide union: the letterboxed map has empty rows, the stretched one has none.
    wide = jnp.asarray([[0.0, 0.0, 100.0, 20.0]]), jnp.asarray([[50.0, 0.0, 200.0, 20.0]])
    assert not np.asarray(raster.pair_maps(*wide))[0, 0].any()
    assert np.asarray(raster.pair_maps(*wide, fit="stretch"))[0].any(axis=(1, 2)).all()


def test_device_joints_equal_float64_on_random_people():
    rng = np.random.default_rng(2)
    human = random_boxes(rng, 5_000, 16)
    grid = rng.integers(0, 32, (5_000, 2))
    grid = np.concatenate([grid, grid + rng.integers(0, 32, (5_000, 2))], axis=1)
    keypoints = np.concatenate([rng.integers(0, 640 * 16, (5_000, 17, 2)) / 16, np.ones((5_000, 17, 1))], axis=2)
    host = pose_joints_float64(keypoints, human, grid)
    device = np.asarray(
        raster.pose_joints(
            jnp.asarray(keypoints, jnp.float32), jnp.asarray(human, jnp.float32), jnp.asarray(grid, jnp.int32)
        )
    )
    # Joints thousands of cells away are cut off; their direction is all that is drawn.
    different = np.mean(np.any(host[:, :17] != device[:, :17], axis=-1))
    assert different < 1e-3  # exact halves only
    assert np.abs(host - device).max() <= 1


def test_the_map_letterboxes_a_wide_union():
    """A 100 x 50 union: human left half, object right half; 32 rows used, 16 empty above and below."""
    maps = np.asarray(
        raster.pair_maps(jnp.asarray([[10.0, 20.0, 60.0, 70.0]]), jnp.asarray([[60.0, 20.0, 110.0, 70.0]]))
    )[0]
    expected = np.zeros((64, 64, 2))
    expected[16:48, :32, 0] = 1
    expected[16:48, 32:, 1] = 1
    np.testing.assert_array_equal(maps, expected)


def pose(scores) -> jnp.ndarray:
    rng = np.random.default_rng(3)
    points = rng.uniform(10, 90, (17, 2))
    return jnp.asarray(np.concatenate([points, np.asarray(scores)[:, None]], axis=1), jnp.float32)[None]


def grays(keypoints, **options) -> set:
    box = jnp.asarray([[0.0, 0.0, 100.0, 100.0]])
    return set(np.unique(np.asarray(raster.pair_maps(box, box, keypoints, **options))[0, ..., 2]))


def test_limbs_of_a_weak_joint_are_dropped_and_the_neck_needs_both_shoulders():
    scores = np.ones(17)
    scores[5] = 0.04  # left shoulder: its arm, its neck line, and every line of the neck
    dropped = {np.float32(raster.LIMB_GRAY[n]) for n, limb in enumerate(raster.LIMBS) if {5, 17} & set(limb)}
    assert not grays(pose(scores)) & dropped
    assert np.float32(raster.LIMB_GRAY[8]) in grays(pose(scores))  # the right arm stays


def test_without_any_keypoint_the_human_is_filled_whatever_the_threshold():
    for threshold in (0.0, 0.05):
        assert grays(pose(np.zeros(17)), min_score=threshold) == {np.float32(0.05)}


def test_maps_are_the_same_under_jit():
    rng = np.random.default_rng(4)
    human, obj = (jnp.asarray(random_boxes(rng, 50, 16), jnp.float32) for _ in range(2))
    keypoints = jnp.asarray(rng.uniform(0, 640, (50, 17, 3)), jnp.float32)
    np.testing.assert_array_equal(
        raster.pair_maps(human, obj, keypoints), jax.jit(raster.pair_maps)(human, obj, keypoints)
    )


def test_a_padded_row_gives_finite_maps():
    maps = raster.pair_maps(jnp.zeros((1, 4)), jnp.zeros((1, 4)), jnp.zeros((1, 17, 3)))
    assert np.isfinite(np.asarray(maps)).all()
