"""Builds a dataset into TFDS records: `python -m data_prep.build NAME [options]`.

    python -m data_prep.build hoi_scenes/small
    python -m data_prep.build vcoco/mini --images DIR --annotations vcoco_mini.json
    python -m data_prep.build hico_det --images DIR --annotations train=FILE test=FILE
    python -m data_prep.build hico --images DIR --annotations anno.mat
    python -m data_prep.build mpii --images DIR --annotations mpii_human_pose_v1_u12_1.mat [train=LIST val=LIST]
    python -m data_prep.build hico_det/labels --labels-only --annotations train=FILE test=FILE
    python -m data_prep.build vcoco --images DIR --annotations train=vcoco_train.json … --coco-instances FILE

Prints the counts of every split and the checksum of the records.
"""

import argparse
import os
import sys
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m data_prep.build", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "name", help="hoi_scenes/tiny, hoi_scenes/small, hoi_scenes/full, vcoco[/LAYOUT], hico_det, hico, mpii"
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
    parser.add_argument("--skip-unreadable", action="store_true", help="hico: leave broken pictures out, naming them")
    parser.add_argument("--overwrite", action="store_true", help="replace an existing build")
    return parser.parse_args(arguments)


def source_of(options: argparse.Namespace):
    """The reader for the dataset that was named. Raises ValueError naming what is missing."""
    dataset, _, variant = options.name.partition("/")
    if dataset == "hoi_scenes":
        from data_prep.hoi_scenes import scenes_source

        return scenes_source(variant or "small", seed=options.seed, noise=options.noise)
    if dataset not in ("vcoco", "hico_det", "hico", "mpii"):
        raise ValueError(f"unknown dataset {options.name!r}; there are hoi_scenes, vcoco, hico_det, hico, mpii")
    if options.labels_only and options.annotations:
        from data_prep.labels import labels_source

        files = [_split_and_file(text) for text in options.annotations]
        return labels_source(options.name, files, options.coco_instances or [])
    if options.images is None or not options.annotations:
        raise ValueError(f"{dataset} needs --images DIR and --annotations FILE")
    files = dict(_split_and_file(text) for text in options.annotations)
    if dataset == "vcoco":
        from data_prep.vcoco import vcoco_source

        return vcoco_source(options.name, files, options.images, options.coco_instances or [])
    if dataset in ("hico", "mpii"):
        if "" not in files:
            raise ValueError(f"{dataset} needs its .mat file among --annotations")
        labels = files.pop("")
        if dataset == "hico":
            from data_prep.hico import hico_source

            return hico_source(options.name, labels, options.images, skip_unreadable=options.skip_unreadable)
        from data_prep.mpii import mpii_source

        return mpii_source(options.name, labels, options.images, Path(options.data_dir) / "mpii_activities.json", files)
    from data_prep.hico_det import hico_det_source

    return hico_det_source(options.name, files, options.images)


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
