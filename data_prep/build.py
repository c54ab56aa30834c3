"""Build a dataset as TFDS records: `python -m data_prep.build NAME [options]`.

    python -m data_prep.build hoi_scenes/small
    python -m data_prep.build vcoco --images DIR --annotations train=vcoco_train.json … --coco-instances FILE
    python -m data_prep.build vcoco/mini --images DIR --annotations vcoco_mini.json
    python -m data_prep.build hico_det --images DIR --annotations train=FILE test=FILE      (any layout, also .mat)
    python -m data_prep.build hico --images DIR --annotations anno.mat
    python -m data_prep.build mpii --images DIR --annotations mpii_human_pose_v1_u12_1.mat [train=LIST val=LIST]
    python -m data_prep.build hoi_w --images DIR --annotations train=FILE test=FILE
    python -m data_prep.build pic --images DIR --annotations train=relations_train.json val=relations_val.json
    python -m data_prep.build own/mine --images DIR --annotations train=FILE test=FILE
    python -m data_prep.build hico_det … --detections train=FILE test=FILE --poses train=FILE test=FILE (docs/data.md)
    python -m data_prep.build hico_det/labels --labels-only --annotations train=FILE test=FILE

Prints the counts of every split and the checksum of the records. Check the files first: `python -m data_prep.check`.
"""

import argparse
import os
import sys
from collections.abc import Mapping
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")


DATASETS = ("vcoco", "hico_det", "hico", "mpii", "hoi_w", "pic", "own")
WHOLE = {"vcoco": "union", "hico_det": "test", "hoi_w": "test", "pic": "train"}
"""Split of a file given without one."""


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m data_prep.build", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "name", help="hoi_scenes/(tiny|small|full), or NAME[/VARIANT] of vcoco, hico_det, hico, mpii, hoi_w, pic, own"
    )
    parser.add_argument("--data-dir", "--data_dir", default="data", help="folder of built datasets (default: data)")
    parser.add_argument("--images", type=Path, help="folder of images, searched below it by file name")
    parser.add_argument(
        "--annotations", nargs="*", default=[], metavar="[SPLIT=]FILE", help="annotation files, plain or .gz"
    )
    parser.add_argument("--coco-instances", type=Path, nargs="*", help="COCO instances JSON (official V-COCO layout)")
    parser.add_argument("--noise", type=float, default=1.0, help="hoi_scenes: detector noise level (default 1.0)")
    parser.add_argument("--seed", type=int, default=0, help="hoi_scenes: seed of the dataset (default 0)")
    parser.add_argument(
        "--labels-only", action="store_true", help="no images: annotated boxes become detections with score 1"
    )
    parser.add_argument(
        "--skip-unreadable", action="store_true", help="leave out missing and unreadable images and print their names"
    )
    side = {"nargs": "+", "default": [], "metavar": "[SPLIT=]FILE"}
    parser.add_argument(
        "--detections",
        **side,
        help="boxes of a detector: COCO results JSON, detectron2's .pth, pickles of iCAN and TIN, or a folder with one "
        "JSON file per image (fredzzhang); SPLIT= if splits have the same image numbers, as in HICO-DET",
    )
    parser.add_argument(
        "--detections-min-score", type=float, default=0.0, metavar="SCORE", help="leave out weaker detections"
    )
    parser.add_argument(
        "--detections-top",
        type=int,
        default=0,
        metavar="N",
        help="keep at most N detections per image: half for the strongest people, half for the strongest objects",
    )
    parser.add_argument(
        "--poses", **side, help="poses (COCO keypoints JSON, AlphaPose, TIN's pickles), assigned to people by IoU"
    )
    parser.add_argument("--faces", **side, help="face boxes (COCO results JSON), assigned to people")
    parser.add_argument("--part-boxes", action="store_true", help="body-part boxes from the poses (HAKE's recipe)")
    parser.add_argument("--overwrite", action="store_true", help="replace an existing build")
    return parser.parse_args(arguments)


def source_of(options: argparse.Namespace):
    """Dataset source for the options. Raises ValueError naming missing options."""
    dataset, _, variant = options.name.partition("/")
    if dataset == "hoi_scenes":
        from data_prep.hoi_scenes import scenes_source

        return scenes_source(variant or "small", seed=options.seed, noise=options.noise)
    if dataset not in DATASETS:
        raise ValueError(f"unknown dataset {options.name!r}; known are hoi_scenes, {', '.join(DATASETS)}")
    if (options.labels_only or dataset in ("hico", "mpii")) and _side_options(options):
        what = (
            "--labels-only makes detections of the labels" if options.labels_only else f"{dataset} labels whole images"
        )
        raise ValueError(f"{what}, so {', '.join(_side_options(options))} cannot be used")
    if options.labels_only and options.annotations:
        from data_prep.labels import labels_source

        files = [_split_and_file(text) for text in options.annotations]
        return labels_source(options.name, files, options.coco_instances or [])
    if options.images is None or not options.annotations:
        raise ValueError(f"{dataset} needs --images DIR and --annotations FILE")
    files = dict(_split_and_file(text) for text in options.annotations)
    if len(files) < len(options.annotations):
        raise ValueError("--annotations has two files for one split, expected one")
    if dataset in ("hico", "mpii"):
        if "" not in files:
            raise ValueError(f"{dataset} needs its .mat file among --annotations")
        labels = files.pop("")
        if dataset == "hico":
            from data_prep.hico import hico_source

            return hico_source(options.name, labels, options.images, skip_unreadable=options.skip_unreadable)
        from data_prep.mpii import mpii_source

        return mpii_source(options.name, labels, options.images, Path(options.data_dir) / "mpii_activities.json", files)
    return _annotated(options, dataset, files)


def _annotated(options: argparse.Namespace, dataset: str, files: dict[str, Path]):
    from data_prep.annotated import annotated_source
    from data_prep.own import open_custom_files
    from data_prep.side_inputs import SideFiles, SideInputs
    from hoi_jax.data.coco_results import Choice
    from hoi_jax.formats.labels.detect import open_labels
    from hoi_jax.vocab import get_vocabulary

    if dataset == "own":
        classes = Path(options.data_dir) / f"{options.name.replace('/', '_')}_classes.json"
        opened = open_custom_files({split or "train": path for split, path in files.items()}, classes)
    else:
        coco = options.coco_instances or []
        opened = {
            split or WHOLE[dataset]: open_labels(path, coco_instances=coco, split=split or "test", dataset=dataset)
            for split, path in files.items()
        }
        for labels in opened.values():
            if labels.vocabulary_name != dataset:
                raise ValueError(f"{labels.path}: labels use vocabulary {labels.vocabulary_name}, expected {dataset}")
    vocabulary = get_vocabulary(next(iter(opened.values())).vocabulary_name)
    choice = Choice(options.detections_min_score, options.detections_top)
    kinds = (_by_split(listed) for listed in (options.detections, options.poses, options.faces))
    sides = SideInputs(vocabulary, SideFiles(*kinds, parts=options.part_boxes, choice=choice))
    for line in sides.join({split: list(labels.names) for split, labels in opened.items()}):
        print(line)
    return annotated_source(
        options.name,
        opened,
        options.images,
        upright=dataset == "own",  # today's labelling tools apply the EXIF orientation
        skip_unreadable=options.skip_unreadable,
        add=sides.add_to if sides else None,
        settings=sides.settings,
    )


def _side_options(options: argparse.Namespace) -> list[str]:
    """Given options that apply only to datasets with annotated boxes."""
    return [
        f"--{name.replace('_', '-')}"
        for name in ("detections", "poses", "faces", "part_boxes")
        if options.__dict__[name]
    ]


def _by_split(texts: list[str]) -> dict[str, list[Path]]:
    files: dict[str, list[Path]] = {}
    for text in texts:
        split, path = _split_and_file(text)
        files.setdefault(split, []).append(path)
    return files


def _split_and_file(text: str) -> tuple[str, Path]:
    split, separator, path = text.partition("=")
    return (split, Path(path)) if separator else ("", Path(text))


def contents_line(counts: Mapping[str, int]) -> str:
    """Numbers of people with poses, faces and parts and of images without detections in a split, as one line."""
    people, detected = counts["instances_people"], counts["detections_people"]
    return (
        f"of {people} annotated people {counts['instances_keypoints_px']} have a pose, "
        f"{counts['instances_parts_xyxy_px']} part boxes, {counts['instances_face_xyxy_px']} a face; "
        f"of {detected} detected people {counts['detections_keypoints_px']} a pose, "
        f"{counts['detections_face_xyxy_px']} a face; "
        f"{counts['images'] - counts['images_with_detections']} images have no detection"
    )


def main(arguments: list[str] | None = None) -> int:
    options = parse_arguments(arguments)
    from data_prep.builder import build
    from hoi_jax.data.records import content_counts, read_meta

    try:
        directory = build(source_of(options), options.data_dir, overwrite=options.overwrite)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    meta = read_meta(directory)
    for split, summary in meta["splits"].items():  # type: ignore[attr-defined]
        rows = ", ".join(f"{count} {table}" for table, count in summary["rows"].items())
        print(f"{meta['name']} {split}: {summary['examples']} images, {rows}; sha256 {summary['sha256'][:16]}")
        print(f"{meta['name']} {split}: {contents_line(content_counts(meta, split))}")
    print(f"{directory}: fingerprint {meta['fingerprint']}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
