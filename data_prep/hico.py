"""HICO, the classification set: images with image-level labels, from the official `anno.mat`.

Labels are 1 yes, 0 ambiguous, -1 no, as annotated, and -2 for unknown (NaN).
"""

from pathlib import Path

from data_prep.annotated import annotated_source
from data_prep.builder import DatasetSource
from hoi_jax.formats.labels.hico_mat import open_image_labels

SPLITS = ("train", "test")


def hico_source(name: str, labels: Path, images: Path, *, skip_unreadable: bool = False) -> DatasetSource:
    """Dataset source of `anno.mat` with splits train and test; `image_id` is the position in it. Raises DataError.

    Args:
      skip_unreadable: leave out images that cannot be decoded and print their names; else they are an error. (DEFR
        trains on 38,116 of 38,118 images.)
    """
    files = {split: open_image_labels(labels, split) for split in SPLITS}
    return annotated_source(name, files, images, skip_unreadable=skip_unreadable)
