"""Draw CALIPSO's embedding of one verb: distances of all positions from one person's embedding, and the links.

    python -m studies.calipso_embeddings --workdir runs/calipso --verb hold --out embeddings.png --count 6

One row per image: the image with the predicted links of the verb, then a heat map that is bright where the embedding is
close to that of the chosen person (white frame). Each position has the value of the closest anchor of its cells.
Without --person the person with the best score for the verb is chosen, else number N by falling detector confidence.
"""

import argparse
import json
import os
from io import BytesIO
from pathlib import Path
from typing import Any, cast

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

from hoi_jax import experiment as ex
from hoi_jax.evaluation.analysis.triplets import Interaction
from hoi_jax.io import write_bytes_atomic
from hoi_jax.ops.anchors import nearest_anchor
from hoi_jax.settings import from_config
from hoi_jax.systems.calipso.config import CalipsoConfig
from hoi_jax.systems.calipso.model import CalipsoNet, anchors_of, usable_anchors
from hoi_jax.systems.calipso.predict import PREDICTION_FIELDS
from hoi_jax.training import load_for_evaluation
from hoi_jax.visualization.attention import closeness_map, heat_over
from hoi_jax.visualization.interactions import draw_interactions
from hoi_jax.vocab import Vocabulary


def links_of(out: dict[str, np.ndarray], verb: int, least: float, vocabulary: Vocabulary) -> list[Interaction]:
    """Predicted triplets of one verb in one image, best first."""
    rows = np.flatnonzero(out["pair_valid"] & (out["verb_scores"][:, verb] >= max(least, 1e-9)))
    rows = rows[np.argsort(-out["verb_scores"][rows, verb], kind="stable")]
    found = []
    for row in rows:
        box = out["object_xyxy_px"][row]
        target = None if np.isnan(box).any() else tuple(box.tolist())
        name = "" if target is None else vocabulary.objects[int(out["object_class"][row])]
        verbs = ((vocabulary.verb_words(verb), float(out["verb_scores"][row, verb])),)
        found.append(Interaction(tuple(out["human_xyxy_px"][row].tolist()), target, name, verbs))
    return found


def embeddings_program(net: CalipsoNet, config: CalipsoConfig, variables: Any, verb: int) -> Any:
    """Function (image, hw, boxes [B, N, 4]) -> distance [B, N, total] of every anchor's embedding from each box's."""

    @jax.jit
    def distances(image: Any, hw: Any, boxes: Any) -> Any:
        size = image.shape[1:3]
        anchors, usable = jnp.asarray(anchors_of(config, size)), usable_anchors(config, size, hw)
        maps = net.apply(variables, image, hw, method="trunk")
        everywhere = cast(Any, net.apply(variables, maps, method="dense"))["embedding"][:, :, verb]
        at = jax.vmap(lambda b, u: nearest_anchor(anchors, b, u))(boxes, usable)
        own = jnp.take_along_axis(everywhere, at[..., None], axis=1)
        return jax.vmap(lambda e, o: jnp.sqrt(jnp.sum((o[:, None] - e[None]) ** 2, axis=-1)))(everywhere, own)

    return distances


def chosen_person(out: dict[str, np.ndarray], batch: dict[str, np.ndarray], verb: int, human: int, number: int | None):
    """Box of the chosen person, or None if nobody was detected."""
    people = np.flatnonzero(batch["detections_valid"] & (batch["detections_class"] == human))
    if number is not None:
        return batch["detections_xyxy_px"][people[number]] if number < len(people) else None
    if out["pair_valid"].any() and out["verb_scores"][:, verb].max() > 0:
        return out["human_xyxy_px"][out["verb_scores"][:, verb].argmax()]
    return batch["detections_xyxy_px"][people[0]] if len(people) else None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workdir", type=Path, required=True, help="folder of a training run of CALIPSO")
    parser.add_argument("--data_dir", default="data")
    parser.add_argument("--checkpoint", default="best")
    parser.add_argument("--verb", required=True, help="name of a verb of the vocabulary")
    parser.add_argument("--person", type=int, help="number of the person, by falling confidence")
    parser.add_argument("--count", type=int, default=6, help="number of images (default: %(default)s)")
    parser.add_argument("--min-score", type=float, default=0.3, help="smallest score of drawn links")
    parser.add_argument("--out", type=Path, required=True, help="PNG to write")
    options = parser.parse_args()
    variables, text, _ = load_for_evaluation(options.workdir, options.checkpoint)
    experiment = ex.load_experiment(json.loads(text))
    vocabulary = experiment.vocabulary
    if options.verb not in vocabulary.verbs:
        parser.error(f"unknown verb {options.verb!r}; known are {', '.join(vocabulary.verbs)}")
    verb, config = vocabulary.verbs.index(options.verb), from_config(CalipsoConfig, experiment.model, "model")
    net = CalipsoNet(config, len(vocabulary.verbs))
    directory = Path(options.data_dir) / experiment.dataset.name
    batch = next(
        ex.eval_pipeline(experiment, directory, experiment.dataset.eval_split, PREDICTION_FIELDS).eval_batches()
    )
    predicted = jax.jit(experiment.build_system().predict)(variables, {k: batch[k] for k in PREDICTION_FIELDS})
    predicted = {name: np.asarray(value) for name, value in predicted.items()}
    distances = embeddings_program(net, config, variables, verb)
    boxes = np.zeros((len(batch["image_id"]), 1, 4), np.float32)
    rows = range(min(options.count, int(batch["batch_valid"].sum())))
    shown = []
    for row in rows:
        out, example = ({k: v[row] for k, v in table.items()} for table in (predicted, batch))
        box = chosen_person(out, example, verb, vocabulary.human_class, options.person)
        if box is not None:
            boxes[row, 0] = box
            shown.append(row)
    distance = np.asarray(distances(batch["image"], batch["image_hw_px"], boxes))[:, 0]
    levels = [(batch["image"].shape[1] // s, batch["image"].shape[2] // s) for s in config.backbone.strides]
    strips = []
    for row in shown:
        height, width = batch["image_hw_px"][row]
        image = batch["image"][row, :height, :width]
        closeness = closeness_map(distance[row], levels, config.anchors.per_cell, config.backbone.strides)
        links = links_of({k: v[row] for k, v in predicted.items()}, verb, options.min_score, vocabulary)
        left = np.asarray(draw_interactions(image, links, title=vocabulary.verb_words(verb)))
        right = np.asarray(heat_over(image, closeness[:height, :width], boxes[row, 0], size=left.shape[1::-1]))
        strips.append(np.concatenate([left, right], axis=1))
    if not strips:
        parser.error("nobody was detected in these images")
    wide = max(strip.shape[1] for strip in strips)
    page = np.concatenate([np.pad(s, ((0, 6), (0, wide - s.shape[1]), (0, 0))) for s in strips])
    data = BytesIO()
    Image.fromarray(page).save(data, "PNG")
    write_bytes_atomic(options.out, data.getvalue())
    print(f"{options.out}: {len(strips)} images, verb {options.verb}")


if __name__ == "__main__":
    main()
