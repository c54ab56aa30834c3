"""The convolutional stream over pair maps that TIN and its successors share."""

from typing import Any, NamedTuple

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float


def _halve(x: Float[Array, "rows size size channels"]) -> Float[Array, "rows half half channels"]:
    """2x2 max-pooling without an odd last row or column. On CPU its gradient is three times as fast as linen's."""
    rows, height, width, channels = x.shape
    x = x[:, : height // 2 * 2, : width // 2 * 2]
    return jnp.max(x.reshape(rows, height // 2, 2, width // 2, 2, channels), axis=(2, 4))


class Rectangles(NamedTuple):
    """Maps of filled rectangles, one per channel, as masks of their rows and of their columns, [B, P, size, C] each."""

    rows: Bool[Array, "batch pairs size channels"]
    columns: Bool[Array, "batch pairs size channels"]

    def maps(self) -> Float[Array, "batch pairs size size channels"]:
        return (self.rows[:, :, :, None] & self.columns[:, :, None]).astype(jnp.float32)


def _windows(x: Float[Array, "rows size channels"], kernel: int) -> Float[Array, "rows places channels kernel"]:
    """Every window of `kernel` neighbours."""
    places = x.shape[1] - kernel + 1
    return jnp.stack([x[:, start : start + places] for start in range(kernel)], axis=-1)


class RectangleConv(nn.Module):
    """`nn.Conv(features, (kernel, kernel), padding="VALID")` on rectangles, with the same parameters.

    A rectangle is a product of two intervals, so its convolution is two small matrix products: of the kernel along the
    columns, and of the result along the rows. On CPU this reduces the training time of a stream to a third.
    """

    features: int
    kernel: int
    dtype: Any = None

    @nn.compact
    def __call__(self, rectangles: Rectangles) -> Float[Array, "rows places places features"]:
        channels = rectangles.rows.shape[-1]
        init = nn.linear.default_kernel_init
        kernel = self.param("kernel", init, (self.kernel, self.kernel, channels, self.features))
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        dtype = self.dtype or kernel.dtype
        rows, columns = (
            _windows(side.reshape((-1, *side.shape[2:])).astype(dtype), self.kernel) for side in rectangles
        )
        along = jnp.einsum("nxcj,ijcf->ncixf", columns, kernel.astype(dtype))
        return jnp.einsum("nyci,ncixf->nyxf", rows, along) + bias.astype(dtype)[None, None, None]


class PairMapStream(nn.Module):
    """5x5 convolution, ReLU, 2x2 max-pool per entry of `features`, then flatten (iCAN's spatial stream).

    Convolutions are unpadded: a 64x64 map with features (64, 32) gives 13 * 13 * 32 = 5408 numbers.

    Raises:
      ValueError: `features` is empty, or the maps are too small for the unpadded convolutions.
    """

    features: tuple[int, ...] = (64, 32)
    kernel: int = 5
    dtype: Any = None

    @nn.compact
    def __call__(
        self, maps: Float[Array, "batch pairs size size channels"] | Rectangles
    ) -> Float[Array, "batch pairs dim"]:
        # Pooling before ReLU gives the same values as the paper's order, with ReLU on a quarter of the cells.
        leading = (maps.rows if isinstance(maps, Rectangles) else maps).shape[:2]
        x = maps if isinstance(maps, Rectangles) else maps.reshape((-1, *maps.shape[2:]))
        for layer, width in enumerate(self.features):
            if isinstance(x, Rectangles):
                x = RectangleConv(width, self.kernel, self.dtype, name=f"conv{layer}")(x)
            else:
                window = (self.kernel, self.kernel)
                x = nn.Conv(width, window, padding="VALID", dtype=self.dtype, name=f"conv{layer}")(x)
            x = nn.relu(_halve(x))
        if isinstance(x, Rectangles):
            raise ValueError("features is empty, but a stream over maps needs at least one convolution")
        if not x.size:
            layers = len(self.features)
            raise ValueError(f"maps have too few cells for {layers} unpadded {self.kernel}x{self.kernel} convolutions")
        return x.reshape((*leading, -1))
