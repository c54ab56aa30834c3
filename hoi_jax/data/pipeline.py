"""The tf.data pipeline: records -> host batches of static shapes, the same for any number of hosts.

The plan (`plan`) says which examples make up step s, in which static shape; what is done to each of them (`changes`) is
known before anything is read. Each host reads its rows' records at their places and nothing else, so that a resumed run
starts at its step at once.
"""

import dataclasses
import functools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import tensorflow as tf

from hoi_jax import schema
from hoi_jax.data import plan, tables, transforms
from hoi_jax.data.changes import Changes, plain_changes, random_changes
from hoi_jax.data.feature_cache import FeatureCache
from hoi_jax.data.label_cleaning import clean_labels
from hoi_jax.data.numpy_batch import blank_batch
from hoi_jax.data.pixels import change_image, change_mask, decode_of_size
from hoi_jax.data.records import RecordFiles, Tensor, read_at, record_places
from hoi_jax.data.sampling import copies_by_ratio, copies_by_replacement, copies_of_examples, sparse_examples
from hoi_jax.data.settings import AugmentSettings, DatasetSettings, PipelineSettings, SizeSettings
from hoi_jax.io import DataError, read_npz
from hoi_jax.vocab import Vocabulary, get_vocabulary
from hoi_jax.vocab.tables import verb_map

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
        cut = self.augment.crop > 0 or self.augment.crop_area is not None
        if "image_features" in self.needs and (self.features is None or cut or len(self.sizes.shapes) > 1):
            raise ValueError(
                "cached features need dataset.features, whole images (no augment.crop) and no sizes.buckets"
            )
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
        boxes = content.get("instances_xyxy_px")
        human, overlap = self.vocabulary.human_class, self.options.sparsity_overlap
        sparse = sparse_examples(content["instances_class"], count, human, boxes, overlap)
        if sparse.all():
            raise DataError(f"{path}: no picture is crowded; set pipeline.sparsity to 'off'")
        return sparse

    def _copies_in(self, epoch: int) -> np.ndarray | None:
        """Times that each example is shown in this epoch; None = once."""
        if self.options.sparsity == "replace":
            return copies_by_replacement(self._sparse, self.seed, epoch)
        return self.copies

    @property
    def epoch_size(self) -> int:
        """Examples of one training epoch, copies counted."""
        return self.files.num_examples if self.copies is None else int(self.copies.sum())

    @functools.cached_property
    def places(self) -> tuple[np.ndarray, np.ndarray]:
        """(file, byte) of every record of the split."""
        file, byte = record_places(self.files.paths)
        if len(byte) != self.files.base_examples:
            raise DataError(f"{self.files.directory}: {len(byte)} records, expected {self.files.base_examples}")
        rows = slice(None) if self.files.positions is None else self.files.positions
        return file[rows], byte[rows]

    @functools.cached_property
    def original_hw(self) -> np.ndarray:
        """[examples, 2] sizes of the images in their files."""
        path = self.files.directory / f"annotations_{self.files.base_split}.npz"
        sizes = read_npz(path).get("original_hw_px", np.zeros((0, 2), np.int32))
        if sizes.shape != (self.files.base_examples, 2):
            raise DataError(f"{path}: no sizes of {self.files.base_examples} images; build the dataset again")
        return sizes if self.files.positions is None else sizes[self.files.positions]

    def changes(self, rows: plan.Rows, train: bool) -> Changes:
        """What is done to the images of these rows."""
        original = self.original_hw[rows.example]
        if not train:
            return plain_changes(original, self.sizes)
        return random_changes(original, self.sizes, self.augment, self.seed, rows.epoch, rows.example)

    def shapes_of(self, rows: plan.Rows, train: bool) -> np.ndarray:
        """Numbers of the static shapes of these rows, [n]."""
        if len(self.sizes.shapes) == 1:
            return np.zeros(len(rows), np.int64)
        return self.changes(rows, train).shape

    def stream(self, source: int = 0) -> Iterator[plan.Rows]:
        """The endless training stream of this dataset, an epoch at a time."""
        return plan.epochs(self.files.num_examples, self.seed, self._copies_in, source)

    def train_batches(self, start_step: int) -> Iterator[HostBatch]:
        """Endless batches from `start_step` on; this host's part of each, [batch_size / num_hosts, ...]."""
        planned = plan.training_batches(
            self.stream(), self.batch_size, lambda rows: self.shapes_of(rows, True), start_step
        )
        return read_batches((self,), planned, self.batch_size, train=True, host=self.host, num_hosts=self.num_hosts)

    def eval_batches(self) -> Iterator[HostBatch]:
        """Every example once, in file order within a static shape; the last batch of a shape is filled up with rows of
        `batch_valid` False."""
        planned = plan.evaluation_batches(
            self.files.num_examples, self.batch_size, lambda rows: self.shapes_of(rows, False)
        )
        return read_batches((self,), planned, self.batch_size, train=False, host=self.host, num_hosts=self.num_hosts)

    def name_fault(self) -> None:
        """Goes through the split once and raises DataError for the first record that cannot be prepared."""
        position, name = 0, "?"
        number = np.arange(self.files.num_examples)
        rows = plan.Rows(np.zeros_like(number), number, np.zeros_like(number))
        columns = row_columns((self,), plan.PlannedBatch(rows, 0, np.ones(len(number), bool)), train=False)
        # As a graph, like in the stream: mapping over an empty table is not the same when run eagerly.
        prepare = tf.function(self.prepare, reduce_retracing=True)
        iterator = iter(self.files.serialized())
        while True:
            try:
                record = next(iterator)
                name = self.files.parse(record)["file_name"].numpy().decode()
                prepare({key: tf.constant(value[position]) for key, value in columns.items()}, record)
            except StopIteration:
                return
            except tf.errors.OpError as error:
                raise DataError(
                    f"{self.files.directory} ({self.files.split}): record {position} cannot be read (image "
                    f"{name!r} or the one after it): {error.message.splitlines()[0]}"
                ) from error
            position += 1

    def prepare(self, row: Mapping[str, Tensor], record: Tensor) -> dict[str, Tensor]:
        """One serialized record -> the needed `schema.BATCH_FIELDS` of one example, without a batch axis.

        Args:
          row: what was planned for it (`row_columns`).
        """
        raw = dict(self.files.parse(record))
        if self.dataset.clean_labels != "none":
            raw = self._clean_labels(raw)
        example = self._moved({**raw, "image_hw_px": raw["original_hw_px"]}, row)
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
            raise DataError(f"{self.dataset.name}: fields {missing} cannot be built from these records")
        return {name: built[name] for name in wanted}

    def _moved(self, example: tables.Example, row: Mapping[str, Tensor]) -> tables.Example:
        """The tables after the changes that the image goes through."""
        same = example
        # One branch runs: most images are not mirrored or cut.
        example = tf.cond(row["flip"], lambda: transforms.flip_horizontal(same), lambda: dict(same))
        example = transforms.resize(example, row["first_hw"])
        if self.augment.crop > 0 or self.augment.crop_area is not None:
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
        """Whether the system needs a column of the table."""
        return any(name.startswith(f"{table}_") for name in self.needs)


def example_batch(pipeline: Pipeline, batch_size: int = 1) -> HostBatch:
    """A batch of zeros of the pipeline's first static shape, for initialising parameters; reads nothing."""
    maps = pipeline.features.maps.shape[2:] if pipeline.features else None
    persons = str(pipeline.files.meta["persons_vocabulary"])
    actions = max(len(get_vocabulary(persons).actions), 1) if persons else 1
    return blank_batch(pipeline.needs, pipeline.sizes, pipeline.vocabulary, batch_size, maps, actions)


def row_columns(sources: Sequence[Pipeline], batch: plan.PlannedBatch, train: bool) -> dict[str, np.ndarray]:
    """What `Pipeline.prepare` is told of every row of a batch, [n, ...] per column, and where its record lies."""
    count = len(batch.rows)
    columns: dict[str, np.ndarray] = {
        "source": batch.rows.source.astype(np.int32),
        "example": batch.rows.example.astype(np.int64),
        "valid": batch.valid,
        "example_id": np.zeros(count, np.int32),
        "path": np.zeros(count, object),
        "byte": np.zeros(count, np.int64),
        "flip": np.zeros(count, bool),
        "colours": np.zeros((count, 3), np.float32),
        "colour_order": np.zeros(count, np.int32),
        "first_hw": np.zeros((count, 2), np.int32),
        "window": np.zeros((count, 4), np.int32),
        "hw": np.zeros((count, 2), np.int32),
    }
    first_id = 0
    for number, source in enumerate(sources):
        mine = np.flatnonzero(batch.rows.source == number)
        rows = batch.rows.take(mine)
        changes = source.changes(rows, train)
        for field in dataclasses.fields(Changes):
            if field.name in columns:
                columns[field.name][mine] = getattr(changes, field.name)
        file, byte = source.places
        columns["path"][mine] = [source.files.paths[i] for i in file[rows.example]]
        columns["byte"][mine] = byte[rows.example]
        # Numbers of their own for every source, so that no two share their random draws.
        columns["example_id"][mine] = rows.example + first_id
        first_id += source.files.num_examples
    columns["example_id"][~batch.valid] = 0
    sizes = sources[0].sizes
    shape = sizes.shapes[batch.shape]
    columns["shape_hw"] = np.tile(np.array(shape, np.int32), (count, 1))
    columns["grid_hw"] = np.tile(np.array(sizes.mask_grid(shape), np.int32), (count, 1))
    columns["path"] = columns["path"].astype(str)
    return columns


def read_batches(
    sources: Sequence[Pipeline],
    planned: Iterator[plan.PlannedBatch],
    batch_size: int,
    *,
    train: bool,
    host: int,
    num_hosts: int,
) -> Iterator[HostBatch]:
    """The planned batches as host batches, [batch / num_hosts, ...] per field: only this host's records are read.

    Raises:
      DataError: a record cannot be read; it names itself.
    """
    one = sources[0]
    where = " + ".join(f"{source.dataset.name} ({source.files.split})" for source in sources)

    def columns() -> Iterator[dict[str, np.ndarray]]:
        for batch in planned:
            yield row_columns(sources, batch.of_host(host, num_hosts), train)

    probe = plan.Rows(np.zeros(1, np.int64), np.zeros(1, np.int64), np.zeros(1, np.int64))
    first = row_columns(sources, plan.PlannedBatch(probe, 0, np.ones(1, bool)), train)
    signature = {
        name: tf.TensorSpec((None, *value.shape[1:]), tf.string if name == "path" else value.dtype)
        for name, value in first.items()
    }
    threads = one.options.threads or tf.data.AUTOTUNE
    share = batch_size // num_hosts
    stream: Any = tf.data.Dataset.from_generator(columns, output_signature=signature).unbatch()
    stream = stream.interleave(
        lambda row: read_at(row["path"], row["byte"]).map(lambda record: (row, record)),
        cycle_length=4, block_length=1, num_parallel_calls=2, deterministic=True,
    )  # fmt: skip

    def prepare(row: Mapping[str, Tensor], record: Tensor) -> dict[str, Tensor]:
        if len(sources) == 1:
            return one.prepare(row, record)
        return tf.switch_case(row["source"], [lambda source=source: source.prepare(row, record) for source in sources])

    stream = stream.map(prepare, threads, deterministic=True)
    stream = stream.batch(share, drop_remainder=True).prefetch(one.options.prefetch)
    try:
        for number, batch in enumerate(cast(Iterator[HostBatch], stream.as_numpy_iterator())):
            if number == 0:
                schema.check_batch(batch, one.needs, where)
            yield batch
    except tf.errors.OpError as error:
        for source in sources:
            source.name_fault()
        raise DataError(f"{where}: reading failed: {error.message}") from error
