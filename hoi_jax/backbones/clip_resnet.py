"""CLIP's ModifiedResNet (Radford et al., 2021).

It has a stem of three convolutions, strides by average pooling, and attention pooling with the mean as query.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from hoi_jax.nn.pre_norm import for_softmax
from hoi_jax.ops.resample import resize_positions


def halve(x: Float[Array, "batch height width channels"]) -> Float[Array, "batch h w channels"]:
    """2x2 average pooling."""
    return nn.avg_pool(x, (2, 2), strides=(2, 2))


class ConvBatchNorm(nn.Module):
    """Convolution without bias, then batch normalisation (epsilon 1e-5, momentum 0.9)."""

    features: int
    kernel: int
    stride: int = 1
    dtype: Any = None

    @nn.compact
    def __call__(self, x: Array, stored: bool, axis_name: str | None) -> Array:
        pad = [(self.kernel // 2, self.kernel // 2)] * 2
        size, stride = (self.kernel, self.kernel), (self.stride, self.stride)
        x = nn.Conv(self.features, size, stride, padding=pad, use_bias=False, dtype=self.dtype, name="conv")(x)
        norm = nn.BatchNorm(
            use_running_average=stored, momentum=0.9, epsilon=1e-5, dtype=self.dtype, axis_name=axis_name, name="norm"
        )
        return norm(x)


class ModifiedBottleneck(nn.Module):
    """Bottleneck with average pooling as stride, in the branch and in the shortcut."""

    width: int
    stride: int = 1
    dtype: Any = None

    @nn.compact
    def __call__(self, x: Array, stored: bool, axis_name: str | None) -> Array:
        def conv(y, features, kernel, name):
            return ConvBatchNorm(features, kernel, dtype=self.dtype, name=name)(y, stored, axis_name)

        y = nn.relu(conv(x, self.width, 1, "conv1"))
        y = nn.relu(conv(y, self.width, 3, "conv2"))
        y = conv(halve(y) if self.stride == 2 else y, 4 * self.width, 1, "conv3")
        if self.stride == 2 or x.shape[-1] != 4 * self.width:
            x = conv(halve(x) if self.stride == 2 else x, 4 * self.width, 1, "downsample")
        return nn.relu(x + y)


class AttentionPool(nn.Module):
    """Attention from the mean of the map to itself and all cells, followed by a projection.

    Attributes:
      grid: rows and columns of the position table, which is resized for maps of other sizes.
    """

    heads: int
    output: int
    grid: tuple[int, int]
    dtype: Any = None

    @nn.compact
    def __call__(self, x: Float[Array, "batch height width channels"]) -> Float[Array, "batch out"]:
        batch, rows, columns, dim = x.shape
        cells = x.reshape((batch, rows * columns, dim))
        tokens = jnp.concatenate([jnp.mean(cells, axis=1, keepdims=True), cells], axis=1)
        init = nn.initializers.normal(dim**-0.5)
        table = self.param("positional_embedding", init, (1 + self.grid[0] * self.grid[1], dim))
        tokens = tokens + resize_positions(table, self.grid, (rows, columns)).astype(x.dtype)[None]

        def project(y, name):
            return nn.Dense(dim, dtype=self.dtype, name=name)(y).reshape((*y.shape[:2], self.heads, -1))

        q, k, v = project(tokens[:, :1], "query"), project(tokens, "key"), project(tokens, "value")
        logits = for_softmax(jnp.einsum("bqhc,bkhc->bhqk", q * q.shape[-1] ** -0.5, k))
        weights = jax.nn.softmax(logits, axis=-1)
        self.sow("intermediates", "weights", jnp.mean(weights, axis=1))
        mixed = jnp.einsum("bhqk,bkhc->bqhc", weights.astype(v.dtype), v).reshape((batch, dim))
        return nn.Dense(self.output, dtype=self.dtype, name="out")(mixed)


class ModifiedResNet(nn.Module):
    """Stem, four stages, attention pool.

    Attributes:
      stage_sizes: (3, 4, 6, 3) for RN50, (3, 4, 23, 3) for RN101.
      heads: number of heads of the pool, over 32 * width channels.
      output: length of the feature, 1024 for RN50 and 512 for RN101.
      grid: rows and columns of the pool's position table, 1/32 of the image's height and width.
    """

    stage_sizes: tuple[int, ...] = (3, 4, 6, 3)
    width: int = 64
    heads: int = 32
    output: int = 1024
    grid: tuple[int, int] = (7, 7)
    dtype: Any = None

    @nn.compact
    def __call__(
        self, image: Float[Array, "batch height width 3"], *, train: bool = False, axis_name: str | None = None
    ) -> Float[Array, "batch out"]:
        """Features [B, output] of normalised images. Maps are sown as "stem" and "layer1" ... "layer4".

        With `train`, statistics of this batch (over `axis_name`) are used and the collection "batch_stats" is updated.
        """
        x = image
        for number, (features, stride) in enumerate(((self.width // 2, 2), (self.width // 2, 1), (self.width, 1))):
            stem = ConvBatchNorm(features, 3, stride, self.dtype, name=f"stem{number}")
            x = nn.relu(stem(x, not train, axis_name))
        x = halve(x)
        self.sow("intermediates", "stem", x)
        for number, blocks in enumerate(self.stage_sizes):
            for block in range(blocks):
                stride = 2 if block == 0 and number > 0 else 1
                name = f"stage{number}_block{block}"
                x = ModifiedBottleneck(self.width * 2**number, stride, self.dtype, name=name)(x, not train, axis_name)
            self.sow("intermediates", f"layer{number + 1}", x)
        return AttentionPool(self.heads, self.output, self.grid, self.dtype, name="pool")(x)
