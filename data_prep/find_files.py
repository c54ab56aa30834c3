"""Discovery of a dataset's label files in a folder by their usual names.

Also computes a file's fingerprint and checks whether its class lists are in the official order.
"""

import dataclasses
import hashlib
import re
from collections.abc import Mapping
from pathlib import Path

from data_prep.mpii import mpii_label_files
from hoi_jax import io
from hoi_jax.formats.labels import custom, hico_det, hoi_a, vcoco
from hoi_jax.formats.labels.detect import open_labels
from hoi_jax.formats.labels.label_file import LabelFile
from hoi_jax.vocab import get_vocabulary
from hoi_jax.vocab.datasets import COCO_CATEGORY_IDS

MAT_SPLITS = ("train", "test")

_NAMES = {
    "hico_det": r"anno_bbox.*\.mat|.*instances_(train|test)2015\.json|(trainval|test)_hico.*\.json"
    r"|hico-?det-training-set-instance-level\.json|.*hake.*\.npz",
    "hico": r"anno\.mat",
    "vcoco": r"(instances_)?vcoco_(instances_|official_)?(train|val|trainval|test)\.json|(trainval|test)_vcoco\.json"
    r"|vcoco_mini\.json",
    "mpii": r"mpii_human_pose.*\.mat",
    "hoi_w": r".*\.json",
    "pic": r"relations_.*\.json",
    "own": r".*\.json",
}
_COCO = r"instances_(vcoco_all_2014|(train|val)201[47])\.json"

KNOWN_FILES: Mapping[str, str] = {
    "cfeaefcc1e006a0d": "HICO-DET test of fredzzhang/hicodet",
    "13428e15285807a2": "HICO-DET train pairs of HAKE, flat",
    "712cb26acd812308": "V-COCO train of fredzzhang/vcoco",
    "be8ff0b360f8dbb7": "V-COCO val of fredzzhang/vcoco",
    "ccbe12875abb4596": "V-COCO test of fredzzhang/vcoco",
    "2267afe7adc0a6c3": "V-COCO train, official",
    "2025bf42ce985a07": "V-COCO val, official",
}
"""First 16 digits of the SHA-256 of known files, unpacked -> description."""


@dataclasses.dataclass(frozen=True)
class FoundFile:
    """A label file, the split in its name ("" = none), and COCO's files for layouts without boxes."""

    path: Path
    split: str
    coco_instances: tuple[Path, ...] = ()


def split_of(name: str) -> str:
    """The split in a file name (train, val, trainval or test); "train" for HAKE's files."""
    if "hake" in name.lower() or "training" in name:
        return "train"
    match = re.search(r"trainval|train|val|test", name)
    return match.group() if match else ""


def find_files(dataset: str, folder: Path) -> list[FoundFile]:
    """The label files of `dataset` below `folder`. Raises DataError if the folder does not exist."""
    if not folder.is_dir():
        raise io.MissingFileError(f"{folder}: no such folder")
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    coco = tuple(path for path in paths if re.fullmatch(_COCO, _plain(path)))
    found = []
    for path in paths:
        if not re.fullmatch(_NAMES[dataset], _plain(path)) or path in coco:
            continue
        if path.suffix == ".mat" and dataset != "mpii":
            found += [FoundFile(path, split) for split in MAT_SPLITS]
        elif dataset in ("hoi_w", "own") and not _is_of(dataset, path):
            continue
        else:
            found.append(FoundFile(path, split_of(path.name), coco))
    return found


def _plain(path: Path) -> str:
    return path.name.removesuffix(".gz")


def _is_of(dataset: str, path: Path) -> bool:
    """Whether a file belongs to `dataset`, by content for datasets without usual names.

    Files that are not JSON are accepted here, since reading them later gives a better error.
    """
    try:
        table = io.read_json(path)
    except io.DataError:
        return True
    if dataset == "own":
        return custom.is_custom(table)
    return hoi_a.is_hoi_a(table) and hoi_a.dialect_name(table) == "hoi_w"


def open_found(found: FoundFile, dataset: str) -> LabelFile:
    """Open a file for its split. Raises DataError."""
    if dataset == "mpii":
        return mpii_label_files(found.path)["train"]
    vocabulary = dataset if dataset in hoi_a.DIALECTS else None
    return open_labels(found.path, coco_instances=found.coco_instances, split=found.split or "test", dataset=vocabulary)


def fingerprint(path: Path) -> str:
    """First 16 digits of the SHA-256 of the unpacked content, with a description if known. Raises DataError."""
    digest = hashlib.sha256(io.read_text_bytes(path)).hexdigest()[:16]
    known = KNOWN_FILES.get(digest)
    return f"{digest}, {known}" if known else digest


def class_order_fault(path: Path) -> str | None:
    """Contradiction between the class lists of a JSON file and the official order, or None. Raises DataError."""
    if io.is_mat(io.read_head(path, 128)) or path.suffix == ".npz":
        return None
    table = io.read_json(path)
    if hico_det.is_instances(table):
        return hico_det.class_order_fault(table)
    if not isinstance(table, dict):
        return None
    if vcoco.is_pairs(table):
        names = [str(name).replace(" ", "_") for name in table.get("objects", [])][1:]
        official = get_vocabulary("vcoco").objects
        wrong = [i for i, (given, name) in enumerate(zip(names, official, strict=False)) if given != name]
        return (
            f"field 'objects', entry {wrong[0] + 1}: {names[wrong[0]]!r}, not {official[wrong[0]]!r}" if wrong else None
        )
    if isinstance(table.get("categories"), list) and not custom.is_custom(table):
        known = dict(zip(COCO_CATEGORY_IDS, get_vocabulary("vcoco").objects, strict=True))
        for row in table["categories"]:
            name = str(row.get("name")).replace(" ", "_")
            if known.get(row.get("id"), name) != name:
                return f"category {row.get('id')} is {name!r}, COCO's is {known[row.get('id')]!r}"
    return None
