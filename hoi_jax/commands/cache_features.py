"""Cache the feature maps of a trained extractor for every image, which makes later training far cheaper.

    python -m hoi_jax.commands.cache_features --workdir runs/r --name r --data-dir data

Dataset and image size come from the workdir's config, and its checkpoint computes the maps of the images of both splits
and of their mirror images. Configs use them with `dataset.features = "r"` and `model.backbone.cached = True`. They
differ from running the extractor only by rounding to float16 and, where images are resized, by mirroring after instead
of before the resize.
"""

import argparse
import hashlib
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import jax
import numpy as np
from tqdm import tqdm

from hoi_jax import experiment as ex
from hoi_jax.data.feature_cache import META, cache_directory
from hoi_jax.data.pipeline import HostBatch, Pipeline
from hoi_jax.data.records import base_and_part, read_meta
from hoi_jax.io import write_json_atomic
from hoi_jax.training import load_for_evaluation


def mirrored(batch: HostBatch) -> HostBatch:
    """The horizontally flipped images of a batch, with padding still at the right."""
    images = np.zeros_like(batch["image"])
    for row, (image, (height, width)) in enumerate(zip(batch["image"], batch["image_hw_px"], strict=True)):
        images[row, :height, :width] = image[:height, :width][:, ::-1]
    return {**batch, "image": images}


def write_split(path: Path, pipeline: Pipeline, make_maps, both: bool) -> tuple[int, ...]:
    """Write one `.npy` file [1 or 2, examples, y, x, F] float16; return its shape."""
    maps, first = None, 0
    count = pipeline.files.num_examples
    with tqdm(total=count, desc=path.stem, unit="img") as bar:
        for batch in pipeline.eval_batches():
            views = [make_maps(batch)] + ([make_maps(mirrored(batch))] if both else [])
            used = int(batch["batch_valid"].sum())
            if maps is None:
                shape = (len(views), count, *views[0].shape[1:])
                maps = np.lib.format.open_memmap(path, mode="w+", dtype=np.float16, shape=shape)
            for view, value in enumerate(views):
                maps[view, first : first + used] = value[:used]
            first += used
            bar.update(used)
    if maps is None:
        raise ValueError(f"{path}: the split has no images")
    maps.flush()
    return maps.shape


def fill(workdir: Path, name: str, data_dir: Path, checkpoint: str = "last") -> Path:
    """Write the cache; return its folder. Raises ValueError if the system has no feature map to cache."""
    variables, config_text, metadata = load_for_evaluation(workdir, checkpoint)
    experiment = ex.load_experiment(json.loads(config_text))
    system = experiment.build_system()
    if system.features is None:
        raise ValueError(f"{workdir}: system {system.name!r} as configured has no feature map to cache")
    if len(experiment.sizes.shapes) > 1:
        raise ValueError(f"{workdir}: cached maps need a single shape; train the extractor with sizes.buckets=()")
    features = system.features
    run = jax.jit(lambda values, image, hw: features(values, {"image": image, "image_hw_px": hw}).astype(np.float16))
    directory = data_dir / experiment.dataset.name
    target = cache_directory(directory, name)
    target.mkdir(parents=True, exist_ok=True)
    (target / META).unlink(missing_ok=True)  # its presence marks a complete cache
    shapes = {}
    dataset = experiment.dataset
    train = base_and_part(dataset.train_split)[0]
    for split in dict.fromkeys((train, base_and_part(dataset.eval_split)[0])):
        pipeline = ex.eval_pipeline(experiment, directory, split, frozenset({"image", "image_hw_px"}))
        both = experiment.augment.flip > 0 and split == train
        maps = write_split(
            target / f"{split}.npy",
            pipeline,
            lambda batch: np.asarray(run(variables, batch["image"], batch["image_hw_px"])),
            both,
        )
        shapes[split] = list(maps)
    digest = hashlib.sha256(config_text.encode())
    for leaf in jax.tree.leaves(variables):
        digest.update(np.ascontiguousarray(leaf).tobytes())
    meta = {
        **ex.feature_expectations(experiment, directory),
        "fingerprint": digest.hexdigest()[:16],
        "step": metadata.step,
        "shapes": shapes,
        "records": read_meta(directory)["name"],
    }
    write_json_atomic(target / META, meta)
    return target


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workdir", type=Path, required=True, help="run with the trained extractor")
    parser.add_argument("--name", required=True, help="name of the cache, as in dataset.features")
    parser.add_argument("--data-dir", "--data_dir", type=Path, default=Path("data"), help="folder of built datasets")
    parser.add_argument("--checkpoint", default="last", help="best, last or a step number (default: last)")
    options = parser.parse_args(arguments)
    try:
        target = fill(options.workdir, options.name, options.data_dir, options.checkpoint)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    size = sum(path.stat().st_size for path in target.glob("*.npy"))
    print(f"{target}: {size / 1e6:.0f} MB of feature maps")
    return 0


if __name__ == "__main__":
    sys.exit(main())
