"""The network of the cascade (CVPR 2020): one pyramid, and per stage a box head, a mask head and a relation network.

The methods are the steps of the paper's Figure 3; `loss.py` and `predict.py` call them in order.
"""

from typing import NamedTuple, cast

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from hoi_jax.arrays import ArrayLike
from hoi_jax.backbones.fpn import FPN
from hoi_jax.backbones.resnet import make_resnet, normalised_pixels
from hoi_jax.nn.roi_heads import BoxHead, MaskHead, RpnHead
from hoi_jax.ops.pairs import gather_rows
from hoi_jax.ops.roi_align import pyramid_roi_align
from hoi_jax.systems.cascade import detect
from hoi_jax.systems.cascade.config import CascadeConfig
from hoi_jax.systems.cascade.regions import Entities, Pyramid, pair_boxes, union_features
from hoi_jax.systems.cascade.relation import FaceTables, PairFeatures, Raw, RelationStage, Tables


class Chain(NamedTuple):
    """Boxes after every stage [B, T, P, 4] and the class logits of every stage [B, T, P, classes + 1]."""

    boxes: Array
    logits: Array


class CascadeNet(nn.Module):
    """All parameters of the cascade. `classes`, `verbs`: numbers of object classes and verbs of the vocabulary."""

    config: CascadeConfig
    classes: int
    verbs: int

    def setup(self):
        c = self.config
        b = c.backbone
        dtype = c.dtype
        self.backbone = make_resnet(b, dtype, groups=b.groups, group_width=b.group_width)
        self.fpn = FPN(b.pyramid_width, "pool", mask_padding=b.mask_padding, dtype=dtype)
        if c.detector == "own":
            self.rpn_head = RpnHead(c.rpn.width, len(c.rpn.ratios), dtype)
            self.box_heads = [BoxHead(self.classes, c.boxes.width, dtype=dtype) for _ in range(c.stages)]
        if c.masks.enabled:
            m = c.masks
            self.mask_heads = [
                MaskHead(self.classes, m.convs, m.width, m.flow and stage > 0, dtype) for stage in range(c.stages)
            ]
        if c.loss.parts != "detector":
            outputs = self.verbs + c.relation.background
            count = len(c.relation.stages_of(c.stages))
            self.relations = [RelationStage(c.relation, b.pyramid_width, outputs, dtype) for _ in range(count)]

    def pyramid(self, image: ArrayLike, image_hw_px: Int[ArrayLike, "batch 2"]) -> tuple[Array, ...]:
        """Pyramid levels of uint8 images [B, H, W, 3], the last one for proposals only; zero in padded cells."""
        b = self.config.backbone
        pixels = normalised_pixels(image, image_hw_px, b)
        return self.fpn(self.backbone.stages(pixels, image_hw_px), image_hw_px, b.strides[0])

    def rois(self, levels: tuple[ArrayLike, ...], image_hw_px: ArrayLike) -> Pyramid:
        """The levels from which RoIs are pooled."""
        return Pyramid(levels[:-1], image_hw_px, self.config.backbone.strides, self.config.boxes.finest_px)

    def box_stage(self, pyramid: Pyramid, boxes: Float[Array, "batch rows 4"], stage: int) -> tuple[Array, Array]:
        """Class logits [B, P, classes + 1] and offsets [B, P, 4] of the head of `stage` (from 0)."""
        return self.box_heads[stage](self._pool(pyramid, boxes, self.config.boxes.size))

    def _pool(self, pyramid: Pyramid, boxes: Array, size: int) -> Array:
        return pyramid_roi_align(
            pyramid.levels, boxes, pyramid.image_hw_px, strides=pyramid.strides, size=size, finest_px=pyramid.finest_px
        )

    def propose(
        self, levels: tuple[ArrayLike, ...], image_hw: tuple[int, int], image_hw_px: ArrayLike
    ) -> tuple[Array, Array, Array, Array]:
        """(objectness logits, offsets) of all anchors and (proposals [B, P, 4], their validity [B, P])."""
        score, deltas = self.rpn_head(levels)
        anchors = jnp.asarray(detect.anchors_of(self.config, image_hw))
        usable = detect.usable_anchors(self.config, image_hw, image_hw_px)
        kinds = len(self.config.rpn.ratios)
        counts = [rows * columns * kinds for _, rows, columns in detect.level_sizes(self.config, image_hw)]

        def one(score, deltas, usable, hw):
            return detect.choose_proposals(score, deltas, anchors, usable, hw, counts, self.config.rpn)

        fixed = jax.lax.stop_gradient((score, deltas))
        boxes, valid = jax.vmap(one)(fixed[0], fixed[1], usable, image_hw_px)
        return score, deltas, boxes, valid

    def chain(self, pyramid: Pyramid, boxes: Float[Array, "batch rows 4"]) -> Chain:
        """Outputs of all box heads, applied one after another to the same proposals (Eqs. 1 and 2)."""
        places, logits = [], []
        for stage in range(self.config.stages):
            score, deltas = self.box_stage(pyramid, boxes, stage)
            boxes = detect.refine(boxes, deltas, stage, pyramid.image_hw_px, self.config.boxes)
            places.append(boxes)
            logits.append(score)
        return Chain(jnp.stack(places, axis=1), jnp.stack(logits, axis=1))

    def detect(self, pyramid: Pyramid, proposals: Array, valid: Array) -> tuple[Array, Array, Array, Array]:
        """Detections [B, D, ...] of all stages together (`detect.merge_stages`)."""
        chain = self.chain(pyramid, proposals)
        merge = jax.vmap(lambda b, s, v: detect.merge_stages(b, s, v, self.config.boxes))
        return merge(chain.boxes, chain.logits, valid)

    def mask_logits(self, pyramid: Pyramid, boxes: Float[Array, "batch rows 4"], stage: int) -> Array:
        """Logits [B, P, 28, 28, classes + 1] of the mask head of `stage`, applied after the earlier ones."""
        return self._mask_chain(pyramid, boxes, stage, every=False)[-1]

    def _mask_chain(self, pyramid: Pyramid, boxes: Array, stage: int, every: bool) -> list[Array]:
        maps = self._pool(pyramid, boxes, self.config.masks.size)
        rois, features, logits = maps.reshape((-1, *maps.shape[2:])), None, []
        for number in range(stage + 1) if self.config.masks.flow else (range(stage + 1) if every else (stage,)):
            head = self.mask_heads[number]
            features = head.features(rois, features if self.config.masks.flow else None)
            if every or number == stage:
                out = head.logits(features)
                logits.append(out.reshape((*boxes.shape[:2], *out.shape[1:])))
        return logits

    def masks(
        self, pyramid: Pyramid, boxes: Float[Array, "batch rows 4"], label: Int[Array, "batch rows"]
    ) -> Float[Array, "batch rows m m"]:
        """Probability map of each box's class, averaged over all heads."""
        total = 0.0
        for logits in self._mask_chain(pyramid, boxes, self.config.stages - 1, every=True):
            own = jnp.take_along_axis(logits, (label + 1)[:, :, None, None, None], axis=-1)[..., 0]
            total = total + jax.nn.sigmoid(own)
        return cast(Array, total) / self.config.stages

    def relation(self, stage: int) -> RelationStage:
        """The relation network after box stage `stage`."""
        return self.relations[self.config.relation.stages_of(self.config.stages).index(stage)]

    def relation_tables(
        self, pyramid: Pyramid, now: Entities, before: Entities | None, stage: int, seen: Raw | None = None
    ) -> tuple[Tables | None, Raw | None]:
        """Person and object features for the pairs of `stage`.

        Args:
          now: entities at this stage.
          before: entities at the previous stage, None at the first.
          seen: raw features of `before`, if already computed.

        Returns:
          (tables, raw features of `now`); (None, None) without the visual stream.
        """
        relation = self.relation(stage)
        if "v" not in self.config.relation.streams:
            return None, None
        raw = relation.raw(pyramid, now)
        owners = [(relation, raw)]
        if before is not None:
            earlier = self.relation(stage - 1)
            owners.append((earlier, earlier.raw(pyramid, before) if seen is None else seen))
        human, obj, faces = relation.project(raw, owners[1][1] if before is not None else None)
        tables = []
        for (owner, source), (face, bare) in zip(owners, faces, strict=bool(faces)):
            tables.append(FaceTables(face, bare, *owner.attention_tables(source), cast(Array, source.has_face)))
        return Tables(human, obj, tuple(tables)), raw

    def relation_pairs(
        self, pyramid: Pyramid, tables: Tables | None, now: Entities, before: Entities | None, stage: int,
        human_slot: Int[Array, "batch pairs"], object_row: Int[Array, "batch pairs"],
    ) -> PairFeatures:  # fmt: skip
        """Visual and geometric features of chosen pairs at `stage`."""
        c, relation = self.config.relation, self.relation(stage)
        pairs = pair_boxes(now, human_slot, object_row)
        visual = geometric = None
        if tables is not None:
            stages = [pairs] if before is None else [pairs, pair_boxes(before, human_slot, object_row)]
            union = union_features(pyramid, stages, c)
            owners = [relation] if before is None else [relation, self.relation(stage - 1)]
            attention = tuple(
                owner.attention(table, human_slot, object_row)
                for owner, table in zip(owners, tables.faces, strict=False)
            )
            union = union.reshape((*union.shape[:2], -1))
            visual = relation.visual(tables, attention, union, human_slot, object_row)
        if "g" in c.streams:
            geometric = relation.geometric(pairs, pyramid.image_hw_px)
        return PairFeatures(visual, geometric)

    def rank_hidden(self, features: PairFeatures, stage: int) -> Float[Array, "batch pairs dim"]:
        """Input of the ranking logits."""
        return self.relation(stage).rank_hidden(features)

    def rank_score(self, hidden: Float[Array, "batch pairs dim"], stage: int) -> Float[Array, "batch pairs"]:
        """Ranking logits (Eq. 12)."""
        return self.relation(stage).rank_score(hidden)[..., 0]

    def rank(self, features: PairFeatures, stage: int) -> Float[Array, "batch pairs"]:
        """Ranking logits of pairs."""
        return self.rank_score(self.rank_hidden(features, stage), stage)

    def classify(
        self, features: PairFeatures, semantic: Array, raw: Raw | None, human_slot: Array, object_row: Array, stage: int
    ) -> dict[str, Array]:
        """Logits of every learned classifier on pairs, [B, P, outputs]."""
        relation = self.relation(stage)
        out = relation.classify(features, semantic)
        if self.config.relation.visual == "mean3" and raw is not None:
            single = relation.classify_single(raw)
            for side, index in (("human", human_slot), ("object", object_row)):
                out[side] = gather_rows(single[side], index)
        return out

    def __call__(self, image: Array, image_hw_px: Int[Array, "batch 2"]) -> Array:
        """Use every parameter once, for initialisation only."""
        c = self.config
        levels = self.pyramid(image, image_hw_px)
        pyramid = self.rois(levels, image_hw_px)
        whole = jnp.concatenate([jnp.zeros_like(image_hw_px), image_hw_px[:, ::-1]], axis=1).astype(jnp.float32)
        boxes = whole[:, None]
        label = jnp.zeros(boxes.shape[:2], jnp.int32)
        total = jnp.zeros(())
        if c.detector == "own":
            score, deltas = self.rpn_head(levels)
            total = jnp.sum(score) + jnp.sum(deltas) + jnp.sum(self.chain(pyramid, boxes).logits)
        if c.masks.enabled:
            total += jnp.sum(self.masks(pyramid, boxes, label))
        if c.loss.parts == "detector":
            return total
        masks = jnp.ones((*label.shape, 28, 28)) if c.relation.uses_masks else None
        entities = Entities(boxes, label, label, boxes, masks, boxes if c.relation.uses_masks else None)
        for number, stage in enumerate(c.relation.stages_of(c.stages)):
            before = entities if number else None
            tables, raw = self.relation_tables(pyramid, entities, before, stage)
            features = self.relation_pairs(pyramid, tables, entities, before, stage, label, label)
            if c.relation.ranking:
                total += jnp.sum(self.rank(features, stage))
            semantic = jnp.zeros((*label.shape, self.verbs + c.relation.background))
            found = self.classify(features, semantic, raw, label, label, stage)
            total += sum(jnp.sum(logits) for logits in found.values())
        return total
