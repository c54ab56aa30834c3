"""HICO-DET with its pictures, from the JSON layout that `hoi_jax.evaluation.files.hico_files` reads."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from data_prep.builder import DatasetSource, Record
from data_prep.pictures import PictureFolder
from hoi_jax.evaluation.files.annotation_rows import record_of
from hoi_jax.evaluation.files.hico_files import pair_rows, read_instances
from hoi_jax.vocab import get_vocabulary


def hico_det_source(name: str, files: Mapping[str, Path], images: Path) -> DatasetSource:
    """Splits as named in `files` ("" becomes "test"). Raises DataError naming file, record and field."""
    folder = PictureFolder(images)
    splits = {}
    for split, path in files.items():
        table = read_instances(path)
        splits[split or "test"] = (len(table["filenames"]), lambda p=path, t=table: iterate(p, t, folder))
    return DatasetSource(
        name=name,
        version="1.0.0",
        description="HICO-DET (fredzzhang JSON)",
        pairs_vocabulary="hico_det",
        persons_vocabulary="",
        splits=splits,
        settings={"layout": "fredzzhang"},
    )


def iterate(path: Path, table: Mapping[str, Any], folder: PictureFolder) -> Iterator[Record]:
    """One record per picture, in the file's order; `image_id` is the position in the file."""
    vocabulary = get_vocabulary("hico_det")
    for position, file_name in enumerate(table["filenames"]):
        data, hw = folder.read(file_name)
        columns = pair_rows(table["annotation"][position], vocabulary, f"{path}: record {position} ({file_name})")
        yield record_of(position, file_name, hw, columns, 1) | {"image": data}
