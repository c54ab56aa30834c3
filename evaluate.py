"""Evaluate a file of predictions, without loading any model, or a checkpoint.

    python evaluate.py --predictions preds.npz --dataset hico_det --annotations instances_test2015.json.gz --out m.json
    python evaluate.py --predictions results.json --annotations anno_bbox.mat --image-labels anno.mat --protocol qpic
    python evaluate.py --predictions cache.pkl --annotations vcoco_test.json --coco-instances instances_val2014.json
    python evaluate.py --predictions a.npz --against b.npz --annotations labels.npz --report report.html
    python evaluate.py --workdir runs/tin --report report.html     # newest best checkpoint, its own split

File formats are detected from content. Predictions: our prediction files (npz), flat npz, result JSON of the PPDM,
QPIC, CDN and GEN-VLKT family, folders of official HICO-DET .mat files, official V-COCO detections (pickle, read as
plain data). HOI-W's lists (--dataset hoi_w) and PIC's folders of label maps (--dataset pic) need labels in the layout
of the same benchmark. Labels: annotations_<split>.npz, HICO-DET JSON or anno_bbox.mat, V-COCO's official tables with
COCO instances, V-COCO pair JSON, flat V-COCO npz. Images without predictions, unknown images, NaN scores and similar
problems are counted and reported; a malformed file is an error that names the record and field.

Scores are printed in percent, with and without non-interaction suppression (NIS) if the predictions include it, and
beside the class-frequency baseline if training labels are given. `--against` scores a second file on the same images
and gives differences with 95 % intervals, paired by image. `--report` writes one self-contained page
(docs/report.md). `--out` writes all numbers as JSON: `metrics` (0 to 1), `per_class`, `manifest`; null where undefined
(no ground truth).
"""

import argparse
import dataclasses
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")

from hoi_jax.commands.score_files import FileRequest, score_files
from hoi_jax.evaluation.analysis.subsets import SUBSETS
from hoi_jax.evaluation.benchmark_files import BENCHMARKS
from hoi_jax.evaluation.metrics.protocols import HOI_PRESETS, hoi_protocol
from hoi_jax.evaluation.score import METRICS
from hoi_jax.evaluation.scorer import DATASETS
from hoi_jax.evaluation.tables import (
    paired_differences,
    print_about,
    print_classes,
    print_differences,
    print_results,
    to_json,
)
from hoi_jax.formats.predictions.detect import FORMATS
from hoi_jax.io import DataError, write_json_atomic

Request = TypeVar("Request")


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Command-line options; run `--help` for their meaning."""
    parser = argparse.ArgumentParser(
        prog="evaluate.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument(
        "--workdir",
        type=Path,
        help="folder of a training run, or name or folder of an exported checkpoint: predict, then score",
    )
    what.add_argument("--predictions", type=Path, help="file (or folder of .mat files) to score; no model is loaded")
    parser.add_argument("--out", type=Path, help="write all numbers as JSON")
    parser.add_argument("--per-class", action="store_true", help="print a line per class as well")
    parser.add_argument("--report", type=Path, help="write a self-contained HTML page")

    files = parser.add_argument_group("with --predictions")
    files.add_argument("--annotations", type=Path, help="label file (required)")
    files.add_argument("--against", type=Path, metavar="FILE", help="other predictions, scored and drawn beside these")
    files.add_argument("--dataset", choices=[*DATASETS, *BENCHMARKS], help="default: detected from the labels")
    files.add_argument("--format", default="auto", choices=["auto", *FORMATS], help="of the predictions")
    files.add_argument(
        "--protocol", default="official", help=f"named HOI protocol: {', '.join(HOI_PRESETS)} (default: official)"
    )
    files.add_argument("--metrics", nargs="+", choices=METRICS, help="default: those that papers report for it")
    files.add_argument("--subsets", nargs="+", choices=list(SUBSETS), default=(), help="score these parts as well")
    files.add_argument(
        "--coco-instances", type=Path, nargs="+", default=(), metavar="FILE", help="boxes of official V-COCO labels"
    )
    files.add_argument(
        "--image-labels", type=Path, metavar="FILE", help="anno.mat: Known Object by image labels, not by pairs"
    )
    files.add_argument(
        "--interactiveness-gt", type=Path, metavar="FILE", help="npz of published pairs, for interactiveness AP"
    )
    files.add_argument("--train-annotations", type=Path, metavar="FILE", help="training labels: baseline, Few@k")
    files.add_argument(
        "--bootstrap", type=int, metavar="N", help="95 %% intervals from N resamples of images (1000 is usual)"
    )
    files.add_argument(
        "--write-official", type=Path, metavar="PATH", help="also write predictions for the official scripts"
    )

    files.add_argument(
        "--images", type=Path, metavar="FOLDER", help="images for --report (default: the records beside the labels)"
    )

    run = parser.add_argument_group("with --workdir")
    run.add_argument("--checkpoint", default="best", help="best, last or a step number (default: best)")
    run.add_argument("--config", metavar="FILE[:OPTIONS]", help="another config for the same parameters")
    run.add_argument("--data-dir", "--data_dir", default="data", help="folder of built datasets (default: data)")
    run.add_argument(
        "--dump-batch",
        "--dump_batch",
        type=Path,
        metavar="FILE.npz",
        help="write the first batch, exactly as the network receives it, and stop; reads no parameters",
    )
    two = parser.add_argument_group("two networks")
    two.add_argument(
        "--interactiveness-from", type=Path, metavar="STORE", help="every pair takes the nearest pair's interactiveness"
    )
    two.add_argument("--calibration", type=Path, help="calibration.json: suppress by its thresholds per HOI class")
    parser.add_argument("--split", help="split to predict (default: the config's), or to read from a .mat (test)")
    options = parser.parse_args(arguments)
    if options.predictions and not options.annotations:
        parser.error("--predictions needs --annotations")
    if options.bootstrap is not None and options.bootstrap < 2:
        parser.error("--bootstrap needs at least 2 draws")
    if (options.config or options.dump_batch) and not options.workdir:
        parser.error("--config and --dump-batch need --workdir")
    if (options.against or options.images) and not options.predictions:
        parser.error("--against and --images need --predictions")
    return options


def request_of(kind: type[Request], options: argparse.Namespace) -> Request:
    """Build a request from the options that are its fields."""
    names = [field.name for field in dataclasses.fields(kind)]  # type: ignore[arg-type]
    return kind(**{name: getattr(options, name) for name in names})


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command. Returns its exit status."""
    options = parse_arguments(arguments)
    try:
        hoi_protocol(options.protocol)
        if options.dump_batch:
            from hoi_jax.commands.dump_batch import batch_of_run, write_batch

            batch = batch_of_run(options.workdir, options.config, options.data_dir, options.split)
            print(write_batch(options.dump_batch, batch))
            return 0
        if options.workdir:
            # Imported here because scoring files needs neither JAX nor TensorFlow.
            from hoi_jax.commands.score_run import RunRequest, score_run

            results, vocabulary = score_run(request_of(RunRequest, options))
        else:
            results, vocabulary = score_files(request_of(FileRequest, options))
    except (DataError, ValueError, RuntimeError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if options.per_class and vocabulary is not None:
        print_classes(results["model"], vocabulary)
    print_results(results)
    if options.predictions:
        print_about(results["model"])
        print_differences(paired_differences(results))
    if options.out:
        write_json_atomic(options.out, to_json(results))
    return 0


if __name__ == "__main__":
    sys.exit(main())
