"""The TFDS builder of all datasets: writes the raw records of a dataset source.

The TFDS files (`tfrecord`, because tf.data cannot read array_record) are written into a temporary folder; the metadata
file that marks a finished build comes last and the folder is renamed into place, so that an interrupted build is
never mistaken for a complete one. The folder also has `annotations_<split>.npz`, everything except pixels, from which
evaluation reads.
"""

import dataclasses
import hashlib
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from tqdm import tqdm

from hoi_jax import schema
from hoi_jax.annotations import Annotations
from hoi_jax.data import records
from hoi_jax.vocab import Vocabulary, get_vocabulary

Record = dict[str, object]
_ROW_COLUMNS = {"instances": "class", "detections": "class", "pairs": "verb", "persons": "instance"}
"""One column of every table, by which its rows are counted."""
_PNG = b"\x89PNG\r\n\x1a\n"


@dataclasses.dataclass(frozen=True)
class DatasetSource:
    """Input of the builder: a dataset's splits of raw records and their metadata.

    Attributes:
      name: "<dataset>/<size or layout>", the folder below the data directory.
      version: version of the records, "1.0.0".
      description: one line for the metadata file.
      pairs_vocabulary: vocabulary of `pairs_verb`, or "" when pairs are only in `persons`.
      persons_vocabulary: vocabulary of `persons_actions`, or "".
      splits: split name -> (number of records, function that yields them in order).
      settings: plain values that determine the fingerprint together with the records.
    """

    name: str
    version: str
    description: str
    pairs_vocabulary: str
    persons_vocabulary: str
    splits: Mapping[str, tuple[int, Callable[[], Iterator[Record]]]]
    settings: Mapping[str, object] = dataclasses.field(default_factory=dict)

    @property
    def num_actions(self) -> int:
        return len(get_vocabulary(self.persons_vocabulary).actions) if self.persons_vocabulary else 1


def check_labels(record: Record, vocabulary: Vocabulary, where: str) -> None:
    """Check classes, verbs and HOI classes of a record. Raises SchemaError for one outside the vocabulary."""
    classes, verbs = np.asarray(record["instances_class"]), np.asarray(record["pairs_verb"])
    for name, values, known in (
        ("instances_class", classes, vocabulary.objects),
        ("detections_class", np.asarray(record["detections_class"]), vocabulary.objects),
        ("pairs_verb", verbs, vocabulary.verbs),
    ):
        if values.size and (values.min() < 0 or values.max() >= len(known)):
            raise schema.SchemaError(f"{where}: field {name!r} has a number outside 0..{len(known) - 1}")
    if vocabulary.hois and len(verbs):
        rows = np.asarray(record["pairs_object"])
        seen = rows >= 0
        for verb, obj in zip(verbs[seen], classes[rows[seen]], strict=True):
            if vocabulary.hoi_table[verb, obj] < 0:
                name = f"{vocabulary.verbs[verb]} {vocabulary.objects[obj]}"
                raise schema.SchemaError(f"{where}: {name!r} is not an HOI class of {vocabulary.name!r}")


def check_masks(record: Record, where: str) -> None:
    """Check the masks of a record. Raises SchemaError for a mask that is not a PNG of the image's size."""
    masks: Any = record["instances_mask_png"]
    height, width = np.asarray(record["original_hw_px"]).tolist()
    for row, png in enumerate(masks):
        # Width and height are at fixed positions in every PNG.
        if png and (png[:8] != _PNG or [int.from_bytes(png[i : i + 4]) for i in (16, 20)] != [width, height]):
            raise schema.SchemaError(
                f"{where}: field 'instances_mask_png', row {row} is not a PNG of {width} x {height}"
            )


class _Builder(tfds.core.GeneratorBasedBuilder):
    """TFDS builder, for serialising, sharding and the info file."""

    def __init__(self, source: DatasetSource, data_dir: Path, counters: dict[str, "_Counter"]):
        self.name, self.VERSION = source.name.replace("/", "_"), tfds.core.Version(source.version)
        self._source, self._counters = source, counters
        super().__init__(data_dir=str(data_dir), file_format="tfrecord")

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(
            builder=self,
            description=self._source.description,
            features=records.features_dict(self._source.num_actions),
            disable_shuffling=True,  # keeps records in the order of the dataset's files
        )

    def _split_generators(self, dl_manager):
        del dl_manager  # nothing is downloaded
        return {split: self._generate_examples(split) for split in self._source.splits}

    def _generate_examples(self, split: str):  # type: ignore[override]
        count, generate = self._source.splits[split]
        vocabulary = get_vocabulary(self._source.pairs_vocabulary)
        bar = tqdm(generate(), total=count, desc=f"{self._source.name} {split}", unit="img", mininterval=0.5)
        for position, record in enumerate(bar):
            where = f"{self._source.name} {split} {record['file_name']!r}"
            schema.check_record(record, self._source.num_actions, where)
            check_labels(record, vocabulary, where)
            check_masks(record, where)
            self._counters[split].add(record)
            yield position, record


def content_of(record: Record, human: int) -> dict[str, int]:
    """Counts of a record by the names of `records.content_counts`: rows of each table, and rows with content.

    A row has content if a keypoint has a score, a face or any part box has an area, the mask is not empty, or any part
    state is known, depending on the column. `human` is the vocabulary's class of people.
    """
    arrays = {name: np.asarray(value) for name, value in record.items() if name != "instances_mask_png"}
    masks: Any = record["instances_mask_png"]
    counts = {"images": 1}
    for table, column in _ROW_COLUMNS.items():
        counts[table] = len(arrays[f"{table}_{column}"])
    for table in ("instances", "detections"):
        counts[f"{table}_people"] = int((arrays[f"{table}_class"] == human).sum())
        counts[f"images_with_{table}"] = int(counts[table] > 0)
        counts[f"{table}_keypoints_px"] = int((arrays[f"{table}_keypoints_px"][..., 2] > 0).any(-1).sum())
        counts[f"{table}_face_xyxy_px"] = int(_has_area(arrays[f"{table}_face_xyxy_px"]).sum())
    counts["faces_xyxy_px"] = len(arrays["faces_xyxy_px"]) + counts["detections_face_xyxy_px"]
    counts["images_with_pairs"] = int(counts["pairs"] > 0)
    counts["instances_parts_xyxy_px"] = int(_has_area(arrays["instances_parts_xyxy_px"]).any(-1).sum())
    counts["instances_mask_png"] = sum(1 for png in masks if png)
    counts["pairs_part_states"] = int((arrays["pairs_part_states"] != -1).any(-1).sum())
    counts["hoi_labels"] = int(len(arrays["hoi_labels"]) > 0)
    return counts


def _has_area(xyxy: np.ndarray) -> np.ndarray:
    return (xyxy[..., 2] > xyxy[..., 0]) & (xyxy[..., 3] > xyxy[..., 1])


class _Counter:
    """Accumulator of the counts, largest tables, checksum and annotations of one split."""

    def __init__(self, human: int):
        self.human = human
        self.digest = hashlib.sha256()
        self.rows: dict[str, int] = dict.fromkeys(("instances", "detections", "pairs", "persons"), 0)
        self.max_rows = dict(self.rows)
        self.content: dict[str, int] = {}
        self.without_image: list[Record] = []

    def add(self, record: Record) -> None:
        for name in sorted(record):
            value: Any = record[name]
            if name == "faces_xyxy_px" and not len(value):
                continue  # keeps the fingerprints of builds that predate this table
            parts = value if isinstance(value, list) else [value]
            for part in parts:
                self.digest.update(part if isinstance(part, bytes) else np.ascontiguousarray(part).tobytes())
            self.digest.update(name.encode())
        for name, count in content_of(record, self.human).items():
            self.content[name] = self.content.get(name, 0) + count
        for table, column in _ROW_COLUMNS.items():
            count = len(record[f"{table}_{column}"])  # type: ignore[arg-type]
            self.rows[table] += count
            self.max_rows[table] = max(self.max_rows[table], count)
        self.without_image.append({k: v for k, v in record.items() if k not in ("image", "instances_mask_png")})

    def summary(self) -> dict[str, object]:
        return {
            "examples": len(self.without_image),
            "rows": self.rows,
            "max_rows": self.max_rows,
            "content": self.content,
            "sha256": self.digest.hexdigest(),
        }


def dataset_directory(data_dir: str | Path, name: str) -> Path:
    """Folder of the built dataset `name`."""
    return Path(data_dir) / name


def build(source: DatasetSource, data_dir: str | Path, *, overwrite: bool = False) -> Path:
    """Build all splits of `source` below `data_dir`; return the folder.

    A finished build is left unchanged, unless it was made before contents were counted.

    Raises:
      hoi_jax.schema.SchemaError: a record violates the schema; the message names split and image.
    """
    target = dataset_directory(data_dir, source.name)
    if (target / records.META_FILE).is_file() and not overwrite:
        meta = records.read_meta(target)
        if meta["settings"] != dict(source.settings) or meta["version"] != source.version:
            raise ValueError(
                f"{target} was built with other settings ({meta['settings']}, version {meta['version']}); "
                "remove it or pass --overwrite"
            )
        if records.has_content_counts(meta):
            return target
        print(f"{target}: was built before contents were counted; building it again", file=sys.stderr)
    temporary = target.with_name(f".{target.name}.{os.getpid()}")
    shutil.rmtree(temporary, ignore_errors=True)
    human = get_vocabulary(source.pairs_vocabulary).human_class
    counters = {split: _Counter(human) for split in source.splits}
    builder = _Builder(source, temporary, counters)
    config = tfds.download.DownloadConfig(register_checksums=False, try_download_gcs=False)
    builder.download_and_prepare(download_config=config)
    built = temporary / "built"
    Path(builder.data_dir).rename(built)
    for split, counter in counters.items():
        annotations = Annotations.from_records(
            counter.without_image, source.pairs_vocabulary, source.persons_vocabulary or None
        )
        annotations.save(built / f"annotations_{split}.npz")
    records.write_meta(built, _meta(source, counters))
    shutil.rmtree(target, ignore_errors=True)
    target.parent.mkdir(parents=True, exist_ok=True)
    built.rename(target)
    shutil.rmtree(temporary, ignore_errors=True)
    return target


def _meta(source: DatasetSource, counters: Mapping[str, _Counter]) -> dict[str, object]:
    splits = {split: counter.summary() for split, counter in counters.items()}
    together = hashlib.sha256("".join(str(splits[s]["sha256"]) for s in sorted(splits)).encode())
    return {
        "name": source.name,
        "version": source.version,
        "description": source.description,
        "pairs_vocabulary": source.pairs_vocabulary,
        "persons_vocabulary": source.persons_vocabulary,
        "settings": dict(source.settings),
        "splits": splits,
        "fingerprint": together.hexdigest()[:16],
    }
