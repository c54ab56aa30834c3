"""Broken and hostile images and files: each is handled as its policy says, or refused by name."""

import io as memory
import json
import struct
import zipfile
import zlib

import numpy as np
import pytest
from PIL import Image

from data_prep.annotated import iterate
from data_prep.images import ImageFolder
from hoi_jax import io, schema
from hoi_jax.data.numpy_batch import read_image
from hoi_jax.data.pixels import open_image, rgb_of
from hoi_jax.formats.labels.detect import open_labels, open_table
from hoi_jax.formats.labels.pic import mask_of_counts, mask_of_segmentation, unpacked_counts
from hoi_jax.formats.labels.rows import instance_columns, record_of
from tests.helpers import minis

RAMP = (np.arange(40 * 30 * 3) % 256).astype(np.uint8).reshape(30, 40, 3)


def exif(orientation):
    tags = Image.Exif()
    tags[0x0112] = orientation
    return tags


def folder_of(tmp_path, data, name="x.jpg", **options):
    (tmp_path / name).write_bytes(data)
    return ImageFolder(tmp_path, **options)


def pixels(data):
    return np.asarray(Image.open(memory.BytesIO(data)))


def sixteen_bits():
    return Image.fromarray((np.arange(1200, dtype=np.uint16) * 50).reshape(30, 40))


ODD = {
    "cmyk": (Image.fromarray(RAMP).convert("CMYK"), "JPEG", {}),
    "palette": (Image.fromarray(RAMP).convert("P"), "PNG", {}),
    "sixteen bits": (sixteen_bits(), "PNG", {}),
    "one bit": (Image.fromarray(RAMP).convert("1"), "PNG", {}),
    "transparent": (Image.fromarray(RAMP).convert("RGBA"), "PNG", {}),
    "animated": (
        Image.fromarray(RAMP), "GIF", {"save_all": True, "append_images": [Image.fromarray(RAMP[::-1])] * 2},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", ODD)
def test_images_that_decoders_show_differently_are_stored_as_plain_png(tmp_path, name):
    image, kind, options = ODD[name]
    data = minis.make_image(image, kind, **options)
    stored, hw = folder_of(tmp_path, data).read("x.jpg")
    assert hw == (30, 40) and stored[:8] == b"\x89PNG\r\n\x1a\n"
    shown = pixels(stored)
    assert shown.shape == (30, 40, 3) and shown.dtype == np.uint8
    np.testing.assert_array_equal(shown, read_image(tmp_path / "x.jpg"))
    if name == "sixteen bits":  # The upper bits, not a clipped 255.
        np.testing.assert_array_equal(shown[..., 0], np.asarray(image) >> 8)
    elif name == "transparent":
        np.testing.assert_array_equal(shown, RAMP)


@pytest.mark.parametrize("mode, kind", [("RGB", "JPEG"), ("L", "JPEG"), ("RGB", "PNG"), ("L", "PNG")])
def test_plain_images_are_stored_byte_for_byte(tmp_path, mode, kind):
    data = minis.make_image(Image.fromarray(RAMP).convert(mode), kind)
    assert folder_of(tmp_path, data).read("x.jpg", (30, 40)) == (data, (30, 40))


@pytest.mark.parametrize("orientation", range(2, 9))
def test_the_size_in_the_labels_decides_whether_an_image_is_turned(tmp_path, orientation):
    data = minis.make_image(Image.fromarray(RAMP), "PNG", exif=exif(orientation))
    folder, turning = folder_of(tmp_path, data), ImageFolder(tmp_path, upright=True)
    sideways = orientation >= 5
    assert turning.read("x.jpg")[1] == ((40, 30) if sideways else (30, 40))
    np.testing.assert_array_equal(pixels(turning.read("x.jpg")[0]), read_image(tmp_path / "x.jpg"))
    assert folder.read("x.jpg") == (data, (30, 40))  # Old datasets: as stored.
    if sideways:  # Labels that were drawn on the turned image, or on the stored one.
        for reader in (folder, turning):
            stored, hw = reader.read("x.jpg", (40, 30))
            assert hw == (40, 30) and pixels(stored).shape == (40, 30, 3)
            assert reader.read("x.jpg", (30, 40)) == (data, (30, 40))


def test_labels_made_for_another_size_are_refused(tmp_path):
    folder = folder_of(tmp_path, minis.make_image(Image.fromarray(RAMP), "JPEG"))
    with pytest.raises(io.CorruptFileError, match="40 x 30 pixels, but its labels were made for 80 x 60"):
        folder.read("x.jpg", (60, 80))


def test_every_cut_of_an_image_is_refused_by_name(tmp_path):
    for kind in ("JPEG", "PNG", "GIF"):
        data = minis.make_image(Image.fromarray(RAMP), kind)
        for end in (0, 2, 20, len(data) // 2, len(data) - len(data) // 4):
            with pytest.raises(io.CorruptFileError, match="x.jpg"):
                folder_of(tmp_path, data[:end]).read("x.jpg")


def test_images_of_one_pixel_and_of_one_row_are_read(tmp_path):
    for hw in ((1, 1), (1, 20000), (20000, 1)):
        data = minis.make_image(Image.fromarray(np.zeros((*hw, 3), np.uint8)), "PNG")
        assert folder_of(tmp_path, data).read("x.jpg", hw)[1] == hw


def test_a_decompression_bomb_is_refused_before_it_unpacks():
    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = struct.pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0)
    data = (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    )
    with pytest.raises(io.TooLargeError, match="bomb.png: .*pixels"):
        open_image(data, "bomb.png")


def test_names_in_labels_lead_nowhere_outside_the_folder(tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "secret.jpg").write_bytes(minis.make_image(Image.fromarray(RAMP), "JPEG"))
    folder = ImageFolder(tmp_path / "images")
    for name in ("../secret.jpg", str(tmp_path / "secret.jpg"), "secret.jpg", ""):
        with pytest.raises(io.MissingFileError):
            folder.read(name)
    table = [{"file_name": "../../secret.jpg", "annotations": [], "hoi_annotation": []}]
    assert open_table(table, "x.json").names == ["secret.jpg"]


def write(path, data):
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return path


@pytest.mark.parametrize(
    "text, message",
    [
        ('{"a": [1, 2', "not valid JSON"),
        ("[" * 100_000 + "]" * 100_000, "not valid JSON"),
        ('{"images": [], "images": [1]}', "'images' occurs twice"),
        ('{"a": {"b": 1, "b": 2}}', "'b' occurs twice"),
        ('{"name": "caf\xe9"}'.encode("latin-1"), "not valid JSON"),
        ("[" + "9" * 5000 + "]", "not valid JSON"),
        (b"", "not valid JSON"),
        (b"\x1f\x8b\x08\x00broken", "damaged gzip"),
    ],
)
def test_broken_json_is_refused_by_file(tmp_path, text, message):
    with pytest.raises(io.CorruptFileError, match=message) as error:
        io.read_json(write(tmp_path / "labels.json", text))
    assert "labels.json" in str(error.value)


def test_json_in_utf_16_and_with_a_byte_order_mark_is_read(tmp_path):
    for encoding in ("utf-8-sig", "utf-16", "utf-32"):
        assert io.read_json(write(tmp_path / "x.json", '{"name": "caf\xe9"}'.encode(encoding))) == {"name": "caf\xe9"}


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), 1e400, "x", None, [1], 10**400])
def test_a_coordinate_that_is_no_finite_number_names_file_and_record(tmp_path, value):
    for make, field in ((minis.hico_json, "boxes_h"), (minis.hoi_w, "bbox"), (minis.own, "bbox")):
        made = make(tmp_path / "x.json") if make is minis.hico_json else make(tmp_path / make.__name__)["train"]
        table = io.read_json(made)
        if make is minis.hico_json:
            table["annotation"][2][field][0][1] = value
        elif make is minis.hoi_w:
            table[2]["annotations"][0][field][1] = value
        else:
            table["annotations"][4][field][1] = value
        text = json.dumps(table)
        labels = open_labels(write(tmp_path / "broken.json", text))
        with pytest.raises(io.CorruptFileError, match=r"broken.json: record 2 \("):
            labels.annotations()
        labels.columns(1)


@pytest.mark.parametrize("box", [[5, 1, 2, 2], [1, 5, 2, 2], [np.nan, 0, 1, 1], [0, 0, np.inf, 1]])
def test_reversed_and_unfinite_boxes_are_refused_and_others_kept(box):
    with pytest.raises(ValueError, match="box 1 is not finite or has"):
        instance_columns(np.array([[0, 0, 1, 1], box], float), np.zeros(2, int))
    kept = [[-5, -3, 2000, 9], [4, 4, 4, 9]]  # Out of the image, and without area: the check counts them.
    np.testing.assert_array_equal(instance_columns(np.array(kept, float), np.zeros(2, int))["instances_xyxy_px"], kept)
    columns = instance_columns(np.array([[0, 0, 1, 1]], float), np.zeros(1, int))
    columns["instances_xyxy_px"] = np.array([[5, 0, 1, 1]], np.float32)
    record = record_of(1, "x.jpg", (5, 5), columns, 1) | {"image": b""}
    with pytest.raises(schema.SchemaError, match="box with x2 < x1 or y2 < y1"):
        schema.check_record(record, 1, "x.jpg")


def test_numbers_that_do_not_fit_are_refused(tmp_path):
    table = io.read_json(minis.own(tmp_path)["train"])
    table["images"][0]["id"] = 2**40
    for row in [*table["annotations"], *table["pairs"]]:
        row["image_id"] = 2**40 if row["image_id"] == 0 else row["image_id"]
    (tmp_path / "big.json").write_text(json.dumps(table))
    with pytest.raises(io.CorruptFileError, match="image number 1099511627776 does not fit"):
        open_labels(tmp_path / "big.json").annotations()


def test_archives_run_nothing_and_write_nothing(tmp_path):
    """Names of members are only looked up: `../`, absolute names and links have no effect."""
    inside = tmp_path / "deep"
    inside.mkdir()
    buffer = memory.BytesIO()
    np.save(buffer, np.arange(3))
    with zipfile.ZipFile(inside / "x.npz", "w") as archive:
        for name in ("../out.npy", "/absolute/out.npy", "ok.npy"):
            archive.writestr(name, buffer.getvalue())
    before = sorted(path.name for path in tmp_path.rglob("*"))
    assert io.read_npz(inside / "x.npz")["ok"].tolist() == [0, 1, 2]
    assert sorted(path.name for path in tmp_path.rglob("*")) == before
    np.savez(inside / "objects.npz", rows=np.array([{"a": 1}], object))
    with pytest.raises(io.CorruptFileError, match="objects.npz"):
        open_labels(inside / "objects.npz")


def packed(counts):
    """COCO's text form: from the fourth run on differences to the run before the last; five bits a character."""
    text = ""
    for place, count in enumerate(counts):
        value = count - counts[place - 2] if place > 2 else count
        while True:
            bits, value = value & 31, value >> 5
            last = value == (-1 if bits & 16 else 0)
            text += chr(48 + bits + (0 if last else 32))
            if last:
                break
    return text


def test_masks_of_all_three_kinds_and_their_faults():
    random = np.random.default_rng(0)
    for counts in ([6, 3, 2, 3], [0, 1], *(random.integers(0, 10 ** (k % 8 + 1), 9).tolist() for k in range(50))):
        assert unpacked_counts(packed(counts)) == counts
    mask = mask_of_counts([6, 3, 3], (3, 4))
    assert mask.tolist() == [[False, False, True, False]] * 3
    for broken in (
        {"size": [3, 4], "counts": [6, 3]},
        {"size": [4, 3], "counts": [12]},
        {"size": [3, 4], "counts": "6P"},
    ):
        with pytest.raises(ValueError):
            mask_of_segmentation(broken, (3, 4))
    with pytest.raises(ValueError, match="three finite corners"):
        mask_of_segmentation([[1, 1, 2, float("nan"), 3, 3]], (3, 4))
    with pytest.raises(ValueError, match="needs the size of the image"):
        mask_of_segmentation([[0, 0, 1, 0, 1, 1]], (10**6, 10**6))


def test_images_without_people_objects_or_pairs_stay(tmp_path):
    table = io.read_json(minis.own(tmp_path)["train"])
    table["annotations"] = [row for row in table["annotations"] if row["image_id"] != 1]
    table["pairs"] = [row for row in table["pairs"] if row["image_id"] != 1]
    labels = open_table(table, tmp_path / "train.json")
    records = list(iterate(labels, ImageFolder(tmp_path / "images")))
    assert [len(record["instances_class"]) for record in records] == [2, 0, 2, 2]
    for record in records:
        schema.check_record(record, 1, "x")


def test_grey_float_images_are_scaled_by_what_they_need():
    image = Image.fromarray(np.linspace(0, 60000, 12, dtype=np.float32).reshape(3, 4))
    assert rgb_of(image).max() == 60000 // 256
    assert rgb_of(Image.fromarray(np.full((3, 4), 200.0, np.float32))).max() == 200
