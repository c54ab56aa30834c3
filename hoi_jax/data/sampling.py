"""Number of copies of each example per epoch: oversampling of rare classes, and sparsity-adaptive sampling.

Oversampling follows DEFR, section 4.1. Sparsity-adaptive sampling (Wu et al., ECCV 2022, section 4) repeats crowded
images more often than sparse ones. An image is sparse if exactly one person is annotated in it, and crowded otherwise,
even without people. In the released sampler every annotated box counts, including repeated boxes of one person, which
HICO-DET has for pairs of several HOI classes; `overlap` counts people instead.
"""

import dataclasses
import functools
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, Int

from hoi_jax.data.draws import uniform
from hoi_jax.data.records import RecordFiles
from hoi_jax.data.settings import PipelineSettings
from hoi_jax.data.tables import iou_one_to_many
from hoi_jax.io import DataError, read_npz
from hoi_jax.vocab import Vocabulary


def copies_of_examples(
    labels: Int[np.ndarray, "examples classes"], target: int, *, cap: int = 40, skip_single: bool = False
) -> Int[np.ndarray, " examples"]:
    """Number of copies of each example: 1 + the maximum of further copies over its positive classes.

    A class with n > 0 positive examples needs ceil(target / n) - 1 further copies of each, at most `cap`.

    Args:
      labels: 1 = positive.
      skip_single: leave out single further copies, as in the released code; classes with target / 2 to target - 1
        examples are then not oversampled.

    Returns:
      [examples] int64, at least 1.
    """
    positive = labels == 1
    count = positive.sum(axis=0)
    wanted = np.minimum(-(-target // np.maximum(count, 1)) - 1, cap)
    extra = np.max(np.where(positive, np.maximum(wanted, 0)[None], 0), axis=1, initial=0)
    if skip_single:
        extra = np.where(extra > 1, extra, 0)
    return 1 + extra


REPLACE_PROBABILITY = 0.5
"""Probability of replacing a sparse image by a random crowded one, from the released code."""
_PURPOSE = 100
"""Value of `purpose` for these draws, different from those of `changes`."""


def sparse_examples(
    instance_class: Int[np.ndarray, " rows"],
    instance_count: Int[np.ndarray, " examples"],
    human_class: int,
    instance_xyxy_px: Float[np.ndarray, "rows 4"] | None = None,
    overlap: float | None = None,
) -> Bool[np.ndarray, " examples"]:
    """Mask of the examples with exactly one person.

    Args:
      instance_class, instance_xyxy_px: classes and boxes of the instances of all examples, concatenated.
      instance_count: instances per example.
      overlap: IoU with an earlier person box above which a box belongs to the same person; None = every box counts.
    """
    example = np.repeat(np.arange(len(instance_count)), instance_count)
    rows = np.flatnonzero(instance_class == human_class)
    people = np.bincount(example[rows], minlength=len(instance_count))
    if overlap is None:
        return people == 1
    if instance_xyxy_px is None:
        raise ValueError("overlap needs instance_xyxy_px")
    ends = np.cumsum(people)
    several = np.flatnonzero(people > 1)
    for image in several:
        boxes = instance_xyxy_px[rows[ends[image] - people[image] : ends[image]]]
        people[image] = _distinct(boxes, overlap)
    return people == 1


def _distinct(boxes: Float[np.ndarray, "n 4"], overlap: float) -> int:
    """Number of boxes that overlap no earlier counted one by more than `overlap`."""
    kept: list[int] = []
    for row, box in enumerate(boxes):
        if not (iou_one_to_many(box, boxes[kept]) > overlap).any():
            kept.append(row)
    return len(kept)


def copies_by_ratio(sparse: Bool[np.ndarray, " examples"], ratio: int) -> Int[np.ndarray, " examples"]:
    """Copies of each example per epoch: one of sparse ones, `ratio` of crowded ones (paper: 3).

    The paper samples with probabilities 1 : ratio; here every epoch has exactly these shares.
    """
    return np.where(sparse, 1, ratio).astype(np.int64)


def copies_by_replacement(sparse: Bool[np.ndarray, " examples"], seed: int, epoch: int) -> Int[np.ndarray, " examples"]:
    """Copies of each example in one epoch by the released rule, whose ratio is 1 : (2 + sparse / crowded).

    One epoch draws as many images as there are, and replaces each sparse one by a random crowded one with probability
    one half. (The released code confuses the indices of its two lists; here the intended rule is implemented.)

    Args:
      sparse: mask of sparse examples; not all True unless it is empty.

    Returns:
      [examples] int64 with the sum `examples`.
    """
    number = np.arange(len(sparse))
    crowded = np.flatnonzero(~sparse)
    draw = uniform(seed, epoch, number, _PURPOSE, 2)
    replaced = sparse & (draw[:, 0] < REPLACE_PROBABILITY)
    chosen = crowded[(draw[:, 1] * len(crowded)).astype(np.int64)] if len(crowded) else number
    return np.bincount(np.where(replaced, chosen, number), minlength=len(sparse)).astype(np.int64)


@dataclasses.dataclass(frozen=True)
class TrainingCopies:
    """Number of copies per epoch of each training example, from the labels and the options of the pipeline."""

    files: RecordFiles
    options: PipelineSettings
    vocabulary: Vocabulary
    seed: int

    @functools.cached_property
    def fixed(self) -> np.ndarray | None:
        """Copies of each example in every training epoch, in file order.

        None = one copy, or a number that differs between epochs (`options.sparsity` "replace").

        Raises:
          DataError: the split has no labels to count.
        """
        if self.options.sparsity == "ratio":
            return copies_by_ratio(self._sparse, self.options.crowded_copies)
        if not self.options.oversample_to:
            return None
        path, content = self._labels
        labels = content.get("hoi_labels", np.zeros(0, np.int32))
        if labels.size != self.files.num_examples * len(self.vocabulary.hois) or not labels.size:
            raise DataError(f"{path}: has no image-level labels, which pipeline.oversample_to needs")
        return copies_of_examples(
            labels.reshape(self.files.num_examples, -1),
            self.options.oversample_to,
            cap=self.options.oversample_cap,
            skip_single=self.options.oversample_skip_single,
        )

    @property
    def _labels(self) -> tuple[Path, dict[str, np.ndarray]]:
        """(file with all labels of the split, its columns)."""
        if self.files.positions is not None:
            raise DataError(f"{self.files.directory}: copies of examples are defined only for whole splits")
        path = self.files.directory / f"annotations_{self.files.split}.npz"
        return path, read_npz(path)

    @functools.cached_property
    def _sparse(self) -> np.ndarray:
        """[examples] bool: exactly one person is annotated."""
        path, content = self._labels
        count = content.get("instances_count", np.zeros(0, np.int64))
        if len(count) != self.files.num_examples or len(content.get("instances_class", ())) != count.sum():
            raise DataError(f"{path}: lacks instances of {self.files.num_examples} images, needed by pipeline.sparsity")
        boxes = content.get("instances_xyxy_px")
        human, overlap = self.vocabulary.human_class, self.options.sparsity_overlap
        sparse = sparse_examples(content["instances_class"], count, human, boxes, overlap)
        if sparse.all():
            raise DataError(f"{path}: no image is crowded; set pipeline.sparsity to 'off'")
        return sparse

    def in_epoch(self, epoch: int) -> np.ndarray | None:
        """Copies of each example in this epoch; None = one."""
        if self.options.sparsity == "replace":
            return copies_by_replacement(self._sparse, self.seed, epoch)
        return self.fixed
