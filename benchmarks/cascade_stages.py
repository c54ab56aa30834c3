"""Time per image of the cascade for T = 1 to 5 stages (Table 5), with and without the ranking module.

    python benchmarks/cascade_stages.py --out benchmarks/results/cascade_stages.json
    python benchmarks/cascade_stages.py --small --detections 16 --people 4       # a laptop's minute

One image, constant weights. Detections are given, so that every T has the same pairs; "own_detector" is the whole
network with its proposals and box heads. "ranked": features of all pairs, then verbs of the best 64; "not ranked":
features and verbs of the 64 pairs with the highest detection scores; "all pairs": features and verbs of every pair.
Times are medians after a first run that compiles.
"""

import argparse
import functools
import json
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from timing import seconds

from configs import cascade_hoi_scenes, cascade_hoi_w
from hoi_jax.systems.registry import build_system
from hoi_jax.vocab import get_vocabulary

STAGES = (1, 2, 3, 4, 5)


def make_image(side: int, detections: int, people: int) -> dict[str, np.ndarray]:
    """Batch of one image with confident detections at random positions, the first of which are people with faces."""
    rng = np.random.default_rng(0)
    corner = rng.uniform(0, side / 2, (detections, 2))
    size = rng.uniform(side / 8, side / 2, (detections, 2))
    boxes = np.concatenate([corner, corner + size], axis=1).astype(np.float32)
    face = np.concatenate([corner + 0.3 * size, corner + 0.5 * size], axis=1).astype(np.float32)
    person = np.arange(detections) < people
    return {
        "image": rng.integers(0, 256, (1, side, side, 3)).astype(np.uint8),
        "image_hw_px": np.full((1, 2), side, np.int32),
        "detections_xyxy_px": boxes[None],
        "detections_face_xyxy_px": (face * person[:, None])[None],
        "faces_xyxy_px": face[None, :people],
        "detections_class": np.where(person, 0, 1).astype(np.int32)[None],
        "detections_score": np.linspace(0.99, 0.5, detections, dtype=np.float32)[None],
        "detections_valid": np.ones((1, detections), bool),
    }


def time_of(model: dict[str, Any], vocabulary: str, batch: dict[str, np.ndarray], repeats: int) -> float:
    """Median seconds of `predict` with small constant weights."""
    system = build_system("cascade", model, get_vocabulary(vocabulary))
    shapes = jax.eval_shape(system.init, jax.random.key(0), batch)
    variables = jax.tree.map(lambda x: jax.numpy.full(x.shape, 0.01, x.dtype), shapes)
    run = jax.jit(system.predict)
    return seconds(functools.partial(run, variables, {name: batch[name] for name in system.needs_predict}), repeats)


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """All rows and a description of the machine."""
    module, vocabulary = (cascade_hoi_scenes, "hoi_scenes") if options.small else (cascade_hoi_w, "hoi_w")
    side = 128 if options.small else options.side
    batch = make_image(side, options.detections, options.people)
    rows = []
    for stages in options.stages:
        base = module.get_config(f"stages={stages}").model.to_dict()
        base["max_humans"] = options.people
        given = {**base, "detector": "external"}
        pairs = options.people * (options.detections - 1)

        def change(ranking: bool, top: int, model: dict[str, Any] = given) -> dict[str, Any]:
            relation = {**model["relation"], "ranking": ranking}
            return {**model, "relation": relation, "predict": {**model["predict"], "top_pairs": top}}

        rows.append({
            "stages": stages, "pairs": pairs,
            "own_detector": time_of(base, vocabulary, batch, options.repeats),
            "ranked": time_of(change(True, 64), vocabulary, batch, options.repeats),
            "not_ranked": time_of(change(False, 64), vocabulary, batch, options.repeats),
            "all_pairs": time_of(change(False, pairs), vocabulary, batch, options.repeats),
        })  # fmt: skip
        print({name: value if isinstance(value, int) else round(1000 * value, 1) for name, value in rows[-1].items()})
    where = {"device": jax.devices()[0].device_kind, "processor": platform.processor(), "jax": jax.__version__}
    return {"rows": rows, "side": side, "seconds": "median per image", **where}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="JSON file to write")
    parser.add_argument("--small", action="store_true", help="network of the scenes instead of ResNet-50")
    parser.add_argument("--side", type=int, default=832, help="side of the image, a multiple of 64")
    parser.add_argument("--detections", type=int, default=50)
    parser.add_argument("--people", type=int, default=10)
    parser.add_argument("--stages", type=int, nargs="+", default=list(STAGES))
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args(arguments)
    result = measure(options)
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
