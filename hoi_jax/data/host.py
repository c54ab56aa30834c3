"""A batch made on the host from pictures and detections, for prediction without tf.data. NumPy and Pillow only."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from hoi_jax import schema
from hoi_jax.data.picture_file import open_picture, rgb_of, upright
from hoi_jax.io import MEGABYTE, read_bytes

Detections = Mapping[str, np.ndarray]
"""Columns without their prefix, N rows each: xyxy_px [N, 4] and keypoints_px [N, 17, 3] in pixels of the picture,
class [N], score [N]. keypoints_px may be absent."""


def fitted_hw(height: int, width: int, image_hw: tuple[int, int], *, enlarge: bool = False) -> tuple[int, int]:
    """Size with the same shape that fits into `image_hw` = (height, width); not enlarged unless asked."""
    # float32 and rounding half to even, so that the pipeline of training gives the same size.
    old, limit = np.array([height, width], np.float32), np.array(image_hw, np.float32)
    ratio = np.min(limit / old)
    if not enlarge:
        ratio = np.minimum(ratio, np.float32(1))
    rows, columns = np.clip(np.round(old * ratio).astype(int), 1, image_hw).tolist()
    return rows, columns


def resize_image(image: np.ndarray, hw: tuple[int, int]) -> np.ndarray:
    """[H, W, 3] uint8 -> [*hw, 3] uint8, bilinear with antialiasing; unchanged when the size is the same."""
    if image.shape[:2] == hw:
        return image
    return np.asarray(Image.fromarray(image).resize((hw[1], hw[0]), Image.Resampling.BILINEAR))


def strongest(detections: Detections, count: int) -> np.ndarray:
    """Rows of the `count` highest scores, best first, ties in the order given."""
    return np.argsort(-np.asarray(detections["score"]), kind="stable")[:count]


def _empty(batch: int, image_hw: tuple[int, int], num_detections: int) -> dict[str, np.ndarray]:
    sizes = {"H": image_hw[0], "W": image_hw[1], "D": num_detections}
    names = ["image", *sorted(schema.ALWAYS_PRESENT)]
    names += [n for n in schema.BATCH_FIELDS if n.startswith("detections_") and not n.endswith("_mask")]
    table = {}
    for name in names:
        field = schema.BATCH_FIELDS[name]
        shape = tuple(axis if isinstance(axis, int) else sizes[axis] for axis in field.axes)
        table[name] = np.zeros((batch, *shape), field.dtype)
    return table


def batch_from_images(
    images: Sequence[np.ndarray],
    detections: Sequence[Detections],
    *,
    image_hw: tuple[int, int],
    num_detections: int,
    image_ids: Sequence[int],
    batch_size: int | None = None,
    enlarge: bool = False,
) -> dict[str, np.ndarray]:
    """One host batch with the fields that prediction can need.

    Pictures are shrunk with their shape kept to fit `image_hw` and padded at the right and bottom with zeros;
    boxes and keypoints follow. Of each picture the `num_detections` best scored detections are kept.

    Args:
      images: [H, W, 3] uint8 each, of any sizes.
      detections: one table per picture, in pixels of that picture.
      image_hw: height and width of `image` in the batch.
      image_ids: the dataset's own numbers.
      batch_size: at least len(images); the batch is filled up with rows whose `batch_valid` is False.
      enlarge: also enlarge pictures smaller than `image_hw`.

    Returns:
      Fields of `schema.BATCH_FIELDS`: the picture, its sizes and ids, and `detections_*` except masks.

    Raises:
      ValueError: for lists of different lengths, or a picture that is not [H, W, 3] uint8.
    """
    size = len(images) if batch_size is None else batch_size
    if not len(images) == len(detections) == len(image_ids) or size < len(images):
        raise ValueError(
            f"{len(images)} images, {len(detections)} detection tables, {len(image_ids)} ids, batch of {size}"
        )
    batch = _empty(size, image_hw, num_detections)
    batch["image_hw_px"][:] = batch["original_hw_px"][:] = 1  # filler rows stay safe to divide by
    for row, (image, table) in enumerate(zip(images, detections, strict=True)):
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or not image.size:
            raise ValueError(f"image {row} is {image.shape} {image.dtype}, expected [H, W, 3] uint8")
        height, width = image.shape[:2]
        hw = fitted_hw(height, width, image_hw, enlarge=enlarge)
        batch["image"][row, : hw[0], : hw[1]] = resize_image(image, hw)
        batch["image_hw_px"][row] = hw
        batch["original_hw_px"][row] = height, width
        batch["image_id"][row] = image_ids[row]
        batch["example_id"][row] = row
        batch["batch_valid"][row] = True
        _fill_detections(batch, row, table, np.array([hw[1] / width, hw[0] / height]))
    return batch


def _fill_detections(batch: dict[str, np.ndarray], row: int, table: Detections, scale_xy: np.ndarray) -> None:
    kept = strongest(table, batch["detections_score"].shape[1])
    slot = (row, slice(0, len(kept)))
    batch["detections_xyxy_px"][slot] = np.asarray(table["xyxy_px"])[kept] * np.tile(scale_xy, 2)
    batch["detections_class"][slot] = np.asarray(table["class"])[kept]
    batch["detections_score"][slot] = np.asarray(table["score"])[kept]
    batch["detections_valid"][slot] = True
    if "keypoints_px" in table:
        keypoints = np.asarray(table["keypoints_px"])[kept] * np.append(scale_xy, 1.0)
        batch["detections_keypoints_px"][slot] = np.where(keypoints[..., 2:] > 0, keypoints, 0.0)


def read_image(path: str | Path, *, max_bytes: int = 256 * MEGABYTE, max_pixels: int = 100_000_000) -> np.ndarray:
    """A picture file as [H, W, 3] uint8 RGB, turned upright as its EXIF orientation says.

    Raises:
      DataError: naming the file, when it is missing, too large, or no picture that Pillow can read whole.
    """
    data = read_bytes(path, max_bytes=max_bytes)
    return rgb_of(upright(open_picture(data, str(path), max_pixels=max_pixels)))
