"""What the network sees of a batch: pixels, and the body parts of detected people."""

import jax
import jax.numpy as jnp
from jaxtyping import Array

from hoi_jax.backbones.resnet import normalised_pixels
from hoi_jax.ops.part_boxes import has_pose, part_boxes_from_pose
from hoi_jax.schema import NUM_PARTS
from hoi_jax.system import Batch
from hoi_jax.systems.body_part.config import BodyPartConfig


def person_fields(config: BodyPartConfig) -> tuple[str, ...]:
    """Batch fields that body parts are taken from."""
    columns = ("xyxy_px", "class", "score", "keypoints_px", "valid")
    return tuple(f"detections_{column}" for column in columns) if config.uses_parts else ()


def network_inputs(batch: Batch, config: BodyPartConfig, human_class: int) -> tuple[Array, Array, Array, Array]:
    """(pixels, image_hw_px, part boxes [B, N, 10, 4], their validity [B, N, 10]) for `HoiTransformer`.

    People are the detections of the human class above `parts.person_score`; their part boxes come from their poses.
    """
    pixels = normalised_pixels(batch["image"], batch["image_hw_px"], config.backbone)
    size = pixels.shape[0]
    if not config.uses_parts:
        empty = jnp.zeros((size, 1, NUM_PARTS, 4)), jnp.zeros((size, 1, NUM_PARTS), bool)
        return pixels, batch["image_hw_px"], *empty
    keypoints, boxes = batch["detections_keypoints_px"], batch["detections_xyxy_px"]
    person = (
        batch["detections_valid"]
        & (batch["detections_class"] == human_class)
        & (batch["detections_score"] >= config.parts.person_score)
    )
    if config.parts.pose_failure == "skip":
        person = person & has_pose(keypoints)
    parts = jax.lax.stop_gradient(part_boxes_from_pose(keypoints, boxes))
    valid = jnp.broadcast_to(person[..., None], (*person.shape, NUM_PARTS))
    return pixels, batch["image_hw_px"], parts, valid
