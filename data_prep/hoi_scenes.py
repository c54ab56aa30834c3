"""The embedded dataset: procedural scenes of people and objects (`hoi_jax/scenes/`)."""

import dataclasses
from collections.abc import Iterator

from data_prep.builder import DatasetSource, Record
from hoi_jax.scenes import SCENE_SIZES, SceneSettings, make_scene

TEST_OFFSET = 1_000_000
"""First index of test scenes, so that no split shares a scene with another."""


def scenes_source(size: str, *, seed: int = 0, noise: float = 1.0) -> DatasetSource:
    """Splits `train` and `test` of one size. Raises ValueError for a size that does not exist."""
    if size not in SCENE_SIZES:
        raise ValueError(f"unknown size {size!r} of hoi_scenes; there are {sorted(SCENE_SIZES)}")
    world = SCENE_SIZES[size]
    settings = dataclasses.replace(world.settings, seed=seed, detector_noise=noise)

    def scenes(first: int, count: int):
        def generate() -> Iterator[Record]:
            return (make_scene(settings, first + index) for index in range(count))

        return count, generate

    suffix = "" if (seed, noise) == (0, 1.0) else f"_seed{seed}_noise{noise:g}"
    return DatasetSource(
        name=f"hoi_scenes/{size}{suffix}",
        version="1.0.0",
        description="Procedural human-object interaction scenes",
        pairs_vocabulary="hoi_scenes",
        persons_vocabulary="hoi_scenes_actions",
        splits={"train": scenes(0, world.train), "test": scenes(TEST_OFFSET, world.test)},
        settings=dataclasses.asdict(settings),
    )


__all__ = ["SceneSettings", "scenes_source"]
