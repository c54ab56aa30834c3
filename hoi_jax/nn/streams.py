"""The convolutional stream over pair maps that TIN and its successors share."""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float


class PairMapStream(nn.Module):
    """5x5 convolution, ReLU, 2x2 max-pool per entry of `features`, then flatten (iCAN's spatial stream).

    Convolutions are unpadded: a 64x64 map with features (64, 32) gives 13 * 13 * 32 = 5408 numbers.
    """

    features: tuple[int, ...] = (64, 32)
    kernel: int = 5
    dtype: jnp.dtype | None = None

    @nn.compact
    def __call__(self, maps: Float[Array, "batch pairs size size channels"]) -> Float[Array, "batch pairs dim"]:
        x = maps.reshape((-1, *maps.shape[2:]))
        for layer, width in enumerate(self.features):
            window = (self.kernel, self.kernel)
            conv = nn.Conv(width, window, padding="VALID", dtype=self.dtype, name=f"conv{layer}")
            x = nn.max_pool(nn.relu(conv(x)), (2, 2), strides=(2, 2))
        return x.reshape((*maps.shape[:2], -1))
