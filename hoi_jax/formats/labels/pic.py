"""PIC v2.0: relations between segmented people and objects, from `relations_<split>.json` and its PNG files.

The JSON is a list of {"name", "image_id", "relations": [{"subject", "object", "relation"}]}; ends are instance
numbers.
Somewhere below the dataset's folder lie, for every image, two 8-bit PNG files of its name: one below a folder
`semantic` (class 1..143 of every pixel, 0 = none) and one below a folder `instance` (instance number of every pixel).
Class of an instance is the largest class number among its pixels, as the official evaluator has it; its box is the
tightest one. Relations that name an instance without pixels, or whose subject is no human, are left out and listed.
"""

import functools
import io as memory
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Int
from PIL import Image, ImageDraw, UnidentifiedImageError

from hoi_jax import io
from hoi_jax.evaluation.metrics.pic import Scene
from hoi_jax.formats.labels.label_file import LabelFile
from hoi_jax.formats.labels.rows import Columns, instance_columns, pair_columns
from hoi_jax.io import MEGABYTE, CorruptFileError, MissingFileError, TooLargeError, read_bytes
from hoi_jax.vocab import get_vocabulary

MAX_PIXELS = 100_000_000
KINDS = ("semantic", "instance")


def is_relations(table: object) -> bool:
    """Whether parsed JSON has this layout."""
    first = table[0] if isinstance(table, list) and table else None
    return isinstance(first, dict) and {"name", "relations"} <= set(first)


def map_files(folder: Path) -> dict[tuple[str, str], Path]:
    """(kind, image's name without ending) -> PNG file, for all below `folder`."""
    found: dict[tuple[str, str], Path] = {}
    for path in sorted(folder.rglob("*.png")):
        for kind in KINDS:
            if kind in path.relative_to(folder).parts[:-1]:
                found.setdefault((kind, path.stem), path)
    return found


def read_map(path: Path) -> Int[np.ndarray, "h w"]:
    """A label map of one channel of 8 bits. Raises DataError naming the file."""
    data = read_bytes(path, max_bytes=64 * MEGABYTE)
    try:
        with Image.open(memory.BytesIO(data), formats=("PNG",)) as image:
            if image.width * image.height > MAX_PIXELS:
                raise TooLargeError(f"{path}: {image.width} x {image.height} pixels")
            # "P" holds the same numbers as "L", with colours to look at.
            if image.mode not in ("L", "P"):
                raise CorruptFileError(f"{path}: mode {image.mode}, expected one channel of 8 bits")
            return np.asarray(image).astype(np.int64)
    except (UnidentifiedImageError, OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise CorruptFileError(f"{path}: not a readable PNG ({error})") from error


def open_pic(table: Any, path: str | os.PathLike[str], folder: Path | None = None) -> LabelFile:
    """The file opened.

    Args:
      folder: where the PNG files are; None = the folder of the file, or the one above it when that one holds them.

    Raises:
      DataError: another layout, a record without a name, or no PNG files.
    """
    if not is_relations(table) or not all(isinstance(row, dict) for row in table):
        raise CorruptFileError(f"{path}: not PIC's layout: expected a list of images with 'name', 'relations'")
    here = Path(path).resolve().parent
    maps: dict[tuple[str, str], Path] = {}
    for place in [folder] if folder is not None else [here, here.parent]:
        maps = maps or map_files(place)
    if not maps:
        raise MissingFileError(f"{path}: no PNG files below folders named 'semantic' and 'instance' beside it")
    names = []
    for position, row in enumerate(table):
        if not isinstance(row.get("name"), str):
            raise CorruptFileError(f"{path}: record {position}: field 'name' is no text")
        names.append(Path(row["name"]).name)

    def scene(row: int) -> tuple[np.ndarray, np.ndarray]:
        for kind in KINDS:
            if (kind, Path(names[row]).stem) not in maps:
                raise MissingFileError(f"{path}: record {row} ({names[row]}): no {kind} map")
        semantic, instance = (read_map(maps[kind, Path(names[row]).stem]) for kind in KINDS)
        if semantic.shape != instance.shape:
            raise CorruptFileError(f"{path}: record {row} ({names[row]}): its two maps have different sizes")
        return semantic, instance

    numbers = [row.get("image_id") for row in table]
    distinct = all(isinstance(n, int) for n in numbers) and len(set(numbers)) == len(numbers)
    return LabelFile(
        os.fspath(path),
        "PIC",
        "pic",
        None,
        names,
        [int(n) for n in numbers] if distinct else list(range(len(names))),  # type: ignore[arg-type]
        [(0, 0)] * len(names),
        lambda row: pic_columns(table[row], *scene(row))[0],
        lambda row: pic_columns(table[row], *scene(row))[1],
    )


def pic_columns(
    record: Mapping[str, Any], semantic: Int[np.ndarray, "h w"], instance: Int[np.ndarray, "h w"]
) -> tuple[Columns, list[str]]:
    """(tables of one image with masks, what was left out).

    Raises:
      ValueError, KeyError, TypeError: a class or relation that does not exist, or a malformed relation.
    """
    vocabulary = get_vocabulary("pic")
    numbers = [int(n) for n in np.unique(instance) if n]
    classes, boxes, masks, row_of = [], [], [], {}
    for number in numbers:
        mask = instance == number
        label = int(semantic[mask].max())
        if not 0 <= label <= len(vocabulary.objects):
            raise ValueError(f"semantic map: class {label} of instance {number}")
        if label == 0:
            continue  # Pixels of an instance that are of no class say nothing.
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        row_of[number] = len(classes)
        classes.append(label - 1)
        boxes.append((columns[0], rows[0], columns[-1] + 1, rows[-1] + 1))
        masks.append(png_of_mask(mask))
    pairs, notes = [], []
    for place, relation in enumerate(record["relations"]):
        ends = [relation[name] for name in ("subject", "object")]
        verb = int(relation["relation"])
        if not 1 <= verb <= len(vocabulary.verbs):
            raise ValueError(f"relation {place}: field 'relation' is {verb}")
        if any(end not in row_of for end in ends):
            notes.append(f"relation {place}: instances {ends} are not both in the image")
        elif classes[row_of[ends[0]]] != vocabulary.human_class or ends[0] == ends[1]:
            notes.append(f"relation {place}: the subject is no human, or its own object")
        else:
            pairs.append((row_of[ends[0]], row_of[ends[1]], verb - 1))
    human, obj, verbs = np.array(pairs, np.int64).reshape(-1, 3).T
    columns = instance_columns(np.array(boxes, np.float64).reshape(-1, 4), np.array(classes, np.int64))
    columns |= {"instances_mask_png": masks, "instances_annotation_id": np.array(list(row_of), np.int64)}
    return columns | pair_columns(human, obj, verbs), notes


def png_of_mask(mask: np.ndarray) -> bytes:
    """A boolean mask [h, w] as an 8-bit PNG, 255 inside."""
    stream = memory.BytesIO()
    Image.fromarray(mask.astype(np.uint8) * 255).save(stream, "PNG")
    return stream.getvalue()


# COCO's three ways to write a mask: polygons, run lengths, and run lengths packed into text.
#
# Run lengths count pixels column by column, beginning with those outside. Polygons are filled by Pillow, which differs
# from COCO's own code by pixels on the outline.


def unpacked_counts(text: str | bytes) -> list[int]:
    """Run lengths of the packed form: 5 bits a character from "0" on, bit 6 = goes on, signed; from the third run on
    the difference to the one two places before.

    Raises:
      ValueError: the text ends within a number, or holds other characters.
    """
    data = text.encode("ascii", "strict") if isinstance(text, str) else text
    counts: list[int] = []
    value, shift = 0, 0
    for byte in data:
        bits = byte - 48
        if not 0 <= bits < 64 or shift > 30:
            raise ValueError("packed run lengths hold an impossible character")
        value |= (bits & 31) << shift
        shift += 5
        if bits & 32:
            continue
        if bits & 16:
            value -= 1 << shift
        counts.append(value + counts[-2] if len(counts) > 2 else value)
        value, shift = 0, 0
    if shift:
        raise ValueError("packed run lengths end within a number")
    return counts


def mask_of_counts(counts: Sequence[int], hw: tuple[int, int]) -> Bool[np.ndarray, "h w"]:
    """A mask from run lengths. Raises ValueError where they do not fill the image."""
    height, width = hw
    runs = np.asarray(counts, np.int64)
    if runs.ndim != 1 or (runs < 0).any() or runs.sum() != height * width:
        raise ValueError(f"run lengths do not add up to {height} x {width} pixels")
    return np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape(width, height).T


def mask_of_segmentation(segmentation: Any, hw: tuple[int, int]) -> Bool[np.ndarray, "h w"]:
    """A mask from the field `segmentation` of an annotation, in an image of `hw` = (height, width).

    Raises:
      ValueError, TypeError, KeyError: malformed, or of another size than the image.
    """
    height, width = hw
    if height < 1 or width < 1 or height * width > MAX_PIXELS:
        raise ValueError(f"field 'segmentation' needs an image with a size, it has {height} x {width}")
    if isinstance(segmentation, Mapping):
        if list(segmentation["size"]) != [height, width]:
            raise ValueError(f"field 'segmentation' is of size {segmentation['size']}, the image {[height, width]}")
        counts = segmentation["counts"]
        return mask_of_counts(unpacked_counts(counts) if isinstance(counts, str) else counts, hw)
    canvas = Image.new("1", (width, height))
    draw = ImageDraw.Draw(canvas)
    for polygon in segmentation:
        points = np.asarray(polygon, np.float64).reshape(-1, 2)
        if len(points) < 3 or not np.isfinite(points).all() or np.abs(points).max() > 1e6:
            raise ValueError("field 'segmentation' holds a polygon without three finite corners")
        draw.polygon([(float(x), float(y)) for x, y in points], fill=1)
    return np.asarray(canvas)


def _pic_table(path: Path) -> tuple[Path, list[dict[str, Any]]]:
    """The list of relations at `path`, or of the only one in the folder `path`."""
    if path.is_dir():
        lists = sorted(path.glob("relations*.json"))
        if len(lists) != 1:
            raise MissingFileError(f"{path}: {len(lists)} files relations*.json, expected one")
        path = lists[0]
    table = io.read_json(path)
    if not is_relations(table) or not all(isinstance(row, dict) for row in table):
        raise CorruptFileError(f"{path}: not PIC's layout: expected a list of images with 'name', 'relations'")
    return path, table


class LazyScene(NamedTuple):
    """Number of relations of an image, and a function that reads its scene."""

    relations: int
    read: Callable[[], Scene]


def pic_scenes(path: str | os.PathLike[str]) -> dict[str, LazyScene]:
    """Image's name without ending -> its scene, read when it is asked for.

    Args:
      path: `relations_<split>.json` with folders `semantic` and `instance` beside it, or the folder of these.

    Raises:
      io.DataError: naming the file; scenes raise it when a map is absent or damaged.
    """
    file, table = _pic_table(Path(path))
    maps = map_files(file.resolve().parent) or map_files(file.resolve().parent.parent)

    def scene(position: int, record: dict[str, Any], stem: str) -> Scene:
        if absent := [kind for kind in KINDS if (kind, stem) not in maps]:
            raise MissingFileError(f"{file}: record {position} ({stem}): no {absent[0]} map")
        semantic, instance = (read_map(maps[kind, stem]) for kind in KINDS)
        try:
            rows = [[int(r[k]) for k in ("subject", "object", "relation")] for r in record["relations"]]
            scores = [float(r.get("score", 1.0)) for r in record["relations"]]
        except (KeyError, TypeError, ValueError) as error:
            raise CorruptFileError(f"{file}: record {position} ({stem}): relations are malformed ({error})") from error
        return Scene(semantic, instance, np.array(rows, np.int64).reshape(-1, 3), np.array(scores))

    found: dict[str, LazyScene] = {}
    for position, record in enumerate(table):
        if not isinstance(record.get("name"), str) or not isinstance(record["relations"], list):
            raise CorruptFileError(f"{file}: record {position}: no text in 'name', or no list in 'relations'")
        stem = Path(record["name"]).stem
        found[stem] = LazyScene(len(record["relations"]), functools.partial(scene, position, record, stem))
    return found
