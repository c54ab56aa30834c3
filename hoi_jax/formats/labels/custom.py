"""Custom datasets: a COCO file with pairs of people and objects and their verbs; an example is in `docs/data.md`.

    {"format": "hoi_jax",
     "categories": [{"id": 1, "name": "person"}, {"id": 2, "name": "cup"}],
     "verbs": ["hold", "drink_from"],
     "hois": [["hold", "cup"], ["drink_from", "cup"]],              optional: the classes that are scored
     "images": [{"id": 7, "file_name": "a.jpg", "width": 640, "height": 480}],
     "annotations": [{"id": 1, "image_id": 7, "category_id": 1, "bbox": [x, y, width, height],
                      "keypoints": [17 times x, y, v], "face": [x, y, width, height],
                      "parts": [ten boxes], "segmentation": polygons or RLE}],             the last four optional
     "pairs": [{"image_id": 7, "human": 1, "object": 2, "verbs": ["hold"], "part_states": [...]}]}

`object` is null for an action without an object. COCO's tools can read the files. Where the categories and verbs are
those of a dataset (HICO-DET, V-COCO, HOI-W, PIC), the labels use its vocabulary; else the file itself is the class
table ("file:PATH", `hoi_jax.vocab.custom`), of which a build writes a small copy that configs can refer to.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from hoi_jax import schema
from hoi_jax.formats.labels.label_file import LabelFile
from hoi_jax.formats.labels.pic import mask_of_segmentation, png_of_mask
from hoi_jax.formats.labels.rows import Columns, instance_columns, pair_columns, whole_numbers
from hoi_jax.io import CorruptFileError
from hoi_jax.vocab import Vocabulary, get_vocabulary
from hoi_jax.vocab.custom import PREFIX, custom_vocabulary

FORMAT = "hoi_jax"
KNOWN = ("hico_det", "vcoco", "hoi_w", "pic", "hoi_scenes")


def is_custom(table: object) -> bool:
    """Whether parsed JSON has this layout."""
    return isinstance(table, dict) and {"images", "annotations", "categories", "pairs"} <= set(table)


def vocabulary_of(table: Mapping[str, Any], path: str | os.PathLike[str]) -> Vocabulary:
    """Vocabulary of the file: that of a dataset with the same classes, else one named "file:PATH".

    Raises:
      CorruptFileError: a field is malformed; the message names it.
    """
    try:
        own = custom_vocabulary(f"{PREFIX}{os.fspath(path)}", table)
    except ValueError as error:
        raise CorruptFileError(str(error)) from error
    for name in KNOWN:
        known = get_vocabulary(name)
        if (own.objects, own.verbs) == (known.objects, known.verbs) and own.hois in ((), known.hois):
            return known
    return own


def open_custom(table: Any, path: str | os.PathLike[str], vocabulary_name: str | None = None) -> LabelFile:
    """Open a custom label file.

    Args:
      vocabulary_name: name of a custom class table ("file:PATH"); None = the classes must be those of a dataset.

    Raises:
      CorruptFileError: the file is malformed; the message names record and field.
    """
    if not is_custom(table) or not all(
        isinstance(table[name], list) for name in ("images", "annotations", "categories", "pairs")
    ):
        raise CorruptFileError(f"{path}: images, annotations, categories and pairs of custom data must be lists")
    vocabulary = vocabulary_of(table, path)
    images, of_image = table["images"], {}
    names, sizes = [], []
    for position, image in enumerate(images):
        where = f"{path}: images {position}"
        try:
            number = image["id"]
            if not isinstance(number, int) or isinstance(number, bool):
                raise ValueError("field 'id' is not a whole number")
            if number in of_image:
                raise ValueError(f"id {number} occurs twice")
            of_image[number] = ([], [])
            names.append(Path(str(image["file_name"])).name)
            sizes.append((int(image.get("height", 0)), int(image.get("width", 0))))
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise CorruptFileError(f"{where}: malformed ({error!r})") from error
    for place, field in enumerate(("annotations", "pairs")):
        for position, row in enumerate(table[field]):
            number = row.get("image_id") if isinstance(row, dict) else None
            if not isinstance(number, int) or number not in of_image:
                raise CorruptFileError(f"{path}: {field} {position}: unknown 'image_id' {str(number)[:40]}")
            of_image[number][place].append(row)
    categories = {row.get("id"): index for index, row in enumerate(table["categories"])}
    return LabelFile(
        os.fspath(path),
        "own data",
        vocabulary_name or vocabulary.name,
        None,
        names,
        [image["id"] for image in images],
        sizes,
        lambda row: _columns(of_image[images[row]["id"]], sizes[row], categories, vocabulary),
    )


def _columns(
    annotated: tuple[list, list], hw: tuple[int, int], categories: Mapping[Any, int], vocabulary: Vocabulary
) -> Columns:
    """Columns of one image; `annotated` is (annotations, pairs) of it."""
    annotations, pairs = annotated
    ids = [row["id"] for row in annotations]
    row_of = {number: row for row, number in enumerate(ids)}
    if len(row_of) != len(ids):
        raise ValueError("field 'id' of annotations occurs twice")
    unknown = [row["category_id"] for row in annotations if row["category_id"] not in categories]
    if unknown:
        raise ValueError(f"field 'category_id' is {unknown[0]!r}, which is not a category of the file")
    classes = np.array([categories[row["category_id"]] for row in annotations], np.int64)
    columns = instance_columns(_corners([row["bbox"] for row in annotations]), classes, whole_numbers(ids))
    columns |= _extras(annotations, hw)
    rows, states = [], []
    for pair in pairs:
        human, obj = (None if pair.get(end) is None else row_of[pair[end]] for end in ("human", "object"))
        if human is None or classes[human] != vocabulary.human_class:
            raise ValueError(f"field 'human' is {pair.get('human')!r}, not an annotated {vocabulary.objects[0]}")
        for verb in pair["verbs"]:
            if verb not in vocabulary.verbs:
                raise ValueError(f"field 'verbs' has {verb!r}, which is not a verb of the file")
            rows.append((human, -1 if obj is None else obj, vocabulary.verbs.index(verb)))
            states.append(pair.get("part_states") or [-1] * schema.NUM_PARTS)
    human, obj, verb = np.array(rows, np.int64).reshape(-1, 3).T
    part_states = whole_numbers(states).reshape(-1, schema.NUM_PARTS).astype(np.int32)
    if not np.isin(part_states, (-1, 0, 1)).all():
        raise ValueError("field 'part_states' has numbers other than 1, 0, -1")
    return columns | pair_columns(human, obj, verb) | {"pairs_part_states": part_states}


def _corners(xywh: object) -> np.ndarray:
    boxes = np.asarray(xywh, np.float64).reshape(-1, 4)
    return np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], 1)


def _extras(annotations, hw: tuple[int, int]) -> Columns:
    count = len(annotations)
    keypoints = np.zeros((count, schema.NUM_KEYPOINTS, 3), np.float32)
    faces, parts = np.zeros((count, 4), np.float32), np.zeros((count, schema.NUM_PARTS, 4), np.float32)
    masks = [b""] * count
    for row, annotation in enumerate(annotations):
        if annotation.get("keypoints") is not None:
            keypoints[row] = keypoints_of(annotation["keypoints"])
        if annotation.get("face") is not None:
            faces[row] = _corners([annotation["face"]])[0]
        if annotation.get("parts") is not None:
            parts[row] = _corners(annotation["parts"])
        if annotation.get("segmentation"):
            masks[row] = png_of_mask(mask_of_segmentation(annotation["segmentation"], hw))
    for name, values in (("keypoints", keypoints), ("face", faces), ("parts", parts)):
        if not np.isfinite(values).all():
            raise ValueError(f"field {name!r} is not finite")
    return {
        "instances_keypoints_px": keypoints,
        "instances_face_xyxy_px": faces,
        "instances_parts_xyxy_px": parts,
        "instances_mask_png": masks,
    }


def keypoints_of(values: object) -> np.ndarray:
    """COCO's 17 times (x, y, v) as [17, 3] with scores: v of an annotation (2 seen, 1 hidden, 0 absent) over 2.

    Detector scores between 0 and 1 are recognised by none exceeding 1 and are unchanged. Absent joints become zeros.
    """
    table = np.asarray(values, np.float64).reshape(schema.NUM_KEYPOINTS, 3)
    scores = table[:, 2] / 2 if table[:, 2].max() > 1 else table[:, 2]
    scores = np.clip(scores, 0, 1)
    return np.where(scores[:, None] > 0, np.c_[table[:, :2], scores], 0).astype(np.float32)
