"""Published facts of the datasets: counts of every split, and digests of known files."""

import dataclasses
from collections.abc import Mapping


@dataclasses.dataclass(frozen=True)
class Counts:
    """Published counts of one split; None = unknown.

    Attributes:
      images: number of images.
      pairs: possible numbers of rows (person, object, verb) -> file with that number.
      empty: number of images without pairs.
      persons: number of people with action labels.
    """

    images: int
    pairs: Mapping[int, str] = dataclasses.field(default_factory=dict)
    empty: int | None = None
    persons: int | None = None


HICO_TRAIN_PAIRS = {117_871: "official", 117_654: "HAKE's file", 117_752: "VCL's counts"}

COUNTS: Mapping[str, Mapping[str, Counts]] = {
    "hico_det": {
        "train": Counts(38_118, HICO_TRAIN_PAIRS, 485),
        "test": Counts(9_658, {33_405: "official"}, 112),
    },
    "hico": {"train": Counts(38_118), "test": Counts(9_658)},
    "vcoco": {
        "train": Counts(2_533, {6_400: "24 role classes"}, 197, 3_932),
        "val": Counts(2_867, {7_417: "24 role classes"}, 234, 4_499),
        "trainval": Counts(5_400, {13_817: "24 role classes"}, 431, 8_431),
        "test": Counts(4_946, {12_402: "24 role classes"}, 414),
    },
    "hoi_w": {"train": Counts(29_842), "test": Counts(8_794)},
    "pic": {"train": Counts(12_654), "val": Counts(1_977), "test": Counts(2_975)},
    "mpii": {},
    "own": {},
}

LOOKALIKES: Mapping[tuple[str, int], str] = {
    ("vcoco", 4_532): "the test split without its 414 images that have no pair; the official score counts all 4,946",
    ("vcoco", 2_336): "the train split without its 197 images that have no pair",
    ("vcoco", 2_633): "the val split without its 234 images that have no pair",
    ("vcoco", 4_969): "the trainval split without its 431 images that have no pair",
    ("vcoco", 10_346): "all splits together: a network trained on it has seen the test images",
    ("hico_det", 9_546): "the test split without its 112 images that have no visible pair; all 9,658 are scored",
    ("hico_det", 37_633): "the train split without its 485 images that have no visible pair",
    ("hico_det", 47_776): "both splits together: a network trained on it has seen the test images",
    ("hico", 38_116): "the train split without two images that DEFR left out as broken",
}
"""(dataset, number of images) -> description, for numbers that belong to no split."""


def what_is(dataset: str, images: int) -> str | None:
    """Name of the split with this number of images, or description of a known other set."""
    for split, counts in COUNTS[dataset].items():
        if counts.images == images:
            return f"the {split} split"
    return LOOKALIKES.get((dataset, images))
