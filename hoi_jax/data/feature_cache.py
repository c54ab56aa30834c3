"""Cached feature maps of a frozen extractor, one entry per image.

`python -m hoi_jax.commands.cache_features` writes them; the pipeline gives them out as `image_features` instead of
`image`.
Boxes are jittered and cropped after the extractor, so all that is exact; mirrored images have maps of their own,
because a strided network sees a mirrored image differently; windows cut out of images have none and are refused.
Maps are float16: half the space for a relative rounding of 5e-4.
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
      expected: entries of the meta file that must agree (dataset, size of images).
      examples: of the whole split. mirrored: whether mirrored maps are needed.

    Raises:
      DataError: it was not written, or for other records or another size, or without mirrored images.
    """
    if not (directory / META).is_file():
        raise DataError(
            f"{directory}: no feature cache here; write it with `python -m hoi_jax.commands.cache_features`"
        )
    meta = read_json(directory / META)
    for key, value in expected.items():
        if meta.get(key) != value:
            raise DataError(f"{directory}: the cache has {key} {meta.get(key)!r}, the config expects {value!r}")
    maps = map_npy(directory / f"{split}.npy")
    if maps.ndim != 5 or maps.dtype != np.float16 or maps.shape[1] != examples:
        raise DataError(
            f"{directory}/{split}.npy: {maps.dtype}{maps.shape}, expected float16 maps of {examples} images"
        )
    if mirrored and len(maps) < 2:
        raise DataError(f"{directory}/{split}.npy: no mirrored maps, which augment.flip needs")
    return FeatureCache(maps, meta)
