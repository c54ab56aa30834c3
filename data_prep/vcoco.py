"""V-COCO with its pictures, from the label files of `hoi_jax.evaluation.files.vcoco_files`."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from data_prep.builder import DatasetSource, Record
from data_prep.pictures import PictureFolder
from hoi_jax.evaluation.files.annotation_rows import record_of
from hoi_jax.evaluation.files.vcoco_files import (
    CocoInstances,
    OfficialTable,
    number_in,
    official_columns,
    pair_annotations,
    persons_from_pairs,
    verbs_of_classes,
)
from hoi_jax.io import CorruptFileError, DataError, read_json
from hoi_jax.vocab import get_vocabulary


def vcoco_source(name: str, files: Mapping[str, Path], images: Path, coco_instances: Sequence[Path]) -> DatasetSource:
    """One split per annotation file ("" becomes "union"). Raises DataError naming file, record and field."""
    folder = PictureFolder(images)
    splits, layouts, coco = {}, set(), None
    for split, path in files.items():
        table = read_json(path)
        if isinstance(table, list):
            layouts.add("official")
            if not coco_instances:
                raise DataError(f"{path}: official V-COCO layout; boxes are in COCO's files: give --coco-instances")
            coco = coco or CocoInstances(coco_instances)
            people = OfficialTable(path, table)
            splits[split or "union"] = (len(people.images), lambda p=people, c=coco: iterate_official(p, c, folder))
        else:
            layouts.add("pairs")
            rows = pair_annotations(path, table)
            splits[split or "union"] = (len(rows), lambda p=path, t=table, r=rows: iterate_pairs(p, t, r, folder))
    return DatasetSource(
        name=name,
        version="1.0.0",
        description="V-COCO",
        pairs_vocabulary="vcoco",
        persons_vocabulary="vcoco",
        splits=splits,
        settings={"layout": "+".join(sorted(layouts))},
    )


def iterate_pairs(
    path: Path, table: Mapping[str, Any], rows: Iterable[Mapping[str, Any]], folder: PictureFolder
) -> Iterator[Record]:
    """One record per picture of the pair layout."""
    vocabulary = get_vocabulary("vcoco")
    class_to_verb = verbs_of_classes(table["classes"], vocabulary, path)
    for position, row in enumerate(rows):
        file_name = row.get("file_name")
        where = f"{path}: record {position} ({file_name})"
        if not isinstance(file_name, str):
            raise CorruptFileError(f"{where}: malformed annotation, field 'file_name' is no text")
        data, hw = folder.read(file_name)
        try:
            columns = persons_from_pairs(row, class_to_verb, vocabulary)
            record = record_of(number_in(file_name), file_name, hw, columns, len(vocabulary.actions))
        except (KeyError, TypeError, IndexError, ValueError) as error:
            raise CorruptFileError(f"{where}: malformed annotation ({error!r})") from error
        yield record | {"image": data}


def iterate_official(table: OfficialTable, coco: CocoInstances, folder: PictureFolder) -> Iterator[Record]:
    """One record per picture with all its COCO instances; persons without V-COCO labels stay unlabelled people."""
    for image_id in table.images:
        file_name, columns = official_columns(table, coco, image_id)
        data, hw = folder.read(file_name)
        yield record_of(image_id, file_name, hw, columns, table.label.shape[1]) | {"image": data}
