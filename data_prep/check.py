"""Check a dataset's files: `python -m data_prep.check NAME --dir DIR [--images DIR]`.

Finds the label files of the dataset NAME (hico_det, hico, vcoco, mpii, hoi_w, pic, own) below DIR, reads them as a
build would, and prints one table per file: counts against the published ones, fingerprints, order of classes,
malformed records, repeated images, boxes outside or without area, and, with --images, missing and unreadable images.
Each line has the first offenders and advice. The exit status is 1 if anything is an error.

    python -m data_prep.check hico_det --dir hico_20160224_det
    python -m data_prep.check own mine/train.json mine/test.json --images mine/images
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from data_prep.expected import COUNTS
from data_prep.find_files import FoundFile, class_order_fault, find_files, fingerprint, open_found, split_of
from data_prep.findings import Finding, examine, table_text
from data_prep.images import ImageFolder
from hoi_jax.io import DataError


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m data_prep.check", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("name", choices=sorted(COUNTS))
    parser.add_argument("files", type=Path, nargs="*", metavar="FILE", help="label files, instead of --dir")
    parser.add_argument("--dir", type=Path, help="folder of the dataset's files")
    parser.add_argument("--images", type=Path, help="folder of images, each of which is decoded")
    options = parser.parse_args(arguments)
    if bool(options.files) == bool(options.dir):
        parser.error("give either --dir DIR or label files")
    return options


def check_file(found: FoundFile, dataset: str, images: ImageFolder | None) -> tuple[list[Finding], list[str]]:
    """(findings of one file, names of its images)."""
    findings = [Finding("fingerprint", "note", 0, (fingerprint(found.path),))]
    try:
        labels = open_found(found, dataset)
        fault = class_order_fault(found.path)
    except DataError as error:
        return [*findings, Finding("file", "error", 1, (str(error),), "the file cannot be used")], []
    advice = "classes would be mixed up; use the official file"
    order = Finding("order of classes", "error" if fault else "ok", int(bool(fault)), (fault,) if fault else (), advice)

    def progress(rows):
        return tqdm(rows, desc=f"{dataset} {found.split}", unit="img", mininterval=1, disable=None)

    return [*findings, order, *examine(labels, dataset, found.split, images, progress=progress)], list(labels.names)


def check(dataset: str, folder: Path, images: Path | None = None) -> dict[str, list[Finding]]:
    """Findings of every label file of `dataset` below `folder`, by title. Raises DataError if there is none."""
    files = find_files(dataset, folder)
    if not files:
        raise DataError(f"{folder}: has no label file of {dataset}; see docs/data.md for the supported ones")
    image_folder = None if images is None else ImageFolder(images, upright=dataset == "own")
    results: dict[str, list[Finding]] = {}
    names: dict[str, set[str]] = {}
    for found in files:
        title = f"{found.path.relative_to(folder)} ({found.split or 'split unknown'})"
        results[title], listed = check_file(found, dataset, image_folder)
        names.setdefault(found.split, set()).update(listed)
    shared = sorted(names.get("test", set()) & (names.get("train", set()) | names.get("trainval", set())))
    if shared:
        advice = "a network would be tested on its training images"
        results["all files"] = [Finding("images in train and test", "error", len(shared), tuple(shared[:3]), advice)]
    return results


def check_files(dataset: str, files: Sequence[Path], images: Path | None = None) -> dict[str, list[Finding]]:
    """Findings of the given label files, by path."""
    folder = None if images is None else ImageFolder(images, upright=dataset == "own")
    return {str(path): check_file(FoundFile(path, split_of(path.name)), dataset, folder)[0] for path in files}


def main(arguments: list[str] | None = None) -> int:
    options = parse_arguments(arguments)
    try:
        if options.files:
            results = check_files(options.name, options.files, options.images)
        else:
            results = check(options.name, options.dir, options.images)
    except DataError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return print_results(options.name, results)


def print_results(name: str, results: dict[str, list[Finding]]) -> int:
    """Print the tables; return 1 if anything is an error, else 0."""
    for title, findings in results.items():
        print(f"{title}\n{table_text(findings)}")
    levels = [finding.level for findings in results.values() for finding in findings]
    print(f"{name}: {len(results)} files, {levels.count('error')} errors, {levels.count('warning')} warnings")
    return int("error" in levels)


if __name__ == "__main__":
    sys.exit(main())
