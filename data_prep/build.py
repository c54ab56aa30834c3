"""Builds a dataset into TFDS records: `python -m data_prep.build NAME [options]`.

    python -m data_prep.build hoi_scenes/small
    python -m data_prep.build vcoco --images DIR --annotations train=vcoco_train.json … --coco-instances FILE
    python -m data_prep.build vcoco/mini --images DIR --annotations vcoco_mini.json
    python -m data_prep.build hico_det --images DIR --annotations train=FILE test=FILE      (any layout, also .mat)
    python -m data_prep.build hico --images DIR --annotations anno.mat
    python -m data_prep.build mpii --images DIR --annotations mpii_human_pose_v1_u12_1.mat [train=LIST val=LIST]
    python -m data_prep.build hoi_w --images DIR --annotations train=FILE test=FILE
    python -m data_prep.build pic --images DIR --annotations train=relations_train.json val=relations_val.json
    python -m data_prep.build own/mine --images DIR --annotations train=FILE test=FILE
    python -m data_prep.build hico_det/labels --labels-only --annotations train=FILE test=FILE

Prints the counts of every split and the checksum of the records. Check the files first: `python -m data_prep.check`.
"""

import argparse
import os
import sys
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")


DATASETS = ("vcoco", "hico_det", "hico", "mpii", "hoi_w", "pic", "own")
WHOLE = {"vcoco": "union", "hico_det": "test", "hoi_w": "test", "pic": "train"}
"""The split of a file that is given without one."""


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m data_prep.build", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "name", help="hoi_scenes/(tiny|small|full), or NAME[/VARIANT] of vcoco, hico_det, hico, mpii, hoi_w, pic, own"
    )
    parser.add_argument("--data-dir", "--data_dir", default="data", help="where built datasets go (default: data)")
    parser.add_argument("--images", type=Path, help="folder of pictures, searched below it by file name")
    parser.add_argument(
        "--annotations", nargs="*", default=[], metavar="[SPLIT=]FILE", help="annotation files, plain or .gz"
    )
    parser.add_argument("--coco-instances", type=Path, nargs="*", help="COCO instances JSON (official V-COCO layout)")
    parser.add_argument("--noise", type=float, default=1.0, help="hoi_scenes: detector noise level (default 1.0)")
    parser.add_argument("--seed", type=int, default=0, help="hoi_scenes: the world's seed (default 0)")
    parser.add_argument(
        "--labels-only", action="store_true", help="no pictures: annotated boxes become detections with score 1"
    )
    parser.add_argument(
        "--skip-unreadable", action="store_true", help="leave absent and broken pictures out, naming them"
    )
    parser.add_argument("--detections", type=Path, help="boxes of a detector (COCO results JSON, detectron2's .pth)")
    parser.add_argument("--poses", type=Path, help="poses (COCO keypoints JSON, AlphaPose), given to people by IoU")
    parser.add_argument("--faces", type=Path, help="face boxes (COCO results JSON), given to people")
    parser.add_argument("--part-boxes", action="store_true", help="body-part boxes from the poses (HAKE's recipe)")
    parser.add_argument("--overwrite", action="store_true", help="replace an existing build")
    return parser.parse_args(arguments)


def source_of(options: argparse.Namespace):
    """The reader for the dataset that was named. Raises ValueError naming what is missing."""
    dataset, _, variant = options.name.partition("/")
    if dataset == "hoi_scenes":
        from data_prep.hoi_scenes import scenes_source

        return scenes_source(variant or "small", seed=options.seed, noise=options.noise)
    if dataset not in DATASETS:
        raise ValueError(f"unknown dataset {options.name!r}; there are hoi_scenes, {', '.join(DATASETS)}")
    if options.labels_only and options.annotations:
        from data_prep.labels import labels_source

        files = [_split_and_file(text) for text in options.annotations]
        return labels_source(options.name, files, options.coco_instances or [])
    if options.images is None or not options.annotations:
        raise ValueError(f"{dataset} needs --images DIR and --annotations FILE")
    files = dict(_split_and_file(text) for text in options.annotations)
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
    from data_prep.own import open_own_files
    from data_prep.side_inputs import SideInputs
    from hoi_jax.evaluation.files.annotation_files import open_labels
    from hoi_jax.vocab import get_vocabulary

    if dataset == "own":
        classes = Path(options.data_dir) / f"{options.name.replace('/', '_')}_classes.json"
        opened = open_own_files({split or "train": path for split, path in files.items()}, classes)
    else:
        coco = options.coco_instances or []
        opened = {
            split or WHOLE[dataset]: open_labels(path, coco_instances=coco, split=split or "test", dataset=dataset)
            for split, path in files.items()
        }
        for labels in opened.values():
            if labels.vocabulary_name != dataset:
                raise ValueError(f"{labels.path}: labels of {labels.vocabulary_name}, not of {dataset}")
    vocabulary = get_vocabulary(next(iter(opened.values())).vocabulary_name)
    sides = SideInputs(vocabulary, options.detections, options.poses, options.faces, parts=options.part_boxes)
    return annotated_source(
        options.name,
        opened,
        options.images,
        upright=dataset == "own",  # Who labels pictures today sees them turned as EXIF says.
        skip_unreadable=options.skip_unreadable,
        add=sides.add_to if sides else None,
        settings=sides.settings,
    )


def _split_and_file(text: str) -> tuple[str, Path]:
    split, separator, path = text.partition("=")
    return (split, Path(path)) if separator else ("", Path(text))


def main(arguments: list[str] | None = None) -> int:
    options = parse_arguments(arguments)
    from data_prep.builder import build
    from hoi_jax.data.records import read_meta

    try:
        directory = build(source_of(options), options.data_dir, overwrite=options.overwrite)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    meta = read_meta(directory)
    for split, summary in meta["splits"].items():  # type: ignore[attr-defined]
        rows = ", ".join(f"{count} {table}" for table, count in summary["rows"].items())
        print(f"{meta['name']} {split}: {summary['examples']} pictures, {rows}; sha256 {summary['sha256'][:16]}")
    print(f"{directory}: fingerprint {meta['fingerprint']}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
