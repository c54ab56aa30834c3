"""Throughput of the training pipeline, its bottlenecks, and the throughput of a PyTorch DataLoader.

    python benchmarks/pipeline.py --data DIR --note "idle machine" [--cores 1] [--peer OTHER_ENV/bin/python]

The 100 photographs of COCO in `coco_tiny` (about 640 x 480, JPEG), built as custom data with all their boxes, are read
repeatedly. Two settings are measured: "detr" is DETR's training (mirror, random crop, 11 scales, at most 800 x 1333)
and "square" that of ViTs (mirror, fitted into 672 x 672; some configs stretch images on the device). The peer is a
PyTorch DataLoader over the same files with the transforms of DETR's code (`pipeline_peer.py`); each side runs in a
separate process, bound to the same `--cores` cores, with as many threads or workers. This library's batches are padded
uint8 (the network normalises them on the device), the peer's are padded float32. Images of both sides have the same
number of pixels on average before padding, which is to the bucket here and to the largest image of a batch there.

Two numbers are measured: images per second of wall-clock time, which needs an idle machine, and CPU milliseconds per
image, which does not. Stages are measured by leaving out the later ones.
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
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")

ROOT = Path(__file__).resolve().parent.parent
BATCH = 4
SCALES = tuple(range(480, 801, 32))
SETTINGS: dict[str, dict[str, Any]] = {
    "detr": dict(
        image_hw=(800, 1333),
        augment=dict(
            flip=0.5, short_sides=SCALES, long_side=1333, crop=0.5, crop_sides_px=(384, 600),
            crop_short_sides=(400, 500, 600), crop_min_visible=0.0,
        ),
    ),
    "square": dict(image_hw=(672, 672), augment=dict(flip=0.5)),
}  # fmt: skip
STAGES = ("read", "decode", "all")


def build(data: Path, folder: Path) -> None:
    """Build the photographs as custom data, and write the list of files with boxes for the peer."""
    from data_prep import build as builder
    from data_prep import from_coco

    tiny = data / "coco_tiny"
    instances = [tiny / f"instances_{split}2017.json.gz" for split in ("train", "val")]
    if from_coco.main([str(folder / "coco.json"), "--instances", *map(str, instances)]):
        raise SystemExit(f"{tiny}: the photographs cannot be read")
    arguments = ["own/coco", "--images", str(tiny / "images"), "--data-dir", str(folder)]
    if builder.main([*arguments, "--annotations", f"train={folder / 'coco.json'}"]):
        raise SystemExit("the build failed")
    images, objects = from_coco.coco_rows(instances)
    boxes: dict[int, list[list[float]]] = {number: [] for number in images}
    for obj in objects.values():
        x, y, width, height = obj["bbox"]
        boxes[int(obj["image_id"])].append([x, y, x + width, y + height])
    listed = [[str(tiny / "images" / row["file_name"]), boxes[number]] for number, row in images.items()]
    (folder / "peer.json").write_text(json.dumps(listed))


def batches(folder: Path, name: str, stage: str, threads: int) -> Iterator[Any]:
    """Endless batches of this library's pipeline, up to a stage."""
    import tensorflow as tf

    from hoi_jax.data.pipeline import Pipeline
    from hoi_jax.data.pixels import decode_rgb
    from hoi_jax.data.records import RecordFiles
    from hoi_jax.data.settings import AugmentSettings, DatasetSettings, PipelineSettings, SizeSettings
    from hoi_jax.vocab import get_vocabulary

    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(threads)
    files, values = RecordFiles(folder / "own" / "coco", "train"), SETTINGS[name]
    if stage != "all":

        def prepare(record):
            image = files.parse(record)["image"]
            if stage == "decode":
                image = tf.numpy_function(lambda data: decode_rgb(data, "image"), [image], tf.uint8)
            return tf.size(image)

        stream = files.serialized().repeat().map(prepare, threads).batch(BATCH).prefetch(4)
        yield from stream.as_numpy_iterator()
        return
    vocabulary = get_vocabulary("vcoco")
    pipeline = Pipeline(
        files=files, vocabulary=vocabulary, dataset=DatasetSettings("own/coco", vocabulary.name),
        sizes=SizeSettings(values["image_hw"], fit="enlarge", instances=96, detections=8, pairs=8),
        options=PipelineSettings(threads=threads),
        augment=AugmentSettings(**values["augment"]), batch_size=BATCH,
        needs=frozenset({"image", "instances_xyxy_px", "instances_class", "instances_valid"}),
    )  # fmt: skip
    yield from pipeline.train_batches(0)


def measure(stream: Iterator[Any], count: int) -> dict[str, float]:
    """Images per second and CPU milliseconds per image over `count` images, after two uncounted batches."""

    def cpu() -> float:
        use = resource.getrusage(resource.RUSAGE_SELF)
        return use.ru_utime + use.ru_stime

    for _ in range(2):
        next(stream)
    steps = -(-count // BATCH)
    before, start = cpu(), time.perf_counter()
    real = 0.0
    for _ in range(steps):
        batch = next(stream)
        if isinstance(batch, dict):
            real += float((batch["image_hw_px"][:, 0] * batch["image_hw_px"][:, 1]).sum())
    seconds, images = time.perf_counter() - start, steps * BATCH
    found = {"images_per_second": images / seconds, "cpu_ms_per_image": 1e3 * (cpu() - before) / images}
    return found | ({"megapixels_per_image": real / images / 1e6} if real else {})


def bind(cores: int) -> None:
    """Bind this process and its children to the first `cores` of its available cores."""
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:cores])


def child(arguments: Sequence[str], python: str = sys.executable) -> dict[str, Any]:
    """JSON in the last output line of a child process."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([python, *arguments], env=environment, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr[-3000:])
    return json.loads(done.stdout.strip().splitlines()[-1])


def row(folder: Path, name: str, options: argparse.Namespace) -> dict[str, Any]:
    """All measurements of one setting."""
    common = [str(folder), name, str(options.cores), str(options.images)]
    found: dict[str, Any] = {
        stage: child([__file__, "--stage", stage, *common]) for stage in STAGES if stage == "all" or name == "detr"
    }
    if options.peer:
        found["peer"] = child([str(Path(__file__).with_name("pipeline_peer.py")), *common, str(BATCH)], options.peer)
    return found


def report(found: dict[str, dict[str, Any]]) -> None:
    decode = found["detr"]["decode"]["cpu_ms_per_image"] - found["detr"]["read"]["cpu_ms_per_image"]
    for name, figures in found.items():
        whole = figures["all"]
        figures["jpeg_share"] = decode / whole["cpu_ms_per_image"]
        print(
            f"{name}: {whole['images_per_second']:.1f} images/s, {whole['cpu_ms_per_image']:.1f} ms of CPU each "
            f"({whole['megapixels_per_image']:.2f} megapixels), of which JPEG {decode:.1f} ms "
            f"= {100 * figures['jpeg_share']:.0f} %"
        )
        if "peer" in figures:
            peer = figures["peer"]
            print(
                f"  peer: {peer['images_per_second']:.1f} images/s, {peer['cpu_ms_per_image']:.1f} ms "
                f"({peer['megapixels_per_image']:.2f} megapixels), of which JPEG {peer['jpeg_ms']:.1f} ms; ours is "
                f"{peer['cpu_ms_per_image'] / whole['cpu_ms_per_image']:.2f} times as fast by CPU"
            )


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder with coco_tiny/")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "pipeline.json")
    parser.add_argument("--note", default="", help="note about the machine, saved with the result")
    parser.add_argument("--cores", type=int, default=1)
    parser.add_argument("--images", type=int, default=400, help="images measured per row (default: 400)")
    parser.add_argument("--peer", help="a Python with torch and Pillow")
    parser.add_argument("--stage", choices=STAGES, help=argparse.SUPPRESS)
    parser.add_argument("child", nargs="*", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.stage:
        folder, name, cores, images = options.child
        bind(int(cores))
        print(json.dumps(measure(batches(Path(folder), name, options.stage, int(cores)), int(images))))
        return 0
    if options.data is None:
        parser.error("give --data")
    with tempfile.TemporaryDirectory() as folder:
        build(options.data, Path(folder))
        bind(options.cores)
        found = {name: row(Path(folder), name, options) for name in SETTINGS}
    report(found)
    about = {"note": options.note, "cores": options.cores, "images": options.images, "machine": platform.machine()}
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps({"about": about, "rows": found}, indent=1, sort_keys=True) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
