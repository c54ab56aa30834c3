"""Build of the procedural dataset `hoi_scenes` (`hoi_jax/scenes/`)."""

import dataclasses
from collections.abc import Iterator

from data_prep.builder import DatasetSource, Record
from hoi_jax.scenes import SCENE_HW_PX, SceneSettings, make_scene, scene_indices


def scenes_source(size: str, *, seed: int = 0, noise: float = 1.0) -> DatasetSource:
    """Dataset source of one size, with splits `train` and `test`. Raises ValueError for an unknown size."""
    indices = {split: scene_indices(size, split) for split in ("train", "test")}
    height, width = SCENE_HW_PX[size]
    settings = SceneSettings(height_px=height, width_px=width, seed=seed, detector_noise=noise)

    def scenes(split: str):
        def generate() -> Iterator[Record]:
            return (make_scene(settings, index) for index in indices[split])

        return len(indices[split]), generate

    suffix = "" if (seed, noise) == (0, 1.0) else f"_seed{seed}_noise{noise:g}"
    return DatasetSource(
        name=f"hoi_scenes/{size}{suffix}",
        version="1.0.0",
        description="Procedural human-object interaction scenes",
        pairs_vocabulary="hoi_scenes",
        persons_vocabulary="hoi_scenes_actions",
        splits={split: scenes(split) for split in indices},
        settings=dataclasses.asdict(settings),
    )
