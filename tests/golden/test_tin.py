"""TIN's helpers against numbers from the authors' code (tin.npz, described by its notes).

Boxes in the file are inclusive pixels; the library's are continuous, so the high corners move by one.
"""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hoi_jax import io
from hoi_jax.evaluation.metrics.ap import score_ranking
from hoi_jax.losses.elementwise import log_frequency_weights
from hoi_jax.ops import boxes, raster
from hoi_jax.ops.roi_align import crop_and_resize
from hoi_jax.ops.scoring import lis_weight
from hoi_jax.systems.tin import sampling
from hoi_jax.systems.tin.config import TinConfig
from hoi_jax.systems.tin.network_config import InteractivenessConfig
from hoi_jax.systems.tin.targets import hoi_targets
from hoi_jax.vocab import get_vocabulary
from tests.helpers.raster_float64 import letterbox_float64, pose_joints_float64

ACCEPTED = re.compile(r"aug_accept_in_(\d+)_tries")
NO_RULE = {"hico_images_without_pairs", "aug_len_normal_box"}
"""Not for a test here: 556 test images without a pair among the authors' own detections, where the library looks at the
detections at hand (`score.fallback`); and the length 16 that every box gave, as `aug_len_tiny_box`."""
HIGH_CORNER = np.array([0.0, 0.0, 1.0, 1.0])


@pytest.fixture(scope="module")
def golden(golden_dir):
    return io.read_npz(golden_dir / "tin.npz", max_bytes=2**28)


def take(golden, *names):
    missing = [name for name in names if name not in golden]
    if missing:
        pytest.skip(f"the file lacks {missing}")
    return [golden[name] for name in names]


def continuous(xyxy):
    return np.asarray(xyxy, np.float64) + HIGH_CORNER


def grids(golden):
    human, obj = take(golden, "spatial_human_box64", "spatial_object_box64")
    return jnp.asarray(human, jnp.int32), jnp.asarray(obj, jnp.int32)


def test_every_key_is_either_tested_here_or_named_as_belonging_elsewhere(golden):
    tested = {
        "pair_human_xyxy", "pair_object_xyxy", "spatial_human_box64", "spatial_object_box64", "spatial_maps",
        "pose_keypoints51", "pose_joints_px", "pose_maps", "pose_map_none", "limb_pairs", "limb_gray",
        "line_segments_xyxy", "line_maps", "iou_pairs", "iou_jitter_boxes", "iou_jitter", "lis_x",
        "lis_paper_T8p4_k12_w10", "lis_paper_T8p38_k12_w10", "hico_hoi_logit_weight", "hico_hoi_counts_implied",
        "vcoco_HO_logit_weight", "vcoco_HO_counts_implied", "vcoco_H_logit_weight", "vcoco_H_counts_implied",
        "aug_stats", "aug_gt", "aug_example_boxes", "toy_batch_num_pos",
        "toy_batch_num_total", "toy_batch_manyneg_totals", "toy_numpos_by_gtcount", "group_input_image_ids",
        "group_output", "derived_crop_feat", "derived_crop_boxes", "derived_crop_out",
        "vcoco_hand_prior", "hico_no_interaction_hoi_1based", "hico_hoi_range_1based", "vcoco_nis_bounds",
        "aug_len_tiny_box", "toy_batch_actions_nonzero", "toy_batch_binary", "vcoco_toy_prior_mask",
        "hico_toy_scores600", "hico_toy_d_inter", "hico_toy_d_nointer", "lis_vcoco_code_6_6_7",
        "lis_hico_code_6_10_1p4", "vcoco_ap_tp", "vcoco_ap_npos", "vcoco_ap_value", "iou_hico_binary",
    }  # fmt: skip
    known = tested | NO_RULE | set(filter(ACCEPTED.fullmatch, golden))
    assert tested & set(golden), "the file holds no case that this test knows"
    assert not set(golden) - known


def test_grid_boxes_equal_the_authors_bit_for_bit(golden):
    human, obj = take(golden, "pair_human_xyxy", "pair_object_xyxy")
    got = letterbox_float64(continuous(human), continuous(obj))
    np.testing.assert_array_equal(got[0], golden["spatial_human_box64"])
    np.testing.assert_array_equal(got[1], golden["spatial_object_box64"])


def test_box_maps_equal_the_authors_bit_for_bit(golden):
    (maps,) = take(golden, "spatial_maps")
    got = np.stack([raster.box_maps(grid, maps.shape[1]) for grid in grids(golden)], axis=-1)
    np.testing.assert_array_equal(got, maps)


def test_joint_pixels_equal_the_authors(golden):
    keypoints, human, joints = take(golden, "pose_keypoints51", "pair_human_xyxy", "pose_joints_px")
    grid = np.asarray(golden["spatial_human_box64"], np.int64)
    got = pose_joints_float64(keypoints.reshape(len(keypoints), -1, 3), continuous(human), grid)
    np.testing.assert_array_equal(got, joints)


def test_pose_maps_without_filter_equal_the_authors_bit_for_bit(golden):
    joints, maps = take(golden, "pose_joints_px", "pose_maps")
    everything = jnp.ones(joints.shape[:2], bool)
    got = raster.pose_map(jnp.asarray(joints), everything, grids(golden)[0], maps.shape[1])
    np.testing.assert_array_equal(got, maps)


def test_a_missing_pose_fills_the_human_with_0_05(golden):
    joints, maps = take(golden, "pose_joints_px", "pose_map_none")
    nothing = jnp.zeros(joints.shape[:2], bool)
    got = raster.pose_map(jnp.asarray(joints), nothing, grids(golden)[0], maps.shape[1])[: len(maps)]
    np.testing.assert_array_equal(got, maps.astype(np.float32))


def test_limb_table_and_grays_are_the_authors(golden):
    pairs, gray = take(golden, "limb_pairs", "limb_gray")
    np.testing.assert_array_equal(raster.LIMBS, pairs)
    np.testing.assert_allclose(raster.LIMB_GRAY, gray, rtol=1e-12)


def test_lines_equal_opencv_bit_for_bit(golden):
    segments, maps = take(golden, "line_segments_xyxy", "line_maps")
    rows, columns = (np.asarray(table) for table in raster.line_profiles(jnp.asarray(segments), maps.shape[1]))
    cells = np.arange(maps.shape[1])
    drawn = (rows[..., None, :] == cells[:, None]) | (columns[..., :, None] == cells)
    np.testing.assert_array_equal(drawn, maps > 0)


@pytest.mark.parametrize(
    ("key", "scale", "offset", "slope"),
    [
        ("lis_paper_T8p4_k12_w10", 8.4, 12.0, 10.0),
        ("lis_paper_T8p38_k12_w10", 8.38, 12.0, 10.0),
        ("lis_vcoco_code_6_6_7", 6.0, 6.0, 7.0),
        ("lis_hico_code_6_10_1p4", 6.0, 10.0, 1.4),
    ],
)
def test_lis_curve(golden, key, scale, offset, slope):
    x, curve = take(golden, "lis_x", key)
    options = {"scale": scale, "offset": offset, "slope": slope}
    with jax.enable_x64(True):
        np.testing.assert_allclose(lis_weight(jnp.asarray(x), **options), curve, rtol=1e-6)
    # float32, as the library runs it: one rounding of the exponent, which is at most 12 in size.
    np.testing.assert_allclose(lis_weight(jnp.asarray(x, jnp.float32), **options), curve, rtol=3e-6)


@pytest.mark.parametrize(
    ("first", "second", "key"),
    [("pair_human_xyxy", "pair_object_xyxy", "iou_pairs"), ("pair_human_xyxy", "iou_jitter_boxes", "iou_jitter")],
)
def test_iou_of_inclusive_boxes_is_the_continuous_iou_of_moved_corners(golden, first, second, key):
    a, b, expected = take(golden, first, second, key)
    with jax.enable_x64(True):
        got = boxes.iou(jnp.asarray(continuous(a)), jnp.asarray(continuous(b)))
        table = boxes.pairwise_iou(jnp.asarray(continuous(a)), jnp.asarray(continuous(b)))
    np.testing.assert_allclose(got, expected, rtol=1e-6, atol=1e-12)
    np.testing.assert_allclose(np.diagonal(table), expected, rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize("prefix", ["hico_hoi", "vcoco_HO", "vcoco_H"])
def test_logit_weights_are_the_log_of_inverse_frequency(golden, prefix):
    counts, weights = take(golden, f"{prefix}_counts_implied", f"{prefix}_logit_weight")
    seen = counts > 0  # the others are masked in the authors' table
    np.testing.assert_allclose(log_frequency_weights(counts)[seen], weights[seen], rtol=2e-6)


def test_crop_samples_both_ends_without_half_pixel_shift(golden):
    feature, box, out = take(golden, "derived_crop_feat", "derived_crop_boxes", "derived_crop_out")
    hw = jnp.asarray([feature.shape[:2]])
    with jax.enable_x64(True):
        arrays = jnp.asarray(feature, jnp.float64)[None], jnp.asarray(box, jnp.float64)[None]
        got = crop_and_resize(*arrays, hw, stride=16, size=out.shape[1])[0]
    np.testing.assert_allclose(got, out, rtol=1e-6, atol=1e-9)
    single = crop_and_resize(
        jnp.asarray(feature)[None], jnp.asarray(box, jnp.float32)[None], hw, stride=16, size=out.shape[1]
    )[0]
    np.testing.assert_allclose(single, out, rtol=1e-5, atol=1e-5 * np.abs(out).max())


def test_groups_of_at_most_five_in_file_order(golden):
    ids, expected = take(golden, "group_input_image_ids", "group_output")
    limit = int(expected[:, 1].max())
    starts = np.flatnonzero(np.concatenate([[True], ids[1:] != ids[:-1]]))
    counts = np.diff(np.append(starts, len(ids)))
    got = [
        (ids[start], int(sampling.group_size(int(count), group, limit)))
        for start, count in zip(starts, counts, strict=True)
        for group in range(-(-int(count) // limit))
    ]
    np.testing.assert_array_equal(got, expected)


def copies_of(golden) -> int:
    """How many jittered copies an image's pairs get together: 15 in the authors' settings."""
    (table,) = take(golden, "toy_numpos_by_gtcount")
    (copies,) = set((table[:, 1] - table[:, 0]).tolist())
    return copies


def positive_places(pairs: int, augment: int) -> tuple[int, np.ndarray]:
    layout = sampling.copies_layout(jnp.asarray(pairs), pairs + augment + 7, augment)
    pair, original, used = (np.asarray(part) for part in layout)
    assert original.sum() == pairs
    return int(used.sum()), np.bincount(pair[used & ~original], minlength=pairs)


def test_positives_are_the_pairs_and_their_copies_shared_out(golden):
    (table,) = take(golden, "toy_numpos_by_gtcount")
    augment = copies_of(golden)
    for pairs, total in table:
        places, copies = positive_places(int(pairs), augment)
        assert places == total
        assert list(copies[:-1]) == [augment // pairs] * (len(copies) - 1)
        assert copies.sum() == augment


def test_batch_sizes_of_the_toy_images(golden):
    """All negatives of an image that has few, and at most 60 of one that has many."""
    positives, total, many = take(golden, "toy_batch_num_pos", "toy_batch_num_total", "toy_batch_manyneg_totals")
    augment, limit = copies_of(golden), 60
    for placed, rows in ((positives, total), many):
        places, _ = positive_places(int(placed) - augment, augment)
        assert places == placed
        negatives = int(rows - placed)
        available = negatives if negatives < limit else 2 * limit
        _, drawn = sampling.random_rows(jax.random.key(0), jnp.ones(available, bool), limit)
        assert int(drawn.sum()) == negatives


def jitter_hw(gt, example) -> np.ndarray:
    """Height and width [2] of the jittered box's image, which the file does not store.

    They only matter where they cut: then several jittered boxes end at the image's last pixel. Where none does, any
    image is right that a jittered box cannot leave.
    """
    ends = np.asarray(example, np.float64)[:, 3:5]
    last, beyond = ends.max(axis=0), np.ceil(gt[2:] + (gt[2:] - gt[:2]))
    cut = ((ends == last).sum(axis=0) > 2) & (last == np.round(last))
    return (np.where(cut, last, beyond) + 1).astype(np.int64)[::-1]


def jittered(golden, seed: int, **options) -> tuple[np.ndarray, np.ndarray]:
    """The file's box in continuous corners, and 4,000 of our jittered copies [4000, 4]."""
    gt, example = take(golden, "aug_gt", "aug_example_boxes")
    box = jnp.asarray(np.tile(continuous(gt), (4000, 1)), jnp.float32)
    hw = jnp.asarray(jitter_hw(gt, example), jnp.int32)
    got = sampling.jitter_boxes(jax.random.key(seed), box, hw, **options)
    return np.asarray(box[0], np.float64), np.asarray(got, np.float64)


def test_jitter_has_the_authors_statistics(golden):
    gt, stats, example = take(golden, "aug_gt", "aug_stats", "aug_example_boxes")
    box, got = jittered(golden, 0)
    size, width = got[:, 2:] - got[:, :2], box[2:] - box[:2]
    shift = ((got[:, 2:] + got[:, :2]) - (box[2:] + box[:2])) / 2 / width
    ratio = size[:, 0] / width[0]
    overlap = np.asarray(boxes.iou(jnp.asarray(got), jnp.asarray(np.tile(box, (len(got), 1)))))
    # The authors' rows hold the box itself once.
    mean_iou = (overlap.mean() * (len(example) - 1) + 1) / len(example)
    np.testing.assert_allclose(overlap.min(), stats[0], atol=0.02)
    np.testing.assert_allclose(mean_iou, stats[1], atol=0.02)
    np.testing.assert_allclose([ratio.min(), ratio.max()], stats[2:4], atol=0.002)
    np.testing.assert_allclose(np.abs(shift).max(axis=0), stats[4:6], atol=0.002)
    np.testing.assert_allclose([*shift.std(axis=0), ratio.std()], stats[6:9], atol=0.004)
    example_shift = np.abs(example[:, 1:3] + example[:, 3:5] - gt[:2] - gt[2:]) / 2
    assert np.all(example_shift <= 0.1 * width + 1e-6)


def test_most_proposals_are_accepted(golden):
    for name in filter(ACCEPTED.fullmatch, golden):
        box, one = jittered(golden, 1, tries=1)
        refused = np.mean(np.all(one == box, axis=-1))
        tries = int(ACCEPTED.fullmatch(name)[1])
        np.testing.assert_allclose(1 - refused, golden[name].mean() / tries, atol=0.01)
        return
    pytest.skip("the file lacks aug_accept_in_*_tries")


def test_the_iou_of_the_benchmark_truncates_both_boxes(golden):
    human, jittered, expected = take(golden, "pair_human_xyxy", "iou_jitter_boxes", "iou_hico_binary")
    whole = [jnp.asarray(continuous(np.trunc(b))) for b in (human, jittered)]
    with jax.enable_x64(True):
        np.testing.assert_allclose(boxes.iou(*whole), expected, rtol=1e-6, atol=1e-7)


def test_every_tiny_box_still_gives_all_rows(golden):
    (lengths,) = take(golden, "aug_len_tiny_box")
    places, _ = positive_places(1, copies_of(golden))
    assert set(lengths.tolist()) == {places}
    tiny = jnp.asarray(np.tile([10.0, 10.0, 12.0, 12.0], (50, 1)), jnp.float32)
    got = sampling.jitter_boxes(jax.random.key(0), tiny, jnp.asarray([64, 48]))
    assert np.all(np.asarray(boxes.iou(got, tiny)) > 0.7)


def test_labels_of_the_toy_batch(golden):
    """A pair's copies have the labels of its first row, which is the annotated one; negatives are "no_interaction"."""
    binary, nonzero, positives = take(golden, "toy_batch_binary", "toy_batch_actions_nonzero", "toy_batch_num_pos")
    hico, augment = get_vocabulary("hico_det"), copies_of(golden)
    rows, places = len(binary), int(positives)
    labels = np.zeros((rows, len(hico.hois)), bool)
    labels[tuple(nonzero.T)] = True
    layout = sampling.copies_layout(jnp.asarray(places - augment), places, augment)
    pair, original, used = (np.asarray(part) for part in layout)
    assert used.all()
    verb_of, object_of = np.asarray(hico.hois).T
    positive = np.arange(rows) < places
    config = TinConfig(interactiveness=InteractivenessConfig(no_interaction_positive=True))
    pair_labels, interactive = np.zeros_like(labels), np.zeros(rows, bool)
    # Pairs have one object here; classes of several objects, which the authors' rows may have, are asked one by one.
    for object_class in np.unique(object_of[nonzero[:, 1]]):
        mine = labels & (object_of == object_class)
        verbs = np.zeros((places - augment, len(hico.verbs)), bool)
        row, hoi = np.nonzero(mine[:places][original])
        verbs[row, verb_of[hoi]] = True
        fields = {name: jnp.zeros(1) for name in sampling.Sample._fields} | {
            "truth": jnp.asarray(np.append(pair, np.zeros(rows - places, pair.dtype))),
            "positive": jnp.asarray(positive),
            "negative": jnp.asarray(~positive & mine.any(axis=1)),
            "has_object": jnp.ones(rows, bool),
            "object_class": jnp.full(rows, object_class),
        }
        example = {"pairs_verbs": jnp.asarray(verbs), "pairs_verbs_known": jnp.ones_like(jnp.asarray(verbs))}
        got = hoi_targets(sampling.Sample(**fields), example, hico, config)
        pair_labels |= np.asarray(got.pair)
        interactive |= np.asarray(got.interactive)
    np.testing.assert_array_equal(np.stack([interactive, ~interactive], 1), binary)
    np.testing.assert_array_equal(np.argwhere(pair_labels), nonzero)


def test_area_ap_of_ranked_hits(golden):
    hits, positives, expected = take(golden, "vcoco_ap_tp", "vcoco_ap_npos", "vcoco_ap_value")
    np.testing.assert_allclose(score_ranking(hits > 0, int(positives), mode="area").ap, expected, rtol=1e-6)
