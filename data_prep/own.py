"""Builds of custom datasets (`hoi_jax.formats.labels.custom`)."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path

from hoi_jax import io
from hoi_jax.formats.labels.custom import open_custom, vocabulary_of
from hoi_jax.formats.labels.label_file import LabelFile
from hoi_jax.vocab.custom import PREFIX, custom_table


def open_custom_files(files: Mapping[str, Path], classes: Path) -> dict[str, LabelFile]:
    """Custom label files opened in one vocabulary.

    It is that of a dataset, or else the class table of the first file, which is written to `classes`. If the file lacks
    `train_counts`, they are counted in the split "train".

    Raises:
      DataError: a file is malformed, or the files differ in categories, verbs or classes.
    """
    tables = {split: io.read_json(path) for split, path in files.items()}
    opened = {split: open_custom(tables[split], path) for split, path in files.items()}
    vocabularies = {split: vocabulary_of(tables[split], path) for split, path in files.items()}
    first = next(iter(vocabularies.values()))
    for split, other in vocabularies.items():
        if (other.objects, other.verbs, other.hois) != (first.objects, first.verbs, first.hois):
            raise io.DataError(f"{files[split]}: categories, verbs or hois differ from {next(iter(files.values()))}")
    if not first.name.startswith(PREFIX):
        return opened
    table = custom_table(first)
    if "train" in opened and first.hois and not tables["train"].get("train_counts"):
        pairs = opened["train"].annotations()
        objects = pairs["instances_class"][pairs.instance_rows("pairs_object")]
        hoi = first.hoi_table[pairs["pairs_verb"], objects][pairs["pairs_object"] >= 0]
        table["train_counts"] = [int((hoi == number).sum()) for number in range(len(first.hois))]
    io.write_json_atomic(classes, table)
    name = f"{PREFIX}{classes}"
    return {split: dataclasses.replace(labels, vocabulary_name=name) for split, labels in opened.items()}
