"""Images of masks and attention: cells are where they belong, and pairs are chosen by their score."""

import dataclasses

import numpy as np
import pytest

from hoi_jax.evaluation.analysis.triplets import Interaction
from hoi_jax.visualization.attention import (
    PairAttention,
    attention_caption,
    attention_of_pairs,
    attention_overlay,
    cells_to_pixels,
    draw_attention,
    mask_overlay,
    strongest_pairs,
)
from hoi_jax.vocab import get_vocabulary

CELL = 8


def grid_and_image(seed=0, height=37, width=50):
    rng = np.random.default_rng(seed)
    rows, columns = -(-height // CELL), -(-width // CELL)
    return rng.random((rows, columns)) < 0.4, rng.integers(60, 256, (height, width, 3)).astype(np.uint8)


def test_every_pixel_is_dark_exactly_where_its_cell_may_not_be_looked_at():
    allowed, image = grid_and_image()
    drawn = mask_overlay(image, allowed, CELL).astype(float)
    for y in range(image.shape[0]):
        for x in range(image.shape[1]):
            if allowed[y // CELL, x // CELL]:
                np.testing.assert_allclose(drawn[y, x], 0.7 * image[y, x] + 0.3 * np.array([0, 190, 160]), atol=1)
            else:
                np.testing.assert_allclose(drawn[y, x], 0.22 * image[y, x].mean(), atol=1)


def test_attention_lights_exactly_the_cells_with_weight_and_the_strongest_most():
    allowed, _ = grid_and_image(1)
    weights = np.where(allowed, np.random.default_rng(2).random(allowed.shape) + 0.05, 0.0)
    image = np.full((37, 50, 3), 128, np.uint8)
    drawn = attention_overlay(image, weights, CELL)
    lit = drawn[..., 0] > drawn[..., 2]
    np.testing.assert_array_equal(lit, cells_to_pixels(allowed, CELL, 37, 50))
    by_cell = drawn[CELL // 2 :: CELL, CELL // 2 :: CELL, 0].astype(int)
    shown = np.sort(weights[: by_cell.shape[0], : by_cell.shape[1]].ravel())
    np.testing.assert_array_equal(
        np.sort(by_cell.ravel()),
        by_cell.ravel()[np.argsort(weights[: by_cell.shape[0], : by_cell.shape[1]].ravel(), kind="stable")],
    )
    assert len(shown) == by_cell.size
    assert not (attention_overlay(image, np.zeros_like(weights), CELL).std(axis=-1)).any()


def test_pairs_are_taken_by_score_and_repeats_of_a_better_one_are_left_out():
    score = np.array([0.5, 0.9, 0.8, 0.7])
    human = np.array([[0, 0, 10, 10], [20, 0, 30, 10], [20, 0, 30, 9], [20, 0, 30, 10]], float)
    obj = np.array([[5, 5, 9, 9], [0, 0, 10, 10], [0, 0, 10, 10], [0, 20, 10, 30]], float)
    assert strongest_pairs(score, human, obj, 3) == [1, 3, 0]
    assert strongest_pairs(score, human, obj, 1) == [1]


@pytest.fixture
def batch_of_one():
    rng = np.random.default_rng(0)
    vocabulary = get_vocabulary("hoi_scenes")
    batch = {
        "image": rng.integers(0, 256, (1, 40, 64, 3)).astype(np.uint8),
        "image_hw_px": np.array([[37, 50]], np.int32),
    }
    predictions = {
        "human_xyxy_px": np.array([[[1, 2, 20, 30], [5, 5, 40, 30]]], np.float32),
        "object_xyxy_px": np.array([[[30, 10, 44, 33], [np.nan] * 4]], np.float32),
        "object_class": np.array([[1, -1]], np.int32), "object_score": np.array([[0.75, 0.5]], np.float32),
        "interactiveness": np.array([[0.25, 0.5]], np.float32),
        "part_scores": rng.random((1, 2, 6)).astype(np.float32),
    }  # fmt: skip
    seen = {
        "weights": rng.random((1, 2, 3, 5, 8)).astype(np.float32), "allowed": rng.random((1, 2, 3, 5, 8)) < 0.5,
        "chosen": rng.random((1, 2, 6)) < 0.5,
    }  # fmt: skip
    return batch, predictions, seen, vocabulary


def test_what_is_shown_of_a_batch_is_the_unpadded_image_and_its_cells(batch_of_one):
    batch, predictions, seen, vocabulary = batch_of_one
    first, second = attention_of_pairs(predictions, seen, batch, 0, vocabulary, ("a", "b", "c"), CELL, 2)
    assert (first.score, second.score) == (0.5, 0.25)
    assert first.pair.object_xyxy_px is None and second.pair.object_name == vocabulary.objects[1]
    assert second.image_rgb.shape == (37, 50, 3)
    np.testing.assert_array_equal(second.allowed, seen["allowed"][0, 0, :, :5, :7])
    np.testing.assert_array_equal(second.weights, seen["weights"][0, 0, :, :5, :7])
    assert second.part_chosen == tuple(seen["chosen"][0, 0].tolist())
    with pytest.raises(ValueError, match="neither interactiveness"):
        rest = {name: value for name, value in predictions.items() if name != "interactiveness"}
        attention_of_pairs(rest, seen, batch, 0, vocabulary, ("a", "b", "c"), CELL, 2)


def test_without_interactiveness_the_best_verb_of_a_valid_pair_counts(batch_of_one):
    batch, predictions, seen, vocabulary = batch_of_one
    scores = np.zeros((1, 2, len(vocabulary.verbs)), np.float32)
    scores[0, 0, 3], scores[0, 1, 5] = 0.25, 0.75
    scores[0, :, vocabulary.no_interaction] = 0.9  # is no verb to look for
    rest = {name: value for name, value in predictions.items() if name != "interactiveness"} | {"verb_scores": scores}
    rest["pair_valid"] = np.array([[True, False]])
    (only,) = attention_of_pairs(
        rest, seen, batch, 0, vocabulary, ("a",), None, 2, captions=("near",), legend=("what it is",)
    )
    assert (only.verb, only.score, only.captions) == (vocabulary.verb_words(3), 0.25, ("near",))
    assert attention_caption(only) == f"{only.verb} {vocabulary.objects[1]}: 0.25"
    assert only.weights.shape[-2:] == (5, 8)  # cells without a size cover the image: none is cut off
    plain = np.asarray(draw_attention(only))
    assert not np.array_equal(plain, np.asarray(draw_attention(dataclasses.replace(only, legend=("another",)))))


def test_cells_without_a_size_cover_the_image_evenly():
    grid = np.arange(6).reshape(2, 3)
    np.testing.assert_array_equal(cells_to_pixels(grid, None, 4, 6), np.kron(grid, np.ones((2, 2), int)))


def test_the_table_shows_each_layers_overlays_and_depends_on_masks_and_weights(batch_of_one):
    batch, predictions, seen, vocabulary = batch_of_one
    pair = attention_of_pairs(predictions, seen, batch, 0, vocabulary, ("a", "b", "c"), CELL, 1)[0]
    drawn = np.asarray(draw_attention(pair))
    for name in ("allowed", "weights"):
        grids = getattr(pair, name).copy()
        grids[1] = 1 - grids[1]
        changed = np.asarray(draw_attention(dataclasses.replace(pair, **{name: grids})))
        columns = np.flatnonzero((changed != drawn).any(axis=(0, 2)))
        assert len(columns) and drawn.shape[1] / 3 <= columns.min() and columns.max() < 2 * drawn.shape[1] / 3


def test_a_pair_without_body_parts_is_drawn_without_bars():
    allowed, image = grid_and_image()
    seen = PairAttention(
        image, Interaction((1, 1, 20, 20), None, "", ()), 0.5, (), (), (), ("one",), allowed[None],
        allowed[None].astype(float), CELL,
    )  # fmt: skip
    assert draw_attention(seen).width > 0
