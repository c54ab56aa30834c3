"""Preparation of examples from records: labels, transformed tables, pixels and masks in the fields of a system."""

import dataclasses
import functools
from collections.abc import Callable, Mapping

import numpy as np
import tensorflow as tf

from hoi_jax import schema
from hoi_jax.data import tables, transforms
from hoi_jax.data.feature_cache import FeatureCache
from hoi_jax.data.label_cleaning import clean_labels
from hoi_jax.data.pixels import change_image, change_mask, decode_of_size
from hoi_jax.data.records import RecordFiles, Tensor
from hoi_jax.data.settings import AugmentSettings, DatasetSettings, SizeSettings
from hoi_jax.io import DataError
from hoi_jax.vocab import Vocabulary, get_vocabulary
from hoi_jax.vocab.tables import verb_map


@dataclasses.dataclass(frozen=True)
class Preparation:
    """Conversion of the records of one split to examples.

    Attributes:
      files: the records. vocabulary: vocabulary of the labels. needs: names of `schema.BATCH_FIELDS`.
      features: cached feature maps of the split, if `needs` has them.
    """

    files: RecordFiles
    vocabulary: Vocabulary
    dataset: DatasetSettings
    sizes: SizeSettings
    augment: AugmentSettings
    needs: frozenset[str]
    features: FeatureCache | None = None

    @functools.cached_property
    def label_vocabulary(self) -> Vocabulary:
        """Vocabulary of the records' labels: that of the batch, unless the batch has a view of it."""
        return get_vocabulary(self.dataset.labels) if self.dataset.labels else self.vocabulary

    @functools.cached_property
    def traced(self) -> Callable[[Mapping[str, Tensor], Tensor], dict[str, Tensor]]:
        """`prepare` as a graph. Tracing it takes longer than a small split, so all streams of a pipeline share it."""
        return tf.function(self.prepare, reduce_retracing=True)

    def prepare(self, row: Mapping[str, Tensor], record: Tensor) -> dict[str, Tensor]:
        """The needed `schema.BATCH_FIELDS` of one example, without a batch axis, from a serialized record.

        Args:
          row: planned changes and identity of the example (`pipeline.row_columns`).
        """
        raw = dict(self.files.parse(record))
        if self.dataset.clean_labels != "none":
            raw = self._clean_labels(raw)
        example = self._moved({**self._wanted(raw), "image_hw_px": raw["original_hw_px"]}, row)
        if self._uses_masks():
            example["instances_mask"] = self._masks(raw, row)
        built = self._build_tables(example)
        built |= {
            "image_hw_px": row["hw"],
            "original_hw_px": raw["original_hw_px"],
            "image_id": tf.cast(raw["image_id"], tf.int32),
            "example_id": row["example_id"],
            "source_id": row["source"],
            "batch_valid": row["valid"],
        }
        if "image" in self.needs:
            built["image"] = self._pixels(raw, row)
        if "image_features" in self.needs:
            built["image_features"] = self._cached_map(row["example"], row["flip"])
        wanted = self.needs | schema.ALWAYS_PRESENT
        missing = sorted(wanted - set(built))
        if missing:
            raise DataError(f"{self.dataset.name}: fields {missing} cannot be built from the records")
        return {name: built[name] for name in wanted}

    def _wanted(self, raw: tables.Example) -> tables.Example:
        """The columns that fields are made of, and all that are without positions."""
        wanted = set(self.needs)
        if self.uses("faces"):
            wanted |= {"faces_xyxy_px", "detections_face_xyxy_px"}
        if self.uses("detections"):
            wanted.add("detections_xyxy_px")
        if self.dataset.detections == "ground_truth":
            wanted |= {name.replace("detections_", "instances_") for name in wanted}
        optional = {"faces_xyxy_px", "detections_xyxy_px"}
        for column in ("keypoints_px", "face_xyxy_px", "parts_xyxy_px"):
            optional |= {f"instances_{column}", f"detections_{column}"}
        return {name: value for name, value in raw.items() if name in wanted or name not in optional}

    def _moved(self, example: tables.Example, row: Mapping[str, Tensor]) -> tables.Example:
        """The tables after the geometric changes of the image."""
        if self.augment.flip > 0:
            same = example
            # One branch runs: most images are not mirrored or cut.
            example = tf.cond(row["flip"], lambda: transforms.flip_horizontal(same), lambda: dict(same))
        if self.augment.crop > 0 or self.augment.crop_area is not None:
            example = transforms.resize(example, row["first_hw"])
            example = transforms.crop(example, row["window"], min_visible=self.augment.crop_min_visible)
        return transforms.resize(example, row["hw"])

    def _pixels(self, raw: tables.Example, row: Mapping[str, Tensor]) -> Tensor:
        interpolation = self.sizes.interpolation

        def read(encoded, original_hw, flip, colours, order, first_hw, window, hw, shape_hw):
            image = decode_of_size(encoded, original_hw)
            return change_image(
                image, flip=flip, colours=colours, colour_order=order, first_hw=first_hw, window=window, hw=hw,
                shape_hw=shape_hw, interpolation=interpolation,
            )  # fmt: skip

        names = ("flip", "colours", "colour_order", "first_hw", "window", "hw", "shape_hw")
        inputs = [raw["image"], raw["original_hw_px"], *(row[name] for name in names)]
        return tf.ensure_shape(tf.numpy_function(read, inputs, tf.uint8, stateful=False), (None, None, 3))

    def _masks(self, raw: tables.Example, row: Mapping[str, Tensor]) -> Tensor:
        def read(files, original_hw, flip, first_hw, window, hw, shape_hw, grid_hw):
            masks = [
                change_mask(
                    file, original_hw, flip=flip, first_hw=first_hw, window=window, hw=hw, shape_hw=shape_hw,
                    grid_hw=grid_hw,
                )
                for file in files
            ]  # fmt: skip
            return np.stack(masks) if masks else np.zeros((0, *grid_hw), bool)

        names = ("flip", "first_hw", "window", "hw", "shape_hw", "grid_hw")
        inputs = [raw["instances_mask_png"], raw["original_hw_px"], *(row[name] for name in names)]
        return tf.ensure_shape(tf.numpy_function(read, inputs, tf.bool, stateful=False), (None, None, None))

    def _clean_labels(self, raw: tables.Example) -> tables.Example:
        # Detections are ignored where labels are only clustered.
        seen = slice(None) if self.dataset.clean_labels == "detections" else slice(0, 0)
        columns = ("detections_xyxy_px", "detections_class")
        view = {**raw, **{name: raw[name][seen] for name in columns}}
        cleaned = clean_labels(view, keep_unmatched=self.dataset.clean_unmatched == "keep")
        return {**cleaned, **{name: raw[name] for name in columns}}

    def _cached_map(self, example_id: Tensor, flipped: Tensor) -> Tensor:
        """The cached feature map of an example, or of its mirror image if it is flipped."""
        cache = self.features
        assert cache is not None  # checked by the pipeline
        position = example_id
        if self.files.positions is not None:
            position = tf.gather(tf.constant(self.files.positions), position)
        return tf.ensure_shape(tf.numpy_function(cache.row, [position, flipped], tf.float16), cache.maps.shape[2:])

    def _build_tables(self, example: tables.Example) -> tables.Example:
        built: tables.Example = {}
        if self.dataset.detections == "ground_truth":
            example = tables.detections_from_instances(example)
        if self.uses("instances") or self.uses("pairs") or self.uses("persons"):
            built |= tables.build_boxes(example, "instances", self.sizes.instances)
        if self.uses("detections"):
            built |= tables.build_boxes(example, "detections", self.sizes.detections)
        if self.uses("faces"):
            built |= tables.build_faces(example, self.sizes.faces)
        if self.uses("pairs"):
            if self.files.meta["pairs_vocabulary"] != self.label_vocabulary.name:
                example = tables.pair_rows_from_persons(example, self.label_vocabulary)
            if self.label_vocabulary is not self.vocabulary:
                example = tables.collapse_verbs(example, verb_map(self.label_vocabulary, self.vocabulary))
            built |= tables.build_pairs(example, self.sizes, self.vocabulary, self.dataset.merge_pairs)
        if self.uses("persons"):
            built |= tables.build_persons(example, self.sizes)
        if "hoi_labels" in self.needs:
            built["hoi_labels"] = tf.ensure_shape(example["hoi_labels"], (len(self.vocabulary.hois),))
        return built

    def _uses_masks(self) -> bool:
        return bool({"instances_mask", "detections_mask"} & self.needs)

    def uses(self, table: str) -> bool:
        """Whether the system needs any column of a table."""
        return any(name.startswith(f"{table}_") for name in self.needs)
