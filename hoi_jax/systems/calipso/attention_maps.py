"""Attention maps of CALIPSO: similarity of every cell's embedding to that of the person."""

from collections.abc import Callable
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from hoi_jax.system import AttentionMaps, Batch, Predictions, Variables
from hoi_jax.systems.calipso.config import CalipsoConfig
from hoi_jax.systems.calipso.model import CalipsoNet, anchors_of, usable_anchors
from hoi_jax.systems.calipso.predict import anchors_to_read
from hoi_jax.vocab.tables import Vocabulary

TITLES = ("the image without padding",)
CAPTIONS = ("similarity to the person's embedding",)
LEGEND = (
    "upper row: the image; padding is dark",
    "lower row: exp(-distance) of each cell's",
    "embedding of this verb to the person's;",
    "linked objects should be yellow",
)


def nearest_cells(cells: int, cell_px: int, count: int, stride: int) -> Int[np.ndarray, " cells"]:
    """Index of the nearest of `count` anchor positions, at multiples of `stride` pixels, for each cell of a grid."""
    middle = (np.arange(cells) + 0.5) * cell_px
    return np.minimum((middle / stride + 0.5).astype(int), count - 1)


def closeness_grid(
    distance: Float[Array, " total"], image_hw: tuple[int, int], cell_px: int, config: CalipsoConfig
) -> Float[Array, "h w"]:
    """exp(-distance), maximum over the anchors at the nearest position of each level; unusable anchors have inf."""
    height, width = image_hw[0] // cell_px, image_hw[1] // cell_px
    each, start, nearest = config.anchors.per_cell, 0, jnp.full((height, width), jnp.inf)
    for stride in config.backbone.strides:
        rows, columns = image_hw[0] // stride, image_hw[1] // stride
        level = distance[start : start + rows * columns * each].reshape(rows, columns, each).min(axis=-1)
        start += rows * columns * each
        y, x = (nearest_cells(size, cell_px, count, stride) for size, count in ((height, rows), (width, columns)))
        nearest = jnp.minimum(nearest, level[y][:, x])
    return jnp.exp(-nearest)


def make_attention_maps(
    net: CalipsoNet, config: CalipsoConfig, vocabulary: Vocabulary, predict: Callable[[Variables, Batch], Predictions]
) -> AttentionMaps:
    """Return `System.attention` with one layer, for the embedding of each pair's best verb ("no interaction" excluded).

    The side of a cell is half the finest stride.
    """
    cell_px = max(config.backbone.strides[0] // 2, 1)
    says = np.arange(len(vocabulary.verbs)) != vocabulary.no_interaction

    def explain(variables: Variables, batch: Batch) -> dict[str, Array]:
        out = predict(variables, batch)
        image_hw = cast(tuple[int, int], batch["image"].shape[1:3])
        anchors, usable = (
            jnp.asarray(anchors_of(config, image_hw)),
            usable_anchors(config, image_hw, batch["image_hw_px"]),
        )
        maps = cast(Any, net.apply(dict(variables), batch["image"], batch["image_hw_px"], method="trunk"))
        dense = cast(dict[str, Array], net.apply(dict(variables), maps, method="dense"))["embedding"]

        def maps_of_image(args: tuple[Array, ...]) -> Array:
            embedding, usable, boxes, verb = args  # [A, V, T], [A], [Q, 4], [Q]
            index, share = anchors_to_read(boxes, anchors, usable, config)

            def pair(args: tuple[Array, ...]) -> Array:  # One pair at a time, to limit memory.
                index, share, verb = args
                every = embedding[:, verb]
                apart = every - (share @ every[index])[None]
                norm = jnp.sum(jnp.abs(apart), -1) if config.predict.norm == "l1" else jnp.sqrt(jnp.sum(apart**2, -1))
                return closeness_grid(jnp.where(usable, norm, jnp.inf), image_hw, cell_px, config)

            return jax.lax.map(pair, (index, share, verb))

        best = jnp.argmax(jnp.where(jnp.asarray(says)[None, None], out["verb_scores"], -1.0), axis=-1)
        weights = jax.lax.map(maps_of_image, (dense, usable, out["human_xyxy_px"], best))[:, :, None]
        return {"weights": weights, "allowed": weights > 0}

    return AttentionMaps(TITLES, cell_px, explain, CAPTIONS, LEGEND)
