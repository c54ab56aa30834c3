"""Time of TIN's head against the number of pairs, in one pass with shared features and one pair at a time.

    python benchmarks/tin_pair_curve.py --out benchmarks/results/tin_pair_curve.json

One image, the config's network with random weights. "factorised" computes features of the image once, of 16 people and
64 objects once (tables of fixed size, as in prediction), and of pairs in chunks; "per pair" runs the whole network for
every pair with one person and one object, as the authors' code does (the time of one pair, times their number). Times
are medians after a first run that compiles.
"""

import argparse
import functools
import json
from collections.abc import Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from timing import seconds

from configs import tin_hico_det
from hoi_jax.settings import from_config
from hoi_jax.systems.tin.config import TinConfig
from hoi_jax.systems.tin.model import PairInputs, TinNet, chunked_logits

PAIRS = (10, 50, 100, 200, 400, 1000)
HUMANS, OBJECTS = 16, 64


def boxes_of(side: int) -> tuple[np.ndarray, np.ndarray]:
    """Tables of people and objects at random positions, of the same size for any number of pairs."""
    rng = np.random.default_rng(0)
    corner = rng.uniform(0, side / 2, (HUMANS + OBJECTS, 2))
    boxes = np.concatenate([corner, corner + rng.uniform(side / 8, side / 2, corner.shape)], axis=1).astype(np.float32)
    return boxes[None, :HUMANS], boxes[None, HUMANS:]


def measure(config: TinConfig, pairs: Sequence[int], side: int, repeats: int) -> list[dict[str, float]]:
    """One row per number of pairs."""
    net = TinNet(config, 600, 80)
    image, hw = jnp.zeros((1, side, side, 3), jnp.uint8) + 127, jnp.full((1, 2), side)
    one = jnp.asarray([[[10.0, 10.0, side / 2, side / 2]]])
    zero, pose = jnp.zeros((1, 1), jnp.int32), jnp.zeros((1, 1, 17, 3))
    single = PairInputs(image, hw, one, pose, one, zero, zero, zero)
    shapes = jax.eval_shape(net.init, jax.random.key(0), single)
    variables = jax.tree.map(lambda x: jnp.full(x.shape, 0.01, x.dtype), shapes)

    @jax.jit
    def per_pair(human, obj):
        return net.apply(variables, single._replace(human_xyxy_px=human, object_xyxy_px=obj))

    one_pair = seconds(functools.partial(per_pair, one, one), repeats)
    rows = []
    for count in pairs:
        human, obj = boxes_of(side)
        index = np.arange(count)
        which = [jnp.asarray(i[None], jnp.int32) for i in (index // obj.shape[1], index % obj.shape[1])]
        poses = jnp.zeros((1, human.shape[1], 17, 3))

        @jax.jit
        def shared(human, obj, which=which, poses=poses, count=count):
            inputs = PairInputs(image, hw, human, poses, obj, jnp.zeros(obj.shape[:2], jnp.int32), *which)
            return chunked_logits(net, variables, inputs, jnp.ones((1, count), bool))

        both = seconds(functools.partial(shared, human, obj), repeats)
        rows.append(
            {"pairs": count, "factorised_s": both, "per_pair_s": one_pair * count, "times": one_pair * count / both}
        )
        print(f"{count:>6} pairs: factorised {both:8.3f} s, per pair {one_pair * count:9.2f} s", flush=True)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="write the rows as JSON")
    parser.add_argument("--pairs", type=int, nargs="+", default=PAIRS)
    parser.add_argument("--side", type=int, default=640, help="pixels of the square image")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--chunk", type=int, default=128, help="pairs per chunk")
    options = parser.parse_args()
    model = tin_hico_det.get_config().model.to_dict()
    config = from_config(TinConfig, {**model, "pair_chunk": options.chunk}, "model")
    rows = measure(config, options.pairs, options.side, options.repeats)
    first = rows[0]["factorised_s"]
    at_400 = next((row["factorised_s"] / first for row in rows if row["pairs"] == 400), None)
    about = {"device": jax.devices()[0].device_kind, "side_px": options.side, "chunk": options.chunk}
    result = {**about, "rows": rows, "at_400_pairs_over_first": at_400}
    print(json.dumps({k: v for k, v in result.items() if k != "rows"}))
    if options.out:
        options.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
