"""Heads of two-stage detectors: region proposals, boxes and masks (Faster R-CNN, Mask R-CNN, HTC)."""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from hoi_jax.arrays import ArrayLike


class RpnHead(nn.Module):
    """Objectness and box offsets of every anchor, with the same weights on all levels.

    Channels are ordered anchor by anchor, rows (y, x, anchor), as in `ops.anchors`.
    """

    width: int = 256
    anchors: int = 3
    dtype: Any = None

    @nn.compact
    def __call__(self, levels: tuple[Array, ...]) -> tuple[Float[Array, "batch total"], Float[Array, "batch total 4"]]:
        init = nn.initializers.normal(0.01)
        conv = nn.Conv(self.width, (3, 3), kernel_init=init, dtype=self.dtype, name="conv")
        score = nn.Conv(self.anchors, (1, 1), kernel_init=init, name="score")
        deltas = nn.Conv(4 * self.anchors, (1, 1), kernel_init=init, name="deltas")
        hidden = [nn.relu(conv(level)).astype(jnp.float32) for level in levels]
        batch = levels[0].shape[0]
        return (
            jnp.concatenate([score(x).reshape((batch, -1)) for x in hidden], axis=1),
            jnp.concatenate([deltas(x).reshape((batch, -1, 4)) for x in hidden], axis=1),
        )


class BoxHead(nn.Module):
    """Class logits, background first, and box offsets from RoI features, through two hidden layers.

    Attributes:
      classes: number of classes without background.
      deltas: number of offsets per RoI; 4 if they do not depend on the class.
    """

    classes: int
    width: int = 1024
    deltas: int = 4
    dtype: Any = None

    @nn.compact
    def __call__(
        self, rois: Float[ArrayLike, "batch rows size size channels"]
    ) -> tuple[Float[Array, "batch rows classes_1"], Float[Array, "batch rows deltas"]]:
        x = rois.reshape((*rois.shape[:2], -1))
        init = nn.initializers.xavier_uniform()
        x = nn.relu(nn.Dense(self.width, kernel_init=init, dtype=self.dtype, name="fc6")(x))
        x = nn.relu(nn.Dense(self.width, kernel_init=init, dtype=self.dtype, name="fc7")(x)).astype(jnp.float32)
        logits = nn.Dense(self.classes + 1, kernel_init=nn.initializers.normal(0.01), name="score")(x)
        return logits, nn.Dense(self.deltas, kernel_init=nn.initializers.normal(0.001), name="deltas")(x)


class MaskHead(nn.Module):
    """Mask features from RoI features, and from these a logit map per class at twice the size, background first.

    With `flow`, the features of the previous head are added to the input through a 1x1 convolution and ReLU
    (information flow between mask heads, HTC, CVPR 2019).
    """

    classes: int
    convs: int = 4
    width: int = 256
    flow: bool = False
    dtype: Any = None

    def setup(self):
        init = nn.initializers.variance_scaling(2.0, "fan_out", "normal")
        self.conv = [
            nn.Conv(self.width, (3, 3), kernel_init=init, dtype=self.dtype, name=f"conv{i}") for i in range(self.convs)
        ]
        self.enlarge_kernel = self.param("enlarge_kernel", init, (2, 2, self.width, self.width))
        self.enlarge_bias = self.param("enlarge_bias", nn.initializers.zeros, (self.width,))
        self.score = nn.Conv(self.classes + 1, (1, 1), kernel_init=init, name="score")
        if self.flow:
            self.before = nn.Conv(self.width, (1, 1), kernel_init=init, dtype=self.dtype, name="before")

    def features(
        self,
        rois: Float[ArrayLike, "rows size size channels"],
        before: Float[ArrayLike, "rows size size width"] | None = None,
    ) -> Float[Array, "rows size size width"]:
        """Features for the next head and for `logits`; `before` are the features of the previous head."""
        x = rois if before is None else rois + nn.relu(self.before(before))
        for conv in self.conv:
            x = nn.relu(conv(x))
        return x

    def logits(self, features: Float[Array, "rows size size width"]) -> Float[Array, "rows twice twice classes_1"]:
        """One map per class; cells of the transposed convolution (2x2, stride 2) do not overlap."""
        rows, height, width, _ = features.shape
        x = jnp.einsum("nhwi,abio->nhawbo", features.astype(jnp.float32), self.enlarge_kernel)
        x = x.reshape((rows, 2 * height, 2 * width, -1)) + self.enlarge_bias[None, None, None]
        return self.score(nn.relu(x))

    def __call__(self, rois: ArrayLike, before: ArrayLike | None = None) -> tuple[Array, Array]:
        """Features and logits."""
        features = self.features(rois, before)
        return features, self.logits(features)
