"""Fully connected stacks on rows or on concatenations of rows."""

from collections.abc import Sequence
from typing import Any, cast

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from hoi_jax.nn.dropout import example_dropout
from hoi_jax.ops.pairs import gather_rows

Blocks = Sequence[tuple[Array, Array | None]]
"""Parts of a concatenation [B, P, d1 + d2 + ...]: rows [B, N, d] with the row of every pair [B, P], or with None if the
rows are the pairs."""


class BlockDense(nn.Module):
    """A dense layer on a concatenation of features of people, objects and pairs.

    W [x1; x2] = W1 x1 + W2 x2, so the product with a block that many pairs share is computed once per person or object
    and then gathered. The kernel is that of the plain layer, with rows in the order of the blocks.
    """

    features: int
    use_bias: bool = True
    kernel_init: Any = nn.initializers.he_normal()
    dtype: Any = None

    @nn.compact
    def __call__(self, blocks: Blocks) -> Float[Array, "batch pairs features"]:
        widths = [rows.shape[-1] for rows, _ in blocks]
        kernel = self.param("kernel", self.kernel_init, (sum(widths), self.features))
        parts = jnp.split(kernel, list(np.cumsum(widths)[:-1]))
        total = None
        for (rows, index), part in zip(blocks, parts, strict=True):
            rows, part = (rows, part) if self.dtype is None else (rows.astype(self.dtype), part.astype(self.dtype))
            product = rows @ part
            product = product if index is None else gather_rows(product, index)
            total = product if total is None else total + product
        if total is None:
            raise ValueError("blocks is empty, expected at least one block")
        if self.use_bias:
            bias = self.param("bias", nn.initializers.zeros, (self.features,))
            total = total + bias.astype(total.dtype)[None, None]
        return total


class MLP(nn.Module):
    """Dense layers, each followed by ReLU and dropout. Input [B, N, D] or blocks, output [B, N, features[-1]].

    Attributes:
      unit_norm: layers without bias, divided by sqrt(1 + 1e-5). This is the untrained, frozen batch normalisation of
        iCAN's and TIN's released classifiers.
    """

    features: tuple[int, ...]
    dropout: float = 0.0
    dtype: Any = None
    unit_norm: bool = False
    kernel_init: Any = nn.initializers.he_normal()

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch rows dim"] | Blocks, dropout_keys: Array | None = None
    ) -> Float[Array, "batch rows out"]:
        if isinstance(x, list | tuple) and not self.features:
            return jnp.concatenate([rows if i is None else gather_rows(rows, i) for rows, i in x], axis=-1)
        for layer, width in enumerate(self.features):
            options = {"use_bias": not self.unit_norm, "kernel_init": self.kernel_init, "dtype": self.dtype}
            kind = BlockDense if isinstance(x, list | tuple) else nn.Dense
            y = kind(width, **options, name=f"fc{layer}")(cast(Any, x))
            if self.unit_norm:
                y = y * np.float32((1.0 + 1e-5) ** -0.5)
            tag = "/".join((*self.path, str(layer)))
            x = example_dropout(nn.relu(y), dropout_keys, self.dropout, tag)
        return cast(Array, x)
