"""Draw the annotations of people in a built dataset: masks, poses, body-part boxes, and network maps.

    python -m data_prep.show NAME --out FOLDER [--data-dir DIR] [--split SPLIT] [--images N] [--only-pairs]

Writes one PNG for each image with at least one pose. From left to right: masks and boxes of all instances; skeletons
with the ten part boxes of the build (`--part-boxes`); the cells of stride 32 under each merged part, as in the token
masks of body_part; and for the first pair (or the first person with a pose) TIN's two box maps and its pose map.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")

import jax
import numpy as np
from jaxtyping import Bool, Float
from PIL import Image

from hoi_jax import io, schema
from hoi_jax.data.pixels import open_image, rgb_of
from hoi_jax.data.records import RecordFiles, read_meta
from hoi_jax.ops.raster import pair_maps
from hoi_jax.ops.token_masks import cells_under_boxes
from hoi_jax.schema import PART_TO_MERGED
from hoi_jax.visualization import poses as people
from hoi_jax.vocab import get_vocabulary

STRIDE = 32
_pair_maps = jax.jit(pair_maps)
Record = dict[str, Any]


def masks_of(record: Record) -> Bool[np.ndarray, "n h w"]:
    """Masks in pixels of the image; all False for an instance without mask."""
    height, width = np.asarray(record["original_hw_px"]).tolist()
    masks = np.zeros((len(record["instances_class"]), height, width), bool)
    for row, png in enumerate(record["instances_mask_png"]):
        if png:
            masks[row] = np.asarray(open_image(png, str(record["file_name"])).convert("L")) > 0
    return masks


def merged_cells(
    parts_xyxy_px: Float[np.ndarray, "n 10 4"], height: int, width: int, stride: int = STRIDE
) -> Bool[np.ndarray, "6 rows columns"]:
    """Cells under each merged part of all people (body_part, Eq. 1), without parts of no area."""
    rows, columns = -(-height // stride), -(-width // stride)
    merged = np.zeros((schema.NUM_MERGED_PARTS, rows, columns), bool)
    if len(parts_xyxy_px):
        cells = np.asarray(cells_under_boxes(parts_xyxy_px, rows, columns, stride=stride, rule="corner"))
        there = (parts_xyxy_px[..., 2:] > parts_xyxy_px[..., :2]).all(-1)
        seen = (cells.reshape(*there.shape, rows, columns) & there[..., None, None]).any(0)
        for part, into in enumerate(PART_TO_MERGED):
            merged[into] |= seen[part]
    return merged


def pair_of(record: Record) -> tuple[int, int]:
    """Human and object rows for the maps: the first pair with a posed human, else the first posed person twice."""
    posed = (np.asarray(record["instances_keypoints_px"])[..., 2] > 0).any(-1)
    for human, obj in zip(record["pairs_human"], record["pairs_object"], strict=True):
        if posed[human] and obj >= 0:
            return int(human), int(obj)
    return (int(np.flatnonzero(posed)[0]),) * 2


def maps_of(record: Record) -> Float[np.ndarray, "3 64 64"]:
    """Maps of human box, object box and pose, as in TIN's spatial stream."""
    human, obj = pair_of(record)
    boxes = np.asarray(record["instances_xyxy_px"], np.float32)
    keypoints = np.asarray(record["instances_keypoints_px"], np.float32)[human]
    return np.moveaxis(np.asarray(_pair_maps(boxes[human], boxes[obj], keypoints), np.float32), -1, 0)


def page(record: Record, human_class: int) -> Image.Image:
    """All panels of one record."""
    image = rgb_of(open_image(record["image"], str(record["file_name"])))
    classes = np.asarray(record["instances_class"])
    keypoints = np.asarray(record["instances_keypoints_px"])
    posed = (keypoints[..., 2] > 0).any(-1)
    parts = np.where(posed[:, None, None], np.asarray(record["instances_parts_xyxy_px"]), 0)
    maps = maps_of(record)
    return people.panels(
        {
            "masks and boxes": people.draw_masks(
                image, masks_of(record), classes == human_class, np.asarray(record["instances_xyxy_px"])
            ),
            "poses and ten part boxes": people.draw_poses(image, keypoints[posed], parts[posed]),
            "cells of the merged parts": people.draw_part_cells(
                image, merged_cells(parts[posed], *image.shape[:2]), STRIDE
            ),
            "human, object": people.draw_map(np.clip(0.5 * maps[0] + maps[1], 0, 1), 256),
            "pose map": people.draw_map(maps[2], 256),
        }
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m data_prep.show", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("name", help="built dataset, for example own/coco or hoi_scenes/tiny")
    parser.add_argument("--out", type=Path, required=True, help="folder for the PNG files")
    parser.add_argument("--data-dir", "--data_dir", default="data", help="folder of built datasets (default: data)")
    parser.add_argument("--split", default="train")
    parser.add_argument("--images", type=int, default=20, help="maximum number of images (default: 20)")
    parser.add_argument("--only-pairs", action="store_true", help="only images with pairs")
    options = parser.parse_args(arguments)
    directory = Path(options.data_dir) / options.name
    drawn = 0
    try:
        files = RecordFiles(directory, options.split)
        human_class = get_vocabulary(str(read_meta(directory)["pairs_vocabulary"])).human_class
        for record in files.numpy_records():
            wanted = (np.asarray(record["instances_keypoints_px"])[..., 2] > 0).any()
            if drawn == options.images:
                break
            if not wanted or (options.only_pairs and not len(record["pairs_human"])):  # type: ignore[arg-type]
                continue
            name = Path(bytes(record["file_name"]).decode()).stem  # type: ignore[arg-type]
            options.out.mkdir(parents=True, exist_ok=True)
            page(record, human_class).save(options.out / f"{name}.png")
            drawn += 1
    except (io.DataError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"{options.out}: {drawn} images of {files.num_examples} drawn")
    return 0


if __name__ == "__main__":
    sys.exit(main())
