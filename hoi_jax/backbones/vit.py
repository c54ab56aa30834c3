"""Vision transformers of CLIP and ImageNet at any resolution, with class tokens masked to a part of the image.

CLIP (Radford et al., 2021): a norm before the blocks, no bias in the patch projection, QuickGELU, epsilon 1e-5.
ImageNet (Dosovitskiy et al., 2021): no norm before the blocks, a bias, exact GELU, epsilon 1e-6; Scenic's has the tanh
approximation of GELU.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from hoi_jax.arrays import ArrayLike
from hoi_jax.nn.pre_norm import PreNormBlock
from hoi_jax.ops.resample import resize_positions

VIT_KINDS: Mapping[str, Mapping[str, Any]] = {
    "clip": dict(pre_norm=True, patch_bias=False, activation="quick_gelu", epsilon=1e-5),
    "imagenet": dict(pre_norm=False, patch_bias=True, activation="gelu", epsilon=1e-6),
    "scenic": dict(pre_norm=False, patch_bias=True, activation="tanh_gelu", epsilon=1e-6),
}


class ConvolutionStem(nn.Module):
    """3x3 convolutions of stride 2, each with a norm over channels and ReLU, then a projection of each cell."""

    patch: int
    width: int
    dtype: Any = None

    @nn.compact
    def __call__(self, image: Float[ArrayLike, "batch height width 3"]) -> Float[Array, "batch rows columns dim"]:
        steps = self.patch.bit_length() - 1
        if self.patch != 2**steps:
            raise ValueError(f"patch is {self.patch}, expected a power of two for the convolutional stem")
        x, pad = image, [(1, 1), (1, 1)]
        for number in range(steps):
            features = max(self.width >> (steps - 1 - number), 16)
            x = nn.Conv(features, (3, 3), (2, 2), pad, use_bias=False, dtype=self.dtype, name=f"conv{number}")(x)
            x = nn.relu(nn.LayerNorm(epsilon=1e-5, dtype=self.dtype, name=f"norm{number}")(x))
        return nn.Dense(self.width, dtype=self.dtype, name="out")(x)


class ViT(nn.Module):
    """Vision transformer: pre-norm blocks over patches and a class token.

    Attributes:
      patch: side of a patch, pixels.
      grid: rows and columns of the position table, which is resized for other images (`ops.resample.resize_positions`).
      kind: "clip", "imagenet" or "scenic".
      stem: "patch", one projection of each patch, or "convolutions", 3x3 convolutions of stride 2 down to one cell per
        patch (Xiao et al., 2021), with which small networks train several times as fast from scratch.
      remat: recompute activations inside blocks in the backward pass instead of storing them, which needs a third more
        computation and much less memory.
    """

    patch: int = 32
    width: int = 768
    layers: int = 12
    heads: int = 12
    grid: tuple[int, int] = (21, 21)
    kind: str = "clip"
    stem: str = "patch"
    dtype: Any = None
    remat: bool = False

    def setup(self):
        style = VIT_KINDS[self.kind]
        size = (self.patch, self.patch)
        if self.stem == "convolutions":
            self.patch_embed = ConvolutionStem(self.patch, self.width, self.dtype)
        else:
            self.patch_embed = nn.Conv(
                self.width, size, strides=size, padding="VALID", use_bias=style["patch_bias"], dtype=self.dtype
            )
        init = nn.initializers.normal(self.width**-0.5)
        self.class_embedding = self.param("class_embedding", init, (self.width,))
        rows = 1 + self.grid[0] * self.grid[1]
        self.positional_embedding = self.param("positional_embedding", init, (rows, self.width))
        if style["pre_norm"]:
            self.norm_pre = nn.LayerNorm(epsilon=style["epsilon"], use_fast_variance=False, dtype=self.dtype)
        block = nn.remat(PreNormBlock) if self.remat else PreNormBlock
        self.blocks = [
            block(self.width, self.heads, style["activation"], style["epsilon"], self.dtype) for _ in range(self.layers)
        ]
        self.norm_post = nn.LayerNorm(epsilon=style["epsilon"], use_fast_variance=False, dtype=self.dtype)

    def embed(self, image: Float[ArrayLike, "batch height width 3"]) -> Float[Array, "batch tokens dim"]:
        """Input tokens of the first block: the class token, then patches in row-major order."""
        patches = self.patch_embed(image)
        batch, rows, columns = patches.shape[:3]
        patches = patches.reshape((batch, rows * columns, self.width))
        first = jnp.broadcast_to(self.class_embedding.astype(patches.dtype)[None, None], (batch, 1, self.width))
        position = resize_positions(self.positional_embedding, self.grid, (rows, columns))
        tokens = jnp.concatenate([first, patches], axis=1) + position.astype(patches.dtype)[None]
        return self.norm_pre(tokens) if VIT_KINDS[self.kind]["pre_norm"] else tokens

    def streams(self, image: Float[ArrayLike, "batch height width 3"]) -> list[Array]:
        """Input tokens of each block, [B, T, D] per block, for `feature` and `regional`."""
        tokens = [self.embed(image)]
        for block in self.blocks[:-1]:
            tokens.append(block(tokens[-1]))
        return tokens

    def feature(self, streams: Sequence[Array]) -> Float[Array, "batch dim"]:
        """The normalised class token of the whole image; the last block is computed for that token only."""
        last, tokens = self.blocks[-1], streams[-1]
        row = last.read(tokens[:, :1], *last.offer(tokens[:, 1:]))
        return self.norm_post(row)[:, 0]

    def __call__(self, image: Float[ArrayLike, "batch height width 3"]) -> Float[Array, "batch dim"]:
        """Features [B, D] of normalised images with sides that are whole numbers of patches."""
        return self.feature(self.streams(image))

    def regional(
        self, streams: Sequence[Array], visible: Bool[Array, "batch pairs patches"], *, blocks: int = 1,
        rule: str = "mask", exact: bool = True,
    ) -> Float[Array, "batch pairs dim"]:  # fmt: skip
        """Normalised class token per pair, which attends only to visible patches and itself in the last blocks.

        Patches are never masked (DEFR, Eq. 4). With one or two masked blocks, the patches that are read do not depend
        on the pair and are computed once. With three or more they do, because patches attend to the pair's class token.

        Args:
          streams: result of `streams`.
          visible: patches under either box of the pair; without any, the class token attends only to itself.
          rule: "mask", or "average": the last block takes the mean value of visible patches (Eq. 6; `blocks` is 1).
          exact: with three blocks or more, compute the patches of every pair; otherwise use those of the unmasked
            image, a cheap approximation.
        """
        if not 1 <= blocks <= self.layers:
            raise ValueError(f"blocks is {blocks}, expected 1 to {self.layers}")
        if rule == "average":
            last, tokens = self.blocks[-1], streams[-1]
            return self.norm_post(last.average(tokens[:, :1], last.offer(tokens[:, 1:])[1], visible))
        first = self.layers - blocks
        row = streams[first][:, :1]
        if exact and blocks > 2:
            return self._recomputed(streams, row, visible, first)
        for block, tokens in zip(self.blocks[first:], streams[first:], strict=True):
            row = block.read(row, *block.offer(tokens[:, 1:]), visible)
        return self.norm_post(row)

    def _recomputed(self, streams: Sequence[Array], row: Array, visible: Array, first: int) -> Array:
        """Regional class tokens, with patches computed for every pair from the second masked block on."""
        batch, pairs, patches = visible.shape
        block = self.blocks[first]
        row = block.read(row, *block.offer(streams[first][:, 1:]), visible)
        row = row.reshape((batch * pairs, 1, self.width))
        around = jnp.repeat(streams[first + 1][:, 1:], pairs, axis=0)
        seen = visible.reshape((batch * pairs, 1, patches))
        is_row = (jnp.arange(patches + 1) == 0)[None, :, None]
        allowed = jnp.pad(seen, ((0, 0), (0, 0), (1, 0)), constant_values=True) | ~is_row
        for block in self.blocks[first + 1 : -1]:
            tokens = block(jnp.concatenate([row, around], axis=1), allowed)
            row, around = tokens[:, :1], tokens[:, 1:]
        last = self.blocks[-1]
        row = last.read(row, *last.offer(around), seen)
        return self.norm_post(row).reshape((batch, pairs, self.width))
