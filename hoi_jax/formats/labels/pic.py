"""PIC v2.0: relations between segmented people and objects, from `relations_<split>.json` and its PNG files.

The JSON is a list of {"name", "image_id", "relations": [{"subject", "object", "relation"}]}; subject and object are
instance numbers. Every image has two 8-bit PNG files of its name in the dataset's folder: one below a folder `semantic`
(class 1..143 of every pixel, 0 = none) and one below a folder `instance` (instance number of every pixel). The class
of an instance is the largest class number among its pixels, as in the official evaluator; its box is the tightest one.
Relations that name an instance without pixels, or whose subject is not a human, are left out and listed.
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
    """(kind, image name without suffix) -> PNG file, for all PNG files below `folder`."""
    found: dict[tuple[str, str], Path] = {}
    for path in sorted(folder.rglob("*.png")):
        for kind in KINDS:
            if kind in path.relative_to(folder).parts[:-1]:
                found.setdefault((kind, path.stem), path)
    return found


def read_map(path: Path) -> Int[np.ndarray, "h w"]:
    """Label map from a PNG file with one 8-bit channel. Raises DataError naming the file."""
    data = read_bytes(path, max_bytes=64 * MEGABYTE)
    try:
        with Image.open(memory.BytesIO(data), formats=("PNG",)) as image:
            if image.width * image.height > MAX_PIXELS:
                raise TooLargeError(f"{path}: {image.width} x {image.height} pixels")
            # "P" has the same numbers as "L", plus a colour palette for display.
            if image.mode not in ("L", "P"):
                raise CorruptFileError(f"{path}: mode is {image.mode}, expected one channel of 8 bits")
            return np.asarray(image).astype(np.int64)
    except (UnidentifiedImageError, OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise CorruptFileError(f"{path}: is not a readable PNG ({error})") from error


def open_pic(table: Any, path: str | os.PathLike[str], folder: Path | None = None) -> LabelFile:
    """Open a relations file.

    Args:
      folder: folder of the PNG files; None = the folder of the file, or its parent if that contains them.

    Raises:
      DataError: the layout is another one, a record has no name, or there are no PNG files.
    """
    if not is_relations(table) or not all(isinstance(row, dict) for row in table):
        raise CorruptFileError(f"{path}: is not in PIC's layout; expected a list of images with 'name', 'relations'")
    here = Path(path).resolve().parent
    maps: dict[tuple[str, str], Path] = {}
    for place in [folder] if folder is not None else [here, here.parent]:
        maps = maps or map_files(place)
    if not maps:
        raise MissingFileError(f"{path}: there are no PNG files in folders 'semantic' and 'instance' beside it")
    names = []
    for position, row in enumerate(table):
        if not isinstance(row.get("name"), str):
            raise CorruptFileError(f"{path}: record {position}: field 'name' is not a string")
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
    """(tables of one image with masks, descriptions of the relations left out).

    Raises:
      ValueError, KeyError, TypeError: a class or relation does not exist, or a relation is malformed.
    """
    vocabulary = get_vocabulary("pic")
    numbers = [int(n) for n in np.unique(instance) if n]
    classes, boxes, masks, row_of = [], [], [], {}
    for number in numbers:
        mask = instance == number
        label = int(semantic[mask].max())
        if not 0 <= label <= len(vocabulary.objects):
            raise ValueError(f"semantic map: class {label} of instance {number} does not exist")
        if label == 0:
            continue  # the instance has no class
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
            raise ValueError(f"relation {place}: field 'relation' is {verb}, which does not exist")
        if any(end not in row_of for end in ends):
            notes.append(f"relation {place}: instances {ends} are not both in the image")
        elif classes[row_of[ends[0]]] != vocabulary.human_class or ends[0] == ends[1]:
            notes.append(f"relation {place}: the subject is not a human, or is its own object")
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


# COCO's three mask encodings: polygons, run lengths, and run lengths packed into a string.
#
# Run lengths count pixels column by column, beginning with those outside. Polygons are filled by Pillow, which differs
# from COCO's own code by pixels on the outline.


def unpacked_counts(text: str | bytes) -> list[int]:
    """Run lengths from the packed encoding.

    Each character, counted from "0", has 5 bits of a signed number; bit 6 = the number continues. From the fourth run
    on, a number is the difference to the run two places before.

    Raises:
      ValueError: the string ends within a number, or has other characters.
    """
    data = text.encode("ascii", "strict") if isinstance(text, str) else text
    counts: list[int] = []
    value, shift = 0, 0
    for byte in data:
        bits = byte - 48
        if not 0 <= bits < 64 or shift > 30:
            raise ValueError("packed run lengths contain an invalid character")
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
    """Mask from run lengths. Raises ValueError if they do not fill the image."""
    height, width = hw
    runs = np.asarray(counts, np.int64)
    if runs.ndim != 1 or (runs < 0).any() or runs.sum() != height * width:
        raise ValueError(f"run lengths do not add up to {height} x {width} pixels")
    return np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape(width, height).T


def mask_of_segmentation(segmentation: Any, hw: tuple[int, int]) -> Bool[np.ndarray, "h w"]:
    """Mask from the field `segmentation` of an annotation, in an image of `hw` = (height, width).

    Raises:
      ValueError, TypeError, KeyError: the field is malformed or does not have the size of the image.
    """
    height, width = hw
    if height < 1 or width < 1 or height * width > MAX_PIXELS:
        raise ValueError(f"field 'segmentation' needs the size of the image, which is {height} x {width}")
    if isinstance(segmentation, Mapping):
        if list(segmentation["size"]) != [height, width]:
            raise ValueError(f"field 'segmentation' has size {segmentation['size']}, the image has {[height, width]}")
        counts = segmentation["counts"]
        return mask_of_counts(unpacked_counts(counts) if isinstance(counts, str) else counts, hw)
    canvas = Image.new("1", (width, height))
    draw = ImageDraw.Draw(canvas)
    for polygon in segmentation:
        points = np.asarray(polygon, np.float64).reshape(-1, 2)
        if len(points) < 3 or not np.isfinite(points).all() or np.abs(points).max() > 1e6:
            raise ValueError("field 'segmentation' has a polygon without three finite corners")
        draw.polygon([(float(x), float(y)) for x, y in points], fill=1)
    return np.asarray(canvas)


def _pic_table(path: Path) -> tuple[Path, list[dict[str, Any]]]:
    """(file, its list of relations), where `path` is that file or a folder with a single one."""
    if path.is_dir():
        lists = sorted(path.glob("relations*.json"))
        if len(lists) != 1:
            raise MissingFileError(f"{path}: there are {len(lists)} files relations*.json, expected one")
        path = lists[0]
    table = io.read_json(path)
    if not is_relations(table) or not all(isinstance(row, dict) for row in table):
        raise CorruptFileError(f"{path}: is not in PIC's layout; expected a list of images with 'name', 'relations'")
    return path, table


class LazyScene(NamedTuple):
    """Number of relations of an image, and a function that reads its scene."""

    relations: int
    read: Callable[[], Scene]


def pic_scenes(path: str | os.PathLike[str]) -> dict[str, LazyScene]:
    """Image name without suffix -> its scene, which is read on demand.

    Args:
      path: `relations_<split>.json` with folders `semantic` and `instance` beside it, or the folder of these.

    Raises:
      io.DataError: the file is malformed; scenes raise it when a map is absent or malformed.
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
            raise CorruptFileError(f"{file}: record {position}: 'name' is not a string, or 'relations' is not a list")
        stem = Path(record["name"]).stem
        found[stem] = LazyScene(len(record["relations"]), functools.partial(scene, position, record, stem))
    return found
