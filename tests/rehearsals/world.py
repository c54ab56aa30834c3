"""Mini copies of the datasets under the names that the recipes use, in their true formats on disk.

Images lie, stand and are as elongated as HICO-DET's most extreme one; every image has two people (one with a bicycle),
boxes of a detector with one false alarm, poses, and faces.
"""

import json
import pickle
from pathlib import Path

import numpy as np
from PIL import Image

from hoi_jax.vocab import get_vocabulary
from hoi_jax.vocab.datasets import COCO_CATEGORY_IDS, OBJECTS_ALPHABETICAL

SIZES = ((427, 640), (640, 427), (480, 640), (213, 640), (640, 480), (375, 500), (500, 333), (640, 640))
"""Height and width of the images of a split, over and over."""
TRAIN, TEST = 16, 8


def person_boxes(height, width):
    """Two people and the first one's bicycle, xyxy pixels."""
    unit = np.array([width, height, width, height])
    return unit * [[0.1, 0.1, 0.4, 0.95], [0.55, 0.2, 0.9, 0.9], [0.12, 0.45, 0.5, 0.99]]


def pose(box):
    """A standing person of 17 joints in a box, x, y, score."""
    shape = [
        (0.5, 0.1), (0.45, 0.08), (0.55, 0.08), (0.4, 0.1), (0.6, 0.1), (0.3, 0.25), (0.7, 0.25), (0.2, 0.4),
        (0.8, 0.4), (0.2, 0.55), (0.8, 0.55), (0.4, 0.55), (0.6, 0.55), (0.4, 0.75), (0.6, 0.75), (0.4, 0.95),
        (0.6, 0.95),
    ]  # fmt: skip
    low, size = box[:2], box[2:] - box[:2]
    return np.concatenate([low + np.array(shape) * size, np.full((17, 1), 0.9)], axis=1)


def face(box):
    low, size = box[:2], box[2:] - box[:2]
    return np.concatenate([low + [0.35, 0.02] * size, low + [0.65, 0.18] * size])


def photograph(path: Path, hw, seed):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (8, 8, 3)).astype(np.uint8)
    Image.fromarray(pixels).resize((hw[1], hw[0]), Image.Resampling.BICUBIC).save(path, "JPEG", quality=85)


def xywh(box):
    return [float(v) for v in (*box[:2], *(box[2:] - box[:2]))]


class Found:
    """What detectors and pose estimators say of one split's images, in the formats that people publish."""

    def __init__(self, seed: int, alphabetical: bool):
        self.alphabetical = alphabetical
        self.rng = np.random.default_rng(seed)
        self.folder, self.alphapose, self.faces = {}, [], []
        self.tested, self.negatives, self.annotated = {}, {}, []

    def add(self, name: str, number: int, hw):
        boxes = person_boxes(*hw)
        alarm = np.array([0.0, 0.0, 0.3 * hw[1], 0.2 * hw[0]])
        rows = [(boxes[0], 1, 0.97), (boxes[1], 1, 0.91), (boxes[2], 2, 0.88), (alarm, 44, 0.55)]
        # Detectors miss by a pixel or so; numbers of classes are COCO's 80 in a row, from 1 in iCAN's files.
        rows = [(self._near(box, hw), COCO_CATEGORY_IDS.index(kind), score) for box, kind, score in rows]
        self.folder[Path(name).stem] = {
            "boxes": [box.tolist() for box, _, _ in rows],
            "scores": [score for *_, score in rows],
            "labels": [self._label(kind) for _, kind, _ in rows],
        }
        joints = [pose(box).reshape(-1).tolist() for box in boxes[:2]]
        self.alphapose += [
            {"image_id": name, "category_id": 1, "keypoints": row, "score": 2.5, "box": xywh(box)}
            for row, box in zip(joints, boxes, strict=False)
        ]
        self.faces += [{"file_name": name, "bbox": xywh(face(box))} for box in boxes[:2]]
        self.tested[number] = [
            [number, "Human" if kind == 0 else "Object", box.astype("f4"), np.nan, kind + 1, np.float32(score),
             pose(box).reshape(-1).tolist() if kind == 0 else None]
            for box, kind, score in rows
        ]  # fmt: skip
        self.negatives[number] = [
            [number, 9, rows[at][0].astype("f4"), rows[2][0].astype("f4"), [4], rows[2][1] + 1,
             np.array(rows[2][2], np.float32), joints[at]]
            for at in (0, 1)
        ]  # fmt: skip
        self.annotated.append([number, [4], boxes[0].astype("f4"), boxes[2].astype("f4"), [], joints[0]])

    def _label(self, kind: int) -> int:
        """Numbers of fredzzhang/hicodet (alphabetical, from 0), or of fredzzhang/vcoco (COCO's order, from 1)."""
        name = get_vocabulary("hico_det").objects[kind]
        return OBJECTS_ALPHABETICAL.index(name) if self.alphabetical else kind + 1

    def _near(self, box, hw):
        return np.clip(box + self.rng.normal(0, 1.0, 4), 0, [hw[1], hw[0], hw[1], hw[0]])

    def write_folder(self, path: Path):
        path.mkdir(parents=True)
        for stem, rows in self.folder.items():
            (path / f"{stem}.json").write_text(json.dumps(rows))


def hico_det(folder: Path):
    """Images, QPIC's label files, and what detectors found under the names that docs/data.md gives."""
    vocabulary = get_vocabulary("hico_det")
    ride, hold = (vocabulary.verbs.index(name) for name in ("ride", "hold"))
    bicycle = vocabulary.objects.index("bicycle")
    for split, count in (("train", TRAIN), ("test", TEST)):
        found, rows = Found(count, True), []
        for number in range(1, count + 1):
            name, hw = f"HICO_{split}2015_{number:08d}.jpg", SIZES[number % len(SIZES)]
            photograph(folder / "hico_20160224_det" / "images" / f"{split}2015" / name, hw, number)
            objects = [
                {"bbox": [round(float(v)) for v in box], "category_id": category}
                for box, category in zip(person_boxes(*hw), (1, 1, 2), strict=True)
            ]
            hois = [
                {"subject_id": 0, "object_id": 2, "category_id": verb + 1,
                 "hoi_category_id": vocabulary.hois.index((verb, bicycle)) + 1}
                for verb in ((ride,) if number % 2 else (ride, hold))
            ]  # fmt: skip
            rows.append({"file_name": name, "img_id": number, "annotations": objects, "hoi_annotation": hois})
            found.add(name, number, hw)
        (folder / f"{'trainval' if split == 'train' else 'test'}_hico.json").write_text(json.dumps(rows))
        write_found(folder, found, split, f"{split}2015", "HICO", "HICO_DET")


def vcoco(folder: Path):
    """The official action tables, COCO's instances with outlines, images, and what detectors found."""
    vocabulary = get_vocabulary("vcoco")
    images, boxes = [], []
    for at, (split, count) in enumerate((("trainval", TRAIN), ("test", TEST))):
        found, numbers = Found(at, False), [1000 * (at + 1) + n for n in range(count)]
        for number in numbers:
            hw, part = SIZES[number % len(SIZES)], "val" if split == "test" else "train"
            name = f"COCO_{part}2014_{number:012d}.jpg"
            photograph(folder / "coco" / "images" / f"{part}2014" / name, hw, number)
            images.append({"id": number, "file_name": name, "height": hw[0], "width": hw[1]})
            for place, (box, category) in enumerate(zip(person_boxes(*hw), (1, 1, 2), strict=True)):
                boxes.append(
                    {"id": 10 * number + place, "image_id": number, "bbox": xywh(box), "category_id": category,
                     "area": 100.0, "iscrowd": 0, "segmentation": [outline(box)]}
                )  # fmt: skip
            found.add(name, number, hw)
        (folder / f"vcoco_{split}.json").write_text(json.dumps(actions(vocabulary, numbers)))
        write_found(folder, found, split, split, "VCOCO", "VCOCO")
    (folder / "instances_vcoco_all_2014.json").write_text(json.dumps({"images": images, "annotations": boxes}))


def write_found(folder: Path, found: Found, split: str, boxes: str, short: str, long: str):
    """Folders of boxes, AlphaPose's results, TIN's pickles, and face boxes."""
    found.write_folder(folder / "detections" / boxes)
    (folder / split).mkdir()
    (folder / split / "alphapose-results.json").write_text(json.dumps(found.alphapose))
    faces = folder / "faces.json"
    before = json.loads(faces.read_text()) if faces.exists() else []
    faces.write_text(json.dumps(before + found.faces))
    pickles = {f"Test_Faster_RCNN_R-50-PFN_2x_{long}_with_pose.pkl": found.tested}
    if split != "test":
        pickles = {
            f"Trainval_Neg_{short}_with_pose.pkl": found.negatives,
            f"Trainval_GT_{short}_with_pose.pkl": found.annotated,
        }
    for name, value in pickles.items():
        (folder / name).write_bytes(pickle.dumps(value, 2))


def outline(box):
    x1, y1, x2, y2 = (float(v) for v in box)
    return [x1, y1, x2, y1, x2, y2, x1, y2]


def actions(vocabulary, numbers):
    """V-COCO's tables: the first person rides the bicycle, both stand."""
    ids = [10 * number + place for number in numbers for place in (0, 1)]
    tables = []
    for action, roles in zip(vocabulary.actions, vocabulary.action_roles, strict=True):
        label = [int(action == "ride" and i % 10 == 0 or action == "stand") for i in ids]
        objects = [[i + 2 if action == "ride" and i % 10 == 0 else 0 for i in ids] for _ in roles]
        tables.append(
            {
                "action_name": action, "role_name": ["agent", *roles], "include": [[]] * (1 + len(roles)),
                "image_id": [i // 10 for i in ids], "ann_id": ids, "label": label,
                "role_object_id": ids + [i for row in objects for i in row],
            }
        )  # fmt: skip
    return tables
