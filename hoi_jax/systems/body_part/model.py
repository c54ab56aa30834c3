"""The network: ResNet, transformer encoder, box decoder, and the heads of body-part, QPIC and CDN.

Body-part interactiveness (Wu et al., ECCV 2022), QPIC (Tamura et al., CVPR 2021) and CDN (Zhang et al., NeurIPS 2021)
differ in which decoder feeds which head; see `BodyPartConfig`.
"""

import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from hoi_jax.arrays import ArrayLike
from hoi_jax.backbones.resnet import make_resnet, normalised_pixels, valid_cells
from hoi_jax.nn.positional import Focus, sine_points, sine_positions, spread_points
from hoi_jax.nn.transformer import Decoder, Encoder
from hoi_jax.ops.part_boxes import has_pose, part_boxes_from_pose
from hoi_jax.schema import NUM_PARTS
from hoi_jax.system import Batch
from hoi_jax.systems.body_part.config import BodyPartConfig
from hoi_jax.systems.body_part.interactiveness import Head, InteractivenessDecoder, Memory, part_cells, query_cells


def person_fields(config: BodyPartConfig) -> tuple[str, ...]:
    """Batch fields from which body parts are computed."""
    columns = ("xyxy_px", "class", "score", "keypoints_px", "valid")
    return tuple(f"detections_{column}" for column in columns) if config.uses_parts else ()


def network_inputs(batch: Batch, config: BodyPartConfig, human_class: int) -> tuple[ArrayLike, ...]:
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


def sampled_cells(
    image_hw_px: Int[ArrayLike, "batch 2"], image_shape: tuple[int, int], grid: tuple[int, int]
) -> Bool[Array, "batch height width"]:
    """Cells that are not padding by DETR's rule: the pixel mask, sampled at floor(cell * pixels / cells)."""
    axes = [
        jnp.asarray(np.arange(cells) * pixels // cells)[None] < image_hw_px[:, axis : axis + 1]
        for axis, (cells, pixels) in enumerate(zip(grid, image_shape, strict=True))
    ]
    return axes[0][:, :, None] & axes[1][:, None, :]


class HoiTransformer(nn.Module):
    """Network that predicts the pairs of an image as a set of queries.

    Attributes:
      num_classes: number of object classes, including "object absent" if there is one, without "no pair".
      num_verbs: number of verbs; unused if `config.verbs.source` is "none".
    """

    config: BodyPartConfig
    num_classes: int
    num_verbs: int

    @nn.compact
    def __call__(
        self,
        pixels: Float[ArrayLike, "batch height width 3"],
        image_hw_px: Int[ArrayLike, "batch 2"],
        part_boxes_px: Float[ArrayLike, "batch people 10 4"],
        part_valid: Bool[ArrayLike, "batch people 10"],
        dropout_keys: Array | None = None,
    ) -> dict[str, Array]:
        """Compute the outputs of all Q queries, float32, for L box layers and M verb layers.

        Args:
          pixels: normalised, zero in padding.
          part_boxes_px, part_valid: body-part boxes of all people, in pixels; ignored unless `config.uses_parts`.
          dropout_keys: one key per example in training, None otherwise.

        Returns:
          "object_logits" [L, B, Q, C + 1] (last = no pair); "human_cxcywh", "object_cxcywh" [L, B, Q, 4], relative
          to the unpadded image; "verb_logits" [M, B, Q, V] unless verbs are off; "interactiveness_logits"
          [1 or L, B, Q, 2] unless off (L with source "box_decoder"), with the other outputs of
          `InteractivenessDecoder`; and for inspection "features", "tokens", "positions", "memory", "token_valid",
          "box_states", "verb_states", "human_cells", "object_cells", "part_cells".
        """
        c, t = self.config, self.config.transformer
        dtype = c.dtype
        out: dict[str, Array] = {}
        memory, stride = self._encode(pixels, image_hw_px, dropout_keys, dtype, out)

        def decoder(layers, name):
            return Decoder(layers, t.heads, t.feedforward, t.dropout, dtype, name=name)

        query, offset, focus = self._queries(image_hw_px, stride, memory.grid)
        query = jnp.broadcast_to(query[None], (pixels.shape[0], *query.shape))
        states = decoder(t.box_layers, "box_decoder")(
            query, memory.tokens, memory.placed, memory.allowed, dropout_keys, focus
        )
        out["box_states"] = states
        out["object_logits"] = Head((self.num_classes + 1,), name="object_class")(states)
        for name in ("human", "object"):
            box = Head((t.hidden, t.hidden, 4), name=f"{name}_box")(states)
            out[f"{name}_cxcywh"] = jax.nn.sigmoid(box + offset[None, None])

        if c.verbs.source != "none":
            source = states
            if c.verbs.source == "decoder":
                source = decoder(c.verbs.layers, "verb_decoder")(
                    states[-1], memory.tokens, memory.placed, memory.allowed, dropout_keys
                )
                out["verb_states"] = source
            # A prior of one half means none: then the bias is initialised like any other.
            bias = None if c.verbs.prior == 0.5 else math.log(c.verbs.prior / (1 - c.verbs.prior))
            out["verb_logits"] = Head((self.num_verbs,), bias, name="verb")(source)
        if c.interactiveness == "box_decoder":
            out["interactiveness_logits"] = Head((2,), name="matching")(states)
        elif c.interactiveness == "parts":
            where = {"grid": memory.grid, "stride": stride, "rule": c.parts.cell_rule}
            out["human_cells"] = query_cells(out["human_cxcywh"][-1], image_hw_px, **where)
            out["object_cells"] = query_cells(out["object_cxcywh"][-1], image_hw_px, **where)
            out["part_cells"] = part_cells(part_boxes_px, part_valid, **where)
            head = InteractivenessDecoder(c.parts, t, dtype, name="interactiveness")
            found = head(states[-1], memory, out["human_cells"], out["object_cells"], out["part_cells"], dropout_keys)
            found["interactiveness_logits"] = found["interactiveness_logits"][None]
            out |= found
        return out

    def _queries(
        self, image_hw_px: ArrayLike, stride: int, grid: tuple[int, int]
    ) -> tuple[Float[Array, "queries dim"], Float[Array, "#queries 4"], Focus | None]:
        """(position codes, offsets added to box logits, focus of attention or None) of the queries."""
        c, t = self.config, self.config.transformer
        if c.query == "embedding":
            return (
                self.param("query_embed", nn.initializers.normal(1.0), (c.queries, t.hidden)),
                jnp.zeros((1, 4)),
                None,
            )
        logits = self.param("query_points", lambda key: jax.scipy.special.logit(jnp.asarray(spread_points(c.queries))))
        points = jax.nn.sigmoid(logits)
        query = Head((t.hidden, t.hidden), name="query_position")(sine_points(points, t.hidden))
        offset = jnp.concatenate([logits, jnp.zeros_like(logits)], axis=-1)
        rows, columns = np.mgrid[: grid[0], : grid[1]]
        cells = jnp.asarray(np.stack([columns, rows], axis=-1).reshape(-1, 2) + 0.5, jnp.float32) * stride
        tokens = cells[None] / image_hw_px[:, None, ::-1].astype(jnp.float32)
        return query, offset, Focus(jnp.broadcast_to(points[None], (tokens.shape[0], *points.shape)), tokens)

    def _encode(
        self,
        pixels: ArrayLike,
        image_hw_px: ArrayLike,
        dropout_keys: Array | None,
        dtype: Any,
        out: dict[str, ArrayLike],
    ) -> tuple[Memory, int]:
        """(encoded image, pixels per cell); intermediate results are stored in `out`."""
        b, t = self.config.backbone, self.config.transformer
        net = make_resnet(b, dtype, name="backbone")
        features = net(pixels, image_hw_px)
        grid = features.shape[1], features.shape[2]
        if b.mask_padding:
            valid = valid_cells(image_hw_px, net.stride, *grid)[..., 0]
        else:
            valid = sampled_cells(image_hw_px, (pixels.shape[1], pixels.shape[2]), grid)
        positions = sine_positions(valid, t.hidden)
        tokens = Head((t.hidden,), name="input_projection")(features)
        flat = (pixels.shape[0], grid[0] * grid[1])
        positions, valid = positions.reshape((*flat, -1)), valid.reshape(flat)
        x = tokens.reshape((*flat, -1))
        encoder = Encoder(t.encoder_layers, t.heads, t.feedforward, t.dropout, dtype, name="encoder")
        x = encoder(x, positions, valid[:, None], dropout_keys)
        out |= {"features": features, "tokens": tokens, "positions": positions, "memory": x, "token_valid": valid}
        return Memory(x, x + positions, valid, grid), net.stride
