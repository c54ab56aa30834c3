"""From file to pixels: the same bytes as Pillow gives the papers' code, through every door."""

import dataclasses
import io

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageEnhance

from data_prep.builder import DatasetSource, build
from hoi_jax import schema
from hoi_jax.data import plan
from hoi_jax.data.changes import ORDERS, random_changes
from hoi_jax.data.numpy_batch import batch_from_images, read_image
from hoi_jax.data.pipeline import Pipeline
from hoi_jax.data.pixels import change_image, change_mask, decode_of_size, decode_rgb, recolour
from hoi_jax.data.records import ImageReader, RecordFiles
from hoi_jax.data.settings import AugmentSettings, DatasetSettings, PipelineSettings, SizeSettings
from hoi_jax.io import DataError
from hoi_jax.vocab import get_vocabulary
from tests.helpers.pipelines import record_files, with_shared_graph

SIZES = SizeSettings(
    (1344, 1344), instances=4, detections=4, pairs=4, short_side=160, long_side=266,
    buckets=((160, 224), (224, 160), (160, 288), (288, 160)),
)  # fmt: skip


@pytest.fixture(scope="module")
def photographs(data_dir):
    """Encoded photographs by kind: as published, progressive, grey, CMYK, lossless."""
    folder = data_dir / "vcoco_mini"
    files = sorted((folder / "images").glob("*.jpg"))[:8]
    found = {f"photo{i}": path.read_bytes() for i, path in enumerate(files)}
    image = Image.open(files[0])

    def encoded(photo, kind, **options):
        stream = io.BytesIO()
        photo.save(stream, kind, **options)
        return stream.getvalue()

    found["progressive"] = encoded(image, "JPEG", progressive=True, quality=80)
    found["grey"] = encoded(image.convert("L"), "JPEG")
    found["cmyk"] = encoded(image.convert("CMYK"), "JPEG")
    found["png"] = encoded(image, "PNG")
    return found


def record(number, data, hw):
    made = schema.empty_record(1)
    made |= {"image": data, "image_id": np.int64(number), "file_name": f"{number}.jpg".encode()}
    return made | {"original_hw_px": np.int32(hw)}


@pytest.fixture(scope="module")
def directory(photographs, tmp_path_factory):
    rows = [
        record(number, data, Image.open(io.BytesIO(data)).size[::-1])
        for number, data in enumerate(photographs.values(), start=1)
    ]
    source = DatasetSource(
        name="own/photos",
        version="1.0.0",
        description="photographs without labels",
        pairs_vocabulary="hoi_scenes",
        persons_vocabulary="",
        splits={"train": (len(rows), lambda: iter(rows))},
    )
    return build(source, tmp_path_factory.mktemp("photos"))


def pipeline(directory, **changes):
    settings = {
        "files": record_files(directory),
        "vocabulary": get_vocabulary("hoi_scenes"),
        "dataset": DatasetSettings("own/photos", "hoi_scenes"),
        "sizes": SIZES,
        "options": PipelineSettings(threads=2),
        "augment": AugmentSettings(),
        "needs": frozenset({"image"}),
        "batch_size": 2,
    }
    return with_shared_graph(Pipeline(**(settings | changes)))


def torchvision_size(width, height, short_side, long_side):
    low, high = min(width, height), max(width, height)
    if high / low * short_side > long_side:
        short_side = int(round(long_side * low / high))
    return (int(short_side * width / height), short_side) if height <= width else (
        short_side, int(short_side * height / width)
    )  # fmt: skip


def expected_pixels(data):
    """What DETR's dataset and its RandomResize([160], max_size=266) hand on."""
    image = Image.open(io.BytesIO(data)).convert("RGB")
    return np.asarray(image.resize(torchvision_size(*image.size, 160, 266), Image.Resampling.BILINEAR))


def test_evaluation_sees_pillows_pixels_of_every_kind_of_file(directory, photographs):
    kinds, seen, shapes = list(photographs), [], set()
    for batch in pipeline(directory).eval_batches():
        shapes.add(batch["image"].shape[1:3])
        for row in np.flatnonzero(batch["batch_valid"]):
            kind = kinds[batch["image_id"][row] - 1]
            expected = expected_pixels(photographs[kind])
            height, width = batch["image_hw_px"][row]
            assert (height, width) == expected.shape[:2], kind
            np.testing.assert_array_equal(batch["image"][row, :height, :width], expected, err_msg=kind)
            assert not batch["image"][row, height:].any() and not batch["image"][row, :, width:].any()
            seen.append(kind)
    assert sorted(seen) == sorted(kinds)
    assert len(shapes) > 1 and shapes <= set(SIZES.shapes)


def test_prediction_and_viewer_see_what_evaluation_sees(directory, photographs, tmp_path):
    stored = {int(b["image_id"][r]): b["image"][r] for b in pipeline(directory).eval_batches() for r in range(2)}
    reader = ImageReader(RecordFiles(directory, "train"))
    none = {"xyxy_px": np.zeros((0, 4)), "class": np.zeros(0, int), "score": np.zeros(0)}
    for number, (kind, data) in enumerate(photographs.items(), start=1):
        (tmp_path / f"{kind}.jpg").write_bytes(data)
        image = read_image(tmp_path / f"{kind}.jpg")
        batch = batch_from_images([image], [none], SIZES, image_ids=[number])
        np.testing.assert_array_equal(batch["image"][0], stored[number], err_msg=kind)
        np.testing.assert_array_equal(reader.image(number - 1)[1], image, err_msg=kind)


def test_a_bicubic_stretch_is_pillows(directory, photographs):
    sizes = SizeSettings((96, 96), instances=4, detections=4, pairs=4, fit="stretch", interpolation="bicubic")
    batch = next(pipeline(directory, sizes=sizes).eval_batches())
    data = photographs["photo0"]
    expected = Image.open(io.BytesIO(data)).convert("RGB").resize((96, 96), Image.Resampling.BICUBIC)
    np.testing.assert_array_equal(batch["image"][0], np.asarray(expected))


def test_a_file_of_another_size_than_its_record_says_is_refused(photographs):
    data = photographs["photo0"]
    with pytest.raises(DataError, match="its record has"):
        decode_of_size(data, np.array([5, 7]))


def test_colours_change_as_torchvision_changes_them_in_any_order():
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (20, 30, 3)).astype(np.uint8))
    enhancers = ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color
    factors = np.array([0.7, 1.3, 1.1])
    for number, order in enumerate(ORDERS):
        expected = image
        for turn in order:
            expected = enhancers[turn](expected).enhance(float(factors[turn]))
        np.testing.assert_array_equal(recolour(image, factors, number), expected)
    np.testing.assert_array_equal(recolour(image, np.ones(3), 0), image)


def blocks(height=90, width=140):
    """A mask of two blocks, and the image that is white where it is."""
    mask = Image.new("L", (width, height))
    draw = ImageDraw.Draw(mask)
    draw.rectangle((20, 10, 79, 49), fill=255)
    draw.rectangle((100, 60, 129, 79), fill=255)
    stream = io.BytesIO()
    mask.save(stream, "PNG")
    return stream.getvalue(), np.repeat(np.asarray(mask)[..., None], 3, axis=2)


def test_masks_go_where_their_pixels_go():
    png, image = blocks()
    augment = AugmentSettings(flip=0.5, crop=0.7, crop_sides_px=(50, 80), crop_short_sides=(90,), short_sides=(64, 96))
    sizes = dataclasses.replace(SIZES, buckets=((128, 192), (192, 128)), short_side=None, long_side=None)
    number = np.arange(40)
    changes = random_changes(np.tile([90, 140], (40, 1)), sizes, augment, 0, 0 * number, number)
    covered = 0
    for row in number:
        shape = np.array(sizes.shapes[changes.shape[row]])
        same = {
            "flip": changes.flip[row], "first_hw": changes.first_hw[row], "window": changes.window[row],
            "hw": changes.hw[row], "shape_hw": shape,
        }  # fmt: skip
        pixels = change_image(image, colours=np.ones(3), colour_order=0, **same)[..., 0] > 127
        mask = change_mask(png, np.array([90, 140]), grid_hw=shape, **same)
        assert (mask != pixels).mean() < 0.01
        covered += mask.any()
    assert covered > 20
    assert not change_mask(b"", np.array([90, 140]), grid_hw=shape, **same).any()


def test_a_coarse_grid_has_the_cells_that_are_half_covered():
    png, _ = blocks()
    still = {
        "flip": False, "first_hw": np.array([90, 140]), "window": np.array([0, 0, 140, 90]), "hw": np.array([90, 140]),
        "shape_hw": np.array([100, 200]), "grid_hw": np.array([10, 20]),
    }  # fmt: skip
    grid = change_mask(png, np.array([90, 140]), **still)
    expected = np.zeros((10, 20), bool)
    expected[1:5, 2:8] = expected[6:8, 10:13] = True
    np.testing.assert_array_equal(grid, expected)


def test_decoding_ignores_exif_and_reading_a_file_obeys_it(tmp_path):
    pixels = np.zeros((20, 40, 3), np.uint8)
    pixels[:, :20] = 255
    exif = Image.Exif()
    exif[274] = 6
    Image.fromarray(pixels).save(tmp_path / "turned.png", exif=exif)
    assert decode_rgb((tmp_path / "turned.png").read_bytes(), "x").shape == (20, 40, 3)
    assert read_image(tmp_path / "turned.png").shape == (40, 20, 3)


@pytest.mark.parametrize("num_hosts", [1, 2, 4])
def test_every_batch_has_one_shape_whatever_the_hosts_and_restarts(directory, num_hosts):
    augment = AugmentSettings(flip=0.5, brightness=0.2, crop=0.5, crop_sides_px=(96, 150), crop_short_sides=(120,),
                              short_sides=(96, 128, 160), long_side=266)  # fmt: skip
    common = {"augment": augment, "batch_size": 4, "seed": 3}

    def take(start, count, **place):
        stream = pipeline(directory, **common, **place).train_batches(start)
        return [next(stream) for _ in range(count)]

    whole = take(0, 9)
    assert len({b["image"].shape for b in whole}) > 1
    for start in (0, 4):
        parts = [take(start, 9 - start, host=host, num_hosts=num_hosts) for host in range(num_hosts)]
        for step, expected in enumerate(whole[start:]):
            for name, value in expected.items():
                np.testing.assert_array_equal(np.concatenate([p[step][name] for p in parts]), value, err_msg=name)


def test_in_shapes_too_every_epoch_shows_each_example_once(directory):
    augment = AugmentSettings(short_sides=(96, 160), long_side=266, crop=0.5, crop_min_side=0.5)
    stream = pipeline(directory, augment=augment, batch_size=3)
    planned = plan.training_batches(stream.stream(), 3, lambda rows: stream.shapes_of(rows, True))
    shown, shapes = [], set()
    for _, batch in zip(range(60), planned, strict=False):
        changes = stream.changes(batch.rows, True)
        assert set(changes.shape) == {batch.shape}
        shapes.add(batch.shape)
        shown += zip(batch.rows.epoch.tolist(), batch.rows.example.tolist(), strict=True)
    assert len(shown) == len(set(shown)) == 180 and len(shapes) > 2
    # What is missing of the epochs before the newest waits, at most a batch less one in each shape.
    newest = max(epoch for epoch, _ in shown)
    missing = newest * stream.files.num_examples - sum(epoch < newest for epoch, _ in shown)
    assert 0 <= missing <= 2 * len(SIZES.shapes)
