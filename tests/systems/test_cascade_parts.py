"""Parts of the cascade against literal loops and closed forms: sampling, masks, pooling, merging, faces, relations."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hoi_jax.evaluation.metrics.pic import Scene, recalled_triplets
from hoi_jax.evaluation.metrics.scene_maps import paint_scene, rows_of_boxes, scene_of_predictions
from hoi_jax.ops.boxes import class_nms, pairwise_iou
from hoi_jax.ops.matching import IGNORED, NEGATIVE, match_truth, quota_sample
from hoi_jax.ops.resample import resample_masks
from hoi_jax.ops.roi_align import roi_align
from hoi_jax.settings import SettingsError, from_config
from hoi_jax.systems.cascade import prior_of, relation_features
from hoi_jax.systems.cascade.config import BoxConfig, CascadeConfig, RelationConfig
from hoi_jax.systems.cascade.detect import assign_faces, merge_stages
from hoi_jax.systems.cascade.predict import fuse
from hoi_jax.systems.cascade.regions import Entities, Pyramid, enlarge_corners
from hoi_jax.systems.cascade.relation import FaceTables, RelationStage, Tables
from hoi_jax.systems.cascade.relation_features import semantic_context
from hoi_jax.systems.cascade.targets import labels_of_image, with_reversed
from hoi_jax.vocab.tables import Vocabulary
from tests.helpers.batches import HOI_STYLE, random_boxes


def test_a_draw_has_at_most_the_quota_of_positives_first_and_negatives_for_the_rest():
    positive = np.arange(40) % 2 == 0
    negative = ~positive & (np.arange(40) < 20)
    row, lucky, used = (np.asarray(x) for x in quota_sample(jax.random.key(1), positive, negative, 16, 4))
    assert lucky.tolist() == [True] * 4 + [False] * 12
    assert positive[row[:4]].all() and negative[row[4:14]].all()
    assert used.sum() == 14 and len(set(row[used])) == 14  # 4 positives and all 10 negatives
    row, lucky, used = (np.asarray(x) for x in quota_sample(jax.random.key(1), positive, negative, 16, 12, fill=False))
    assert lucky.sum() == 12 and used.sum() == 16
    assert not np.array_equal(row, quota_sample(jax.random.key(2), positive, negative, 16, 12, fill=False)[0])


def test_candidates_are_matched_as_a_literal_loop_matches_them():
    rng = np.random.default_rng(0)
    overlap = np.round(rng.random((30, 5)), 1)
    truth_valid, row_valid = np.array([True, True, False, True, True]), rng.random(30) < 0.9
    found = match_truth(overlap, row_valid, truth_valid, positive=0.9, negative=0.6, best_of_truth=0.3)
    masked = np.where(truth_valid[None] & row_valid[:, None], overlap, -1.0)
    for row in range(30):
        claims = [g for g in range(5) if masked[row, g] >= 0.3 and masked[row, g] == masked[:, g].max()]
        best = masked[row].max()
        expected = int(masked[row].argmax()) if best >= 0.9 else NEGATIVE if best < 0.6 else IGNORED
        expected = claims[0] if claims else expected
        assert found[row] == (expected if row_valid[row] else IGNORED)
    assert (np.asarray(match_truth(overlap, row_valid, np.zeros(5, bool), positive=0.5))[row_valid] == NEGATIVE).all()


@pytest.mark.parametrize("overlap", [0.3, 0.5, 0.7])
def test_suppression_in_rounds_equals_the_greedy_loop(overlap):
    """Long chains of boxes that each overlap the next one need as many rounds as they have links."""
    x = np.arange(60, dtype=np.float32)
    chain = np.stack([x, np.zeros(60), x + 4, np.full(60, 5)], axis=1).astype(np.float32)
    rng = np.random.default_rng(1)
    boxes = np.concatenate([chain, random_boxes(rng, 40, 60, 60)])
    score = np.concatenate([np.linspace(1, 0.5, 60), rng.integers(0, 5, 40) / 5]).astype(np.float32)
    label, valid = rng.integers(0, 2, 100) * (np.arange(100) >= 60), rng.random(100) < 0.9
    iou = np.asarray(pairwise_iou(jnp.asarray(boxes), jnp.asarray(boxes)))
    kept: list[int] = []
    for row in np.argsort(-score, kind="stable"):
        if valid[row] and not any(iou[row, k] > overlap and label[row] == label[k] for k in kept):
            kept.append(row)
    found = class_nms(boxes, score, label.astype(np.int32), valid, overlap=overlap)
    assert np.flatnonzero(found).tolist() == sorted(kept)


def test_a_hole_counts_the_samples_within_it_as_zero():
    """One sample per cell: of a constant map only the share of samples outside of the hole is left."""
    maps = (jnp.full((8, 8, 1), 3.0),)
    boxes = jnp.asarray([[0.0, 0.0, 8.0, 8.0]] * 3)
    holes = jnp.asarray([[0.0, 0.0, 4.0, 8.0], [2.0, 2.0, 2.0, 2.0], [0.0, 0.0, 8.0, 8.0]])
    level, size = jnp.zeros(3, jnp.int32), jnp.asarray([[8, 8]])
    out = roi_align(maps, boxes, level, size, strides=(1,), size=2, holes_xyxy_px=holes)[..., 0]
    np.testing.assert_allclose(out, [[[0, 3], [0, 3]], [[3, 3], [3, 3]], [[0, 0], [0, 0]]], atol=1e-6)


def test_cells_past_the_image_are_never_pooled():
    rng = np.random.default_rng(0)
    small = rng.normal(size=(5, 6, 2)).astype(np.float32)
    large = np.pad(small, [(0, 3), (0, 2), (0, 0)], constant_values=1e6)
    boxes = jnp.asarray(random_boxes(rng, 8, 24, 28))
    run = jax.jit(
        lambda m: roi_align((m,), boxes, jnp.zeros(8, jnp.int32), jnp.asarray([[5, 6]]), strides=(4,), size=3)
    )
    np.testing.assert_allclose(run(large), run(small), atol=1e-6)


def test_masks_come_back_from_their_own_rectangle_and_shrink_in_larger_ones():
    mask = np.random.default_rng(0).random((1, 6, 6)).astype(np.float32)
    box = np.array([[10.0, 20.0, 22.0, 32.0]], np.float32)
    np.testing.assert_allclose(resample_masks(mask, box, box, 6), mask, atol=1e-6)
    around = np.array([[4.0, 14.0, 28.0, 38.0]], np.float32)  # Twice as large: cells fall on middles of 2 x 2 cells.
    out = np.asarray(resample_masks(mask, box, around, 12))[0]
    assert not out[:3].any() and not out[-3:].any() and not out[:, :3].any()
    np.testing.assert_allclose(out[3:9, 3:9], mask[0], atol=1e-6)
    halves = np.asarray(resample_masks(mask, box, box, 3))[0]
    np.testing.assert_allclose(halves, mask[0].reshape(3, 2, 3, 2).mean((1, 3)), atol=1e-6)


def test_enlarging_keeps_corners_in_place():
    x = np.random.default_rng(0).normal(size=(7, 1)).astype(np.float32)
    maps = x[None, :, None] * np.ones((1, 7, 7, 1), np.float32)
    expected = np.interp(np.linspace(0, 6, 14), np.arange(7), x[:, 0])
    np.testing.assert_allclose(enlarge_corners(maps, 14)[0, :, 3, 0], expected, atol=1e-6)


def test_detections_of_all_stages_keep_the_boxes_of_the_stages_before_them():
    boxes = np.array([[[0, 0, 10, 10], [50, 0, 60, 10]], [[1, 0, 11, 10], [30, 0, 40, 10]]], np.float32)
    logits = np.full((2, 2, 3), -9.0, np.float32)
    logits[0, 0, 1], logits[1, 0, 1] = 3.0, 5.0  # The second stage is surer, and nearly at the same place.
    logits[0, 1, 2], logits[1, 1, 0] = 4.0, 4.0  # The second stage takes its box for background.
    config = BoxConfig(detections=4, candidates=8, score=0.3)
    out, label, score, used = merge_stages(boxes, logits, np.ones(2, bool), config)
    assert used.tolist() == [True, True, False, False] and label[:2].tolist() == [0, 1]
    np.testing.assert_array_equal(out[0], boxes[:, 0])
    np.testing.assert_array_equal(out[1], [boxes[0, 1]] * 2)  # It comes from stage 1: later stages keep that box.
    assert score[0] > score[1] > 0.9 and not np.any(out[2:])
    mean = merge_stages(boxes, logits, np.ones(2, bool), BoxConfig(detections=4, candidates=8, merge="mean_logits"))
    np.testing.assert_array_equal(mean[0][0], boxes[:, 0])
    assert float(mean[2][0]) == pytest.approx(float(jax.nn.softmax(jnp.array([-9.0, 4.0, -9.0]))[1]))


def test_faces_go_to_people_who_hold_half_of_them_and_their_middle():
    boxes = np.array([[0, 0, 10, 20], [20, 0, 30, 20], [40, 0, 50, 20], [60, 0, 70, 20]], np.float32)
    faces = np.array([[2, 0, 6, 4], [28, 0, 34, 4], [42, 1, 46, 5], [39, 1, 43, 5], [0, 0, 0, 0]], np.float32)
    found = np.asarray(assign_faces(boxes, np.array([True, True, True, False]), faces))
    np.testing.assert_array_equal(found, [faces[0], [0] * 4, faces[2], [0] * 4])


def test_prior_has_one_distribution_per_object_and_follows_the_counts():
    table = relation_features.prior_of_vocabulary(HOI_STYLE)
    np.testing.assert_allclose(table.sum(1), 1.0, atol=1e-6)
    ball = table[1]  # no_interaction 30, kick 12, hold 8
    assert ball[2 + 0] > ball[2 + 1] > ball[2 + 2]
    assert ball[0] > ball[2] and ball[1] == pytest.approx(float(ball[0]), rel=0.05)
    uniform = prior_of("uniform", HOI_STYLE)
    assert uniform.shape == table.shape and np.ptp(uniform) == 0


def test_a_prior_file_of_another_vocabulary_is_refused(tmp_path):
    np.savez(tmp_path / "prior.npz", counts=np.ones((2, 2)))
    with pytest.raises(ValueError, match="counts"):
        prior_of(str(tmp_path / "prior.npz"), HOI_STYLE)


def test_fusions_are_those_of_table_7():
    scores = {name: jnp.full((1,), value) for name, value in (("s", 0.5), ("g", 0.25), ("v", 0.75))}
    for fusion, expected in (("(v+g)*s", 0.5), ("v+g+s", 1.5), ("v*g*s", 0.09375)):
        assert float(fuse(scores, RelationConfig(fusion=fusion))[0]) == pytest.approx(expected)
    only = RelationConfig(streams=("s",), ranking=False)
    assert float(fuse({"s": scores["s"]}, only)[0]) == 0.5


def test_pairs_that_show_nothing_do_not_interact():
    example = {
        "instances_xyxy_px": jnp.asarray([[0, 0, 10, 10], [20, 0, 30, 10.0]]),
        "instances_class": jnp.asarray([0, 1]), "pairs_human": jnp.asarray([0, -1]),
        "pairs_object": jnp.asarray([1, -1]), "pairs_valid": jnp.asarray([True, False]),
        "pairs_verbs": jnp.asarray([[False, True, False, False], [False] * 4]),
        "pairs_verbs_known": jnp.ones((2, 4), bool),
    }  # fmt: skip
    human = jnp.asarray([[0, 0, 10, 9], [0, 0, 10, 4], [0, 0, 10, 9.0]])
    obj = jnp.asarray([[20, 0, 30, 10], [20, 0, 30, 10], [20, 0, 30, 10.0]])
    labels = labels_of_image(example, human, obj, jnp.asarray([1, 1, 2]), HOI_STYLE, overlap=0.5)
    assert labels.annotated.tolist() == [True, False, False]
    assert np.asarray(labels.verbs).tolist() == [[False, True, False, False]] + [[True, False, False, False]] * 2


def test_what_two_people_do_to_each_other_is_learned_from_either_side():
    """in_front of person 1 by person 0 is behind seen from 1; a ball takes no side, and what has no reverse stays."""
    vocabulary = Vocabulary("four", ("person", "ball"), ("in_front", "behind", "beside", "kick"), 0)
    example = {
        "instances_class": jnp.asarray([0, 0, 1]), "pairs_human": jnp.asarray([0, 0, 1, 0]),
        "pairs_object": jnp.asarray([1, 2, 0, -1]), "pairs_valid": jnp.asarray([True, True, True, True]),
        "pairs_verbs": jnp.asarray([[1, 0, 1, 0], [1, 0, 0, 0], [0, 0, 0, 1], [1, 0, 0, 0]], bool),
        "pairs_verbs_known": jnp.ones((4, 4), bool),
    }  # fmt: skip
    out = with_reversed(example, (("in_front", "behind"), ("beside", "beside")), vocabulary)
    assert out["pairs_valid"].tolist() == [True] * 4 + [True, False, False, False]
    assert (int(out["pairs_human"][4]), int(out["pairs_object"][4])) == (1, 0)
    assert out["pairs_verbs"][4].tolist() == [False, True, True, False]
    np.testing.assert_array_equal(out["pairs_verbs"][:4], example["pairs_verbs"])
    with pytest.raises(ValueError, match="no such verb"):
        with_reversed(example, (("above", "below"),), vocabulary)


@pytest.fixture(scope="module")
def literal():
    """A relation stage's parameters, and features of two people and three objects in two stages."""
    config = RelationConfig(width=6, geometric_width=4, face_width=5, map_features=(2, 2))
    stage = RelationStage(config, channels=2, num_verbs=3)
    rng = np.random.default_rng(0)
    levels = tuple(rng.normal(size=(1, s, s, 2)).astype(np.float32) for s in (16, 8))
    pyramid = Pyramid(levels, np.array([[32, 32]], np.int32), (2, 4), 8.0)
    boxes = random_boxes(rng, 3, 32, 32)[None]
    human_row = np.array([[0, 2]], np.int32)
    faces = np.array([[[*boxes[0, 0, :2], *(boxes[0, 0, :2] + 4)], [0, 0, 0, 0]]], np.float32)
    entities = Entities(boxes, np.zeros((1, 3), np.int32), human_row, faces)
    raw, variables = stage.init_with_output(jax.random.key(0), pyramid, entities, method="raw")
    keys = jax.random.split(jax.random.key(1), 8)
    dim = 2 * 49
    params = {
        "first_kernel": jax.random.normal(keys[0], (3 * dim, 6)) / 10, "first_bias": jnp.arange(6.0) / 10,
        "face_kernel": jax.random.normal(keys[1], (2 * dim, 5)) / 10, "face_bias": jnp.full(5, 0.1),
        "bare_kernel": jax.random.normal(keys[2], (2 * dim, 5)) / 10, "bare_bias": jnp.full(5, -0.1),
        **{n: {"kernel": jax.random.normal(keys[3 + i], (5, 1)), "bias": jnp.ones(1)}
           for i, n in enumerate(("face_score", "bare_score"))},
        "second": {"kernel": jax.random.normal(keys[5], (6, 6)), "bias": jnp.zeros(6)},
    }  # fmt: skip
    before = jax.tree.map(lambda x: x if x.dtype == bool else 0.5 * x + 0.1, raw)
    del variables
    return stage, {"params": params}, params, raw, before


def test_factorised_first_layer_equals_the_layer_on_whole_pair_features(literal):
    """Equations 8 to 11 written out: [H, O + alpha F + a F', U] of every pair, both stages added, two layers."""
    stage, variables, params, now, before = literal
    rng = np.random.default_rng(3)
    unions = rng.normal(size=(2, 4, 98)).astype(np.float32)
    pairs = [(0, 1), (1, 0), (0, 2), (1, 1)]

    def leaky(x):
        return np.where(x > 0, x, 0.1 * x)

    def attend(person, item, name):
        hidden = np.concatenate([person, item]) @ params[f"{name}_kernel"] + params[f"{name}_bias"]
        logit = np.maximum(hidden, 0) @ params[f"{name}_score"]["kernel"] + params[f"{name}_score"]["bias"]
        return float(1 / (1 + np.exp(-logit[0])))

    expected = []
    for number, (h, o) in enumerate(pairs):
        total = 0.0
        for raw, union in ((now, unions[0]), (before, unions[1])):
            human, obj, face, bare = (np.asarray(x[0]) for x in (raw.human, raw.obj, raw.face, raw.bare))
            alpha = attend(face[h], obj[o], "face") if raw.has_face[0, h] else 0.0
            joined = obj[o] + alpha * face[h] + attend(bare[h], obj[o], "bare") * bare[h]
            total = total + np.concatenate([human[h], joined, union[number]])
        hidden = leaky(total @ np.asarray(params["first_kernel"]) + np.asarray(params["first_bias"]))
        expected.append(leaky(hidden @ np.asarray(params["second"]["kernel"])))
    slot, row = (jnp.asarray([[p[i] for p in pairs]]) for i in (0, 1))
    human, obj, faces = stage.apply(variables, now, before, method="project")
    tables = Tables(human, obj, tuple(
        FaceTables(*pair, *stage.apply(variables, raw, method="attention_tables"), raw.has_face)
        for pair, raw in zip(faces, (now, before), strict=True)
    ))  # fmt: skip
    attention = tuple(stage.apply(variables, t, slot, row, method="attention") for t in tables.faces)
    union = jnp.asarray(unions.sum(0)[None])
    found = stage.apply(variables, tables, attention, union, slot, row, method="visual")
    np.testing.assert_allclose(found[0], expected, rtol=1e-4, atol=1e-4)
    assert float(attention[0][0][0, 0]) > 0 and float(attention[0][0][0, 1]) == 0  # The second person has no face.


def test_people_without_a_face_lose_nothing(literal):
    """The faceless features of a person without a face are the person's own, before mining."""
    _, _, _, raw, _ = literal
    human = np.asarray(raw.obj[0, 2])
    np.testing.assert_allclose(raw.bare[0, 1], human, atol=1e-6)
    mined = human + np.asarray(semantic_context(human.reshape(7, 7, 2))).ravel()
    np.testing.assert_allclose(raw.human[0, 1], mined, atol=1e-5)
    assert not np.allclose(raw.bare[0, 0], raw.obj[0, 0])


@pytest.mark.parametrize(
    "groups, words",
    [
        ({"stages": 6}, "1 to 5"),
        ({"relation": {"region": "mask"}}, "masks.enabled"),
        ({"relation": {"streams": ("x",)}}, "streams"),
        ({"relation": {"streams": ("s",)}}, "ranking"),
        ({"loss": {"ranking_reduce": "drawn"}}, "relation.rank_width"),
        ({"detector": "external", "loss": {"parts": "detector"}}, "no trainable parts"),
        ({"relation": {"visual": "mean3"}}, "face=False"),
        ({"boxes": {"merge": "mean_logit"}}, "did you mean"),
    ],
)
def test_impossible_settings_are_refused(groups, words):
    with pytest.raises(SettingsError, match=words):
        from_config(CascadeConfig, groups)


def test_small_instances_are_painted_over_large_ones_and_triplets_name_their_numbers():
    masks = np.zeros((3, 24, 24), bool)
    masks[0, :20, :20] = masks[1, 5:10, 5:10] = masks[2, :5, :5] = True
    triplets = np.array([[0, 1, 4], [0, 2, 3], [1, 0, 2]])
    scene = paint_scene(np.array([0, 7, 3]), np.array([0.8, 0.9, 0.1]), masks, triplets, np.array([0.5, 0.9, 0.7]))
    assert scene.instance[7, 7] == 1 and scene.semantic[7, 7] == 8  # The surest instance is number 1.
    assert scene.instance[15, 15] == 2 and scene.semantic[15, 15] == 1
    assert scene.instance[23, 23] == 0
    assert scene.relations.tolist() == [[1, 2, 3], [2, 1, 5]] and scene.scores.tolist() == [0.7, 0.5]


def test_predictions_become_a_scene_of_the_original_image_that_pic_recalls():
    """A 32 x 32 image, padded to 64 x 64 for the network, twice as large in its file."""
    boxes = np.array([[0, 0, 16, 32], [16, 0, 32, 32], [0, 0, 0, 0]], np.float32)
    grid = np.zeros((3, 16, 16), np.float32)
    grid[0, :8, :4] = grid[1, :8, 4:8] = 1.0
    predictions = {
        "instance_xyxy_px": boxes, "instance_class": np.array([0, 5, 0]), "instance_mask": grid,
        "instance_score": np.array([0.9, 0.8, 0.0]), "instance_valid": np.array([True, True, False]),
        "human_xyxy_px": boxes[[0, 2]], "object_xyxy_px": boxes[[1, 2]], "pair_valid": np.array([True, False]),
        "verb_scores": np.array([[0.1, 0.9, 0.3, 0.2], [0.0] * 4]),
    }  # fmt: skip
    found = scene_of_predictions(predictions, np.array([32, 32]), (64, 64), np.array([64, 64]))
    assert found.relations.tolist() == [[1, 2, 2], [1, 2, 3], [1, 2, 4]]
    assert (found.instance[:, :30] == 1).all() and (found.instance[:, 34:] == 2).all()
    assert (found.semantic[:, 34:] == 6).all()
    truth = Scene(found.semantic, found.instance, np.array([[1, 2, 2], [1, 2, 9]]), np.zeros(2))
    assert recalled_triplets(truth, found)[0].tolist() == [[True, False]] * 3
    sizes = np.array([32, 32]), (64, 64), np.array([64, 64])
    without_quiet = scene_of_predictions(predictions, *sizes, no_interaction=1)
    assert without_quiet.relations.tolist() == [[1, 2, 3], [1, 2, 4], [1, 2, 1]]


def test_members_of_pairs_are_found_by_their_boxes():
    boxes = np.array([[0, 0, 20, 20], [5, 5, 10, 10]], np.float32)
    assert rows_of_boxes(boxes[[1, 0]] + np.float32([[0], [1]]), boxes).tolist() == [1, -1]
    assert rows_of_boxes(boxes, np.zeros((0, 4), np.float32)).tolist() == [-1, -1]
