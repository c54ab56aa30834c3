"""Batches made on the host agree with the pipeline of training, and fit the schema."""

import numpy as np
import pytest
from PIL import Image

from hoi_jax import schema
from hoi_jax.data.numpy_batch import batch_from_images, read_image, shape_of
from hoi_jax.data.settings import SizeSettings
from hoi_jax.io import DataError


def detections(count, width, height, seed=0):
    rng = np.random.default_rng(seed)
    corners = np.sort(rng.uniform(0, 1, (count, 2, 2)), axis=1).reshape(count, 4) * [width, height, width, height]
    keypoints = rng.uniform(0, 1, (count, 17, 3)) * [width, height, 1]
    keypoints[:, 0, 2] = 0
    return {
        "xyxy_px": corners.astype(np.float32),
        "class": rng.integers(0, 5, count).astype(np.int32),
        "score": rng.permutation(count).astype(np.float32) / count,
        "keypoints_px": keypoints.astype(np.float32),
    }


def sizes(image_hw, count, **changes):
    return SizeSettings(image_hw, instances=1, detections=count, pairs=1, **changes)


def noise(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def test_batch_fits_the_schema_and_marks_filler():
    batch = batch_from_images(
        [noise(30, 80), noise(70, 20)], [detections(3, 80, 30), detections(9, 20, 70)],
        sizes((40, 48), 5), image_ids=[7, 9], batch_size=3,
    )  # fmt: skip
    schema.check_batch(batch, ("image", "detections_xyxy_px", "detections_keypoints_px"))
    assert batch["batch_valid"].tolist() == [True, True, False]
    assert batch["image_id"].tolist() == [7, 9, 0]
    assert batch["detections_valid"].sum(1).tolist() == [3, 5, 0]
    assert batch["original_hw_px"].tolist() == [[30, 80], [70, 20], [1, 1]]


def test_image_lies_at_the_top_left_and_the_rest_is_zero():
    image = np.full((30, 80, 3), 255, np.uint8)
    batch = batch_from_images([image], [detections(1, 80, 30)], sizes((40, 40), 2), image_ids=[1])
    assert batch["image_hw_px"].tolist() == [[15, 40]]
    assert (batch["image"][0, :15, :40] == 255).all() and not batch["image"][0, 15:].any()


def test_boxes_come_back_to_original_pixels():
    table = detections(6, 333, 217)
    batch = batch_from_images([noise(217, 333)], [table], sizes((96, 128), 6), image_ids=[1])
    scale = (batch["original_hw_px"][0] / batch["image_hw_px"][0])[::-1]
    order = np.argsort(-table["score"])
    np.testing.assert_allclose(
        batch["detections_xyxy_px"][0] * np.tile(scale, 2), table["xyxy_px"][order], rtol=1e-5, atol=1e-3
    )
    keypoints, expected = batch["detections_keypoints_px"][0], table["keypoints_px"][order]
    np.testing.assert_allclose(keypoints[:, 1:, :2] * scale, expected[:, 1:, :2], rtol=1e-5, atol=1e-3)
    np.testing.assert_array_equal(keypoints[:, 1:, 2], expected[:, 1:, 2])
    assert not keypoints[:, 0].any()  # absent keypoints are all zero


def test_the_best_scored_detections_are_kept_in_order():
    table = detections(20, 50, 50)
    batch = batch_from_images([noise(50, 50)], [table], sizes((64, 64), 4), image_ids=[1])
    np.testing.assert_array_equal(batch["detections_score"][0], np.float32([0.95, 0.9, 0.85, 0.8]))
    rows = np.argsort(-table["score"])[:4]
    np.testing.assert_array_equal(batch["detections_class"][0], table["class"][rows])


@pytest.mark.parametrize("image", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3), np.float32)])
def test_an_array_that_is_no_image_is_refused(image):
    with pytest.raises(ValueError, match="expected \\[H, W, 3\\] uint8"):
        batch_from_images([image], [detections(1, 4, 4)], sizes((8, 8), 1), image_ids=[1])


def test_lists_of_different_lengths_are_refused():
    with pytest.raises(ValueError, match="1 images, 0 detection tables"):
        batch_from_images([noise(4, 4)], [], sizes((8, 8), 1), image_ids=[1])


def test_exif_orientation_is_respected(tmp_path):
    pixels = np.zeros((20, 40, 3), np.uint8)
    pixels[:, :20] = 255
    exif = Image.Exif()
    exif[274] = 6  # stored lying on its side: the viewer turns it a quarter clockwise
    Image.fromarray(pixels).save(tmp_path / "turned.png", exif=exif)
    upright = read_image(tmp_path / "turned.png")
    assert upright.shape == (40, 20, 3)
    assert upright[:20].min() == 255 and upright[20:].max() == 0


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "1", "CMYK"])
def test_images_of_every_mode_become_rgb(tmp_path, mode):
    path = tmp_path / ("x.jpg" if mode == "CMYK" else "x.png")
    Image.fromarray(noise(5, 7)).convert(mode).save(path)
    image = read_image(path)
    assert image.shape == (5, 7, 3) and image.dtype == np.uint8


def damaged_files(tmp_path):
    Image.fromarray(noise(60, 60)).save(tmp_path / "good.png")
    Image.fromarray(noise(60, 60)).save(tmp_path / "good.jpg")
    png, jpg = (tmp_path / "good.png").read_bytes(), (tmp_path / "good.jpg").read_bytes()
    rng = np.random.default_rng(0)
    flipped = bytearray(png)
    for place in rng.integers(8, len(png), 40):
        flipped[place] ^= 255
    return [b"", b"not an image", png[: len(png) // 2], jpg[: len(jpg) // 2], png[:20], bytes(flipped)]


def test_damaged_images_are_errors_that_name_the_file(tmp_path):
    for index, data in enumerate(damaged_files(tmp_path)):
        path = tmp_path / f"bad{index}.png"
        path.write_bytes(data)
        with pytest.raises(DataError, match=f"bad{index}.png"):
            read_image(path)
    with pytest.raises(DataError, match="absent.png"):
        read_image(tmp_path / "absent.png")


def test_too_many_pixels_are_refused_before_decoding(tmp_path):
    Image.fromarray(noise(20, 20)).save(tmp_path / "big.png")
    with pytest.raises(DataError, match="20 x 20 pixels; the limit is 399"):
        read_image(tmp_path / "big.png", max_pixels=399)


def test_images_of_two_static_shapes_are_not_put_in_one_batch():
    shapes = sizes((64, 64), 1, buckets=((32, 64), (64, 32)))
    lying, standing = noise(30, 60), noise(60, 30)
    assert [shape_of(lying, shapes), shape_of(standing, shapes)] == [0, 1]
    batch = batch_from_images([standing], [detections(1, 30, 60)], shapes, image_ids=[1])
    assert batch["image"].shape == (1, 64, 32, 3)
    with pytest.raises(ValueError, match="2 static shapes"):
        batch_from_images([lying, standing], [detections(1, 30, 60)] * 2, shapes, image_ids=[1, 2])
