"""Small vocabularies of both label styles, and random batches."""

import numpy as np

from hoi_jax.schema import BATCH_FIELDS
from hoi_jax.vocab.tables import Vocabulary

HOI_STYLE = Vocabulary(
    name="toy_hoi",
    objects=("person", "ball", "chair"),
    verbs=("no_interaction", "kick", "hold", "sit_on"),
    human_class=0,
    hois=((0, 0), (0, 1), (0, 2), (1, 1), (2, 1), (3, 2), (2, 0)),
    train_counts=(40, 30, 20, 12, 8, 10, 2),
    no_interaction=0,
)
ACTION_STYLE = Vocabulary(
    name="toy_action",
    objects=("person", "ball", "chair"),
    verbs=("hold_obj", "walk", "cut_instr", "cut_obj"),
    human_class=0,
    actions=("hold", "walk", "cut"),
    action_roles=(("obj",), (), ("instr", "obj")),
    verb_action=(0, 1, 2, 2),
    verb_role=(0, -1, 0, 1),
)


def random_boxes(rng, rows: int, height: int, width: int) -> np.ndarray:
    corner = rng.uniform(0, 0.5, (rows, 2)) * (width, height)
    size = rng.uniform(0.2, 0.5, (rows, 2)) * (width, height)
    return np.concatenate([corner, corner + size], axis=1).astype(np.float32)


def random_batch(
    vocabulary: Vocabulary, batch: int = 2, instances: int = 5, detections: int = 6, pairs: int = 4,
    size: int = 48, seed: int = 0,
) -> dict[str, np.ndarray]:  # fmt: skip
    """Random images, boxes and labels with all fields of TIN; rows 0 and 1 are people."""
    rng = np.random.default_rng(seed)
    verbs, objects = len(vocabulary.verbs), len(vocabulary.objects)
    actions = max(len(vocabulary.actions), 1)

    def table(prefix: str, rows: int) -> dict[str, np.ndarray]:
        classes = rng.integers(1, objects, (batch, rows))
        classes[:, :2] = 0
        keypoints = rng.uniform(0, size, (batch, rows, 17, 3))
        keypoints[..., 2] = rng.uniform(0, 1, (batch, rows, 17)) * (classes == 0)[..., None]
        boxes = [random_boxes(rng, rows, size, size) for _ in range(batch)]
        return {
            f"{prefix}_xyxy_px": np.stack(boxes),
            f"{prefix}_class": classes.astype(np.int32),
            f"{prefix}_keypoints_px": keypoints.astype(np.float32),
            f"{prefix}_valid": np.ones((batch, rows), bool),
        }

    roles = np.where(rng.random((batch, 2, actions, 2)) < 0.5, -1, 2)
    return {
        "image": rng.integers(0, 256, (batch, size, size, 3)).astype(np.uint8),
        "image_hw_px": np.full((batch, 2), size, np.int32),
        "original_hw_px": np.full((batch, 2), size, np.int32),
        "image_id": np.arange(batch, dtype=np.int32),
        "example_id": np.arange(10, 10 + batch, dtype=np.int32),
        "source_id": np.zeros(batch, np.int32),
        "batch_valid": np.ones(batch, bool),
        **table("instances", instances),
        **table("detections", detections),
        "detections_score": rng.uniform(0.7, 1.0, (batch, detections)).astype(np.float32),
        "pairs_human": rng.integers(0, 2, (batch, pairs)).astype(np.int32),
        "pairs_object": rng.integers(2, instances, (batch, pairs)).astype(np.int32),
        "pairs_verbs": rng.random((batch, pairs, verbs)) < 0.4,
        "pairs_verbs_known": np.ones((batch, pairs, verbs), bool),
        "pairs_valid": np.arange(pairs)[None] < rng.integers(1, pairs + 1, (batch, 1)),
        "persons_instance": np.tile(np.arange(2, dtype=np.int32), (batch, 1)),
        "persons_actions": rng.integers(0, 2, (batch, 2, actions)).astype(np.int32),
        "persons_roles": roles.astype(np.int32),
        "persons_valid": np.ones((batch, 2), bool),
    }


def with_every_field(
    made: dict[str, np.ndarray], vocabulary: Vocabulary, size: int, seed: int
) -> dict[str, np.ndarray]:
    """A `random_batch` with the remaining fields of the schema that come from records.

    The first person of every image has no face; masks are ellipses in the boxes, on a grid of half the resolution.
    """
    rng = np.random.default_rng(seed + 1)
    made, batch = dict(made), len(made["batch_valid"])
    grid = (np.arange(32) + 0.5) * size / 32
    for table in ("instances", "detections"):
        boxes, label = made[f"{table}_xyxy_px"], made[f"{table}_class"]
        low, side = boxes[..., :2], boxes[..., 2:] - boxes[..., :2]
        face = np.concatenate([low + side * [0.3, 0.0], low + side * [0.7, 0.3]], axis=-1)
        has = (label == 0) & (np.arange(label.shape[1]) > 0)[None]
        made[f"{table}_face_xyxy_px"] = (face * has[..., None]).astype(np.float32)
        centre, half = low + side / 2, side / 2
        x = (grid[None, None] - centre[..., :1]) / half[..., :1]
        y = (grid[None, None] - centre[..., 1:]) / half[..., 1:]
        made[f"{table}_mask"] = x[:, :, None, :] ** 2 + y[:, :, :, None] ** 2 <= 1
        parts = np.stack([random_boxes(rng, 10, size, size) for _ in range(label.size)])
        made[f"{table}_parts_xyxy_px"] = parts.reshape(*label.shape, 10, 4)
    made["faces_xyxy_px"] = np.concatenate([made[f"{t}_face_xyxy_px"] for t in ("instances", "detections")], axis=1)
    made["pairs_part_states"] = rng.integers(-1, 2, (*made["pairs_valid"].shape, 6)).astype(np.int32)
    made["hoi_labels"] = rng.integers(-2, 2, (batch, max(len(vocabulary.hois), 1))).astype(np.int32)
    for end in ("human", "object"):
        boxes = np.stack([random_boxes(rng, 3, size, size) for _ in range(batch)])
        made[f"external_{end}_xyxy_px"] = boxes
        made[f"external_{end}_score"] = rng.uniform(0.7, 1.0, (batch, 3)).astype(np.float32)
    made["external_object_class"] = rng.integers(1, len(vocabulary.objects), (batch, 3)).astype(np.int32)
    made["external_valid"] = np.ones((batch, 3), bool)
    return made


STYLES = {"hoi": HOI_STYLE, "action": ACTION_STYLE}
"""Labels as in HICO-DET and as in V-COCO."""


def uneven_batch(vocabulary: Vocabulary, seed: int = 0, size: int = 64) -> dict[str, np.ndarray]:
    """Four images of different sizes within their padding, with 4, 1, 3 and no pairs, and every field of the schema.

    With uneven counts, a mean per device would be wrong.
    """
    made = random_batch(vocabulary, batch=4, size=size, seed=seed)
    hw = np.array([[size, size], [50, 57], [40, size], [size, 33]], np.int32)
    limit = np.tile(hw[:, ::-1], 2)[:, None].astype(np.float32)
    for name in made:
        if name.endswith("_xyxy_px"):
            low = np.minimum(made[name][..., :2], limit[..., :2] - 9)
            made[name] = np.concatenate([low, np.minimum(np.maximum(made[name][..., 2:], low + 8), limit[..., 2:])], -1)
    for image, (height, width) in enumerate(hw):
        made["image"][image, height:] = 0
        made["image"][image, :, width:] = 0
    made["image_hw_px"] = hw
    made["pairs_valid"] = np.arange(made["pairs_valid"].shape[1])[None] < np.array([4, 1, 3, 0])[:, None]
    return with_every_field(made, vocabulary, size, seed)


_TABLE_AXES = ("G", "D", "P", "N", "U", "E")


def padded(batch: dict[str, np.ndarray], rows: int = 2, factor: int = 2) -> dict[str, np.ndarray]:
    """The same examples in larger arrays, with unused rows in every table and `factor` times the image sides."""
    found = {}
    for name, value in batch.items():
        axes = BATCH_FIELDS[name].axes
        grow = [rows if axis in _TABLE_AXES else 0 for axis in axes]
        grow = [
            s * (factor - 1) if a in ("H", "W", "h", "w") else g
            for a, s, g in zip(axes, value.shape[1:], grow, strict=True)
        ]
        # Unused rows are zero; their index columns, which count rows of another table, are -1.
        index = name in ("pairs_human", "pairs_object", "persons_instance", "persons_roles")
        found[name] = np.pad(value, [(0, 0), *((0, g) for g in grow)], constant_values=-1 if index else 0)
    return found


def reordered(batch: dict[str, np.ndarray], axis: str, order: np.ndarray) -> dict[str, np.ndarray]:
    """The batch with reordered rows in the tables with the given axis letter."""
    return {
        name: np.take(value, order, axis=1) if BATCH_FIELDS[name].axes[:1] == (axis,) else value
        for name, value in batch.items()
    }


def emptied(batch: dict[str, np.ndarray], axes: tuple[str, ...] = _TABLE_AXES) -> dict[str, np.ndarray]:
    """The same images without valid rows in the tables with these axis letters."""
    return {
        name: np.zeros_like(value)
        if name.endswith("_valid") and BATCH_FIELDS[name].axes[:1] in [(a,) for a in axes]
        else value
        for name, value in batch.items()
    }
