"""Feature pyramids (Lin et al., CVPR 2017) over a ResNet's stages, with RetinaNet's or Faster R-CNN's coarser levels.

Results agree with torchvision's for the same weights; `fpn_rule` converts them.
"""

import re
from collections.abc import Sequence
from typing import Any, Literal

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from hoi_jax.arrays import ArrayLike
from hoi_jax.backbones.resnet import valid_cells
from hoi_jax.backbones.resnet_names import resnet_rule
from hoi_jax.serialization.conversion import Entries, convolution

ExtraLevels = Literal["p6p7", "pool", "none"]
P6Source = Literal["p5", "c5"]


def enlarge_nearest(
    x: Float[Array, "batch h w channels"], height: int, width: int
) -> Float[Array, "batch height width channels"]:
    """Resize by nearest neighbour: cell i reads cell floor(i * old / new)."""
    for axis, size in ((1, height), (2, width)):
        old = x.shape[axis]
        if size == 2 * old:
            x = jnp.repeat(x, 2, axis=axis)
        elif size != old:
            x = jnp.take(x, np.arange(size) * old // size, axis=axis)
    return x


class FPN(nn.Module):
    """Pyramid of maps of one width from maps of increasing stride, with coarse maps added to finer ones.

    Attributes:
      width: channels of every level.
      extra: coarser levels: "p6p7", two convolutions of stride 2 (RetinaNet); "pool", every second cell of the last
        level (Faster R-CNN); "none".
      p6_source: input of P6: "p5", the last level (torchvision's first RetinaNet), or "c5", the last map of the
        backbone (its second one, and the paper).
      mask_padding: keep padded cells at zero, so that padding does not affect results.
    """

    width: int = 256
    extra: ExtraLevels = "p6p7"
    p6_source: P6Source = "p5"
    mask_padding: bool = True
    dtype: Any = None

    @nn.compact
    def __call__(
        self, maps: Sequence[ArrayLike], image_hw_px: Int[ArrayLike, "batch 2"], stride: int
    ) -> tuple[Array, ...]:
        """Args:

        maps: maps of the backbone, [B, h, w, C], finest first, each half the size of the previous one.
        stride: pixels of the image per cell of the first map.
        """

        def conv(x, name, kernel=3, step=1):
            pad = (kernel - 1) // 2
            init = nn.initializers.variance_scaling(1.0, "fan_in", "uniform")
            return nn.Conv(
                self.width, (kernel, kernel), step, [(pad, pad)] * 2, kernel_init=init, dtype=self.dtype, name=name
            )(x)

        def clean(x, level):
            if not self.mask_padding:
                return x
            return jnp.where(valid_cells(image_hw_px, stride * 2**level, *x.shape[1:3]), x, jnp.zeros_like(x))

        last = len(maps) - 1
        inner = clean(conv(maps[last], f"lateral{last}", 1), last)
        levels = [clean(conv(inner, f"output{last}"), last)]
        for level in range(last - 1, -1, -1):
            finer = conv(maps[level], f"lateral{level}", 1)
            inner = clean(finer + enlarge_nearest(inner, *finer.shape[1:3]), level)
            levels.insert(0, clean(conv(inner, f"output{level}"), level))
        if self.extra == "pool":
            levels.append(levels[-1][:, ::2, ::2])
        elif self.extra == "p6p7":
            p6 = clean(conv(levels[-1] if self.p6_source == "p5" else maps[-1], "p6", 3, 2), last + 1)
            levels += [p6, clean(conv(nn.relu(p6), "p7", 3, 2), last + 2)]
        return tuple(levels)


def fpn_rule(name: str, tensor: np.ndarray, *, prefix: str = "fpn") -> Entries | None:
    """Entries, below `prefix`, for a tensor of torchvision's FeaturePyramidNetwork; None for others.

    Newer releases wrap every convolution ("inner_blocks.0.0.weight"), older ones do not ("inner_blocks.0.weight").
    """
    blocks = re.fullmatch(r"(inner|layer)_blocks\.(\d+)\.(?:0\.)?(weight|bias)", name)
    extra = re.fullmatch(r"extra_blocks\.(p[67])\.(weight|bias)", name)
    if blocks:
        kind, number, leaf = blocks.groups()
        path = f"{prefix}/{'lateral' if kind == 'inner' else 'output'}{number}"
    elif extra:
        path, leaf = f"{prefix}/{extra[1]}", extra[2]
    else:
        return None
    return convolution(path, tensor) if leaf == "weight" else [(f"params/{path}/bias", tensor)]


def resnet_fpn_rule(name: str, tensor: np.ndarray, *, backbone: str = "backbone", fpn: str = "fpn") -> Entries | None:
    """Entries for a tensor of torchvision's ResNet with FPN ("backbone.body.*", "backbone.fpn.*"); None for heads."""
    if name.startswith("backbone.body."):
        return resnet_rule(name.removeprefix("backbone.body."), tensor, prefix=backbone)
    if name.startswith("backbone.fpn."):
        return fpn_rule(name.removeprefix("backbone.fpn."), tensor, prefix=fpn)
    return None
