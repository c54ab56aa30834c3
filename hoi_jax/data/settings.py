"""Input pipeline settings: records, table sizes, augmentation."""

import dataclasses
from typing import Literal


@dataclasses.dataclass(frozen=True)
class MixedDataset:
    """A further training dataset: name as built, vocabulary of its labels, and split."""

    name: str
    labels: str
    split: str = "train"


@dataclasses.dataclass(frozen=True)
class DatasetSettings:
    """Dataset settings: source of the records and interpretation of their labels.

    Attributes:
      name: dataset and size as built, for example "hoi_scenes/small".
      vocabulary: class table of the labels; action-style tables take their pairs from `persons`.
      labels: vocabulary of the records' labels, if `vocabulary` is a view of it (`vocab.tables`).
      train_split, eval_split: names of splits; "train:fit", "train:held_out": parts of "train" (`records`).
      mix: further datasets of the training stream, if `vocabulary` is a view of their labels too; mix_by: "size" gives
        every example the same chance, "equal" every dataset the same share.
      features: name of a cache of feature maps that replaces images (`feature_cache`); "" = images.
      detections: "simulated" or "stored": as in the records; "ground_truth": the annotated boxes, score 1.
      merge_pairs: HICO-DET annotates every HOI class with its own boxes; rows whose humans and objects both overlap by
        more than this IoU become one pair with several verbs (iCAN: 0.25). None: only rows with the same two instances
        are merged.
      clean_labels: "none"; "detections": annotated boxes that match the same detection become one instance with the
        detection's box (CALIPSO, InteractNet); "cluster": overlapping boxes of a class do, without detections.
      clean_unmatched: treatment of boxes without a matching detection: "keep" (clustered) or "drop".
    """

    name: str
    vocabulary: str
    train_split: str = "train"
    eval_split: str = "test"
    detections: Literal["simulated", "stored", "ground_truth"] = "stored"
    merge_pairs: float | None = None
    clean_labels: Literal["none", "detections", "cluster"] = "none"
    clean_unmatched: Literal["keep", "drop"] = "keep"
    labels: str = ""
    mix: tuple[MixedDataset, ...] = ()
    mix_by: Literal["size", "equal"] = "size"
    features: str = ""

    def __post_init__(self):
        if self.mix and not self.labels:
            raise ValueError("mix needs labels, since datasets are mixed in a view of their vocabularies")
        if self.merge_pairs is not None and not 0 < self.merge_pairs < 1:
            raise ValueError(f"merge_pairs is {self.merge_pairs}, expected an IoU between 0 and 1")
        if self.clean_labels == "cluster" and self.clean_unmatched == "drop":
            raise ValueError("clean_unmatched='drop' with clean_labels='cluster' would drop all boxes")


@dataclasses.dataclass(frozen=True)
class SizeSettings:
    """Static sizes of images and tables, and the resizing rule.

    Rows beyond a capacity are an error, unless `truncate` drops them (lowest scores first).

    Attributes:
      image_hw: height and width of the frame that images are fitted into, and the only static shape without
        `buckets`.
      buckets: static shapes; every batch has the smallest one that its images fit into. Each needs one compilation.
      short_side, long_side: instead of fitting into `image_hw`, the short side becomes `short_side`, unless the long
        one would exceed `long_side`. rule: to the pixel as in "detr" (torchvision's references) or "mmdetection".
      fit: without `short_side`: "shrink" keeps the aspect ratio and never enlarges; "enlarge" keeps the aspect ratio;
        "stretch" gives every image exactly `image_hw`.
      interpolation: Pillow's "bilinear" or "bicubic".
      mask_hw: grid of instance masks over `image_hw`; over a bucket it has the same resolution.
      instances, detections, pairs, persons: numbers of rows of the tables.
      faces: number of rows of the table of faces; further faces are dropped.
    """

    image_hw: tuple[int, int]
    instances: int
    detections: int
    pairs: int
    persons: int = 0
    faces: int = 64
    mask_hw: tuple[int, int] = (64, 64)
    truncate: bool = False
    buckets: tuple[tuple[int, int], ...] = ()
    short_side: int | None = None
    long_side: int | None = None
    rule: Literal["detr", "mmdetection"] = "detr"
    fit: Literal["shrink", "enlarge", "stretch"] = "shrink"
    interpolation: Literal["bilinear", "bicubic"] = "bilinear"

    @property
    def shapes(self) -> tuple[tuple[int, int], ...]:
        """The static shapes of images in batches."""
        return self.buckets or (self.image_hw,)

    def mask_grid(self, shape_hw: tuple[int, int]) -> tuple[int, int]:
        """Rows and columns of the mask grid over a static shape."""
        return (
            max(round(shape_hw[0] * self.mask_hw[0] / self.image_hw[0]), 1),
            max(round(shape_hw[1] * self.mask_hw[1] / self.image_hw[1]), 1),
        )

    def __post_init__(self):
        if len(set(self.buckets)) != len(self.buckets) or any(min(shape) < 8 for shape in self.buckets):
            raise ValueError(f"buckets are {self.buckets}, expected different shapes of at least 8 pixels per side")
        sides = [side for side in (self.short_side, self.long_side) if side is not None]
        if min(sides, default=1) < 1 or (self.long_side is not None and self.short_side is None):
            raise ValueError(
                f"short_side is {self.short_side}, long_side {self.long_side}; expected pixels for both, or neither"
            )
        if self.fit == "stretch" and (self.buckets or self.short_side):
            raise ValueError(
                "buckets and short_side do not apply to fit='stretch', where every image has size image_hw"
            )
        for name in ("instances", "detections", "pairs", "faces"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}, expected at least 1")
        if min(self.image_hw) < 8:
            raise ValueError(f"image_hw is {self.image_hw}, expected at least 8 pixels per side")


@dataclasses.dataclass(frozen=True)
class AugmentSettings:
    """Augmentation of training images; evaluation only resizes.

    Attributes:
      flip: probability of mirroring.
      crop: probability of cropping to a random window.
      crop_min_side: smallest window side as a fraction of the image's side.
      crop_min_visible: fraction of an instance's box that must be inside the window for the instance to remain.
      crop_sides_px: instead of `crop_min_side`, smallest and largest window side in pixels of the image after its short
        side was resized to one of `crop_short_sides` (DETR: 384 to 600).
      crop_area, crop_ratio: instead of these, torchvision's RandomResizedCrop: every image is cropped to a window with
        a share of its area and an aspect ratio in these ranges.
      short_sides: sizes from which the short side is drawn (DETR: 480 to 800 in steps of 32); () = as in evaluation.
      long_side: with `short_sides`, limit of the other side.
      brightness, contrast, saturation: largest relative change of colours.
    """

    flip: float = 0.0
    crop: float = 0.0
    crop_min_side: float = 0.6
    crop_min_visible: float = 0.5
    crop_sides_px: tuple[int, int] | None = None
    crop_short_sides: tuple[int, ...] = (400, 500, 600)
    crop_area: tuple[float, float] | None = None
    crop_ratio: tuple[float, float] = (3 / 4, 4 / 3)
    short_sides: tuple[int, ...] = ()
    long_side: int = 1333
    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0

    def __post_init__(self):
        shares = ("flip", "crop", "crop_min_side", "crop_min_visible", "brightness", "contrast", "saturation")
        for name in shares:
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ValueError(f"{name} is {getattr(self, name)}, expected a number in [0, 1]")
        sides = self.crop_sides_px or (1, 1)
        if min(*sides, self.long_side, *self.short_sides, *self.crop_short_sides) < 1 or sides[0] > sides[1]:
            raise ValueError("sides of images and windows must be at least 1 pixel, with the smaller one first")
        if self.crop_area and (self.crop > 0 or not 0 < self.crop_area[0] <= self.crop_area[1] <= 1):
            raise ValueError(f"crop_area is {self.crop_area}, expected rising shares up to 1, and crop 0")


@dataclasses.dataclass(frozen=True)
class PipelineSettings:
    """Batching, shuffling and prefetching.

    Attributes:
      threads: number of parallel parsers, 0 = chosen by tf.data.
      prefetch: number of batches prepared ahead.
      oversample_to: number of examples per epoch that each image-level class reaches by repeating those of rare classes
        (`sampling.copies_of_examples`); 0 = every example once.
      oversample_cap, oversample_skip_single: arguments of `sampling.copies_of_examples`.
      sparsity: preference for crowded images over sparse ones (`sampling`): "off"; "ratio": crowded ones are repeated
        `crowded_copies` times per epoch (paper); "replace": half of the sparse draws are replaced by random crowded
        images (released code).
      sparsity_overlap: IoU above which boxes of people count as one person; None = every box counts, as in the released
        sampler.
      crowded_copies: copies of crowded images for "ratio".
    """

    threads: int = 0
    prefetch: int = 4
    oversample_to: int = 0
    oversample_cap: int = 40
    oversample_skip_single: bool = False
    sparsity: Literal["off", "ratio", "replace"] = "off"
    sparsity_overlap: float | None = None
    crowded_copies: int = 3

    def __post_init__(self):
        if self.sparsity_overlap is not None and not 0 < self.sparsity_overlap < 1:
            raise ValueError(f"sparsity_overlap is {self.sparsity_overlap}, expected an IoU between 0 and 1")
        if self.crowded_copies < 1:
            raise ValueError(f"crowded_copies is {self.crowded_copies}, expected at least 1")
        if self.sparsity != "off" and self.oversample_to:
            raise ValueError("sparsity and oversample_to both change the number of copies; set one of them")
