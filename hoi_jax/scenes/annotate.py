"""Records of finished scenes: visible boxes, masks, keypoints, faces, parts, pairs, actions and labels."""

import dataclasses
import io
from collections.abc import Sequence

import numpy as np
from PIL import Image

from hoi_jax.scenes.geometry import Box
from hoi_jax.scenes.people import ARM_RADIUS, LEG_RADIUS, Person
from hoi_jax.scenes.verbs import Entity, PairVerbs, part_states, postures
from hoi_jax.vocab.scenes import SCENE_ACTION_OF_VERB, SCENES, SCENES_ACTIONS

MIN_VISIBLE_PX = 10
MIN_VISIBLE_SHARE = 0.07
NEAR_OBJECT, NEAR_PERSON = 0.1, 0.08
OCCLUDED_SCORE = 0.5


@dataclasses.dataclass
class Instances:
    """Tables of the visible instances; `entity[row]` is the index of the entity in the scene."""

    entity: list[int]
    xyxy_px: np.ndarray
    classes: np.ndarray
    keypoints_px: np.ndarray
    face_xyxy_px: np.ndarray
    parts_xyxy_px: np.ndarray
    mask_png: list[bytes]


def _visible_window(ids: np.ndarray, value: int, box: Box) -> tuple[tuple[int, int, int, int], np.ndarray] | None:
    """Tight integer box (x1, y1, x2, y2) of the pixels with `value`, and those pixels; None if there are too few."""
    height, width = ids.shape
    pad = 0.15 * max(box[2] - box[0], box[3] - box[1]) + 3.0
    x1, y1 = max(0, int(box[0] - pad)), max(0, int(box[1] - pad))
    x2, y2 = min(width, int(box[2] + pad) + 1), min(height, int(box[3] + pad) + 1)
    if x2 <= x1 or y2 <= y1:
        return None
    pixels = ids[y1:y2, x1:x2] == value
    needed = max(MIN_VISIBLE_PX, MIN_VISIBLE_SHARE * (box[2] - box[0]) * (box[3] - box[1]))
    if np.count_nonzero(pixels) < needed:
        return None
    rows, columns = np.flatnonzero(pixels.any(axis=1)), np.flatnonzero(pixels.any(axis=0))
    top, bottom, left, right = rows[0], rows[-1] + 1, columns[0], columns[-1] + 1
    tight = (x1 + int(left), y1 + int(top), x1 + int(right), y1 + int(bottom))
    return tight, pixels[top:bottom, left:right]


def encode_png(array: np.ndarray) -> bytes:
    """A uint8 array as a PNG file."""
    stream = io.BytesIO()
    Image.fromarray(array).save(stream, "PNG", compress_level=1)
    return stream.getvalue()


def _clip(boxes: np.ndarray, height: int, width: int) -> np.ndarray:
    """Boxes [N, 4] clipped to the image; those without area become zero."""
    limit = np.array([width, height, width, height], np.float64)
    boxes = np.minimum(np.maximum(boxes, 0.0), limit)
    keep = (boxes[:, 2] - boxes[:, 0] > 0.5) & (boxes[:, 3] - boxes[:, 1] > 0.5)
    return np.where(keep[:, None], boxes, 0.0).astype(np.float32)


def _keypoints(person: Person, ids: np.ndarray, value: int) -> np.ndarray:
    """[17, 3] x, y, score: 1 visible, OCCLUDED_SCORE hidden inside the image, 0 (all zero) outside."""
    height, width = ids.shape
    rows = []
    for x, y in person.keypoints:
        if 0.0 <= x < width and 0.0 <= y < height:
            rows.append((x, y, 1.0 if ids[int(y), int(x)] == value else OCCLUDED_SCORE))
        else:
            rows.append((0.0, 0.0, 0.0))
    return np.array(rows, np.float32)


def _around(points: Sequence[tuple[float, float]], pad_x: float, pad_y: float) -> Box:
    xs, ys = [p[0] for p in points], [p[1] for p in points]
    return (min(xs) - pad_x, min(ys) - pad_y, max(xs) + pad_x, max(ys) + pad_y)


def part_boxes(person: Person) -> np.ndarray:
    """[10, 4] boxes of the body parts in HAKE order, not yet clipped to the image."""
    k, h, r = person.keypoints, person.height, person.head_radius
    arm, leg, foot, hand = (ARM_RADIUS + 0.01) * h, (LEG_RADIUS + 0.01) * h, 0.07 * h, 0.06 * h
    return np.array([
        _around((k[16],), foot, foot), _around((k[12], k[14], k[16]), leg, leg),
        _around((k[11], k[13], k[15]), leg, leg), _around((k[15],), foot, foot),
        _around((k[11], k[12]), 0.06 * h, 0.07 * h), _around((person.head,), 1.1 * r, 1.1 * r),
        _around((k[10],), hand, hand), _around((k[6], k[8], k[10]), arm, arm),
        _around((k[5], k[7], k[9]), arm, arm), _around((k[9],), hand, hand),
    ])  # fmt: skip


def _face_box(person: Person, ids: np.ndarray, value: int) -> Box:
    """Box of the face; zero if neither the nose nor an eye is visible."""
    seen = _keypoints(person, ids, value)[:3, 2]
    if not np.any(seen == 1.0):
        return (0.0, 0.0, 0.0, 0.0)
    (x, y), r, (gx, gy) = person.head, person.head_radius, person.gaze
    cx, cy, half = x + 0.2 * r * gx, y + r * (0.12 + 0.12 * gy), 0.84 * r
    return (cx - half, cy - half, cx + half, cy + half)


def visible_instances(entities: Sequence[Entity], ids: np.ndarray) -> Instances:
    """Tables of all sufficiently visible entities; `ids` is n + 1 at pixels of entity n."""
    height, width = ids.shape
    kept, boxes, masks = [], [], []
    for index, entity in enumerate(entities):
        window = _visible_window(ids, index + 1, entity.box)
        if window is None:
            continue
        (x1, y1, x2, y2), pixels = window
        mask = np.zeros((height, width), np.uint8)
        mask[y1:y2, x1:x2] = pixels.view(np.uint8) * np.uint8(255)
        kept.append(index)
        boxes.append((x1, y1, x2, y2))
        masks.append(encode_png(mask))
    count = len(kept)
    table = Instances(
        entity=kept,
        xyxy_px=np.array(boxes, np.float32).reshape(count, 4),
        classes=np.array([entities[index].class_index for index in kept], np.int32),
        keypoints_px=np.zeros((count, 17, 3), np.float32),
        face_xyxy_px=np.zeros((count, 4), np.float32),
        parts_xyxy_px=np.zeros((count, 10, 4), np.float32),
        mask_png=masks,
    )
    for row, index in enumerate(kept):
        person = entities[index]
        if isinstance(person, Person):
            face = np.array([_face_box(person, ids, index + 1)])
            table.keypoints_px[row] = _keypoints(person, ids, index + 1)
            table.face_xyxy_px[row] = _clip(face, height, width)[0]
            table.parts_xyxy_px[row] = _clip(part_boxes(person), height, width)
    return table


def _gap(a: Sequence[float] | np.ndarray, b: Sequence[float] | np.ndarray) -> float:
    """Distance between two boxes, 0 where they overlap."""
    dx = max(float(a[0] - b[2]), float(b[0] - a[2]), 0.0)
    dy = max(float(a[1] - b[3]), float(b[1] - a[3]), 0.0)
    return (dx * dx + dy * dy) ** 0.5


def pair_rows(
    entities: Sequence[Entity], table: Instances, verbs: PairVerbs
) -> list[tuple[int, int, int, tuple[int, ...]]]:
    """(human row, object row, verb, ten part states), one per verb of a visible pair.

    A pair without a verb is annotated `no_interaction` when the two boxes are nearer than NEAR_THING (or, between
    people, NEAR_PERSON) heights of the person; pairs further apart are not annotated.
    """
    rows = []
    boxes = table.xyxy_px.tolist()
    for human, i in enumerate(table.entity):
        person = entities[i]
        if not isinstance(person, Person):
            continue
        for target, j in enumerate(table.entity):
            if human == target:
                continue
            found = verbs.get((i, j))
            if found is not None:
                rows += [
                    (human, target, verb, part_states(person, entities[j], SCENES.verbs[verb]))
                    for verb in sorted(SCENES.verbs.index(name) for name in found)
                ]
            else:
                limit = (NEAR_PERSON if table.classes[target] == 0 else NEAR_OBJECT) * person.height
                if _gap(boxes[human], boxes[target]) <= limit:
                    rows.append((human, target, SCENES.no_interaction, (0,) * 10))
    return rows


def action_rows(
    entities: Sequence[Entity], table: Instances, verbs: PairVerbs
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels of action style: persons [N], actions [N, A] in {0, 1}, roles [N, A, 2] (rows of instances or -1).

    If an action has several objects, the nearest one is the role.
    """
    row_of = {entity: row for row, entity in enumerate(table.entity)}
    people = [row for row, index in enumerate(table.entity) if isinstance(entities[index], Person)]
    actions = np.zeros((len(people), len(SCENES_ACTIONS.actions)), np.int32)
    roles = np.full((len(people), len(SCENES_ACTIONS.actions), 2), -1, np.int32)
    centres = (table.xyxy_px[:, :2] + table.xyxy_px[:, 2:]) / 2.0
    for number, row in enumerate(people):
        person = entities[table.entity[row]]
        mine = [(row_of[j], found) for (i, j), found in verbs.items() if i == table.entity[row] and j in row_of]
        mine.sort(key=lambda item: float(np.hypot(*(centres[item[0]] - centres[row]))))
        for target, found in mine:
            for verb in found & SCENE_ACTION_OF_VERB.keys():
                name, slot = SCENE_ACTION_OF_VERB[verb]
                action = SCENES_ACTIONS.actions.index(name)
                if name == "eat" and SCENES.objects[table.classes[target]] == "cup":
                    slot = 1
                actions[number, action] = 1
                if roles[number, action, slot] < 0:
                    roles[number, action, slot] = target
        assert isinstance(person, Person)
        for name in postures(person, frozenset().union(*(found for _, found in mine))):
            actions[number, SCENES_ACTIONS.actions.index(name)] = 1
    return np.array(people, np.int32), actions, roles


def hoi_labels(classes: np.ndarray, humans_objects_verbs: Sequence[tuple]) -> np.ndarray:
    """[C] image-level labels: 1 if a pair has the class, else -1."""
    labels = np.full(len(SCENES.hois), -1, np.int32)
    for _, target, verb, *_ in humans_objects_verbs:
        labels[SCENES.hoi_table[verb, classes[target]]] = 1
    return labels
