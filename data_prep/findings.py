"""Findings about a label file and its images, with the first offenders by name."""

import dataclasses
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from data_prep.expected import COUNTS, what_is
from data_prep.images import ImageFolder
from hoi_jax.formats.labels.label_file import LabelFile
from hoi_jax.io import DataError, MissingFileError
from hoi_jax.vocab import get_vocabulary

SHOWN = 3


@dataclasses.dataclass(frozen=True)
class Finding:
    """One line of the table.

    Attributes:
      check: name of the check.
      level: "ok", "note" (no action needed), "warning", "error" (the build would stop or be wrong).
      count: number of offenders, or the counted number.
      first: names of the first offenders.
      advice: recommended action.
    """

    check: str
    level: str
    count: int
    first: tuple[str, ...] = ()
    advice: str = ""


class _Offenders:
    """Offenders by check, in the order of first occurrence."""

    def __init__(self):
        self.found: dict[str, list[str]] = {}

    def add(self, check: str, name: str) -> None:
        self.found.setdefault(check, []).append(name)

    def findings(self, levels: dict[str, tuple[str, str]]) -> list[Finding]:
        rows = []
        for check, (level, advice) in levels.items():
            names = self.found.get(check, [])
            rows.append(Finding(check, level if names else "ok", len(names), tuple(names[:SHOWN]), advice))
        return rows


_LEVELS = {
    "broken records": ("error", "repair or remove them; the message names the field"),
    "boxes reaching out of the image": ("warning", "kept as annotated; training clips them to the image"),
    "boxes without area": ("warning", "kept; no detection can match them"),
    "relations left out": ("note", "they refer to boxes or verbs that do not exist"),
    "images without people": ("note", "kept; evaluation counts predictions there"),
    "images without objects": ("note", "kept"),
    "images without pairs": ("note", "kept"),
}
_IMAGE_LEVELS = {
    "missing images": ("error", "fetch them, or build with --skip-unreadable"),
    "images that cannot be used": ("error", "fetch them anew, or build with --skip-unreadable"),
}


def examine(
    labels: LabelFile,
    dataset: str,
    split: str,
    images: ImageFolder | None = None,
    *,
    progress: Callable[[Iterable[int]], Iterable[int]] = iter,
) -> list[Finding]:
    """Findings of all checks of one label file, and of its images if a folder is given.

    Args:
      dataset: name in `expected.COUNTS`.
      split: split with the expected counts, "" = unknown.
      progress: wrapper of the loop over images.
    """
    vocabulary = get_vocabulary(labels.vocabulary_name)
    offenders, seen = _Offenders(), _Offenders()
    total = {"pairs": 0, "persons": 0, "empty": 0}
    for row in progress(range(len(labels))):
        name, hw = labels.names[row], labels.sizes_hw[row]
        if images is not None:
            try:
                _, hw = images.read(name, hw)
            except MissingFileError:
                offenders.add("missing images", name)
            except DataError as error:
                offenders.add("images that cannot be used", str(error))
        try:
            columns = labels.columns(row)
            notes = labels.notes(row)
        except DataError as error:
            offenders.add("broken records", str(error))
            continue
        for note in notes:
            offenders.add("relations left out", f"{name}: {note}")
        if "instances_xyxy_px" not in columns:
            continue
        boxes = np.asarray(columns["instances_xyxy_px"])
        classes = np.asarray(columns["instances_class"])
        _look_at_boxes(offenders, name, boxes, hw)
        pairs = _evaluated_pairs(columns, dataset)
        total["pairs"] += pairs
        total["persons"] += len(np.asarray(columns.get("persons_instance", ())))
        total["empty"] += pairs == 0
        for check, absent in (
            ("images without people", not (classes == vocabulary.human_class).any()),
            ("images without objects", not (classes != vocabulary.human_class).any()),
            ("images without pairs", not len(np.asarray(columns.get("pairs_verb", ())))),
        ):
            if absent:
                offenders.add(check, name)
    for what, values in (("names", labels.names), ("numbers", labels.image_ids)):
        for value in repeated(values):
            seen.add(f"repeated {what}", str(value))
    advice = "an image occurs twice; one of its records is lost, or both count"
    levels = _LEVELS | (_IMAGE_LEVELS if images is not None else {})
    return [
        *_counts(labels, dataset, split, total),
        *seen.findings({"repeated names": ("error", advice), "repeated numbers": ("error", advice)}),
        *offenders.findings(levels),
    ]


def _look_at_boxes(offenders: _Offenders, name: str, boxes: np.ndarray, hw: tuple[int, int]) -> None:
    empty = (boxes[:, 2:] <= boxes[:, :2]).any(1)
    if 0 not in hw:
        # Tolerate half a pixel of rounding.
        outside = (boxes < -0.5).any(1) | (boxes[:, 2:] > np.array(hw[::-1]) + 0.5).any(1)
        for row in np.flatnonzero(outside):
            offenders.add("boxes reaching out of the image", f"{name}: {_text(boxes[row])} in {hw[1]} x {hw[0]}")
    for row in np.flatnonzero(empty):
        offenders.add("boxes without area", f"{name}: {_text(boxes[row])}")


def _text(box: np.ndarray) -> str:
    return "[" + ", ".join(f"{side:g}" for side in box) + "]"


def _evaluated_pairs(columns, dataset: str) -> int:
    """Number of rows by the rule of the published counts: for V-COCO those with an object, without "point"."""
    verbs = np.asarray(columns.get("pairs_verb", ()), np.int64)
    if dataset != "vcoco":
        return len(verbs)
    point = [v for v, name in enumerate(get_vocabulary("vcoco").verbs) if name.startswith("point")]
    return int(((np.asarray(columns["pairs_object"]) >= 0) & ~np.isin(verbs, point)).sum())


def repeated(values: Sequence[object]) -> list[object]:
    """Values that occur more than once, each listed once, in order."""
    count: dict[object, int] = {}
    for value in values:
        count[value] = count.get(value, 0) + 1
    return [value for value, times in count.items() if times > 1]


def _counts(labels: LabelFile, dataset: str, split: str, total: dict[str, int]) -> list[Finding]:
    """Findings on the file's counts against the published ones of its split."""
    expected = COUNTS.get(dataset, {}).get(split)
    known = what_is(dataset, len(labels)) if dataset in COUNTS else None
    if expected is None:
        return [Finding("images", "note", len(labels), (known,) if known else ()), _pair_line(labels, total, "note")]
    rows = []
    if len(labels) == expected.images:
        rows.append(Finding("images", "ok", len(labels), (f"the {split} split",)))
    else:
        first = (f"{split} has {expected.images:,}", f"this is {known}" if known else "no split has so many")
        rows.append(Finding("images", "error" if known else "warning", len(labels), first, "wrong split or cut file"))
    whole = len(labels) == expected.images
    if expected.pairs and whole:
        source = expected.pairs.get(total["pairs"])
        line = _pair_line(labels, total, "ok" if source else "warning")
        advice = "" if source else "another version of the file; rare classes remain those of the official counts"
        wanted = " or ".join(f"{count:,} ({name})" for count, name in expected.pairs.items())
        rows.append(dataclasses.replace(line, first=(source or f"expected {wanted}",), advice=advice))
    else:
        rows.append(_pair_line(labels, total, "note"))
    for name, number in (("empty", expected.empty), ("persons", expected.persons)):
        if number is not None and whole and (name != "persons" or labels.layout == "V-COCO official"):
            same = total[name] == number
            check = {"empty": "images without an evaluated pair", "persons": "people with action labels"}[name]
            first = () if same else (f"expected {number:,}",)
            rows.append(Finding(check, "ok" if same else "note", total[name], first))
    return rows


def _pair_line(labels: LabelFile, total: dict[str, int], level: str) -> Finding:
    return Finding("pairs (person, object, verb)", level, total["pairs"], (labels.layout,))


def table_text(findings: Sequence[Finding]) -> str:
    """The findings as an aligned table, with offenders and advice below their line."""
    width = max(len(finding.check) for finding in findings)
    lines = []
    for finding in findings:
        lines.append(f"  {finding.level:<8}{finding.check:<{width}}  {finding.count:>9,}  {'; '.join(finding.first)}")
        if finding.advice and finding.level != "ok":
            lines.append(f"  {'':<8}{'':<{width}}  {'':>9}  -> {finding.advice}")
    return "\n".join(lines)
