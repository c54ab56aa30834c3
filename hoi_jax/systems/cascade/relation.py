"""The relation network of one stage: features of pairs, their ranking and their verbs (paper, section 3.3).

The first layer on X_v = [H, O + alpha F + a F', U] is linear, so that

    W X_v = W_h H + W_o O + alpha W_o F + a W_o F' + W_u U:

the products of people and of objects are computed once each (`project`), so that a pair costs only its union and a few
sums (`visual`). The first layers of both attentions are split in the same way. Per pair, the union is the only array of
size C x 7 x 7.
"""

from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from hoi_jax.arrays import ArrayLike
from hoi_jax.nn.streams import PairMapStream
from hoi_jax.ops.pairs import gather_rows
from hoi_jax.systems.cascade.config import RelationConfig
from hoi_jax.systems.cascade.regions import Entities, PairBoxes, Pyramid, masks_inside, region_features
from hoi_jax.systems.cascade.relation_features import (
    NonLocal,
    pair_vector,
    rectangles,
    semantic_context,
    silhouette_maps,
)

SLOPE = 0.1
"""Negative slope of the leaky ReLU after each hidden layer (released code; not in the paper)."""


class Raw(NamedTuple):
    """Flattened features of one stage: people (after semantic mining) [B, M, d], objects [B, N, d]; with facial
    attention also faces and people without their faces [B, M, d] and a mask of people with a face [B, M], else None."""

    human: Array
    obj: Array
    face: Array | None
    bare: Array | None
    has_face: Array | None


class FaceTables(NamedTuple):
    """Attention inputs of people and objects from one contributing stage; W and A are widths.

    Attributes:
      face, bare: [B, M, W] outputs of the first layer of the stage that reads them.
      face_human, face_object, bare_human, bare_object: [B, M or N, A] outputs of the attention's first layers.
      has_face: [B, M].
    """

    face: Array
    bare: Array
    face_human: Array
    face_object: Array
    bare_human: Array
    bare_object: Array
    has_face: Array


class Tables(NamedTuple):
    """First-layer outputs of people [B, M, W] and objects [B, N, W]; attention tables of this stage and the last."""

    human: Array
    obj: Array
    faces: tuple[FaceTables, ...]


class PairFeatures(NamedTuple):
    """Visual [B, P, W] and geometric [B, P, G] features of P pairs, float32; None without the respective stream."""

    visual: Array | None
    geometric: Array | None


def _leaky(x: Array) -> Array:
    return jax.nn.leaky_relu(x, SLOPE)


class RelationStage(nn.Module):
    """Parameters of R^t. `channels`: channels of the pyramid; `num_verbs`: outputs, including any "no relation"."""

    config: RelationConfig
    channels: int
    num_verbs: int
    dtype: Any = None

    def setup(self):
        c = self.config
        he, zeros = nn.initializers.he_normal(), nn.initializers.zeros
        dim = c.size * c.size * self.channels
        if "v" in c.streams:
            self.first_kernel = self.param("first_kernel", he, (3 * dim, c.width))
            self.first_bias = self.param("first_bias", zeros, (c.width,))
            self.second = nn.Dense(c.width, kernel_init=he, dtype=self.dtype)
            self.verb_v = nn.Dense(self.num_verbs)
            if c.mining.startswith("nonlocal"):
                inverted = c.mining == "nonlocal_inverted"
                self.nonlocal_block = NonLocal(max(self.channels // 2, 1), inverted, dtype=self.dtype)
            if c.face:
                shape = (2 * dim, c.face_width)
                self.face_kernel, self.bare_kernel = (self.param(f"{n}_kernel", he, shape) for n in ("face", "bare"))
                self.face_bias, self.bare_bias = (
                    self.param(f"{n}_bias", zeros, (c.face_width,)) for n in ("face", "bare")
                )
                self.face_score, self.bare_score = nn.Dense(1), nn.Dense(1)
            if c.visual == "mean3":
                self.alone = {side: nn.Dense(self.num_verbs) for side in ("human", "object")}
        if "g" in c.streams:
            if c.geometry == "maps":
                self.map_stream = PairMapStream(c.map_features, dtype=self.dtype)
                self.geometric_out = nn.Dense(c.geometric_width, kernel_init=he, dtype=self.dtype)
            else:
                self.vector_layers = [nn.Dense(64, kernel_init=he), nn.Dense(64, kernel_init=he)]
            self.verb_g = nn.Dense(self.num_verbs)
        if "s" in c.streams and c.semantic == "learned":
            self.verb_s = nn.Dense(self.num_verbs)
        if c.ranking:
            self.rank_score = nn.Dense(1)
            if c.rank_width:
                self.rank_layer = nn.Dense(c.rank_width, kernel_init=he)

    def _cast(self, *arrays: Array) -> tuple[Array, ...]:
        return arrays if self.dtype is None else tuple(a.astype(self.dtype) for a in arrays)

    def raw(self, pyramid: Pyramid, entities: Entities) -> Raw:
        """Pooled features of all entities, people enhanced by semantic mining (Eqs. 3, 5 to 7)."""
        c = self.config
        maps, face, bare = self._pooled(pyramid, entities)
        human = gather_rows(maps, entities.human_row)
        if c.mining == "dot":
            human = human + semantic_context(human, c.mining_scale)
        elif c.mining != "none":
            human = self.nonlocal_block(human)

        def flat(x: Array) -> Array:
            return x.reshape((*x.shape[:2], -1))

        if face is None or bare is None:
            return Raw(flat(human), flat(maps), None, None, None)
        return Raw(flat(human), flat(maps), flat(face), flat(bare), entities.has_face)

    def _pooled(self, pyramid: Pyramid, entities: Entities) -> tuple[Array, Array | None, Array | None]:
        """Features [B, N or M, r, r, C] of entities and, with facial attention, of faces and people without faces.

        All boxes are pooled together, which halves the compilation time. Faces are not masked.
        """
        inside = masks_inside(entities, self.config)
        if not self.config.face:
            return region_features(pyramid, entities.boxes, inside, self.config), None, None
        faces, people = entities.faces, gather_rows(entities.boxes, entities.human_row)
        if inside is not None:
            person = gather_rows(inside, entities.human_row)
            inside = jnp.concatenate([inside, jnp.ones_like(person), person], axis=1)
        boxes = jnp.concatenate([entities.boxes, faces, people], axis=1)
        holes = jnp.concatenate([jnp.zeros_like(entities.boxes), jnp.zeros_like(faces), faces], axis=1)
        maps = region_features(pyramid, boxes, inside, self.config, holes)
        count, humans = entities.boxes.shape[1], faces.shape[1]
        return maps[:, :count], maps[:, count : count + humans], maps[:, count + humans :]

    def attention_tables(self, raw: Raw) -> tuple[Array, Array, Array, Array]:
        """Outputs of the first layers of Eqs. 8 and 9 for people and objects."""
        assert raw.face is not None and raw.bare is not None
        parts = []
        for kernel, person in ((self.face_kernel, raw.face), (self.bare_kernel, raw.bare)):
            top, bottom = jnp.split(kernel, 2)
            for rows, part in ((person, top), (raw.obj, bottom)):
                rows, part = self._cast(rows, part)
                parts.append(rows @ part)
        return parts[0], parts[1], parts[2], parts[3]

    def project(self, now: Raw, before: Raw | None) -> tuple[Array, Array, tuple[tuple[Array, Array], ...]]:
        """First-layer outputs: people and objects of X^t + X^{t-1}; faces and people without faces per stage."""
        w_human, w_object, _ = jnp.split(self.first_kernel, 3)
        human = now.human if before is None else now.human + before.human
        obj = now.obj if before is None else now.obj + before.obj
        human, w_human, obj, w_object = self._cast(human, w_human, obj, w_object)
        faces = []
        for raw in (now,) if before is None else (now, before):
            if raw.face is not None and raw.bare is not None:
                face, bare = self._cast(raw.face, raw.bare)
                faces.append((face @ w_object, bare @ w_object))
        return human @ w_human, obj @ w_object, tuple(faces)

    def attention(self, tables: FaceTables, human_slot: Array, object_row: Array) -> tuple[Array, Array]:
        """(alpha, attention to the person without face), [B, P] each; alpha is 0 for people without a face."""

        def score(person: Array, obj: Array, bias: Array, layer: nn.Dense) -> Array:
            hidden = gather_rows(person, human_slot) + gather_rows(obj, object_row) + bias[None, None]
            return jax.nn.sigmoid(layer(nn.relu(hidden).astype(jnp.float32))[..., 0])

        face = score(tables.face_human, tables.face_object, self.face_bias, self.face_score)
        bare = score(tables.bare_human, tables.bare_object, self.bare_bias, self.bare_score)
        return jnp.where(gather_rows(tables.has_face, human_slot), face, 0.0), bare

    def visual(
        self, tables: Tables, attention: tuple[tuple[Array, Array], ...], union: Array, human_slot: Array,
        object_row: Array,
    ) -> Float[Array, "batch pairs width"]:  # fmt: skip
        """Visual features of pairs by Eq. 11; `union` is U^t + U^{t-1}, flattened [B, P, d]."""
        rows, kernel = self._cast(union, jnp.split(self.first_kernel, 3)[2])
        x = gather_rows(tables.human, human_slot) + gather_rows(tables.obj, object_row) + rows @ kernel
        for (alpha, bare), table in zip(attention, tables.faces, strict=True):
            x = x + alpha[..., None].astype(x.dtype) * gather_rows(table.face, human_slot)
            x = x + bare[..., None].astype(x.dtype) * gather_rows(table.bare, human_slot)
        x = _leaky(x + self.first_bias[None, None].astype(x.dtype))
        return _leaky(self.second(x)).astype(jnp.float32)

    def geometric(self, pairs: PairBoxes, image_hw_px: ArrayLike) -> Float[Array, "batch pairs dim"]:
        """X_g of the stage's boxes, or of masks if `region` uses them."""
        c = self.config
        if c.geometry == "vector":
            x = pair_vector(pairs.human, pairs.obj, image_hw_px)
            for layer in self.vector_layers:
                x = _leaky(layer(x))
            return x
        if c.uses_masks and pairs.human_mask is not None and pairs.object_mask is not None:
            assert pairs.human_mask_box is not None and pairs.object_mask_box is not None
            maps = silhouette_maps(
                pairs.human_mask, pairs.object_mask, pairs.human_mask_box, pairs.object_mask_box, pairs.human,
                pairs.obj, c.map_size,
            )  # fmt: skip
        else:
            maps = rectangles(pairs.human, pairs.obj, c.map_size)
        return nn.relu(self.geometric_out(self.map_stream(maps))).astype(jnp.float32)

    def rank_hidden(self, features: PairFeatures) -> Float[Array, "batch pairs dim"]:
        """Input of the ranking score: the features, or a layer on them."""
        parts = [x for x in (features.visual, features.geometric) if x is not None]
        joined = jnp.concatenate(parts, axis=-1)
        return _leaky(self.rank_layer(joined)) if self.config.rank_width else joined

    def classify(
        self, features: PairFeatures, semantic: Float[Array, "batch pairs verbs"]
    ) -> dict[str, Float[Array, "batch pairs verbs"]]:
        """Logits of the trained streams (Eq. 15) on pairs; `semantic` is X_s."""
        out = {}
        if features.visual is not None:
            out["v"] = self.verb_v(features.visual)
        if features.geometric is not None:
            out["g"] = self.verb_g(features.geometric)
        if "s" in self.config.streams and self.config.semantic == "learned":
            out["s"] = self.verb_s(semantic)
        return out

    def classify_single(self, raw: Raw) -> dict[str, Array]:
        """Logits [B, M or N, verbs] of the release's classifiers on people alone and on objects alone."""
        out = {}
        for side, rows in (("human", raw.human), ("object", raw.obj)):
            out[side] = self.alone[side](rows.astype(jnp.float32))
        return out
