"""The tf.data pipeline: records -> host batches of static shape, the same for any number of hosts.

Training reads an endless stream of examples: epoch after epoch, each shuffled by (seed, epoch). Step s takes the
examples s*B ... (s+1)*B-1 of the stream, and each host its share of them, so that the position is one number and a
resumed run skips to it before anything is decoded. Random changes of an example depend on (seed, epoch,
example_id) only.
"""

import dataclasses
import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import numpy as np
import tensorflow as tf

from hoi_jax import schema
from hoi_jax.data import tables, transforms
from hoi_jax.data.augment import augment, training_hw
from hoi_jax.data.feature_cache import FeatureCache
from hoi_jax.data.label_cleaning import clean_labels
from hoi_jax.data.oversampling import copies_of_examples
from hoi_jax.data.records import RecordFiles, Tensor
from hoi_jax.data.settings import AugmentSettings, DatasetSettings, PipelineSettings, SizeSettings
from hoi_jax.data.sparsity import copies_by_ratio, copies_by_replacement, sparse_examples
from hoi_jax.io import DataError, read_npz
from hoi_jax.vocab import Vocabulary, get_vocabulary
from hoi_jax.vocab.views import verb_map

HostBatch = dict[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Pipeline:
    """One split of one dataset as batches with exactly the fields that a system needs.

    Attributes:
      files: the records. vocabulary: of the labels. needs: names of `schema.BATCH_FIELDS`.
      batch_size: examples per step over all hosts. host, num_hosts: this process's place.
      features: stored maps of the split, where `needs` has them.
    """

    files: RecordFiles
    vocabulary: Vocabulary
    dataset: DatasetSettings
    sizes: SizeSettings
    options: PipelineSettings
    augment: AugmentSettings
    needs: frozenset[str]
    batch_size: int
    seed: int = 0
    host: int = 0
    num_hosts: int = 1
    features: FeatureCache | None = None

    def __post_init__(self):
        schema.check_names(self.needs, schema.BATCH_FIELDS, "needed fields")
        if self.batch_size % self.num_hosts:
            raise ValueError(f"batch_size {self.batch_size} is not a multiple of {self.num_hosts} hosts")
        absent = sorted(n for n in self.needs if n.startswith("external_"))
        if absent:
            raise ValueError(f"{self.files.directory}: fields {absent} are not in these records")
        labels = {str(self.files.meta[f"{table}_vocabulary"]) for table in ("pairs", "persons")}
        if self.label_vocabulary.name not in labels:
            raise DataError(
                f"{self.files.directory}: labelled in {sorted(labels - {''})}, not in {self.label_vocabulary.name!r}"
            )
        if "image_features" in self.needs and (self.features is None or self.augment.crop > 0):
            raise ValueError("cached features need dataset.features, and whole pictures: augment.crop must be 0")
        if self.dataset.clean_labels != "none" and self.uses("persons"):
            raise DataError(f"{self.dataset.name}: clean_labels is for labels of pairs; these are labels of persons")
        self._check_capacity()

    @functools.cached_property
    def label_vocabulary(self) -> Vocabulary:
        """The vocabulary that the records are labelled in: that of the batch, unless it is a view."""
        return get_vocabulary(self.dataset.labels) if self.dataset.labels else self.vocabulary

    def _check_capacity(self) -> None:
        """A table that cannot hold the split's largest example is an error, not a silent loss."""
        limits = self.files.meta["splits"][self.files.base_split]["max_rows"]  # type: ignore[index]
        if self.dataset.detections == "ground_truth":
            limits = {**limits, "detections": limits["instances"]}
        if self.files.meta["pairs_vocabulary"] != self.label_vocabulary.name:
            limits = {**limits, "pairs": 0}  # Made from persons; never more than their roles.
        for table in ("instances", "detections", "pairs", "persons"):
            used = any(name.startswith(f"{table}_") for name in self.needs)
            if used and not self.sizes.truncate and limits[table] > getattr(self.sizes, table):
                raise DataError(
                    f"{self.files.directory} ({self.files.split}): an example has {limits[table]} {table}, but "
                    f"sizes.{table} is {getattr(self.sizes, table)}; raise it, or set sizes.truncate=True to drop rows"
                )

    @functools.cached_property
    def copies(self) -> np.ndarray | None:
        """Times that each example is shown in every training epoch, in file order.

        None = once, or a number that changes from epoch to epoch (`options.sparsity` "replace").

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
            raise DataError(f"{path}: no image-level labels, which pipeline.oversample_to counts")
        return copies_of_examples(
            labels.reshape(self.files.num_examples, -1),
            self.options.oversample_to,
            cap=self.options.oversample_cap,
            skip_single=self.options.oversample_skip_single,
        )

    @property
    def _labels(self) -> tuple[Path, dict[str, np.ndarray]]:
        """The file with all labels of the split, and its columns."""
        if self.files.positions is not None:
            raise DataError(f"{self.files.directory}: copies of examples are counted for whole splits only")
        path = self.files.directory / f"annotations_{self.files.split}.npz"
        return path, read_npz(path)

    @functools.cached_property
    def _sparse(self) -> np.ndarray:
        """[examples] bool: exactly one person is annotated."""
        path, content = self._labels
        count = content.get("instances_count", np.zeros(0, np.int64))
        if len(count) != self.files.num_examples or len(content.get("instances_class", ())) != count.sum():
            raise DataError(
                f"{path}: no instances of {self.files.num_examples} pictures, which pipeline.sparsity counts"
            )
        sparse = sparse_examples(content["instances_class"], count, self.vocabulary.human_class)
        if sparse.all():
            raise DataError(f"{path}: no picture is crowded; set pipeline.sparsity to 'off'")
        return sparse

    def _copies_in(self, epoch: Tensor) -> Tensor | None:
        """Times that each example is shown in this epoch; None = once."""
        if self.options.sparsity == "replace":
            return copies_by_replacement(self._sparse, tf.stack([self.seed * (1 << 32) + epoch, -1]))
        return None if self.copies is None else tf.constant(self.copies)

    @property
    def epoch_size(self) -> int:
        """Examples of one training epoch, copies counted."""
        return self.files.num_examples if self.copies is None else int(self.copies.sum())

    def train_batches(self, start_step: int) -> Iterator[HostBatch]:
        """Endless batches from `start_step` on; this host's part of each, [batch_size / num_hosts, ...]."""
        first_epoch, skip = divmod(start_step * self.batch_size, self.epoch_size)
        stream = tf.data.Dataset.range(first_epoch, np.iinfo(np.int64).max).flat_map(self._epoch).skip(skip)
        stream = self._host_share(stream.batch(self.batch_size, drop_remainder=True))
        yield from self._iterate(stream, train=True)

    def eval_batches(self) -> Iterator[HostBatch]:
        """Every example once, in file order; the last batch is filled up with rows of `batch_valid` False."""
        size = self.files.num_examples
        padded = -(-size // self.batch_size) * self.batch_size
        stream = self._epoch(tf.constant(0, tf.int64), shuffle=False).repeat().take(padded)
        stream = stream.enumerate().map(
            lambda position, item: (tf.where(position < size, item[0], -1), item[1], item[2])
        )
        stream = self._host_share(stream.batch(self.batch_size))
        yield from self._iterate(stream, train=False)

    def _epoch(self, epoch: Tensor, shuffle: bool = True) -> tf.data.Dataset:
        """(example_id, epoch, serialized) of one epoch; shuffled ones may hold several copies of an example.

        A copy's "epoch" has its number in the bits from 20 on, so that every copy is changed in its own way.
        """
        stream: Any = self.files.serialized().enumerate()
        copies = self._copies_in(epoch) if shuffle else None
        if copies is not None:

            def repeat(example_id: Tensor, record: Tensor) -> tf.data.Dataset:
                numbers = tf.data.Dataset.range(copies[example_id])
                return numbers.map(lambda copy: (example_id, epoch + tf.bitwise.left_shift(copy, 20), record))

            buffer = min(self.options.shuffle_buffer, self.epoch_size)
            return stream.flat_map(repeat).shuffle(
                buffer, seed=self.seed * 1_000_003 + epoch, reshuffle_each_iteration=False
            )
        if shuffle:
            buffer = min(self.options.shuffle_buffer, self.files.num_examples)
            stream = stream.shuffle(buffer, seed=self.seed * 1_000_003 + epoch, reshuffle_each_iteration=False)
        return stream.map(lambda example_id, record: (example_id, epoch, record))

    def _host_share(self, batches: tf.data.Dataset) -> tf.data.Dataset:
        share = self.batch_size // self.num_hosts
        low, high = self.host * share, (self.host + 1) * share
        return batches.map(lambda *columns: tuple(column[low:high] for column in columns)).unbatch()

    def _iterate(self, stream: tf.data.Dataset, train: bool) -> Iterator[HostBatch]:
        threads = self.options.threads or tf.data.AUTOTUNE
        stream = stream.map(lambda i, epoch, record: self.prepare(i, epoch, record, train), threads, deterministic=True)
        stream = stream.batch(self.batch_size // self.num_hosts, drop_remainder=True)
        stream = stream.prefetch(self.options.prefetch)
        where = f"{self.dataset.name} ({self.files.split})"
        try:
            for number, batch in enumerate(cast(Iterator[HostBatch], stream.as_numpy_iterator())):
                if number == 0:
                    schema.check_batch(batch, self.needs, where)
                yield batch
        except tf.errors.OpError as error:
            self._name_fault()
            raise DataError(f"{where}: reading failed: {error.message}") from error

    def _name_fault(self) -> None:
        """Goes through the split once and raises DataError for the first record that cannot be prepared."""
        position, name = 0, "?"
        # As a graph, like in the stream: mapping over an empty table is not the same when run eagerly.
        prepare = tf.function(lambda position, record: self.prepare(position, position, record, False))
        iterator = iter(self.files.serialized())
        while True:
            try:
                record = next(iterator)
                name = self.files.parse(record)["file_name"].numpy().decode()
                prepare(tf.constant(position, tf.int64), record)
            except StopIteration:
                return
            except tf.errors.OpError as error:
                raise DataError(
                    f"{self.files.directory} ({self.files.split}): record {position} cannot be read (picture "
                    f"{name!r} or the one after it): {error.message.splitlines()[0]}"
                ) from error
            position += 1

    def prepare(self, example_id: Tensor, epoch: Tensor, record: Tensor, train: bool) -> dict[str, Tensor]:
        """One serialized record -> the needed `schema.BATCH_FIELDS` of one example, without a batch axis."""
        raw = dict(self.files.parse(record))
        if self.dataset.clean_labels != "none":
            raw = self._clean_labels(raw)
        example = raw if "image" not in self.needs else transforms.decode_image(raw)
        if "image" not in self.needs:
            # A picture without channels has a size and costs nothing to mirror, cut or resize.
            example["image"] = tf.zeros(tf.concat([raw["original_hw_px"], [0]], 0), tf.uint8)
            example["image"] = tf.ensure_shape(example["image"], (None, None, 0))
        if self._uses_masks():
            example = transforms.decode_masks(example)
        seed = tf.stack([self.seed * (1 << 32) + epoch, example_id])
        if train:
            example = augment(example, seed, self.augment)
        limit, antialias = self.sizes.image_hw, self.options.antialias
        if train and self.augment.short_sides:
            hw = training_hw(tf.shape(example["image"])[:2], self.augment, seed)
            example = transforms.resize_within(example, hw, limit, antialias=antialias)
        else:
            example = transforms.resize_to_fit(example, limit, enlarge=self.options.enlarge, antialias=antialias)
        if self._uses_masks():
            example = transforms.place_masks(example, self.sizes.image_hw, self.sizes.mask_hw)
        example = transforms.pad_image(example, self.sizes.image_hw)
        built = self._build_tables(example)
        built |= {
            "image": example["image"],
            "image_hw_px": example["image_hw_px"],
            "original_hw_px": raw["original_hw_px"],
            "image_id": tf.cast(raw["image_id"], tf.int32),
            "example_id": tf.cast(tf.maximum(example_id, 0), tf.int32),
            "source_id": tf.zeros([], tf.int32),
            "batch_valid": example_id >= 0,
        }
        if "image_features" in self.needs:
            built["image_features"] = self._cached_map(example_id, example.get("flipped", tf.constant(False)))
        wanted = self.needs | schema.ALWAYS_PRESENT
        missing = sorted(wanted - set(built))
        if missing:
            raise DataError(f"{self.dataset.name}: fields {missing} cannot be built from these records")
        return {name: built[name] for name in wanted}

    def _clean_labels(self, raw: tables.Example) -> tables.Example:
        # A detector's opinion is not asked for where labels are only to be clustered.
        seen = slice(None) if self.dataset.clean_labels == "detections" else slice(0, 0)
        columns = ("detections_xyxy_px", "detections_class")
        view = {**raw, **{name: raw[name][seen] for name in columns}}
        cleaned = clean_labels(view, keep_unmatched=self.dataset.clean_unmatched == "keep")
        return {**cleaned, **{name: raw[name] for name in columns}}

    def _cached_map(self, example_id: Tensor, flipped: Tensor) -> Tensor:
        """The stored feature map of an example, of its mirror image where it was mirrored."""
        cache = self.features
        assert cache is not None  # checked when the pipeline was made
        position = tf.maximum(example_id, 0)
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
        """Whether the system needs a column of the table."""
        return any(name.startswith(f"{table}_") for name in self.needs)


def example_batch(pipeline: Pipeline, batch_size: int = 1) -> HostBatch:
    """A batch of zeros with the pipeline's shapes and dtypes, for initialising parameters; reads nothing."""
    zero = tf.constant(0, tf.int64)
    spec: Any = pipeline.files.serialized().map(lambda record: pipeline.prepare(zero, zero, record, False)).element_spec
    return {
        name: np.zeros((batch_size, *value.shape.as_list()), value.dtype.as_numpy_dtype) for name, value in spec.items()
    }
