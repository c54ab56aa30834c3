"""The network's square input: images stretched, randomly cropped and recoloured in training, and normalised."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, UInt8

from hoi_jax.arrays import ArrayLike
from hoi_jax.ops.resample import window_matrix
from hoi_jax.systems.defr.config import InputConfig

GREY = (0.2989, 0.587, 0.114)
"""Weights of red, green and blue in the grey value around which contrast changes (torchvision)."""


def _random_window(key: Array, hw: Float[Array, "2"], config: InputConfig) -> Float[Array, "4"]:
    """(x, y, width, height) in whole pixels: torchvision's RandomResizedCrop of an image of height and width `hw`.

    It is the first of `crop_tries` draws of area and log aspect ratio that fits, otherwise the whole image.
    """
    draw = jax.random.uniform(key, (config.crop_tries, 4))
    area = (config.crop_area + (1.0 - config.crop_area) * draw[:, 0]) * hw[0] * hw[1]
    low, high = jnp.log(config.crop_ratio[0]), jnp.log(config.crop_ratio[1])
    ratio = jnp.exp(low + (high - low) * draw[:, 1])
    size = jnp.round(jnp.stack([jnp.sqrt(area * ratio), jnp.sqrt(area / ratio)], axis=-1))
    start = jnp.floor((hw[None, ::-1] - size + 1.0) * draw[:, 2:])
    fits = jnp.all((size <= hw[None, ::-1]) & (size > 0), axis=-1)
    windows = jnp.concatenate([jnp.minimum(start, hw[None, ::-1] - size), size], axis=-1)
    whole = jnp.concatenate([jnp.zeros(2), hw[::-1]])
    return jnp.where(jnp.any(fits), windows[jnp.argmax(fits)], whole)


def _jitter(
    image: Float[Array, "height width 3"], inside: Array, key: Array, config: InputConfig
) -> Float[Array, "height width 3"]:
    """Random brightness, then contrast around the mean grey of the image; values stay in [0, 255]."""
    draw = jax.random.uniform(key, (2,), minval=-1.0)
    image = jnp.clip(image * (1.0 + config.brightness * draw[0]), 0.0, 255.0)
    grey = jnp.sum(image * jnp.asarray(GREY)[None, None], axis=-1)
    mean = jnp.sum(jnp.where(inside, grey, 0.0)) / jnp.sum(inside)
    return jnp.clip(mean + (image - mean) * (1.0 + config.contrast * draw[1]), 0.0, 255.0)


def prepare(
    image: UInt8[ArrayLike, "batch height width 3"],
    image_hw_px: Int[ArrayLike, "batch 2"],
    config: InputConfig,
    keys: Array | None = None,
) -> Float[Array, "batch size size 3"]:
    """Stretch the unpadded parts of `image` to squares, augment and normalise them.

    Images that already are squares of `config.size` pixels are not resampled, unless they are cropped.

    Args:
      keys: one key per example for random augmentation; None for none. Colours are changed before cropping, as in the
        authors' code. Interpolations are also theirs if the pipeline stretches the images (`sizes.fit="stretch"`);
        otherwise the crop and the stretch are one interpolation.
    """
    x = image.astype(jnp.float32)
    hw = jnp.maximum(image_hw_px, 1).astype(jnp.float32)
    window, kernel = jnp.concatenate([jnp.zeros_like(hw), hw[:, ::-1]], axis=1), config.kernel
    if keys is not None:
        pair = jax.vmap(jax.random.split)(keys)
        if config.crop_area < 1:
            window = jax.vmap(lambda key, hw: _random_window(key, hw, config))(pair[:, 0], hw)
            kernel = config.crop_kernel
        if config.brightness or config.contrast:
            rows = jnp.arange(x.shape[1])[None, :, None] < image_hw_px[:, :1, None]
            columns = jnp.arange(x.shape[2])[None, None, :] < image_hw_px[:, None, 1:]
            x = jax.vmap(lambda photo, inside, key: _jitter(photo, inside, key, config))(x, rows & columns, pair[:, 1])
    matrices = [
        window_matrix(
            window[:, axis],
            window[:, axis + 2],
            window[:, axis] + window[:, axis + 2],
            x.shape[2 - axis],
            config.size,
            kernel=kernel,
            antialias=config.antialias,
            first=window[:, axis],
        )
        for axis in (0, 1)
    ]
    x = jnp.einsum("byh,bhwc->bywc", matrices[1], x)
    x = jnp.clip(jnp.einsum("bxw,bywc->byxc", matrices[0], x), 0.0, 255.0)
    scale, offset = 1.0 / (255.0 * jnp.asarray(config.std)), jnp.asarray(config.mean) / jnp.asarray(config.std)
    return x * scale[None, None, None] - offset[None, None, None]
