"""Records on disk: one TFDS feature layout for every dataset, and how a record is read back.

The layout is `schema.RECORD_FIELDS`, so that a builder only has to produce dictionaries of these fields. This is
the one place that knows the file format; box conventions were changed before, where each dataset's own files
are read (`data_prep/`).
"""

import json
from collections.abc import Iterator, Mapping, Set
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds

from hoi_jax import schema
from hoi_jax.data.pixels import decode_rgb
from hoi_jax.data.splits import base_and_part, part_mask
from hoi_jax.io import DataError, read_json

Tensor = Any
"""A `tf.Tensor`. TensorFlow's own annotations reject slices with an ellipsis, so checkers see Any."""

META_FILE = "hoi_jax.json"
"""Beside the TFDS files: vocabularies, action count, fingerprint, counts per split."""


def features_dict(num_actions: int) -> tfds.features.FeaturesDict:
    """The TFDS features of a record. Encoded pictures and masks are kept as strings, decoded on reading."""
    features: dict[str, object] = {}
    for name, field in schema.RECORD_FIELDS.items():
        if field.dtype == "bytes":
            text = tfds.features.Text()
            features[name] = text if field.axes == () else tfds.features.Sequence(text)
            continue
        shape: Any = tuple(None if a == -1 else num_actions if a == "A" else a for a in field.axes)
        dtype = np.dtype(field.dtype)
        features[name] = tfds.features.Scalar(dtype) if shape == () else tfds.features.Tensor(shape=shape, dtype=dtype)
    return tfds.features.FeaturesDict(features)


class RecordFiles:
    """One split of a built dataset: its files, its meta data, and the parser of its records.

    Args:
      directory: folder that holds the TFDS files (`<data_dir>/<name>/<config>/<version>`).
      split: name of the split, or of a part of it such as "train:held_out".

    Raises:
      DataError: when nothing was built there, or the split does not exist (naming those that do).
    """

    def __init__(self, directory: str | Path, split: str):
        self.directory = Path(directory)
        self.split = split
        self.meta = read_meta(self.directory)
        builder: Any = tfds.builder_from_directory(str(self.directory))
        self.base_split, part = base_and_part(split)
        if self.base_split not in builder.info.splits:
            raise DataError(f"{directory}: no split {self.base_split!r}; there are {sorted(builder.info.splits)}")
        info = builder.info.splits[self.base_split]
        self.base_examples: int = info.num_examples
        # Positions in the whole split, or None where that is all of it.
        self.positions = np.flatnonzero(part_mask(split, self.base_examples)) if part else None
        self.num_examples: int = self.base_examples if self.positions is None else len(self.positions)
        self.paths = [str(path) for path in info.filepaths]
        self._features = builder.info.features

    def serialized(self) -> tf.data.Dataset:
        """The undecoded records, always in the same order. Corrupt files raise tf.errors.DataLossError."""
        records: Any = tf.data.TFRecordDataset(self.paths)
        if self.positions is None:
            return records
        mask = tf.constant(part_mask(self.split, self.base_examples))
        return records.enumerate().filter(lambda i, _: mask[i]).map(lambda _, record: record)

    def parse(self, serialized: Tensor) -> dict[str, Tensor]:
        """One serialized record -> tensors of `schema.RECORD_FIELDS`; pictures and masks still encoded."""
        return self._features.deserialize_example(serialized)

    def numpy_records(self) -> Iterator[dict[str, object]]:
        """Raw records in file order, for counting and checking; slow, not for training."""
        for serialized in self.serialized():
            example = self.parse(serialized)
            yield {name: value.numpy() for name, value in example.items()}

    def pictures(self, image_ids: Set[int]) -> dict[int, np.ndarray]:
        """image_id -> decoded image [H, W, 3] uint8, for showing; one pass over the split.

        Left out are those that the dataset was built without.
        """
        found = {}
        for serialized in self.serialized():
            example = self.parse(serialized)
            if (number := int(example["image_id"])) in image_ids and example["image"].numpy():
                found[number] = decode_rgb(example["image"].numpy(), f"{self.directory}: image {number}")
        return found


def read_meta(directory: str | Path) -> Mapping[str, object]:
    """The meta data of a built dataset. Raises DataError when the folder holds no finished build."""
    path = Path(directory) / META_FILE
    if not path.is_file():
        raise DataError(f"{directory}: no finished dataset here; build it with `python -m data_prep.build NAME`")
    return read_json(path)


def has_content_counts(meta: Mapping[str, Any]) -> bool:
    """Whether the build counted its contents; those of older versions of this library did not."""
    return all("content" in split for split in meta["splits"].values())


def content_counts(meta: Mapping[str, Any], split: str) -> Mapping[str, int]:
    """How much of everything the records of a split have; of "train:held_out", the counts of "train".

    Keys: "images"; "instances", "detections", "pairs", "persons" (rows); "instances_people", "detections_people" (rows
    of the class of people); "images_with_instances", "images_with_detections", "images_with_pairs"; "hoi_labels"
    (images with image-level labels); and of these columns the rows with content: "instances_keypoints_px",
    "instances_face_xyxy_px", "instances_parts_xyxy_px", "instances_mask_png", "detections_keypoints_px",
    "detections_face_xyxy_px", "pairs_part_states"; "faces_xyxy_px" (faces of images, with those of detections).

    Raises:
      DataError: there is no such split, or the dataset is so old that nothing was counted.
    """
    base, _ = base_and_part(split)
    if base not in meta["splits"]:
        raise DataError(f"{meta['name']}: no split {base!r}; there are {sorted(meta['splits'])}")
    counts = meta["splits"][base].get("content")
    if counts is None:
        raise DataError(
            f"{meta['name']}: built before contents were counted; run its `python -m data_prep.build` command again"
        )
    return counts


def write_meta(directory: str | Path, meta: Mapping[str, object]) -> None:
    """Written last, so that its presence means the build is whole."""
    path = Path(directory) / META_FILE
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(meta, indent=1, sort_keys=True))
    temporary.replace(path)
