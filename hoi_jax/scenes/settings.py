"""Settings of the scenes, sizes of the dataset, and intended frequencies of the classes."""

import dataclasses

TEST_OFFSET = 1_000_000
"""First scene index of the test splits."""

SCENE_SIZES: dict[str, tuple[int, int]] = {"tiny": (64, 32), "small": (1600, 400), "full": (8000, 2000)}
"""Train and test images of each size; train indices count from 0, test indices from TEST_OFFSET."""

SCENE_HW_PX: dict[str, tuple[int, int]] = {"tiny": (128, 128), "small": (128, 128), "full": (256, 320)}
"""Height and width of the images of each size."""

COMMON, USUAL, SOME, RARE = 6.0, 2.5, 1.3, 0.2

WEIGHTS: dict[str, dict[str, float]] = {
    "person": {"look_at": COMMON, "talk_to": USUAL, "hug": USUAL, "hold": USUAL, "push": SOME, "point_at": SOME,
               "kick": RARE},
    "ball": {"kick": COMMON, "hold": USUAL, "carry": USUAL, "look_at": COMMON, "point_at": SOME,
             "compete_for": USUAL, "sit_on": RARE, "stand_on": RARE},
    "bicycle": {"ride": COMMON, "push": USUAL, "hold": USUAL, "look_at": SOME, "sit_on": RARE, "point_at": RARE},
    "horse": {"ride": COMMON, "hold": USUAL, "look_at": USUAL, "point_at": SOME, "sit_on": RARE, "push": RARE},
    "bench": {"sit_on": COMMON, "stand_on": SOME, "push": SOME, "look_at": SOME, "ride": RARE,
              "push_together": 0.5 * RARE},
    "chair": {"sit_on": COMMON, "carry": USUAL, "push": SOME, "look_at": SOME, "stand_on": RARE, "kick": RARE},
    "cup": {"hold": COMMON, "eat": USUAL, "carry": SOME, "look_at": SOME, "talk_on": RARE, "wear": RARE},
    "apple": {"hold": USUAL, "eat": COMMON, "look_at": SOME, "point_at": RARE, "wear": RARE, "kick": RARE},
    "hat": {"wear": COMMON, "hold": USUAL, "look_at": SOME, "carry": RARE},
    "bag": {"hold": COMMON, "carry": USUAL, "look_at": SOME, "wear": RARE, "kick": RARE},
    "phone": {"hold": USUAL, "talk_on": COMMON, "look_at": SOME},
    "umbrella": {"hold": COMMON, "look_at": SOME, "carry": RARE, "point_at": RARE},
    "dog": {"hold": USUAL, "look_at": COMMON, "carry": SOME, "point_at": SOME, "ride": RARE},
    "skateboard": {"stand_on": COMMON, "carry": USUAL, "hold": USUAL, "kick": SOME, "sit_on": SOME,
                   "look_at": SOME},
    "cart": {"push": USUAL, "push_together": USUAL, "sit_on": SOME, "look_at": SOME, "stand_on": RARE,
             "ride": RARE},
}  # fmt: skip
"""Relative frequency of activities by object and verb, with a long tail."""


@dataclasses.dataclass(frozen=True)
class SceneSettings:
    """Parameters that, with an index, determine a scene.

    Attributes:
      height_px, width_px: size of the image, from 64x64 to 800x1333.
      seed: seed of the whole dataset.
      detector_noise: 0 gives the true boxes; 1 is the default detector (rates in `detector`).
      crowded_fraction: share of scenes with many people; the others are sparse.
    """

    height_px: int = 128
    width_px: int = 128
    seed: int = 0
    detector_noise: float = 1.0
    crowded_fraction: float = 0.25

    def __post_init__(self) -> None:
        if not (64 <= self.height_px <= 1333 and 64 <= self.width_px <= 1333):
            raise ValueError(f"height_px and width_px are {self.height_px} and {self.width_px}, expected 64 to 1333")
        if self.seed < 0:
            raise ValueError(f"seed is {self.seed}, expected 0 or more")
        if not 0.0 <= self.detector_noise <= 3.0:
            raise ValueError(f"detector_noise is {self.detector_noise}, expected 0 to 3")
        if not 0.0 <= self.crowded_fraction <= 1.0:
            raise ValueError(f"crowded_fraction is {self.crowded_fraction}, expected 0 to 1")
