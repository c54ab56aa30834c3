"""NumPy batches without tf.data: from images and detections for prediction, and of zeros for initialisation."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from hoi_jax import schema
from hoi_jax.data.changes import plain_changes
from hoi_jax.data.pixels import change_image, open_image, rgb_of, upright
from hoi_jax.data.settings import SizeSettings
from hoi_jax.io import MEGABYTE, read_bytes
from hoi_jax.vocab import Vocabulary

Detections = Mapping[str, np.ndarray]
"""Columns without their prefix, N rows each: xyxy_px [N, 4] and keypoints_px [N, 17, 3] in pixels of the image,
class [N], score [N]. keypoints_px and faces_xyxy_px [M, 4], the faces of the image, are optional."""


def shape_of(image: np.ndarray, sizes: SizeSettings) -> int:
    """Index of the static shape (`sizes.shapes`) of an image [H, W, 3]."""
    return int(plain_changes(np.array([image.shape[:2]]), sizes).shape[0])


def strongest(detections: Detections, count: int) -> np.ndarray:
    """Rows of the `count` highest scores, best first; ties in row order."""
    return np.argsort(-np.asarray(detections["score"]), kind="stable")[:count]


def _empty(batch: int, image_hw: tuple[int, int], tables: SizeSettings) -> dict[str, np.ndarray]:
    sizes = {"H": image_hw[0], "W": image_hw[1], "D": tables.detections, "U": tables.faces}
    names = ["image", "faces_xyxy_px", *sorted(schema.ALWAYS_PRESENT)]
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
    sizes: SizeSettings,
    *,
    image_ids: Sequence[int],
    batch_size: int | None = None,
) -> dict[str, np.ndarray]:
    """Host batch with all fields that prediction may need.

    Images are resized and padded as in evaluation (`changes.plain_changes`, `pixels.change_image`), with their boxes
    and keypoints. Each image has its `sizes.detections` best-scored detections.

    Args:
      images: [H, W, 3] uint8 each, all for the same static shape (`shape_of`).
      detections: one table per image, in pixels of that image.
      image_ids: image numbers.
      batch_size: at least len(images); the batch is padded with rows of `batch_valid` False.

    Returns:
      Fields of `schema.BATCH_FIELDS`: the image, its sizes and ids, and `detections_*` except masks.

    Raises:
      ValueError: lists differ in length, images in static shape, or an image is not [H, W, 3] uint8.
    """
    size = len(images) if batch_size is None else batch_size
    if not len(images) == len(detections) == len(image_ids) or size < len(images):
        raise ValueError(
            f"{len(images)} images, {len(detections)} detection tables, {len(image_ids)} ids, batch of {size}"
        )
    for row, image in enumerate(images):
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or not image.size:
            raise ValueError(f"image {row} is {image.shape} {image.dtype}, expected [H, W, 3] uint8")
    original = np.array([image.shape[:2] for image in images], np.int64).reshape(-1, 2)
    changes = plain_changes(original, sizes)
    shapes = np.unique(changes.shape)
    if len(shapes) > 1:
        raise ValueError(f"images of {len(shapes)} static shapes in one batch; group them by `shape_of`")
    shape_hw = sizes.shapes[shapes[0] if len(shapes) else 0]
    batch = _empty(size, shape_hw, sizes)
    batch["image_hw_px"][:] = batch["original_hw_px"][:] = 1  # padding rows must not cause division by zero
    for row, (image, table) in enumerate(zip(images, detections, strict=True)):
        batch["image"][row] = change_image(
            image, flip=False, colours=changes.colours[row], colour_order=0, first_hw=changes.first_hw[row],
            window=changes.window[row], hw=changes.hw[row], shape_hw=np.array(shape_hw),
            interpolation=sizes.interpolation,
        )  # fmt: skip
        batch["image_hw_px"][row] = changes.hw[row]
        batch["original_hw_px"][row] = original[row]
        batch["image_id"][row] = image_ids[row]
        batch["example_id"][row] = row
        batch["batch_valid"][row] = True
        # Single precision, as in the pipeline.
        scale_xy = (changes.hw[row].astype(np.float32) / original[row].astype(np.float32))[::-1]
        _fill_detections(batch, row, table, scale_xy)
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
    if "faces_xyxy_px" in table:
        faces = np.asarray(table["faces_xyxy_px"])[: batch["faces_xyxy_px"].shape[1]]
        batch["faces_xyxy_px"][row, : len(faces)] = faces * np.tile(scale_xy, 2)


def read_image(path: str | Path, *, max_bytes: int = 256 * MEGABYTE, max_pixels: int = 100_000_000) -> np.ndarray:
    """An image file as [H, W, 3] uint8 RGB, turned upright by its EXIF orientation.

    Raises:
      DataError: the file is missing, too large, or not an image that Pillow can read completely; the message names it.
    """
    data = read_bytes(path, max_bytes=max_bytes)
    return rgb_of(upright(open_image(data, str(path), max_pixels=max_pixels)))


def blank_batch(
    needs: Iterable[str],
    sizes: SizeSettings,
    vocabulary: Vocabulary,
    batch_size: int = 1,
    map_shape: tuple[int, int, int] | None = None,
    num_actions: int | None = None,
) -> dict[str, np.ndarray]:
    """Batch of zeros in the shapes and dtypes of a pipeline's batches of the first static shape.

    It has the fields of `needs` and those that every batch has.

    Args:
      num_actions: number of actions of the records, if they are labelled with another vocabulary's actions.
      map_shape: shape (y, x, F) of a cached feature map, if `needs` has "image_features".

    Raises:
      schema.SchemaError: a field is unknown, or has an axis whose length these arguments do not determine.
    """
    shape = sizes.shapes[0]
    grid = sizes.mask_grid(shape)
    lengths = {
        "H": shape[0], "W": shape[1], "h": grid[0], "w": grid[1],
        "G": sizes.instances, "D": sizes.detections, "P": sizes.pairs, "N": max(sizes.persons, 1),
        "U": sizes.faces,
        "V": len(vocabulary.verbs), "C": len(vocabulary.hois),
        "A": len(vocabulary.actions) if num_actions is None else num_actions,
        **dict(zip("yxF", map_shape or (), strict=False)),
    }  # fmt: skip
    names = frozenset(needs) | schema.ALWAYS_PRESENT
    schema.check_names(names, schema.BATCH_FIELDS, "needed fields")
    batch = {}
    for name in sorted(names):
        field = schema.BATCH_FIELDS[name]
        if unknown := [axis for axis in field.axes if isinstance(axis, str) and axis not in lengths]:
            raise schema.SchemaError(f"{name}: the length of axis {unknown[0]!r} is unknown")
        axes = tuple(axis if isinstance(axis, int) else lengths[axis] for axis in field.axes)
        batch[name] = np.zeros((batch_size, *axes), field.dtype)
    return batch
