"""The tf.data pipeline: host batches of static shapes from records, equal for any number of hosts.

The plan (`plan`) determines the examples and the static shape of each step, and `changes` the changes of each image,
before anything is read. Each host reads only the records of its own rows, by their byte positions, so that a resumed
run continues at its step immediately.
"""

import dataclasses
import functools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

import numpy as np
import tensorflow as tf

from hoi_jax import schema
from hoi_jax.data import plan
from hoi_jax.data.changes import Changes, plain_changes, random_changes
from hoi_jax.data.feature_cache import FeatureCache
from hoi_jax.data.numpy_batch import blank_batch
from hoi_jax.data.prepare import Preparation
from hoi_jax.data.records import RecordFiles, Tensor, read_at, record_places
from hoi_jax.data.sampling import TrainingCopies
from hoi_jax.data.settings import AugmentSettings, DatasetSettings, PipelineSettings, SizeSettings
from hoi_jax.io import DataError, read_npz
from hoi_jax.vocab import Vocabulary, get_vocabulary

HostBatch = dict[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Pipeline:
    """One split of one dataset as batches with exactly the fields that a system needs.

    Attributes:
      files: the records. vocabulary: vocabulary of the labels. needs: names of `schema.BATCH_FIELDS`.
      batch_size: examples per step over all hosts. host, num_hosts: index of this process and number of processes.
      features: cached feature maps of the split, if `needs` has them.
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
            raise ValueError(f"{self.files.directory}: the records lack the fields {absent}")
        labels = {str(self.files.meta[f"{table}_vocabulary"]) for table in ("pairs", "persons")}
        wanted = self.preparation.label_vocabulary.name
        if wanted not in labels:
            raise DataError(f"{self.files.directory}: labels use {sorted(labels - {''})}, expected {wanted!r}")
        cut = self.augment.crop > 0 or self.augment.crop_area is not None
        if "image_features" in self.needs and (self.features is None or cut or len(self.sizes.shapes) > 1):
            raise ValueError(
                "cached features need dataset.features, whole images (no augment.crop) and no sizes.buckets"
            )
        if self.dataset.clean_labels != "none" and self.preparation.uses("persons"):
            raise DataError(
                f"{self.dataset.name}: clean_labels is for labels of pairs, but these are labels of persons"
            )
        self._check_capacity()

    @functools.cached_property
    def preparation(self) -> Preparation:
        """Conversion of records to examples."""
        return Preparation(
            self.files, self.vocabulary, self.dataset, self.sizes, self.augment, self.needs, self.features
        )

    def _check_capacity(self) -> None:
        """Check that the tables can hold the split's largest example. Raises DataError instead of dropping rows."""
        limits = self.files.meta["splits"][self.files.base_split]["max_rows"]  # type: ignore[index]
        if self.dataset.detections == "ground_truth":
            limits = {**limits, "detections": limits["instances"]}
        if self.files.meta["pairs_vocabulary"] != self.preparation.label_vocabulary.name:
            limits = {**limits, "pairs": 0}  # made from persons and never more than their roles
        for table in ("instances", "detections", "pairs", "persons"):
            used = any(name.startswith(f"{table}_") for name in self.needs)
            if used and not self.sizes.truncate and limits[table] > getattr(self.sizes, table):
                raise DataError(
                    f"{self.files.directory} ({self.files.split}): an example has {limits[table]} {table}, but "
                    f"sizes.{table} is {getattr(self.sizes, table)}; raise it, or set sizes.truncate=True to drop rows"
                )

    @functools.cached_property
    def copies(self) -> TrainingCopies:
        """Number of copies of each example per epoch."""
        return TrainingCopies(self.files, self.options, self.vocabulary, self.seed)

    @property
    def epoch_size(self) -> int:
        """Examples of one training epoch, including copies."""
        fixed = self.copies.fixed
        return self.files.num_examples if fixed is None else int(fixed.sum())

    @functools.cached_property
    def places(self) -> tuple[np.ndarray, np.ndarray]:
        """(file index, byte position) of every record of the split."""
        file, byte = record_places(self.files.paths)
        if len(byte) != self.files.base_examples:
            raise DataError(f"{self.files.directory}: has {len(byte)} records, expected {self.files.base_examples}")
        rows = slice(None) if self.files.positions is None else self.files.positions
        return file[rows], byte[rows]

    @functools.cached_property
    def original_hw(self) -> np.ndarray:
        """[examples, 2] sizes of the images in their files."""
        path = self.files.directory / f"annotations_{self.files.base_split}.npz"
        sizes = read_npz(path).get("original_hw_px", np.zeros((0, 2), np.int32))
        if sizes.shape != (self.files.base_examples, 2):
            raise DataError(f"{path}: lacks the sizes of {self.files.base_examples} images; build the dataset again")
        return sizes if self.files.positions is None else sizes[self.files.positions]

    def changes(self, rows: plan.Rows, train: bool) -> Changes:
        """Changes of the images in these rows."""
        original = self.original_hw[rows.example]
        if not train:
            return plain_changes(original, self.sizes)
        return random_changes(original, self.sizes, self.augment, self.seed, rows.epoch, rows.example)

    def shapes_of(self, rows: plan.Rows, train: bool) -> np.ndarray:
        """Indices of the static shapes of these rows, [n]."""
        if len(self.sizes.shapes) == 1:
            return np.zeros(len(rows), np.int64)
        return self.changes(rows, train).shape

    def stream(self, source: int = 0) -> Iterator[plan.Rows]:
        """The endless training stream of this dataset, one epoch at a time."""
        return plan.epochs(self.files.num_examples, self.seed, self.copies.in_epoch, source)

    def train_batches(self, start_step: int) -> Iterator[HostBatch]:
        """Endless training batches from `start_step` on; this host's part of each, [batch_size / num_hosts, ...]."""
        planned = plan.training_batches(
            self.stream(), self.batch_size, lambda rows: self.shapes_of(rows, True), start_step
        )
        return read_batches((self,), planned, self.batch_size, train=True, host=self.host, num_hosts=self.num_hosts)

    def eval_batches(self) -> Iterator[HostBatch]:
        """Batches with every example once, in file order within a static shape.

        The last batch of a shape is padded with rows of `batch_valid` False.
        """
        planned = plan.evaluation_batches(
            self.files.num_examples, self.batch_size, lambda rows: self.shapes_of(rows, False)
        )
        return read_batches((self,), planned, self.batch_size, train=False, host=self.host, num_hosts=self.num_hosts)

    def name_fault(self) -> None:
        """Go through the split once and raise DataError for the first record that cannot be prepared."""
        position, name = 0, "?"
        number = np.arange(self.files.num_examples)
        rows = plan.Rows(np.zeros_like(number), number, np.zeros_like(number))
        columns = row_columns((self,), plan.PlannedBatch(rows, 0, np.ones(len(number), bool)), train=False)
        # In graph mode as in the stream, since mapping over an empty table differs in eager mode.
        prepare = self.preparation.traced
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


def example_batch(pipeline: Pipeline, batch_size: int = 1) -> HostBatch:
    """Batch of zeros of the pipeline's first static shape, for initialising parameters; reads no records."""
    maps = pipeline.features.maps.shape[2:] if pipeline.features else None
    persons = str(pipeline.files.meta["persons_vocabulary"])
    actions = max(len(get_vocabulary(persons).actions), 1) if persons else 1
    return blank_batch(pipeline.needs, pipeline.sizes, pipeline.vocabulary, batch_size, maps, actions)


def row_columns(sources: Sequence[Pipeline], batch: plan.PlannedBatch, train: bool) -> dict[str, np.ndarray]:
    """Inputs of `Preparation.prepare` for every row of a batch, [n, ...] per column, with record positions."""
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
        # Every source has its own example numbers, so that no two share their random draws.
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
    """Planned batches as host batches, [batch / num_hosts, ...] per field; only this host's records are read.

    Raises:
      DataError: a record cannot be read; the message names it.
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
            return one.preparation.traced(row, record)
        return tf.switch_case(
            row["source"], [lambda source=source: source.preparation.traced(row, record) for source in sources]
        )

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


@dataclasses.dataclass(frozen=True)
class Mixture:
    """Training batches from several datasets, with the interface of `Pipeline`.

    The sequence of examples is deterministic: the position determines the example (`plan.mixed`).

    Attributes:
      sources: pipelines with equal sizes and needs; their own batch size and host are ignored.
      shares: share of each source in the stream.
      batch_size, host, num_hosts: as in `Pipeline`, for the mixed stream.
    """

    sources: tuple[Pipeline, ...]
    shares: tuple[float, ...]
    batch_size: int
    host: int = 0
    num_hosts: int = 1

    def __post_init__(self):
        if len(self.sources) != len(self.shares) or abs(sum(self.shares) - 1.0) > 1e-9:
            raise ValueError(f"shares {self.shares} of {len(self.sources)} sources do not sum to one")
        if self.batch_size % self.num_hosts:
            raise ValueError(f"batch_size {self.batch_size} is not a multiple of {self.num_hosts} hosts")

    @property
    def epoch_size(self) -> int:
        """Total number of examples of all sources."""
        return sum(source.epoch_size for source in self.sources)

    def train_batches(self, start_step: int) -> Iterator[HostBatch]:
        """Endless training batches from `start_step` on; `source_id` is the source of each example."""
        streams = [source.stream(number) for number, source in enumerate(self.sources)]
        rows = plan.mixed(streams, self.shares, max(self.epoch_size, self.batch_size))
        planned = plan.training_batches(rows, self.batch_size, self._shapes_of, start_step)
        return read_batches(
            self.sources, planned, self.batch_size, train=True, host=self.host, num_hosts=self.num_hosts
        )

    def _shapes_of(self, rows: plan.Rows) -> np.ndarray:
        shapes = np.zeros(len(rows), np.int64)
        for number, source in enumerate(self.sources):
            mine = np.flatnonzero(rows.source == number)
            shapes[mine] = source.shapes_of(rows.take(mine), True)
        return shapes
