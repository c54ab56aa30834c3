"""Draw attention maps of the body-part system (Figure 4): an image per pair with masks and attention of three layers.

    python -m studies.body_part_attention --workdir runs/body1 --out attention --count 2
    python -m studies.body_part_attention --workdir runs/body1 --out attention --image a.jpg --detections boxes.json

Without --image, images are from the evaluation split (--image_ids, or the first ones). Detections, in the format of
predict.py, are needed for the poses that define body parts. Writes OUT/NAME-RANK.png.
"""

import argparse
import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from io import BytesIO
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")

import jax
import numpy as np

from hoi_jax import experiment as ex
from hoi_jax.data.coco_results import DetectionFile
from hoi_jax.data.numpy_batch import batch_from_images, read_image
from hoi_jax.io import DataError, write_bytes_atomic
from hoi_jax.system import System
from hoi_jax.training import load_for_evaluation
from hoi_jax.visualization.attention import attention_of_pairs, draw_attention

Named = tuple[str, Mapping[str, np.ndarray], int]
"""(name of an image, its batch, its row in the batch)."""


def of_files(experiment: ex.Experiment, paths: Sequence[Path], detections: Path) -> Iterator[Named]:
    """Image files, each in a batch of its own."""
    boxes, sizes = DetectionFile(detections, experiment.vocabulary), experiment.sizes
    for path in paths:
        batch = batch_from_images([read_image(path)], [boxes.of(path)], sizes, image_ids=[0])
        yield path.stem, batch, 0


def of_dataset(
    experiment: ex.Experiment, system: System, data_dir: Path, image_ids: Sequence[int], count: int
) -> Iterator[Named]:
    """Images of the evaluation split: those of `image_ids`, or the first `count`."""
    split, directory = experiment.dataset.eval_split, data_dir / experiment.dataset.name
    wanted, shown = set(image_ids), 0
    for batch in ex.eval_pipeline(experiment, directory, split, system.needs_predict).eval_batches():
        for row in np.flatnonzero(batch["batch_valid"]):
            number = int(batch["image_id"][row])
            if number in wanted or (not image_ids and shown < count):
                shown += 1
                wanted.discard(number)
                yield str(number), batch, int(row)
        if not wanted and (image_ids or shown == count):
            return
    if wanted:
        raise DataError(f"the split {split!r} has no images {sorted(wanted)}")


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workdir", type=Path, required=True, help="folder of a training run")
    parser.add_argument("--checkpoint", default="best", help="best, last or a step (default: %(default)s)")
    parser.add_argument("--out", type=Path, required=True, help="folder to write to")
    parser.add_argument("--pairs", type=int, default=2, help="number of pairs per image (default: %(default)s)")
    parser.add_argument("--data_dir", type=Path, default=Path("data"))
    parser.add_argument("--count", type=int, default=2, help="number of images from the split (default: %(default)s)")
    parser.add_argument("--image_ids", type=int, nargs="+", default=(), help="images of the split, by number")
    parser.add_argument("--image", type=Path, nargs="+", default=(), help="image files, instead of the split")
    parser.add_argument("--detections", type=Path, metavar="JSON", help="with --image: boxes and poses")
    options = parser.parse_args(arguments)
    if options.image and not options.detections:
        parser.error("--image needs --detections")
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    options = parse_arguments(arguments)
    try:
        variables, text, _ = load_for_evaluation(options.workdir, options.checkpoint)
        experiment = ex.load_experiment(json.loads(text))
        system = experiment.build_system()
        attention = system.attention
        if attention is None:
            raise ValueError(f"system {experiment.system} with this config has no attention maps")
        run = jax.jit(lambda variables, batch: (system.predict(variables, batch), attention.explain(variables, batch)))
        images = of_dataset(experiment, system, options.data_dir, options.image_ids, options.count)
        if options.image:
            images = of_files(experiment, options.image, options.detections)
        for name, batch, row in images:
            needed = {key: batch[key] for key in system.needs_predict}
            found, seen = jax.device_get(run(variables, needed))
            pairs = attention_of_pairs(
                found, seen, batch, row, experiment.vocabulary, attention.titles, attention.cell_px, options.pairs
            )
            for rank, pair in enumerate(pairs):
                data = BytesIO()
                draw_attention(pair).save(data, "PNG")
                path = options.out / f"{name}-{rank}.png"
                write_bytes_atomic(path, data.getvalue())
                chosen = [part for part, kept in zip(pair.part_names, pair.part_chosen, strict=True) if kept]
                print(f"{path}: {pair.pair.object_name}, interacts {pair.score:.2f}, parts {chosen}")
    except (ValueError, RuntimeError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
