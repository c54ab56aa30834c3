"""Cached feature maps of a frozen extractor, one entry per image.

`python -m hoi_jax.commands.cache_features` writes them; in batches of the pipeline they are `image_features` and take
the place of `image`. Jittering and pooling of boxes come after the extractor and remain exact. Mirrored images have
their own maps, because a strided network is not equivariant to mirroring; random crops of images have none and are
refused. Maps are float16, half the space of float32 for a relative rounding error of 5e-4.
"""

import dataclasses
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from jaxtyping import Float16

from hoi_jax.io import DataError, map_npy, read_json

META = "meta.json"


def cache_directory(dataset: Path, name: str) -> Path:
    """Folder of the cache `name` of a built dataset."""
    return Path(dataset) / "features" / name


@dataclasses.dataclass(frozen=True)
class FeatureCache:
    """The maps of one split: `maps[mirrored, example]` [2 or 1, examples, y, x, F]; `meta` as written.

    `meta` has "fingerprint" (of the extractor's weights and of what follows), "dataset_fingerprint", "image_hw",
    "fit", "interpolation", "short_side", "long_side".
    """

    maps: Float16[np.ndarray, "mirrored examples y x features"]
    meta: Mapping[str, object]

    @property
    def fingerprint(self) -> str:
        return str(self.meta["fingerprint"])

    def row(self, example: int | np.integer, mirrored: bool | np.bool) -> np.ndarray:
        """The map of one example (position in the whole split)."""
        return np.asarray(self.maps[int(mirrored), int(example)])


def open_cache(
    directory: Path, split: str, expected: Mapping[str, object], examples: int, mirrored: bool
) -> FeatureCache:
    """The cache of one split.

    Args:
      expected: entries of the metadata file that must agree (dataset, size of images).
      examples: number of examples of the whole split. mirrored: whether mirrored maps are needed.

    Raises:
      DataError: the cache is absent, was written for other records or another size, or lacks mirrored images.
    """
    if not (directory / META).is_file():
        raise DataError(f"{directory}: has no feature cache; write it with `python -m hoi_jax.commands.cache_features`")
    meta = read_json(directory / META)
    for key, value in expected.items():
        if meta.get(key) != value:
            raise DataError(f"{directory}: the cache has {key} {meta.get(key)!r}, the config expects {value!r}")
    maps = map_npy(directory / f"{split}.npy")
    if maps.ndim != 5 or maps.dtype != np.float16 or maps.shape[1] != examples:
        raise DataError(
            f"{directory}/{split}.npy: has {maps.dtype}{maps.shape}, expected float16 maps of {examples} images"
        )
    if mirrored and len(maps) < 2:
        raise DataError(f"{directory}/{split}.npy: has no mirrored maps, which augment.flip needs")
    return FeatureCache(maps, meta)
