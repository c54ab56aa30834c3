"""Drawing: size rules, labels inside the image and apart, contrast, the same image every time."""

import numpy as np
import pytest
from PIL import Image, ImageDraw

from hoi_jax.evaluation.analysis.triplets import Interaction
from hoi_jax.visualization import colours
from hoi_jax.visualization import interactions as draw_module
from hoi_jax.visualization.interactions import draw_interactions, image_scale
from hoi_jax.visualization.text_boxes import fit_text, font, overlap_area, place_label

HOLD = Interaction((10, 10, 40, 90), (50, 40, 80, 60), "sports_ball", (("hold", 0.91), ("look_at", 0.4)))


def grey(height, width, value=128):
    return np.full((height, width, 3), value, np.uint8)


@pytest.mark.parametrize(
    ("colours_", "ratio"),
    # WCAG 2 examples: black on white 21; #767676 is the lightest grey with 4.54 on white; equal colours 1.
    [(((0, 0, 0), (255, 255, 255)), 21.0), (((118, 118, 118), (255, 255, 255)), 4.54), (((9, 9, 9), (9, 9, 9)), 1.0)],
)
def test_contrast_is_that_of_published_examples(colours_, ratio):
    assert colours.contrast_ratio(*colours_) == pytest.approx(ratio, abs=0.005)


@pytest.mark.parametrize("fill", [*colours.SERIES, colours.RIGHT, colours.WRONG, colours.MISSED, colours.BLACK])
def test_label_text_has_contrast_of_at_least_4_5_on_every_fill(fill):
    assert colours.contrast_ratio(colours.readable_on(fill), fill) >= 4.5


@pytest.mark.parametrize("colour", colours.SERIES)
def test_chart_lines_have_contrast_of_at_least_3_on_white(colour):
    assert colours.contrast_ratio(colour, (255, 255, 255)) >= 3


@pytest.mark.parametrize(
    ("size", "expected"),
    [((640, 480), 1.0), ((1920, 1080), 1.0), ((128, 128), 5.0), ((64, 96), 640 / 96), ((4000, 20), 1.0)],
)
def test_small_images_are_enlarged_and_others_are_not(size, expected):
    assert image_scale(*size) == pytest.approx(expected)


def test_drawn_image_has_the_size_that_the_scale_gives():
    assert draw_interactions(grey(100, 100), [HOLD]).size == (640, 640)
    assert draw_interactions(grey(480, 700), [HOLD]).size == (700, 480)


def test_nothing_to_draw_leaves_an_ordinary_image_unchanged():
    noise = np.random.default_rng(0).integers(0, 256, (480, 640, 3), np.uint8)
    np.testing.assert_array_equal(np.asarray(draw_interactions(noise, [])), noise)


def test_drawing_does_not_write_into_the_given_image():
    image = grey(480, 640)
    draw_interactions(image, [HOLD])
    assert (image == 128).all()


def test_the_same_input_gives_the_same_image():
    first, second = (np.asarray(draw_interactions(grey(300, 400), [HOLD])) for _ in range(2))
    np.testing.assert_array_equal(first, second)


def recorded_labels(monkeypatch, image, interactions):
    """Rectangles and texts of all labels that are drawn."""
    seen = []
    original = draw_module._label

    def record(draw, place, block, fill):
        seen.append((place, block))
        original(draw, place, block, fill)

    monkeypatch.setattr(draw_module, "_label", record)
    drawn = draw_interactions(image, interactions)
    return drawn, seen


def random_interactions(rng, count, width, height):
    result = []
    for index in range(count):
        low = rng.uniform(-0.1, 0.8, (2, 2)) * [width, height]
        high = low + rng.uniform(0.02, 0.5, (2, 2)) * [width, height]
        human, obj = np.concatenate([low, high], 1)
        verbs = tuple((f"verb_{index}_{v}", float(rng.uniform())) for v in range(rng.integers(1, 6)))
        result.append(Interaction(tuple(human), tuple(obj) if index % 4 else None, "tennis_racket", verbs))
    return result


@pytest.mark.parametrize("seed", range(8))
def test_labels_lie_inside_the_image_and_their_text_inside_the_label(monkeypatch, seed):
    rng = np.random.default_rng(seed)
    height, width = rng.integers(20, 900, 2)
    interactions = random_interactions(rng, 6, width, height)
    drawn, labels = recorded_labels(monkeypatch, grey(height, width), interactions)
    assert len(labels) == 6
    pen = ImageDraw.Draw(Image.new("RGB", (1, 1)))
    for place, block in labels:
        assert place[0] >= 0 and place[2] <= drawn.width
        assert place[1] >= 0 and (place[3] <= drawn.height or block.height > drawn.height)
        for line in block.lines:
            box = pen.textbbox((0, 0), line, font=font(block.font_size))
            assert block.margin + box[2] <= block.width and box[3] <= block.line_height


@pytest.mark.parametrize("seed", range(4))
def test_labels_do_not_cover_one_another_where_there_is_room(monkeypatch, seed):
    interactions = random_interactions(np.random.default_rng(seed), 4, 1200, 900)
    _, labels = recorded_labels(monkeypatch, grey(900, 1200), interactions)
    places = [place for place, _ in labels]
    assert all(overlap_area(p, places[:i]) == 0 for i, p in enumerate(places))


def test_a_label_keeps_off_a_small_object(monkeypatch):
    ball = (300.0, 100.0, 320.0, 120.0)
    people = [(100.0, 125.0, 300.0, 400.0), (302.0, 125.0, 500.0, 400.0)]
    interactions = [Interaction(p, ball, "ball", (("catch", 0.5),)) for p in people]
    _, labels = recorded_labels(monkeypatch, grey(480, 640), interactions)
    assert all(overlap_area(place, [ball]) == 0 for place, _ in labels)


def test_a_label_that_fits_nowhere_free_takes_the_least_overlap():
    # 100 x 20 image wholly taken on the left half twice, on the right half once.
    taken = [(0, 0, 50, 20), (0, 0, 50, 20), (50, 0, 100, 20)]
    assert place_label((0, 0, 50, 20), (50, 20), (100, 20), taken) == (50, 0, 100, 20)


def test_text_too_wide_for_the_image_is_shrunk_then_cut():
    block = fit_text(["a very long verb with a very long object"], font_size=30, max_width=120)
    assert block.width <= 120 and block.font_size == 11 and block.lines[0].endswith("…")
    assert fit_text(["hi"], font_size=30, max_width=120).font_size == 30


@pytest.mark.parametrize("value", [0, 255])
def test_boxes_and_labels_stand_out_from_black_and_white_images(value):
    """Everything drawn has, next to any pixel equal to the ground, an edge of the other brightness."""
    drawn = np.asarray(draw_interactions(grey(480, 640, value), [HOLD])).astype(int)
    far = np.abs(drawn - value).sum(-1) > 300
    assert far.sum() > 1500


def test_verdicts_and_hidden_verbs_show_on_the_labels(monkeypatch):
    fills = []
    monkeypatch.setattr(draw_module, "_label", lambda draw, place, block, fill: fills.append((fill, block.lines)))
    verbs = tuple((f"v{i}", 0.5) for i in range(6))
    for correct in (True, False):
        draw_interactions(grey(480, 640), [Interaction((1, 1, 9, 9), None, "", verbs, correct)], max_verbs=4)
    assert [fill for fill, _ in fills] == [colours.RIGHT, colours.WRONG]
    assert fills[0][1] == ("v0  0.50", "v1  0.50", "v2  0.50", "v3  0.50", "and 2 more")


def test_ground_truth_is_written_without_scores(monkeypatch):
    texts = []
    monkeypatch.setattr(draw_module, "_label", lambda draw, place, block, fill: texts.append(block.lines))
    draw_interactions(grey(480, 640), [Interaction((1, 1, 9, 9), (5, 5, 90, 90), "hot_dog", (("look_at", None),))])
    assert texts == [("look at hot dog",)]


@pytest.mark.parametrize(
    "image", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3), np.float32), np.zeros((0, 4, 3), np.uint8)]
)
def test_an_array_that_is_no_image_is_refused(image):
    with pytest.raises(ValueError, match="uint8 image"):
        draw_interactions(image, [])


def test_a_box_that_is_not_finite_is_refused():
    with pytest.raises(ValueError, match="four finite numbers"):
        draw_interactions(grey(50, 50), [Interaction((1, 1, float("nan"), 3), None, "", (("run", 1.0),))])
