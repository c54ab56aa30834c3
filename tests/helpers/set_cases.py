"""Targets of the golden files as tables of this project, and gradients under the authors' parameter names."""

import re

import numpy as np

from hoi_jax.systems.body_part.convert import checkpoint_rule
from hoi_jax.systems.body_part.targets import Targets


def targets_of(golden, case: str, verbs: int, num_images: int) -> Targets:
    """Targets of both layouts: unique boxes with pair lists (body-part), and one row per pair (QPIC, CDN)."""
    rows = [_rows(golden, f"{case}/target{i}_") for i in range(num_images)]
    pairs = max(1, *(len(row["obj_labels"]) for row in rows))

    def table(name, *shape):
        out = np.zeros((num_images, pairs, *shape), np.float32)
        for image, row in enumerate(rows):
            out[image, : len(row[name])] = row[name]
        return out

    valid = np.stack([np.arange(pairs) < len(row["obj_labels"]) for row in rows])
    obj, labels = table("obj_boxes", 4), table("verb_labels", verbs) > 0
    return Targets(
        human_cxcywh=table("sub_boxes", 4),
        object_cxcywh=obj,
        object_class=table("obj_labels").astype(np.int32),
        has_object=np.abs(obj).sum(-1) > 0,
        verbs=labels,
        verbs_known=np.ones_like(labels),
        interactive=valid,
        part_states=np.full((num_images, pairs, 6), -1, np.int32),
        valid=valid,
    )


def _rows(golden, prefix: str) -> dict[str, np.ndarray]:
    human = obj = slice(None)
    if f"{prefix}pair2sub" in golden:
        human, obj = golden[f"{prefix}pair2sub"].astype(int), golden[f"{prefix}pair2obj"].astype(int)
    return {
        "sub_boxes": golden[f"{prefix}sub_boxes"][human],
        "obj_boxes": golden[f"{prefix}obj_boxes"][obj],
        "obj_labels": golden[f"{prefix}obj_labels"][obj],
        "verb_labels": golden[f"{prefix}verb_labels"],
    }


def assert_same_matching(golden, case: str, infix: str, query: np.ndarray) -> None:
    """Assert that `query` [B, T] has the golden pairs of (prediction, target)."""
    for image, row in enumerate(query):
        wanted = golden[f"{case}/match{image}_{infix}pred"], golden[f"{case}/match{image}_{infix}tgt"]
        order = np.argsort(wanted[1])
        np.testing.assert_array_equal(row[: len(order)], wanted[0][order], err_msg=f"{case} image {image} {infix}")
        assert (row[len(order) :] == -1).all()


def by_official_name(flat: dict[str, np.ndarray], name: str, shape) -> np.ndarray:
    """Values of this library's arrays for one official tensor, in its shape (for gradients)."""
    numbers = np.arange(int(np.prod(shape))).reshape(shape)
    entries = checkpoint_rule(name, numbers)
    assert entries, name
    out = np.zeros(numbers.size, flat[entries[0][0]].dtype)
    for ours, places in entries:
        out[places] = flat[ours]
    return out.reshape(shape)


def cut_to_layers(params: list, layers: dict[str, int]) -> list:
    """List of names and shapes without the layers missing in a shallower model; stacks have their official names."""

    def exists(entry):
        match = re.match(r"transformer\.(\w+)\.layers\.(\d+)\.", entry["name"])
        return not match or match[1] not in layers or int(match[2]) < layers[match[1]]

    return [entry for entry in params if exists(entry)]


PART_NUMBERS = 40
"""Numbers of ten part boxes, stored in the 51 numbers of a pose."""


def detections_with_parts(parts: np.ndarray, human_class: int) -> dict[str, np.ndarray]:
    """Rows of detected people with ten part boxes [P, 10, 4] stored as poses (`parts_in_poses` extracts them)."""
    poses = np.ones((len(parts), 17 * 3), np.float32)
    poses[:, :PART_NUMBERS] = parts.reshape(len(parts), PART_NUMBERS)
    return {
        "detections_xyxy_px": np.zeros((len(parts), 4), np.float32),
        "detections_class": np.full(len(parts), human_class, np.int32),
        "detections_score": np.ones(len(parts), np.float32),
        "detections_keypoints_px": poses.reshape(-1, 17, 3),
        "detections_valid": np.ones(len(parts), bool),
    }


def parts_in_poses(keypoints_px, person_xyxy_px):
    """Replacement of `part_boxes_from_pose`, since these golden files have part boxes instead of poses."""
    flat = keypoints_px.reshape((*keypoints_px.shape[:-2], -1))[..., :PART_NUMBERS]
    return flat.reshape((*flat.shape[:-1], 10, 4))
