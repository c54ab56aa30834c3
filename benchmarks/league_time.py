"""Time per image against its number of pairs, for all exported checkpoints of the scenes, on this machine.

    python -m benchmarks.league_time --about "two cores, idle"

One random image of 128 x 128 with random boxes, where every person is paired with every other box. The tables of
people, objects and pairs are just large enough for that number of pairs; all weights are those of the checkpoints. A
system with its own detector gets tables of the same size; one with a fixed number of queries has one program for all
numbers. Programs are called in a random order in every repeat, and the shortest call counts, since other load on the
machine only adds time. The result, for `python -m studies.league`, goes to benchmarks/results/league_time.json.
"""

import argparse
import copy
import json
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from hoi_jax import schema, zoo
from hoi_jax.data.numpy_batch import batch_from_images
from hoi_jax.data.settings import SizeSettings
from hoi_jax.systems.registry import build_system
from hoi_jax.vocab import Vocabulary
from studies.league import TIMES
from studies.league_rules import DATASET

PEOPLE_AND_OBJECTS = {10: (2, 4), 100: (5, 16), 400: (10, 31)}
"""Number of pairs -> (people, other objects)."""
SIDE_PX = 128
BASE = "tin_hoi_scenes"


def with_room(config: Mapping[str, Any], pairs: int) -> dict[str, Any] | None:
    """Config with tables for `pairs` pairs and unchanged parameters; None for a fixed number of queries."""
    people, objects = PEOPLE_AND_OBJECTS[pairs]
    model = copy.deepcopy(dict(config["model"]))
    changes: dict[str, Any] = {
        "tin": {"max_humans": people, "max_objects": people + objects, "max_pairs": pairs},
        "calipso": {"max_humans": people, "max_objects": people + objects},
        "defr": {},
        "cascade": {"max_humans": people},
        "two_boxes": {"max_pairs": pairs},
    }
    if config["system"] not in changes:
        return None
    model |= changes[config["system"]]
    if config["system"] == "defr":
        model["detection"] |= {"max_humans": people, "max_objects": objects}
    if config["system"] == "cascade":
        model["boxes"]["detections"] = people + objects
    if config["system"] == "calipso":
        model["predict"]["max_pairs"] = pairs
    return model


def random_batch(pairs: int, vocabulary: Vocabulary, seed: int) -> dict[str, np.ndarray]:
    """Batch of one image with exactly `pairs` pairs of boxes, all scored above every threshold."""
    people, objects = PEOPLE_AND_OBJECTS[pairs]
    rng = np.random.default_rng(seed)
    corner = rng.uniform(0, 0.7 * SIDE_PX, (people + objects, 2))
    boxes = np.concatenate([corner, corner + rng.uniform(0.05, 0.3, corner.shape) * SIDE_PX], axis=1)
    other = [c for c in range(len(vocabulary.objects)) if c != vocabulary.human_class]
    joints = corner[:, None] + rng.uniform(0, 0.05 * SIDE_PX, (len(corner), schema.NUM_KEYPOINTS, 2))
    table = {
        "xyxy_px": boxes,
        "class": np.array([vocabulary.human_class] * people + [other[i % len(other)] for i in range(objects)]),
        "score": rng.uniform(0.6, 1.0, people + objects),
        "keypoints_px": np.concatenate([joints, np.ones((*joints.shape[:2], 1))], axis=2),
    }
    image = rng.integers(0, 256, (SIDE_PX, SIDE_PX, 3), dtype=np.uint8)
    sizes = SizeSettings((SIDE_PX, SIDE_PX), instances=1, detections=people + objects, pairs=1)
    return batch_from_images([image], [table], sizes, image_ids=[0])


def programs(name: str) -> dict[int, tuple[Callable[[dict[str, np.ndarray]], Any], int]]:
    """Number of pairs -> (compiled prediction of a batch, number of valid rows) of an exported checkpoint."""
    model = zoo.load(name)
    variables = jax.device_put(model.variables)
    needs = sorted(model.system.needs_predict | schema.ALWAYS_PRESENT)
    fixed: tuple[Callable[[dict[str, np.ndarray]], Any], int] | None = None
    made = {}
    for pairs in PEOPLE_AND_OBJECTS:
        settings = with_room(model.config, pairs)
        if fixed is None or settings is not None:
            system = build_system(model.config["system"], settings or model.config["model"], model.vocabulary)
            predict = jax.jit(system.predict)

            def run(batch: dict[str, np.ndarray], predict: Any = predict) -> Any:
                return jax.block_until_ready(predict(variables, {field: batch[field] for field in needs}))

            found = run(random_batch(pairs, model.vocabulary, 0))
            fixed = run, int(np.sum(found["pair_valid"]))
        made[pairs] = fixed
    return made


def measure(names: list[str], repeats: int) -> dict[str, dict[str, dict[str, float]]]:
    """ "milliseconds" (clock) and "processor_milliseconds" (all threads) -> checkpoint -> pairs -> shortest call."""
    every = {name: programs(name) for name in names}
    for name, made in every.items():
        print(f"{name}: rows filled {', '.join(f'{p}: {rows}' for p, (_, rows) in made.items())}", flush=True)
    vocabulary = zoo.load(names[0]).vocabulary
    clocks = {"milliseconds": time.perf_counter, "processor_milliseconds": time.process_time}
    best = {c: {n: {str(p): float("inf") for p in PEOPLE_AND_OBJECTS} for n in names} for c in clocks}
    turns = [(name, pairs) for name in names for pairs in PEOPLE_AND_OBJECTS]
    rng = np.random.default_rng(0)
    for repeat in range(repeats):
        for turn in rng.permutation(len(turns)).tolist():
            name, pairs = turns[turn]
            batch = random_batch(pairs, vocabulary, 1 + repeat)
            run, _ = every[name][pairs]
            start = {c: clock() for c, clock in clocks.items()}
            run(batch)
            for c, clock in clocks.items():
                best[c][name][str(pairs)] = min(best[c][name][str(pairs)], 1000 * (clock() - start[c]))
    return best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=50)
    parser.add_argument("--only", nargs="+", metavar="NAME", help="checkpoints to measure (default: all of the scenes)")
    parser.add_argument("--out", type=Path, default=TIMES, help="JSON to write (default: %(default)s)")
    parser.add_argument(
        "--about", default=f"{os.cpu_count()} cores", help="description of the machine, printed with the table"
    )
    options = parser.parse_args()
    names = options.only or [e.name for e in zoo.entries() if e.trained_on == DATASET]
    if BASE not in names:
        parser.error(f"times are multiples of {BASE}'s, so it must be among the checkpoints")
    result = {"base": BASE, "pairs": list(PEOPLE_AND_OBJECTS), "repeats": options.repeats, "about": options.about}
    result |= {"load": os.getloadavg()[0], **measure(names, options.repeats)}
    for clock in ("milliseconds", "processor_milliseconds"):
        base = result[clock][BASE][str(min(PEOPLE_AND_OBJECTS))]
        print(f"{clock}; in brackets relative to {BASE} at {min(PEOPLE_AND_OBJECTS)} pairs")
        for name, row in result[clock].items():
            print(f"  {name:<30}" + "".join(f"{p:>6}: {ms:7.2f} ({ms / base:.2f})" for p, ms in row.items()))
    options.out.parent.mkdir(exist_ok=True)
    options.out.write_text(json.dumps(result, indent=1, sort_keys=True) + "\n")
    print(options.out)


if __name__ == "__main__":
    main()
