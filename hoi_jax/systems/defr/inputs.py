"""The network's square picture: stretched, in training also cropped and changed in colour, and normalised."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, UInt8

from hoi_jax.ops.resample import window_matrix
from hoi_jax.systems.defr.config import InputConfig

GREY = (0.2989, 0.587, 0.114)
"""Weights of red, green and blue in the grey value around which contrast changes (torchvision)."""


def _random_window(key: Array, config: InputConfig) -> Float[Array, "4"]:
    """(x, y, width, height) as shares of the picture: torchvision's RandomResizedCrop of a square.

    The first of `crop_tries` draws of area and logarithm of the shape that fits; else everything.
    """
    draw = jax.random.uniform(key, (config.crop_tries, 4))
    area = config.crop_area + (1.0 - config.crop_area) * draw[:, 0]
    low, high = jnp.log(config.crop_ratio[0]), jnp.log(config.crop_ratio[1])
    ratio = jnp.exp(low + (high - low) * draw[:, 1])
    size = jnp.stack([jnp.sqrt(area * ratio), jnp.sqrt(area / ratio)], axis=-1)
    windows = jnp.concatenate([(1.0 - size) * draw[:, 2:], size], axis=-1)
    fits = jnp.all(size <= 1.0, axis=-1)
    whole = jnp.asarray([0.0, 0.0, 1.0, 1.0])
    return jnp.where(jnp.any(fits), windows[jnp.argmax(fits)], whole)


def _jitter(
    image: Float[Array, "height width 3"], inside: Array, key: Array, config: InputConfig
) -> Float[Array, "height width 3"]:
    """Random brightness, then contrast around the mean grey of the picture; values stay in [0, 255]."""
    draw = jax.random.uniform(key, (2,), minval=-1.0)
    image = jnp.clip(image * (1.0 + config.brightness * draw[0]), 0.0, 255.0)
    grey = jnp.sum(image * jnp.asarray(GREY)[None, None], axis=-1)
    mean = jnp.sum(jnp.where(inside, grey, 0.0)) / jnp.sum(inside)
    return jnp.clip(mean + (image - mean) * (1.0 + config.contrast * draw[1]), 0.0, 255.0)


def prepare(
    image: UInt8[Array, "batch height width 3"],
    image_hw_px: Int[Array, "batch 2"],
    config: InputConfig,
    keys: Array | None = None,
) -> Float[Array, "batch size size 3"]:
    """Normalised squares of the unpadded parts of `image`.

    Args:
      keys: one per example for random changes; None for none. Cropping and stretching are one interpolation of the
        picture, where the authors interpolate twice.
    """
    x = image.astype(jnp.float32)
    hw = jnp.maximum(image_hw_px, 1).astype(jnp.float32)
    window = jnp.tile(jnp.asarray([[0.0, 0.0, 1.0, 1.0]]), (x.shape[0], 1))
    if keys is not None:
        pair = jax.vmap(jax.random.split)(keys)
        if config.crop_area < 1:
            window = jax.vmap(lambda key: _random_window(key, config))(pair[:, 0])
        if config.brightness or config.contrast:
            rows = jnp.arange(x.shape[1])[None, :, None] < image_hw_px[:, :1, None]
            columns = jnp.arange(x.shape[2])[None, None, :] < image_hw_px[:, None, 1:]
            x = jax.vmap(lambda picture, inside, key: _jitter(picture, inside, key, config))(
                x, rows & columns, pair[:, 1]
            )
    matrices = [
        window_matrix(
            window[:, axis] * hw[:, 1 - axis],
            window[:, axis + 2] * hw[:, 1 - axis],
            hw[:, 1 - axis],
            x.shape[2 - axis],
            config.size,
            kernel=config.kernel,
            antialias=config.antialias,
        )
        for axis in (0, 1)
    ]
    x = jnp.einsum("byh,bhwc->bywc", matrices[1], x)
    x = jnp.clip(jnp.einsum("bxw,bywc->byxc", matrices[0], x), 0.0, 255.0)
    scale, offset = 1.0 / (255.0 * jnp.asarray(config.std)), jnp.asarray(config.mean) / jnp.asarray(config.std)
    return x * scale[None, None, None] - offset[None, None, None]
