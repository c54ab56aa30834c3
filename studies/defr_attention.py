"""Draw attention maps of DEFR (Figure 5): the attention of the last block, averaged over heads, on test images.

    python -m studies.defr_attention --workdir runs/defr --data_dir data --out attention.png --count 8

One row per image: the image, then the image brightened by that attention. The three best classes are printed on
standard output.
"""

import argparse
import json
import os
from io import BytesIO
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")

import jax
import numpy as np
from PIL import Image

from hoi_jax import experiment as ex
from hoi_jax.io import write_bytes_atomic
from hoi_jax.settings import from_config
from hoi_jax.systems.defr.config import DefrConfig
from hoi_jax.systems.defr.inputs import prepare
from hoi_jax.systems.defr.model import DefrNet
from hoi_jax.training import load_for_evaluation


def overlay(image: np.ndarray, attention: np.ndarray) -> np.ndarray:
    """Image [H, W, 3] uint8, darkened where the attention is weak; the strongest cell keeps its brightness."""
    grid = Image.fromarray((255 * attention / attention.max()).astype(np.uint8))
    light = np.asarray(grid.resize(image.shape[1::-1], Image.Resampling.BICUBIC), np.float32) / 255
    return (image * (0.2 + 0.8 * light[..., None])).astype(np.uint8)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workdir", type=Path, required=True, help="folder of a training run of DEFR with a ViT")
    parser.add_argument("--data_dir", default="data")
    parser.add_argument("--checkpoint", default="best")
    parser.add_argument("--count", type=int, default=8, help="number of images (default: %(default)s)")
    parser.add_argument("--out", type=Path, required=True, help="PNG to write")
    options = parser.parse_args()
    variables, text, _ = load_for_evaluation(options.workdir, options.checkpoint)
    experiment = ex.load_experiment(json.loads(text))
    config = from_config(DefrConfig, experiment.model, "model")
    if not config.backbone.is_vit:
        parser.error("attention maps need a ViT with a class token")
    net = DefrNet(config, len(experiment.vocabulary.hois) or len(experiment.vocabulary.verbs))
    directory = Path(options.data_dir) / experiment.dataset.name
    needs = frozenset({"image", "image_hw_px"})
    batch = next(ex.eval_pipeline(experiment, directory, experiment.dataset.eval_split, needs).eval_batches())

    @jax.jit
    def attend(image, hw):
        logits, sown = net.apply(variables, prepare(image, hw, config.inputs), mutable=["intermediates"])
        last = sown["intermediates"]["backbone"][f"blocks_{config.backbone.layers - 1}"]["attention_of_reader"][0]
        return logits, last[:, 0]

    logits, weights = (np.asarray(x) for x in attend(batch["image"], batch["image_hw_px"]))
    side, rows = config.inputs.size // config.backbone.patch, []
    for index in range(min(options.count, int(batch["batch_valid"].sum()))):
        height, width = batch["image_hw_px"][index]
        photo = batch["image"][index, :height, :width]
        pair = np.concatenate([photo, overlay(photo, weights[index].reshape(side, side))], axis=1)
        rows.append(np.pad(pair, ((0, 4), (0, 2 * batch["image"].shape[2] - pair.shape[1]), (0, 0))))
        best = np.argsort(-logits[index])[:3]
        if experiment.vocabulary.hois:
            print(f"{index}: " + ", ".join(experiment.vocabulary.hoi_name(hoi) for hoi in best))
    data = BytesIO()
    Image.fromarray(np.concatenate(rows)).save(data, "PNG")
    write_bytes_atomic(options.out, data.getvalue())
    print(f"{options.out}: {len(rows)} images")


if __name__ == "__main__":
    main()
