"""Time of CALIPSO against the number of human-object pairs in an image (Figure 4), on this machine.

    python benchmarks/calipso_pair_cost.py --note "idle machine"
    python benchmarks/calipso_pair_cost.py --height 768 --width 1280 --repeats 30    # the paper's size
    python benchmarks/calipso_pair_cost.py --plot pairs.html                         # curves of all pair benchmarks

Random weights and boxes, one image, V-COCO's verbs. Tables have one padded size for all numbers of pairs, so that
everything is compiled once. The numbers of pairs are measured in a random order in every repeat, with new boxes and a
new image each time. The result has the shortest and the median repeat, in wall-clock time and in processor time of all
threads. Other load on the machine only adds time, by up to a tenth between repeats, so the shortest repeat is the cost
of the program (as recommended by `timeit`), and the variation between numbers of pairs refers to it. `network`: from
the image to the three tasks at the detections' anchors; `pipeline`: also reading, scoring and ranking of all pairs. The
result goes to benchmarks/results/calipso_pair_cost.json.
"""

import argparse
import json
import os
import platform
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import numpy as np

FOLDER = Path(__file__).parent / "results"
RESULT = FOLDER / "calipso_pair_cost.json"
PEOPLE_AND_OBJECTS = {1: (1, 1), 10: (2, 4), 100: (5, 16), 1000: (20, 31), 10000: (50, 151)}
"""Number of pairs -> (people, objects), where every person is paired with every other detection."""
HUMANS, DETECTIONS = 50, 201


def detections(pairs: int, height: int, width: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Table of random boxes in one image with exactly `pairs` pairs."""
    humans, objects = PEOPLE_AND_OBJECTS[pairs]
    used = humans + objects
    corner = rng.uniform(0, 0.7, (used, 2)) * (width, height)
    boxes = np.zeros((1, DETECTIONS, 4), np.float32)
    boxes[0, :used] = np.concatenate([corner, corner + rng.uniform(0.05, 0.3, (used, 2)) * (width, height)], axis=1)
    row = np.arange(DETECTIONS)[None]
    score = np.where(row < used, rng.uniform(0.3, 1.0, (1, DETECTIONS)), 0)
    return {
        "detections_xyxy_px": boxes,
        "detections_class": np.where(row < humans, 0, 1 + row % 79).astype(np.int32),
        "detections_score": score.astype(np.float32),
        "detections_valid": row < used,
    }


def programs(options: argparse.Namespace) -> tuple[dict[str, Callable[[dict[str, np.ndarray]], Any]], int]:
    """(compiled functions of a batch by curve, number of parameters)."""
    import jax
    import jax.numpy as jnp

    from hoi_jax.ops.anchors import nearest_anchor
    from hoi_jax.settings import from_config
    from hoi_jax.systems.calipso.config import CalipsoConfig
    from hoi_jax.systems.calipso.model import CalipsoNet, anchors_of, usable_anchors
    from hoi_jax.systems.calipso.predict import make_predict, read_maps
    from hoi_jax.vocab import get_vocabulary

    vocabulary = get_vocabulary(options.vocabulary)
    values = {"max_humans": HUMANS, "max_objects": DETECTIONS, "predict": {"dense": options.dense}}
    config = from_config(CalipsoConfig, values | {"compute_dtype": options.dtype})
    net = CalipsoNet(config, len(vocabulary.verbs))
    rng = np.random.default_rng(0)
    shapes = jax.eval_shape(net.init, jax.random.key(0), np.zeros((1, 128, 128, 3), np.uint8), np.full((1, 2), 128))

    def fill(path: Any, s: Any) -> Any:
        if path[-1].key in ("scale", "var"):
            return jnp.ones(s.shape, s.dtype)
        return jnp.asarray(rng.normal(0, (2 / max(np.prod(s.shape[:-1]), 2)) ** 0.5, s.shape), s.dtype)

    variables = jax.tree_util.tree_map_with_path(fill, shapes)
    predict = make_predict(net, config, vocabulary)

    def network(v: Any, batch: Any) -> Any:
        """The tasks at the anchor of every row of the table, without pairs."""
        hw = batch["image"].shape[1:3]
        usable = usable_anchors(config, hw, batch["image_hw_px"])
        index = nearest_anchor(jnp.asarray(anchors_of(config, hw)), batch["detections_xyxy_px"][0], usable[0])[None]
        maps = cast(Any, net.apply(v, batch["image"], batch["image_hw_px"], method="trunk"))
        return read_maps(net, v, maps, jnp.concatenate([index[:, :HUMANS], index], axis=1), options.dense)

    compiled = {"network": jax.jit(network), "pipeline": jax.jit(predict)}
    count = sum(x.size for x in jax.tree.leaves(variables["params"]))
    return {
        name: lambda batch, run=run: jax.block_until_ready(run(variables, batch)) for name, run in compiled.items()
    }, count


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Seconds by curve and number of pairs: shortest and median repeat, in wall-clock and processor time."""
    curves, parameters = programs(options)
    rng = np.random.default_rng(1)
    hw = (options.height, options.width)

    def batch(pairs: int) -> dict[str, np.ndarray]:
        image = rng.integers(0, 256, (1, *hw, 3), dtype=np.uint8)
        return {"image": image, "image_hw_px": np.array([hw], np.int32), **detections(pairs, *hw, rng)}

    clocks = {"curves": time.perf_counter, "processor_curves": time.process_time}
    times = {c: {n: {p: [] for p in PEOPLE_AND_OBJECTS} for n in curves} for c in clocks}
    for repeat in range(-options.warm_ups, options.repeats):
        for pairs in rng.permutation(list(PEOPLE_AND_OBJECTS)).tolist():
            made = batch(pairs)
            for name, run in curves.items():
                start = {c: clock() for c, clock in clocks.items()}
                run(made)
                for c, clock in clocks.items():
                    if repeat >= 0:
                        times[c][name][pairs].append(clock() - start[c])
    result: dict[str, Any] = {"parameters": parameters, "variation_percent": {}, "slope_per_pair_in_network_times": {}}
    few, many = min(PEOPLE_AND_OBJECTS), max(PEOPLE_AND_OBJECTS)
    for c, by_name in times.items():
        for kind, summary in (("", np.min), ("median_", np.median)):
            found = {n: {p: float(summary(t)) for p, t in rows.items()} for n, rows in by_name.items()}
            result[kind + c] = {f"calipso {n}": {str(p): s for p, s in rows.items()} for n, rows in found.items()}
            spread = {n: 100 * (max(r.values()) / min(r.values()) - 1) for n, r in found.items()}
            result["variation_percent"][kind + c] = spread
            slope = (found["pipeline"][many] - found["pipeline"][few]) / (many - few)
            result["slope_per_pair_in_network_times"][kind + c] = slope / found["network"][few]
    return result


def curves_of(name: str, content: dict[str, Any]) -> dict[str, dict[int, float]]:
    """Label -> {pairs: seconds}, from "curves" of a result or its "rows" with "pairs" and columns ending in "_s"."""
    found = {label: {int(p): s for p, s in rows.items()} for label, rows in (content.get("curves") or {}).items()}
    for row in content.get("rows") or []:
        for key, value in row.items():
            if "pairs" in row and key.endswith("_s"):
                found.setdefault(f"{name} {key.removesuffix('_s').replace('_', ' ')}", {})[int(row["pairs"])] = value
    return found


def plot(path: Path) -> None:
    """Write one chart with the curves of all pair benchmarks, on logarithmic axes."""
    from hoi_jax.io import write_bytes_atomic
    from hoi_jax.report.charts import Chart, Series, line_chart

    series = []
    for file in sorted(FOLDER.glob("*pair*.json")):
        for label, rows in curves_of(file.stem.split("_")[0], json.loads(file.read_text())).items():
            x, y = (tuple(column) for column in zip(*sorted(rows.items()), strict=True))
            logarithms = (tuple(float(v) for v in np.log10(column)) for column in (x, y))
            series.append(Series(label, *logarithms))
    chart = Chart("Time per image", tuple(series), "pairs (power of ten)", "seconds (power of ten)")
    style = "<style>.line{fill:none;stroke-width:2}.axis,.grid,.tick{fill:none;stroke:#999}.grid{opacity:.3}"
    style += ".swatch{display:inline-block;width:1em;height:1em;margin-right:.5em}ul{list-style:none}</style>"
    write_bytes_atomic(path, f"<!doctype html><meta charset=utf-8>{style}{line_chart(chart)}".encode())
    print(f"{path}: {len(series)} curves")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--height", type=int, default=256)
    parser.add_argument("--width", type=int, default=384)
    parser.add_argument("--warm-ups", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--vocabulary", default="vcoco")
    parser.add_argument("--dense", action="store_true", help="compute the three maps everywhere")
    parser.add_argument("--dtype", default="float32", choices=("float32", "bfloat16"))
    parser.add_argument("--out", type=Path, default=RESULT, help="JSON to write (default: %(default)s)")
    parser.add_argument("--note", default="", help="note about other load on the machine, saved with the result")
    parser.add_argument("--plot", type=Path, help="only draw existing results")
    options = parser.parse_args()
    if options.plot:
        plot(options.plot)
        return
    load = os.getloadavg()[0]
    result = measure(options)
    for clock in ("curves", "median_curves", "processor_curves", "median_processor_curves"):
        how = "median" if clock.startswith("median_") else "shortest"
        print(f"{how}, " + ("processor time of all threads" if "processor" in clock else "wall clock"))
        for name, rows in result[clock].items():
            print(f"  {name:<18}" + "".join(f"{pairs:>6} pairs {1000 * s:7.1f} ms" for pairs, s in rows.items()))
        variation = ", ".join(f"{n} {v:.1f} %" for n, v in result["variation_percent"][clock].items())
        print(
            f"  variation: {variation}; slope per pair {result['slope_per_pair_in_network_times'][clock]:.1e} networks"
        )
    settings = {
        k: getattr(options, k) for k in ("height", "width", "warm_ups", "repeats", "vocabulary", "dense", "dtype")
    }
    machine = {"processor": platform.processor() or platform.machine(), "cores": os.cpu_count(), "load_before": load}
    options.out.parent.mkdir(exist_ok=True)
    text = json.dumps(
        {**result, "settings": settings, "machine": machine, "note": options.note}, indent=1, sort_keys=True
    )
    options.out.write_text(text + "\n")


if __name__ == "__main__":
    main()
