"""The interaction network that all pyramid levels share: convolution blocks and dense heads (CALIPSO, section 3.2)."""

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

Maps = tuple[Array, ...]
"""One [B, h, w, C] array per level."""
KEEP = 0.9
"""Momentum of running statistics: the share of the old ones after one step."""


class LevelBatchNorm(nn.Module):
    """Batch normalisation of several levels with one gain and offset; float32 inside.

    Levels have different statistics, which a common running average would not represent, so by default every level has
    its own. Statistics are over valid cells only, of all devices.

    Attributes:
      statistics: "per_level", "joint" (one set for all levels) or "frozen" (the stored ones, never updated).
    """

    statistics: str = "per_level"
    epsilon: float = 1e-5

    @nn.compact
    def __call__(self, maps: Maps, valid: Maps, train: bool, axis_name: str | None) -> Maps:
        """Normalise the maps; `valid` is [B, h, w, 1] per level. With `train`, "batch_stats" is updated."""
        sets, channels = (len(maps) if self.statistics == "per_level" else 1), maps[0].shape[-1]
        mean = self.variable("batch_stats", "mean", lambda: jnp.zeros((sets, channels)))
        var = self.variable("batch_stats", "var", lambda: jnp.ones((sets, channels)))
        scale = self.param("scale", nn.initializers.ones, (channels,))
        bias = self.param("bias", nn.initializers.zeros, (channels,))
        x = [level.astype(jnp.float32) for level in maps]
        used_mean, used_var = mean.value, var.value
        if train and self.statistics != "frozen" and not self.is_initializing():
            count = self._over(valid, [jnp.ones_like(level[..., :1]) for level in x], axis_name)
            safe = jnp.maximum(count, 1.0)
            used_mean = self._over(valid, x, axis_name) / safe
            # A second pass over deviations, because the mean of squares minus the squared mean loses precision.
            centred = [jnp.square(level - self._row(used_mean, i)) for i, level in enumerate(x)]
            used_var = self._over(valid, centred, axis_name) / safe
            seen = count > 0
            mean.value = jnp.where(seen, KEEP * mean.value + (1 - KEEP) * used_mean, mean.value)
            var.value = jnp.where(seen, KEEP * var.value + (1 - KEEP) * used_var, var.value)
        gain = scale[None] * jax.lax.rsqrt(used_var + self.epsilon)
        offset = bias[None] - used_mean * gain
        out = (level * self._row(gain, i) + self._row(offset, i) for i, level in enumerate(x))
        return tuple(y.astype(level.dtype) for y, level in zip(out, maps, strict=True))

    def _row(self, table: Array, level: int) -> Array:
        return table[min(level, table.shape[0] - 1)][None, None, None]

    def _over(self, valid: Maps, values: Sequence[Array], axis_name: str | None) -> Array:
        """Sums over valid cells of all devices, [sets, C or 1], with one collective for all levels."""
        sums = [jnp.sum(jnp.where(v, x, 0.0), axis=(0, 1, 2)) for v, x in zip(valid, values, strict=True)]
        table = jnp.stack(sums)
        if self.statistics == "joint":
            table = jnp.sum(table, axis=0, keepdims=True)
        return table if axis_name is None else jax.lax.psum(table, axis_name)


class Block(nn.Module):
    """3x3 convolution, normalisation and ReLU on all levels, then zeros in padded cells if `mask_padding`."""

    width: int
    statistics: str
    mask_padding: bool
    dtype: Any = None

    @nn.compact
    def __call__(self, maps: Maps, valid: Maps, train: bool, axis_name: str | None) -> Maps:
        conv = nn.Conv(
            self.width, (3, 3), use_bias=False, kernel_init=nn.initializers.he_normal(), dtype=self.dtype, name="conv"
        )
        maps = LevelBatchNorm(self.statistics, name="norm")(tuple(map(conv, maps)), valid, train, axis_name)
        maps = tuple(map(nn.relu, maps))
        if self.mask_padding:
            maps = tuple(jnp.where(v, x, jnp.zeros_like(x)) for v, x in zip(valid, maps, strict=True))
        return maps


class AnchorHead(nn.Module):
    """A 3x3 convolution to `outputs` numbers per anchor, float32; channels are ordered anchor by anchor.

    `heads_at` computes the values at chosen anchors only.
    """

    channels: int
    anchors: int
    outputs: int
    kernel_init: Any = nn.initializers.normal(0.01)
    first_bias: float = 0.0

    def setup(self):
        shape = (3, 3, self.channels, self.anchors * self.outputs)
        self.kernel = self.param("kernel", self.kernel_init, shape)
        self.bias = self.param("bias", nn.initializers.constant(self.first_bias), (shape[-1],))

    def dense(self, x: Float[Array, "batch h w channels"]) -> Float[Array, "batch total outputs"]:
        """Outputs at every anchor of one level, in the order of `ops.anchors`."""
        y = jax.lax.conv_general_dilated(
            x.astype(jnp.float32), self.kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )
        return (y + self.bias[None, None, None]).reshape((x.shape[0], -1, self.outputs))

    def table(self) -> tuple[Float[Array, "patch anchors outputs"], Float[Array, "anchors outputs"]]:
        """Kernel and bias of every anchor of a cell."""
        kernel = self.kernel.reshape((-1, self.anchors, self.outputs))
        return kernel, self.bias.reshape((self.anchors, self.outputs))


def heads_at(
    heads: Sequence[AnchorHead], patches: Float[Array, "batch chosen patch"], kind: Int[Array, "batch chosen"]
) -> list[Float[Array, "batch chosen outputs"]]:
    """Outputs of several heads at anchors with index `kind` in their cell and 3x3 neighbourhoods `patches`."""
    kernels, biases = zip(*(head.table() for head in heads), strict=True)
    kernel, bias = jnp.concatenate(kernels, axis=-1), jnp.concatenate(biases, axis=-1)
    out = jnp.zeros((*kind.shape, kernel.shape[-1]), jnp.float32)
    # One product per anchor of a cell (nine); rows of other anchors are discarded, which avoids copying kernels.
    for number in range(kernel.shape[1]):
        y = jnp.einsum("bkf,fo->bko", patches, kernel[:, number]) + bias[number][None, None]
        out = jnp.where((kind == number)[..., None], y, out)
    return jnp.split(out, np.cumsum([head.outputs for head in heads])[:-1], axis=-1)


def neighbours(level_hw: Sequence[tuple[int, int]]) -> tuple[np.ndarray, np.ndarray]:
    """(neighbours [cells, 9], level [cells]) of all cells, level by level; int32.

    The 3x3 neighbours are in row-major order; those outside of the map have the total number of cells as index.
    """
    tables, levels, start = [], [], 0
    total = sum(rows * columns for rows, columns in level_hw)
    for level, (rows, columns) in enumerate(level_hw):
        y, x = np.mgrid[:rows, :columns]
        around = []
        for dy in (-1, 0, 1):
            for dx in (-1, 0, 1):
                inside = (0 <= y + dy) & (y + dy < rows) & (0 <= x + dx) & (x + dx < columns)
                around.append(np.where(inside, start + (y + dy) * columns + x + dx, total).ravel())
        tables.append(np.stack(around, axis=1))
        levels.append(np.full(rows * columns, level))
        start += rows * columns
    return np.concatenate(tables).astype(np.int32), np.concatenate(levels).astype(np.int32)


def gather_patches(
    maps: Maps, index: Int[Array, "batch chosen"], anchors: int
) -> tuple[Float[Array, "batch chosen patch"], Int[Array, "batch chosen"], Int[Array, "batch chosen"]]:
    """(3x3 neighbourhood, index within its cell, level) of chosen anchors."""
    around, level = neighbours([(x.shape[1], x.shape[2]) for x in maps])
    cell, kind = index // anchors, index % anchors
    flat = jnp.concatenate([x.astype(jnp.float32).reshape((x.shape[0], -1, x.shape[-1])) for x in maps], axis=1)
    flat = jnp.pad(flat, ((0, 0), (0, 1), (0, 0)))  # The last row is used for all cells outside of a map.
    places = jnp.take(jnp.asarray(around), cell, axis=0)  # [B, K, 9]
    patches = jax.vmap(lambda rows, at: rows[at])(flat, places)
    return patches.reshape((*index.shape, -1)), kind, jnp.take(jnp.asarray(level), cell)


def valid_anchors(valid: Sequence[Bool[Array, "batch _ _ 1"]], anchors: int) -> Bool[Array, "batch total"]:
    """Mask of the anchors whose cell is over the unpadded image."""
    flat = jnp.concatenate([v.reshape((v.shape[0], -1)) for v in valid], axis=1)
    return jnp.repeat(flat, anchors, axis=1)
