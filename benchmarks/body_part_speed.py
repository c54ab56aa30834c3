"""Timing of the body-part network (forward pass, training step, box masks), optionally beside the authors' code.

    python benchmarks/body_part_speed.py --note "idle machine"
    python benchmarks/body_part_speed.py --peer CHECKOUT --torch-python OTHER_ENV/bin/python --note "idle machine"
    python benchmarks/body_part_speed.py --schemes one_pass six_pass --note "idle machine"

Uses the released settings with random weights: ResNet-50, 6 encoder and 6 box layers, 64 queries, 1 + 3 layers of the
interactiveness decoder; one image of 800 x 1333. A training step is loss with matching, gradient, clipping and AdamW.
CHECKOUT is a copy of the authors' repository, provided by the user (see `body_part_peer.py`); it runs after this
library in the same command. With several schemes, the paper's one-time passing is compared with one pass per body part
(Table 5: 28 against 33 minutes per epoch). Writes benchmarks/results/body_part_speed.json, or body_part_passes.json for
several schemes, unless --no-write is given.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from hoi_jax.system import System
from hoi_jax.systems.body_part import build
from hoi_jax.systems.body_part.interactiveness import query_cells
from hoi_jax.vocab import get_vocabulary

RESULTS = Path(__file__).parent / "results"
PEER = Path(__file__).parent / "body_part_peer.py"
RELEASE = {
    "part_filter": "per_query", "merge_parts": "all", "part_query": "affine", "other_humans": "xor",
    "layer3_mask": "same", "cell_rule": "floor",
}  # fmt: skip
PEOPLE, PAIRS, STRIDE = 10, 4, 32


def system_of(scheme: str) -> System:
    """The released network with the given scheme of passes."""
    parts = {**RELEASE, "scheme": scheme}
    return build({"parts": parts, "backbone": {"mask_padding": False}}, get_vocabulary("hico_det"))


def random_variables(system: System) -> dict[str, Any]:
    """Random variables of the system's shapes, without running its initialisation; variances and scales are one."""
    rng = np.random.default_rng(0)

    def fill(path, leaf):
        if path[-1].key in ("var", "scale"):
            return jnp.ones(leaf.shape)
        fan_in = int(np.prod(leaf.shape[:-1])) if len(leaf.shape) > 1 else 10_000
        return jnp.asarray(rng.normal(size=leaf.shape) / np.sqrt(fan_in), jnp.float32)

    shapes = jax.eval_shape(system.init, jax.random.key(0), {})
    return jax.tree_util.tree_map_with_path(fill, shapes)


def random_batch(image_hw: tuple[int, int], batch: int) -> dict[str, np.ndarray]:
    """Noise images with people, poses and pairs."""
    rng = np.random.default_rng(0)
    height, width = image_hw
    corner = rng.uniform(0, 0.5, (batch, PEOPLE, 2)) * (width, height)
    boxes = np.concatenate([corner, corner + np.array([width, height]) * 0.3], axis=-1).astype(np.float32)
    joints = corner[:, :, None] + rng.uniform(0, 0.3, (batch, PEOPLE, 17, 2)) * (width, height)
    keypoints = np.concatenate([joints, np.ones((batch, PEOPLE, 17, 1))], axis=-1).astype(np.float32)
    pairs = (batch, PAIRS)
    return {
        "image": rng.integers(0, 256, (batch, height, width, 3)).astype(np.uint8),
        "image_hw_px": np.full((batch, 2), image_hw, np.int32),
        "detections_xyxy_px": boxes, "detections_class": np.zeros((batch, PEOPLE), np.int32),
        "detections_score": np.ones((batch, PEOPLE), np.float32), "detections_keypoints_px": keypoints,
        "detections_valid": np.ones((batch, PEOPLE), bool),
        "instances_xyxy_px": boxes, "instances_class": np.zeros((batch, PEOPLE), np.int32),
        "pairs_human": np.tile(np.arange(PAIRS, dtype=np.int32), (batch, 1)),
        "pairs_object": np.tile(np.arange(PAIRS, dtype=np.int32)[::-1], (batch, 1)),
        "pairs_verbs": rng.random((*pairs, 117)) < 0.02, "pairs_verbs_known": np.ones((*pairs, 117), bool),
        "pairs_valid": np.ones(pairs, bool), "batch_valid": np.ones(batch, bool),
        "example_id": np.arange(batch, dtype=np.int32),
    }  # fmt: skip


def best_of(run: Callable[[], Any], repeats: int) -> float:
    """Seconds of the fastest of `repeats` calls after one that compiles."""
    jax.block_until_ready(run())
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        jax.block_until_ready(run())
        times.append(time.perf_counter() - start)
    return min(times)


def measure(scheme: str, image_hw: tuple[int, int], batch_size: int, repeats: int, train: bool) -> dict[str, float]:
    """Seconds of "eval", "box_masks" and, with `train`, of "train"."""
    system = system_of(scheme)
    variables = random_variables(system)
    batch = {name: jnp.asarray(value) for name, value in random_batch(image_hw, batch_size).items()}
    predict = jax.jit(system.predict)
    found = {"eval": best_of(lambda: predict(variables, batch), repeats)}
    grid = -(-image_hw[0] // STRIDE), -(-image_hw[1] // STRIDE)
    boxes = jnp.asarray(np.random.default_rng(1).uniform(0.3, 0.6, (2, batch_size, 64, 4)), jnp.float32)

    @jax.jit
    def masks(boxes):
        return [query_cells(b, batch["image_hw_px"], grid=grid, stride=STRIDE, rule="floor") for b in boxes]

    found["box_masks"] = best_of(lambda: masks(boxes), 10 * repeats)
    if not train:
        return found
    params, rest = variables["params"], {name: value for name, value in variables.items() if name != "params"}

    def group(path, _):
        names = [key.key for key in path]
        return "frozen" if names[:2] in (["backbone", "stem"], ["backbone", "stage0"]) else names[0]

    labels = jax.tree_util.tree_map_with_path(group, params)
    rates = {name: 1e-5 if name == "backbone" else 1e-4 for name in set(jax.tree.leaves(labels))}
    rules = {name: optax.adamw(rate, weight_decay=1e-4) for name, rate in rates.items()}
    rules["frozen"] = optax.set_to_zero()
    tx = optax.chain(optax.clip_by_global_norm(0.1), optax.partition(rules, labels))

    @jax.jit
    def step(params, state, key):
        def loss(params):
            stopped = jax.tree.map(lambda p, name: jax.lax.stop_gradient(p) if name == "frozen" else p, params, labels)
            return system.loss({"params": stopped, **rest}, batch, key).value

        value, gradients = jax.value_and_grad(loss)(params)
        updates, state = tx.update(gradients, state, params)
        return value, optax.apply_updates(params, updates), state

    state, key = tx.init(params), jax.random.key(0)
    found["train"] = best_of(lambda: step(params, state, key), repeats)
    return found


def peer_seconds(options: argparse.Namespace) -> dict[str, Any]:
    """Timing of the authors' code, run by an interpreter with torch."""
    command = [options.torch_python, str(PEER), str(options.peer), "--image-hw", *map(str, options.image_hw)]
    command += ["--batch", str(options.batch), "--repeats", str(options.repeats), "--pairs", str(PAIRS)]
    command += ["--eval-only"] if options.eval_only else []
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"the authors' code failed:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--image-hw", type=int, nargs=2, default=(800, 1333))
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--schemes", nargs="+", default=["one_pass"], choices=("one_pass", "six_pass", "instance"))
    parser.add_argument("--peer", type=Path, metavar="CHECKOUT", help="copy of the authors' repository")
    parser.add_argument("--torch-python", default="python3", help="interpreter with torch and torchvision")
    parser.add_argument("--eval-only", action="store_true", help="leave out the training step")
    parser.add_argument("--note", default="", help="note about the machine, saved with the result")
    parser.add_argument("--no-write", action="store_true")
    options = parser.parse_args()
    size = tuple(options.image_hw)
    ours = {s: measure(s, size, options.batch, options.repeats, not options.eval_only) for s in options.schemes}
    result: dict[str, Any] = {"ours": ours, "image_hw": size, "batch": options.batch, "note": options.note}
    result |= {"cores": os.cpu_count(), "jax": jax.__version__, "device": jax.devices()[0].device_kind}
    result["machine"] = platform.machine()
    base = ours[options.schemes[0]]
    for scheme, seconds in ours.items():
        print(f"{scheme}: " + ", ".join(f"{name} {value:.4f} s" for name, value in seconds.items()))
        if seconds is not base:
            result[f"{scheme}_over_{options.schemes[0]}"] = ratios = {k: seconds[k] / base[k] for k in base}
            print(f"{scheme} over {options.schemes[0]}: " + ", ".join(f"{k} {v:.3f}" for k, v in ratios.items()))
    if options.peer:
        result["peer"] = peer = peer_seconds(options)
        result["peer_over_ours"] = ratios = {name: peer[name] / base[name] for name in base}
        print("authors' code: " + ", ".join(f"{name} {peer[name]:.4f} s" for name in base))
        print("authors' code over ours: " + ", ".join(f"{name} {value:.2f}" for name, value in ratios.items()))
    if not options.no_write:
        name = "body_part_speed.json" if len(options.schemes) == 1 else "body_part_passes.json"
        (RESULTS / name).write_text(json.dumps(result, indent=1) + "\n")
        print(f"written: {RESULTS / name}")


if __name__ == "__main__":
    main()
