"""Convert COCO's files to a custom dataset: boxes, masks, poses, and V-COCO's pairs.

    python -m data_prep.from_coco OUT.json --instances FILE … [--keypoints FILE …] [--pairs LABELS …]

Classes and verbs are V-COCO's, so that images with and without pairs form one dataset. LABELS are V-COCO's pairs in any
layout that `data_prep.check` supports; the boxes of a pair are matched with COCO's by class and IoU over 0.9. Crowd
regions are left out. Prints the numbers of images, boxes, masks, poses and pairs. Then:

    python -m data_prep.build own/coco --images DIR --annotations train=OUT.json --part-boxes
    python -m data_prep.show own/coco --out FOLDER
"""

import argparse
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hoi_jax import io
from hoi_jax.data.image_rows import image_number
from hoi_jax.evaluation.metrics.matching import pairwise_iou
from hoi_jax.formats.labels.custom import FORMAT
from hoi_jax.formats.labels.detect import open_labels
from hoi_jax.vocab.datasets import COCO_CATEGORY_IDS, VCOCO

SAME_BOX = 0.9
Rows = dict[int, dict[str, Any]]


def coco_rows(instances: Iterable[Path], keypoints: Iterable[Path] = ()) -> tuple[Rows, Rows]:
    """(images, annotations) by number, without crowd regions; poses are added to the boxes of their people.

    Raises:
      DataError: a row is malformed; the message names file and row.
    """
    images: Rows = {}
    objects: Rows = {}
    for path in (*instances, *keypoints):
        table = io.read_json(path)
        try:
            images |= {int(row["id"]): row for row in table["images"]}
            for row in table["annotations"]:
                if row.get("iscrowd"):
                    continue
                kept = {name: row[name] for name in ("id", "image_id", "category_id", "bbox")}
                kept |= {name: row[name] for name in ("segmentation",) if row.get(name)}
                if row.get("num_keypoints"):
                    kept["keypoints"] = row["keypoints"]
                objects[int(row["id"])] = {**objects.get(int(row["id"]), {}), **kept}
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise io.CorruptFileError(f"{path}: is not a COCO annotation file ({error!r})") from error
    return images, objects


def vcoco_pairs(objects: Rows, labels: Path) -> tuple[list[dict[str, Any]], int]:
    """(pairs of V-COCO's labels as rows of custom data, number of pairs with a box that COCO's annotations lack).

    Raises:
      DataError: the labels are not V-COCO's.
    """
    opened = open_labels(labels, dataset="vcoco")
    if opened.vocabulary_name != VCOCO.name:
        raise io.DataError(f"{labels}: labels use vocabulary {opened.vocabulary_name}, expected vcoco")
    of_image: dict[int, list[dict[str, Any]]] = {}
    for item in objects.values():
        of_image.setdefault(int(item["image_id"]), []).append(item)
    pairs: dict[tuple[int, int, int | None], list[str]] = {}
    lost = 0
    for row, name in enumerate(opened.names):
        number = image_number(Path(name))
        if number not in of_image:
            continue
        columns = opened.columns(row)
        found = _same_boxes(columns, of_image[number])
        for human, obj, verb in zip(
            columns["pairs_human"], columns["pairs_object"], columns["pairs_verb"], strict=True
        ):
            ends = found[human], None if obj < 0 else found[obj]
            if ends[0] is None or (obj >= 0 and ends[1] is None):
                lost += 1
                continue
            verbs = pairs.setdefault((number, ends[0], ends[1]), [])
            if VCOCO.verbs[verb] not in verbs:
                verbs.append(VCOCO.verbs[verb])
    rows = [{"image_id": i, "human": human, "object": obj, "verbs": v} for (i, human, obj), v in pairs.items()]
    return rows, lost


def _same_boxes(columns: Any, objects: Sequence[dict[str, Any]]) -> list[int | None]:
    """COCO's annotation number of every instance (same class, largest IoU, above `SAME_BOX`), or None."""
    xywh = np.array([obj["bbox"] for obj in objects], np.float64).reshape(-1, 4)
    overlap = pairwise_iou(
        np.asarray(columns["instances_xyxy_px"], np.float64),
        np.concatenate([xywh[:, :2], xywh[:, :2] + xywh[:, 2:]], 1),
    )
    classes = np.array([COCO_CATEGORY_IDS.index(obj["category_id"]) for obj in objects])
    overlap = np.where(classes[None] == np.asarray(columns["instances_class"])[:, None], overlap, 0)
    return [int(objects[row.argmax()]["id"]) if row.size and row.max() > SAME_BOX else None for row in overlap]


def custom_file(images: Rows, objects: Rows, pairs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Content of a custom label file with V-COCO's classes and verbs."""
    kept = ("id", "file_name", "height", "width")
    return {
        "format": FORMAT,
        "categories": [{"id": n, "name": name} for n, name in zip(COCO_CATEGORY_IDS, VCOCO.objects, strict=True)],
        "verbs": list(VCOCO.verbs),
        "images": [{name: row[name] for name in kept} for _, row in sorted(images.items())],
        "annotations": [row for _, row in sorted(objects.items())],
        "pairs": list(pairs),
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m data_prep.from_coco", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path, help="custom label file (JSON) to write")
    parser.add_argument("--instances", type=Path, nargs="+", required=True, help="instances_*.json, plain or .gz")
    parser.add_argument("--keypoints", type=Path, nargs="*", default=[], help="person_keypoints_*.json")
    parser.add_argument("--pairs", type=Path, nargs="*", default=[], help="V-COCO's labels")
    options = parser.parse_args(arguments)
    try:
        images, objects = coco_rows(options.instances, options.keypoints)
        pairs: list[dict[str, Any]] = []
        lost = 0
        for path in options.pairs:
            rows, missing = vcoco_pairs(objects, path)
            pairs, lost = pairs + rows, lost + missing
        io.write_json_atomic(options.out, custom_file(images, objects, pairs))
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    with_pairs = len({pair["image_id"] for pair in pairs})
    poses, masks = (sum(name in row for row in objects.values()) for name in ("keypoints", "segmentation"))
    print(
        f"{options.out}: {len(images)} images, {len(objects)} boxes, {masks} masks, {poses} poses; {len(pairs)} pairs "
        f"in {with_pairs} images" + (f", {lost} relations with boxes that COCO lacks left out" if lost else "")
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
