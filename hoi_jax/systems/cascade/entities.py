"""People and objects of the relation network, from detections and annotated boxes."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from hoi_jax.arrays import ArrayLike
from hoi_jax.ops.pairs import gather_rows, top_rows
from hoi_jax.ops.resample import resample_masks
from hoi_jax.system import Batch
from hoi_jax.systems.cascade.config import CascadeConfig
from hoi_jax.systems.cascade.detect import Detections, assign_faces, external_detections
from hoi_jax.systems.cascade.model import CascadeNet
from hoi_jax.systems.cascade.regions import Entities, Pyramid

MASK_SIZE = 28


def masks_in_boxes(
    masks: Float[ArrayLike, "batch rows h w"] | Bool[ArrayLike, "batch rows h w"],
    boxes: Float[ArrayLike, "batch rows 4"],
    image_hw: tuple[int, int],
) -> Float[Array, "batch rows 28 28"]:
    """Resample masks from a grid over the padded image to a grid over each box, as from mask heads."""
    whole = jnp.broadcast_to(jnp.asarray([0.0, 0.0, image_hw[1], image_hw[0]]), boxes.shape)
    return resample_masks(masks.astype(jnp.float32), whole, boxes, MASK_SIZE)


def find_detections(
    net: CascadeNet, pyramid: Pyramid, proposals: tuple[Array, Array] | None, batch: Batch, human_class: int
) -> Detections:
    """Detections by the network's own heads, or those of the batch; gradients are stopped.

    Args:
      net: bound module.
      proposals: boxes and validity; None with external detections.
    """
    config = net.config
    image_hw = _padded(batch)
    if proposals is None:
        masks = None
        if config.relation.uses_masks and "detections_mask" in batch:
            masks = masks_in_boxes(batch["detections_mask"], batch["detections_xyxy_px"], image_hw)
        return external_detections(batch, config.stages, masks)
    boxes, label, score, valid = net.detect(pyramid, proposals[0], proposals[1])
    last = boxes[:, :, -1]
    found = faces_of(last, valid & (label == human_class), batch)
    masks = net.masks(pyramid, last, label) if config.masks.enabled else None
    return jax.lax.stop_gradient(Detections(boxes, label, score, valid, found, masks))


def faces_of(
    boxes: Float[ArrayLike, "batch rows 4"], is_person: Bool[ArrayLike, "batch rows"], batch: Batch
) -> Float[Array, "batch rows 4"]:
    """Assign the image's faces to people; zeros for people without a face, or if the batch has no faces.

    The rule is the same in training and prediction, for annotated and for detected people.
    """
    if "faces_xyxy_px" not in batch:
        return jnp.zeros_like(boxes)
    return jax.vmap(assign_faces)(boxes, is_person, batch["faces_xyxy_px"])


def _padded(batch: Batch) -> tuple[int, int]:
    return (batch["image"].shape[1], batch["image"].shape[2])


def annotated_boxes(batch: Batch, human_class: int, config: CascadeConfig) -> Detections:
    """Annotated boxes as detections, with the same box at every stage and score 2."""
    boxes, label, valid = (batch[f"instances_{column}"] for column in ("xyxy_px", "class", "valid"))
    repeated = jnp.broadcast_to(boxes[:, :, None], (*boxes.shape[:2], config.stages, 4))
    masks = None
    if config.relation.uses_masks and "instances_mask" in batch:
        masks = masks_in_boxes(batch["instances_mask"], boxes, _padded(batch))
    if config.detector == "own":
        faces = faces_of(boxes, valid & (label == human_class), batch)
    else:
        faces = batch.get("instances_face_xyxy_px", jnp.zeros_like(boxes))
    return Detections(repeated, label, jnp.full(boxes.shape[:2], 2.0), valid, faces, masks)


def joined(truth: Detections, found: Detections) -> Detections:
    """Annotated boxes followed by detected ones (training); with masks if both have them."""
    both = None if truth.masks is None or found.masks is None else jnp.concatenate([truth.masks, found.masks], axis=1)

    def join(a: ArrayLike, b: ArrayLike) -> Array:
        return jnp.concatenate([a, b.astype(a.dtype)], axis=1)

    return Detections(
        join(truth.boxes, found.boxes), join(truth.label, found.label), join(truth.score, found.score),
        join(truth.valid, found.valid), join(truth.faces, found.faces), both,
    )  # fmt: skip


def choose_people(
    found: Detections, human_class: int, config: CascadeConfig, least: float = 0.0
) -> tuple[Int[Array, "batch humans"], Bool[Array, "batch humans"]]:
    """(rows of the best people, at most `max_humans`; mask of used places)."""

    def one(label, score, valid):
        index, used = top_rows(score, valid & (label == human_class) & (score >= least), config.max_humans)
        missing = config.max_humans - index.shape[0]
        return jnp.pad(index, (0, missing)), jnp.pad(used, (0, missing))

    return jax.vmap(one)(found.label, found.score, found.valid)


def at_stage(found: Detections, human_row: Int[Array, "batch humans"], stage: int) -> Entities:
    """Entities with the boxes of `stage`."""
    faces = gather_rows(found.faces, human_row)
    mask_boxes = None if found.masks is None else found.boxes[:, :, -1]
    return Entities(found.boxes[:, :, stage], found.label, human_row, faces, found.masks, mask_boxes)
