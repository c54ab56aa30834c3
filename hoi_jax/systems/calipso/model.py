"""The network of CALIPSO (WACV 2020): pyramid, shared interaction network, three dense tasks.

The cost of the network does not depend on the number of people: `trunk` runs once per image, and the tasks are
evaluated either at all anchors (`dense`) or at chosen ones (`at_anchors`), with the same values.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, cast

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int

from hoi_jax.arrays import ArrayLike
from hoi_jax.backbones.fpn import FPN
from hoi_jax.backbones.resnet import make_resnet, normalised_pixels, valid_cells
from hoi_jax.ops.anchors import cell_anchors, make_anchors
from hoi_jax.systems.calipso.config import CalipsoConfig
from hoi_jax.systems.calipso.subnet import AnchorHead, Block, Maps, gather_patches, heads_at, valid_anchors

Readout = Mapping[str, Array]
"""Outputs at N anchors: "verb" logits [B, N, halves, V], "target" logits [B, N, halves, V] if the network has that
task, "embedding" [B, N, V, T]; float32. Halves: active, then passive if the network has it."""

PRIOR = 0.01
"""Probability of every verb at initialisation (as in RetinaNet)."""


def anchors_of(config: CalipsoConfig, image_hw: tuple[int, int]) -> np.ndarray:
    """All anchors over images of a padded size, [total, 4] float32 pixels.

    Raises:
      ValueError: the size is not a multiple of the coarsest stride, so that strides would depend on the padding.
    """
    coarsest = config.backbone.strides[-1]
    if image_hw[0] % coarsest or image_hw[1] % coarsest:
        raise ValueError(f"image size is {image_hw}, expected multiples of {coarsest}; change sizes.image_hw")
    a = config.anchors
    cells = cell_anchors(a.sizes, scales=a.scales, ratios=a.ratios, rounded=a.rounded)
    levels = [(image_hw[0] // stride, image_hw[1] // stride) for stride in config.backbone.strides]
    return make_anchors(image_hw, levels, cells).astype(np.float32)


def level_cells(config: CalipsoConfig, image_hw: tuple[int, int], image_hw_px: Int[ArrayLike, "batch 2"]) -> Maps:
    """Mask [B, h, w, 1] per level of the cells over the unpadded image; all True if padding is not masked."""
    sizes = [(stride, image_hw[0] // stride, image_hw[1] // stride) for stride in config.backbone.strides]
    if not config.backbone.mask_padding:
        image_hw_px = jnp.full_like(image_hw_px, max(image_hw))
    return tuple(valid_cells(image_hw_px, *size) for size in sizes)


def usable_anchors(
    config: CalipsoConfig, image_hw: tuple[int, int], image_hw_px: Int[ArrayLike, "batch 2"]
) -> Bool[Array, "batch total"]:
    """Mask of the anchors of `anchors_of` that may be used, which excludes those in padding."""
    return valid_anchors(level_cells(config, image_hw, image_hw_px), config.anchors.per_cell)


class CalipsoNet(nn.Module):
    """Backbone, pyramid, blocks and heads; calling it returns the dense readout of an image."""

    config: CalipsoConfig
    num_verbs: int

    def setup(self):
        c, s = self.config.backbone, self.config.subnet
        dtype = self.config.dtype
        self.backbone = make_resnet(c, dtype)
        self.fpn = FPN(c.pyramid_width, "p6p7", cast(Any, c.p6_source), c.mask_padding, dtype)
        copies = 1 if s.share_levels else len(c.strides)
        # remat counts the module itself as argument 0; `train` and `axis_name` are not arrays.
        block = nn.remat(Block, static_argnums=(3, 4)) if s.remat else Block
        self.blocks = [
            [block(s.width, s.statistics, c.mask_padding, dtype) for _ in range(s.blocks)] for _ in range(copies)
        ]
        anchors, verbs = self.config.anchors.per_cell, self.num_verbs

        def heads(outputs: int, **start: Any) -> list[AnchorHead]:
            return [AnchorHead(s.width, anchors, outputs, **start) for _ in range(copies)]

        self.verb = heads(s.halves * verbs, first_bias=-math.log((1 - PRIOR) / PRIOR))
        self.embedding = heads(verbs * s.embedding_dim, kernel_init=nn.initializers.lecun_normal())
        self.target = heads(s.halves * verbs) if s.target_presence else None

    def trunk(
        self,
        image: ArrayLike,
        image_hw_px: Int[ArrayLike, "batch 2"],
        train: bool = False,
        axis_name: str | None = None,
    ) -> Maps:
        """Maps of the last block from uint8 images [B, H, W, 3]; with `train`, batch statistics are used."""
        c = self.config.backbone
        pixels = normalised_pixels(image, image_hw_px, c)
        stages = self.backbone.stages(pixels, image_hw_px)
        maps = self.fpn(stages[-3:], image_hw_px, c.strides[0])
        valid = level_cells(self.config, (image.shape[1], image.shape[2]), image_hw_px)
        if self.config.subnet.share_levels:
            for block in self.blocks[0]:
                maps = block(maps, valid, train, axis_name)
            return maps
        own = []
        for blocks, level, cells in zip(self.blocks, maps, valid, strict=True):
            for block in blocks:
                (level,) = block((level,), (cells,), train, axis_name)
            own.append(level)
        return tuple(own)

    def _tasks(self) -> dict[str, Sequence[AnchorHead]]:
        tasks: dict[str, Sequence[AnchorHead]] = {"verb": self.verb, "embedding": self.embedding}
        return tasks if self.target is None else {**tasks, "target": self.target}

    def _shaped(self, out: dict[str, Array]) -> dict[str, Array]:
        s, v = self.config.subnet, self.num_verbs
        shapes = {"verb": (s.halves, v), "target": (s.halves, v), "embedding": (v, s.embedding_dim)}
        return {name: x.reshape((*x.shape[:2], *shapes[name])) for name, x in out.items()}

    def dense(self, maps: Maps) -> dict[str, Array]:
        """The three tasks at every anchor (see `Readout`)."""
        out = {}
        for name, heads in self._tasks().items():
            own = heads if len(heads) > 1 else [heads[0]] * len(maps)
            out[name] = jnp.concatenate([head.dense(x) for head, x in zip(own, maps, strict=True)], axis=1)
        return self._shaped(out)

    def dense_verbs(self, maps: Maps) -> Array:
        """Verb logits at every anchor, [B, total, halves, V]."""
        own = self.verb if len(self.verb) > 1 else self.verb * len(maps)
        logits = jnp.concatenate([head.dense(x) for head, x in zip(own, maps, strict=True)], axis=1)
        return self._shaped({"verb": logits})["verb"]

    def at_anchors(self, maps: Maps, index: Int[Array, "batch chosen"]) -> dict[str, Array]:
        """The three tasks at chosen anchors, computed from their 3x3 neighbourhoods and the heads' kernels."""
        patches, kind, level = gather_patches(maps, index, self.config.anchors.per_cell)
        tasks = self._tasks()
        # One set of heads, or one per level.
        levels = [heads_at(heads, patches, kind) for heads in zip(*tasks.values(), strict=True)]
        out = levels[0]
        for number, own in enumerate(levels[1:], start=1):
            out = [jnp.where((level == number)[..., None], x, old) for x, old in zip(own, out, strict=True)]
        return self._shaped(dict(zip(tasks, out, strict=True)))

    def __call__(self, image: Array, image_hw_px: Int[Array, "batch 2"]) -> dict[str, Array]:
        """The dense readout; initialises all parameters."""
        return self.dense(self.trunk(image, image_hw_px))
