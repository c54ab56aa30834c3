"""MPII Human Pose as activity recognition: one activity per image, from `mpii_human_pose_v1_u12_1.mat`.

The file has one struct RELEASE: `annolist(i).image.name`, `img_train(i)` (1 = training) and `act(i)` with `cat_name`,
`act_name` and `act_id` (-1 = no label, as for the withheld test set). Classes are the activities of labelled images,
in the order of their ids; their list is written beside the dataset, and configs refer to it (`hoi_jax.vocab.custom`).
"""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Int

from data_prep.builder import DatasetSource, Record
from data_prep.images import ImageFolder
from hoi_jax import io
from hoi_jax.formats.labels.hico_mat import number_of, text_of
from hoi_jax.formats.labels.label_file import LabelFile
from hoi_jax.formats.labels.rows import record_of
from hoi_jax.vocab.custom import PREFIX


@dataclasses.dataclass(frozen=True)
class MpiiLabels:
    """Rows of the file, one per image.

    Attributes:
      names: file names. training: whether the image is in the training part.
      activity: class, -1 = none.
      activities: names by class; categories: category of each activity.
    """

    names: tuple[str, ...]
    training: Bool[np.ndarray, " n"]
    activity: Int[np.ndarray, " n"]
    activities: tuple[str, ...]
    categories: tuple[str, ...]


def read_mpii(path: Path) -> MpiiLabels:
    """All images and their activities. Raises DataError naming the file, record and field."""
    release = io.read_mat(path, ("RELEASE",)).get("RELEASE")
    if not isinstance(release, np.ndarray) or not set(release.dtype.names or ()) >= {"annolist", "img_train", "act"}:
        raise io.CorruptFileError(
            f"{path}: is not in MPII's layout, which needs the struct RELEASE with annolist, img_train, act"
        )
    release = release.ravel()[0]
    images, acts = release["annolist"].ravel(), release["act"].ravel()
    training = np.ravel(release["img_train"]) == 1
    if not len(images) == len(acts) == len(training):
        raise io.CorruptFileError(
            f"{path}: annolist has {len(images)} rows, act has {len(acts)} and img_train {len(training)}"
        )
    names, ids, known = [], np.full(len(acts), -1, np.int64), dict[int, tuple[str, str]]()
    for row, (image, act) in enumerate(zip(images, acts, strict=True)):
        try:
            names.append(Path(text_of(image["image"].ravel()[0]["name"])).name)
            ids[row] = int(number_of(act["act_id"])) if np.size(act["act_id"]) else -1
            if ids[row] < 0:
                continue
            titles = text_of(act["cat_name"]).strip(), text_of(act["act_name"]).strip()
        except (KeyError, IndexError, ValueError, TypeError) as error:
            raise io.CorruptFileError(f"{path}: record {row}: malformed ({error!r})") from error
        if known.setdefault(int(ids[row]), titles) != titles:
            raise io.CorruptFileError(
                f"{path}: record {row}: activity {ids[row]} has two names, {titles} and {known[int(ids[row])]}"
            )
    order = sorted(known)
    class_of = {number: index for index, number in enumerate(order)}
    activity = np.array([class_of.get(int(number), -1) for number in ids], np.int64)
    return MpiiLabels(
        tuple(names),
        training,
        activity,
        _distinct([known[number] for number in order]),
        tuple(known[number][0] for number in order),
    )


def mpii_label_files(path: Path) -> dict[str, LabelFile]:
    """The labelled images of every part, in a new vocabulary of their activities. Raises DataError."""
    table = read_mpii(path)
    return {
        split: LabelFile(
            str(path), "MPII", "hico_det", None, [table.names[row] for row in rows], rows.tolist(),
            [(0, 0)] * len(rows), lambda row, rows=rows: {"hoi_labels": _labels(table, rows[row])},
        )
        for split, rows in _rows_of_parts(table).items()
    }  # fmt: skip


def _labels(table: MpiiLabels, row: int) -> np.ndarray:
    labels = np.full(len(table.activities), -1, np.int32)
    labels[table.activity[row]] = 1
    return labels


def _distinct(titles: Sequence[tuple[str, str]]) -> tuple[str, ...]:
    """Distinct activity names; repeated ones get their category and, if needed, their position appended."""
    names = [name for _, name in titles]
    shared = {name for name in names if names.count(name) > 1}
    found = [f"{name}, {category}" if name in shared else name for category, name in titles]
    again = {name for name in found if found.count(name) > 1}
    return tuple(f"{name}, {place}" if name in again else name for place, name in enumerate(found))


def mpii_source(
    name: str, labels: Path, images: Path, vocabulary_file: Path, lists: Mapping[str, Path] | None = None
) -> DatasetSource:
    """Dataset source of the labelled images; also writes the list of classes to `vocabulary_file`.

    Args:
      lists: split -> text file of image names, one per line, such as DEFR's division of the training part into 8,218
        and 6,987 images. None: "train" and "test", by the file's `img_train`; a part without labels is left out.

    Raises:
      DataError: the file is malformed, or a listed image is unknown or has no activity; the message names the file.
    """
    table = read_mpii(labels)
    rows = _rows_of_lists(table, lists) if lists else _rows_of_parts(table)
    if not any(len(chosen) for chosen in rows.values()):
        raise io.DataError(f"{labels}: no image has an activity")
    content = {"activities": list(table.activities), "categories": list(table.categories), "source": labels.name}
    io.write_json_atomic(vocabulary_file, content)
    folder = ImageFolder(images)
    return DatasetSource(
        name=name,
        version="1.0.0",
        description="MPII Human Pose: one activity per image",
        pairs_vocabulary=f"{PREFIX}{vocabulary_file}",
        persons_vocabulary="",
        splits={
            split: (len(chosen), lambda chosen=chosen: iterate(table, chosen, folder)) for split, chosen in rows.items()
        },
        settings={"splits": sorted(rows), "activities": len(table.activities)},
    )


def _rows_of_parts(table: MpiiLabels) -> dict[str, np.ndarray]:
    parts = {"train": table.training, "test": ~table.training}
    rows = {split: np.flatnonzero(part & (table.activity >= 0)) for split, part in parts.items()}
    return {split: chosen for split, chosen in rows.items() if len(chosen)}


def _rows_of_lists(table: MpiiLabels, lists: Mapping[str, Path]) -> dict[str, np.ndarray]:
    row_of = {name: row for row, name in enumerate(table.names)}
    rows: dict[str, Any] = {}
    for split, path in lists.items():
        wanted = [Path(line).name for line in io.read_bytes(path).decode().splitlines() if line.strip()]
        bad = [name for name in wanted if name not in row_of or table.activity[row_of[name]] < 0]
        if bad:
            raise io.DataError(f"{path}: {len(bad)} images have no activity, for example {bad[0]!r}")
        rows[split] = np.array([row_of[name] for name in wanted], np.int64)
    return rows


def iterate(table: MpiiLabels, rows: Int[np.ndarray, " n"], folder: ImageFolder) -> Iterator[Record]:
    """Records of images; `image_id` is the row in the file, labels are 1 for the activity and -1 elsewhere."""
    for row in rows:
        data, hw = folder.read(table.names[row])
        yield record_of(int(row), table.names[row], hw, {"hoi_labels": _labels(table, row)}, 1) | {"image": data}
