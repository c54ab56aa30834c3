"""Time of evaluation on the real test labels, split into reading, matching and AP.

    python benchmarks/evaluation.py --data DIR --note "idle machine"

HICO-DET: 9,658 images with simulated pairs (half of them jittered annotations, half anywhere) and three scored verbs
each, from 10 to 1,000 pairs per image, scored in both settings under the official protocol. The goal is 10 s and 2 GB
at 100 pairs. V-COCO test: simulated detections of the golden file against its labels; the goal is 5 s. Every row is
measured in a separate process, which gives its peak memory.
"""

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hoi_jax import io
from hoi_jax.evaluation.metrics.hico_det import (
    PairDetections,
    PairTruth,
    evaluate_hoi,
    rank_detections,
    score_classes,
)
from hoi_jax.evaluation.metrics.protocols import hoi_protocol
from hoi_jax.evaluation.metrics.vcoco import evaluate_actions
from hoi_jax.formats.labels import hico_det as hico_flat
from hoi_jax.formats.labels import vcoco_flat
from hoi_jax.formats.labels.hico_det import truth_from_json
from hoi_jax.vocab.datasets import HICO, VCOCO

ROOT = Path(__file__).resolve().parent.parent
HICO_LABELS = "hicodet_instances_test2015.json.gz"
PAIRS_PER_IMAGE = (10, 30, 100, 300, 1000)
VERBS = 3
GOAL = {"pairs_per_image": 100, "seconds": 10.0, "gigabytes": 2.0, "vcoco_seconds": 5.0}


def simulate(truth: PairTruth, pairs_per_image: int, seed: int = 0) -> PairDetections:
    """Predicted pairs for the real labels, with (nearly) distinct scores."""
    generator = np.random.default_rng(seed)
    count = truth.num_images * pairs_per_image
    image = np.repeat(np.arange(truth.num_images), pairs_per_image)
    annotated = np.bincount(truth.image, minlength=truth.num_images)[image]
    near = (generator.random(count) < 0.5) & (annotated > 0)
    source = np.searchsorted(truth.image, image) + (generator.random(count) * annotated).astype(np.int64)
    source = np.minimum(source, len(truth.label) - 1)

    def boxes(real: np.ndarray) -> np.ndarray:
        copied = real[source].astype(np.float32)
        sides = np.tile(copied[:, 2:] - copied[:, :2], 2)
        jittered = copied + 0.1 * sides * generator.standard_normal(copied.shape, np.float32)
        ends = 400 * generator.random((count, 2, 2), np.float32)
        anywhere = np.concatenate([ends.min(1), ends.max(1)], axis=1)
        return np.where(near[:, None], jittered, anywhere)

    human, obj = boxes(truth.human_xyxy_px), boxes(truth.object_xyxy_px)
    object_of_class = np.array([o for _, o in HICO.hois])
    classes = np.where(near, object_of_class[truth.label[source]], generator.integers(0, len(HICO.objects), count))
    first = np.searchsorted(object_of_class[np.argsort(object_of_class, kind="stable")], np.arange(len(HICO.objects)))
    number = np.bincount(object_of_class)
    by_object = np.argsort(object_of_class, kind="stable")
    pick = (generator.random((count, VERBS)) * number[classes][:, None]).astype(np.int64)
    label = by_object[first[classes][:, None] + pick]
    label[near, 0] = truth.label[source[near]]
    score = generator.random(count * VERBS, np.float32)
    return PairDetections(image, human, obj, np.repeat(np.arange(count), VERBS), label.reshape(-1), score)


def timed(action: Callable[..., Any], *arguments: Any) -> tuple[Any, float]:
    start = time.perf_counter()
    value = action(*arguments)
    return value, time.perf_counter() - start


def read_labels(path: Path) -> PairTruth:
    return truth_from_json(io.read_json(path))


def write_flat(path: Path, detections: PairDetections) -> None:
    """The flat npz layout, uncompressed."""
    verb, obj = np.array(HICO.hois).T
    pair_object = np.zeros(len(detections.pair_image), np.int16)
    pair_object[detections.triplet_pair] = obj[detections.triplet_label]
    np.savez(
        path,
        pair_image=detections.pair_image.astype(np.int32),
        pair_hbox=detections.pair_human_xyxy_px,
        pair_obox=detections.pair_object_xyxy_px,
        pair_object=pair_object,
        triplet_pair=detections.triplet_pair.astype(np.int32),
        triplet_verb=verb[detections.triplet_label].astype(np.int16),
        triplet_score=detections.triplet_score,
    )


def read_flat(path: Path) -> PairDetections:
    return hico_flat.detections_from_flat(io.read_npz(path, max_bytes=8 << 30), HICO)


def measure_hico(data: Path, pairs_per_image: int, repeats: int) -> dict[str, Any]:
    """Shortest times of `repeats` for each part; `evaluation_s` is the evaluation call without reading."""
    protocol = hoi_protocol("official")
    truth, reading_labels = timed(read_labels, data / HICO_LABELS)
    with tempfile.TemporaryDirectory() as folder:
        write_flat(Path(folder) / "flat.npz", simulate(truth, pairs_per_image))
        detections, reading = timed(read_flat, Path(folder) / "flat.npz")
    before = _peak_gigabytes()
    whole, matching, average = [], [], []
    result = None
    for _ in range(repeats):
        result, seconds = timed(evaluate_hoi, truth, detections, HICO, protocol)
        whole.append(seconds)
        ranked, seconds = timed(rank_detections, truth, detections, len(HICO.hois), protocol)
        matching.append(seconds)
        positives = np.bincount(truth.label, minlength=len(HICO.hois))
        average.append(timed(score_classes, ranked, None, positives, protocol)[1])
        del ranked
    assert result is not None
    return {
        "images": truth.num_images,
        "pairs_per_image": pairs_per_image,
        "scored_rows": len(detections.triplet_pair),
        "reading_labels_s": round(reading_labels, 3),
        "reading_predictions_s": round(reading, 3),
        "evaluation_s": round(min(whole), 3),
        "evaluation_median_s": round(float(np.median(whole)), 3),
        "matching_s": round(min(matching), 3),
        "ap_of_one_setting_s": round(min(average), 3),
        "peak_before_evaluation_gb": round(before, 3),
        "peak_gb": round(_peak_gigabytes(), 3),
        "default_full": result.metrics["default/full"],
    }


def measure_vcoco(golden: Path, repeats: int) -> dict[str, Any]:
    """Times of reading and scoring the golden V-COCO test detections."""

    def read() -> tuple[Any, Any]:
        labels = io.read_npz(golden / "vcoco_eval_test_gt.npz")
        found = io.read_npz(golden / "vcoco_eval_test_preds.npz")
        return vcoco_flat.truth_from_flat(labels), vcoco_flat.detections_from_flat(found, labels["image_ids"])

    (truth, detections), reading = timed(read)
    runs = [timed(evaluate_actions, truth, detections, VCOCO) for _ in range(repeats)]
    return {
        "images": truth.num_images,
        "detections": len(detections.image),
        "role_rows": len(detections.role_score),
        "reading_s": round(reading, 3),
        "evaluation_s": round(min(seconds for _, seconds in runs), 3),
        "peak_gb": round(_peak_gigabytes(), 3),
        "role_s1_24": runs[0][0].metrics["role_s1/24"],
    }


def _peak_gigabytes() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 << 20)


def _in_own_process(options: argparse.Namespace, part: str) -> dict[str, Any]:
    command = [sys.executable, __file__, "--part", part, "--repeats", str(options.repeats)]
    command += ["--data", str(options.data), "--golden", str(options.golden)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout)


def report(content: Mapping[str, Any]) -> None:
    """Print one line per row."""
    for row in content["hico_det"]:
        print(
            f"HICO-DET {row['pairs_per_image']:>5} pairs x {VERBS} verbs: {row['evaluation_s']:>7.2f} s "
            f"(matching {row['matching_s']:.2f}, AP of one setting {row['ap_of_one_setting_s']:.2f}, "
            f"reading {row['reading_labels_s'] + row['reading_predictions_s']:.2f} more), peak {row['peak_gb']:.2f} GB"
        )
    if content["vcoco"]:
        row = content["vcoco"]
        print(
            f"V-COCO test: {row['evaluation_s']:.2f} s (reading {row['reading_s']:.2f}), peak {row['peak_gb']:.2f} GB"
        )


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help=f"folder of {HICO_LABELS}")
    parser.add_argument("--golden", type=Path, default=ROOT / "tests" / "golden", help="folder of V-COCO files")
    parser.add_argument("--pairs", type=int, nargs="+", default=PAIRS_PER_IMAGE, help="pairs per image to measure")
    parser.add_argument(
        "--repeats", type=int, default=3, help="number of runs, of which the best counts (default: %(default)s)"
    )
    parser.add_argument("--note", default="", help="note about other load on the machine")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "evaluation.json")
    parser.add_argument("--part", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.part == "vcoco":
        print(json.dumps(measure_vcoco(options.golden, options.repeats)))
        return
    if options.part:
        print(json.dumps(measure_hico(options.data, int(options.part), options.repeats)))
        return
    if not (options.data / HICO_LABELS).exists():
        parser.error(f"{options.data / HICO_LABELS} does not exist; give its folder with --data")
    has_vcoco = (options.golden / "vcoco_eval_test_gt.npz").exists()
    content = {
        "goal": GOAL,
        "note": options.note,
        "machine": {"cores": os.cpu_count(), "load": [round(x, 2) for x in os.getloadavg()]},
        "versions": {"python": platform.python_version(), "numpy": np.__version__},
        "hico_det": [_in_own_process(options, str(pairs)) for pairs in options.pairs],
        "vcoco": _in_own_process(options, "vcoco") if has_vcoco else None,
    }
    io.write_json_atomic(options.out, content)
    report(content)


if __name__ == "__main__":
    main()
