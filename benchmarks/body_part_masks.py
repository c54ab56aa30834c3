"""Cost of body-part masks: CPU seconds of the mask step and of the whole forward pass, ResNet-50, 800 x 1333.

    python benchmarks/body_part_masks.py [--image-hw 800 1333] [--repeats 5]

The mask step covers everything from boxes to masks: cells of queries and of parts, filter, merge, three layers, guard.
It compares CPU time of the process instead of wall-clock time, which depends less on other programs on the machine.
"""

import argparse
import time

import jax
import jax.numpy as jnp
import numpy as np

from hoi_jax.ops.token_masks import merge_parts, progressive_masks, select_parts, unblock
from hoi_jax.systems.body_part.config import BodyPartConfig
from hoi_jax.systems.body_part.interactiveness import part_cells, query_cells
from hoi_jax.systems.body_part.model import HoiTransformer

STRIDE, PEOPLE = 32, 10


def cpu_seconds(function, arguments, repeats: int) -> float:
    """Shortest CPU time of `repeats` calls after a first one that compiles."""
    jax.block_until_ready(function(*arguments))
    times = []
    for _ in range(repeats):
        start = time.process_time()
        jax.block_until_ready(function(*arguments))
        times.append(time.process_time() - start)
    return min(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--image-hw", type=int, nargs=2, default=(800, 1333))
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    height, width = options.image_hw
    config, rng = BodyPartConfig(), np.random.default_rng(0)
    grid = -(-height // STRIDE), -(-width // STRIDE)
    hw = jnp.array([[height, width]], jnp.int32)
    corner = rng.uniform(0, 600, (1, PEOPLE, 10, 2))
    parts = jnp.asarray(np.concatenate([corner, corner + 60], axis=-1), jnp.float32)
    present = jnp.ones((1, PEOPLE, 10), bool)
    boxes = jnp.asarray(rng.uniform(0.2, 0.6, (2, 1, config.queries, 4)), jnp.float32)
    scores = jnp.asarray(rng.random((1, config.queries, 6)), jnp.float32)

    def masks(boxes, parts, present, scores):
        where = {"grid": grid, "stride": STRIDE, "rule": config.parts.cell_rule}
        human, obj = (query_cells(b, hw, **where) for b in boxes)
        part = part_cells(parts, present, **where)
        kept = select_parts(scores, rule="global", share=0.25, count=3)
        some, any_part = jnp.any(kept, axis=-1, keepdims=True), jnp.any(part, axis=1, keepdims=True)
        rules = {"other_humans": "minus", "last_layer": "target_human"}
        layers = progressive_masks(merge_parts(part, kept), any_part, human, obj, some, **rules)
        return unblock(layers, jnp.ones((1, 1, 1, grid[0] * grid[1]), bool))

    net = HoiTransformer(config, 80, 117)
    shapes = jax.eval_shape(net.init, jax.random.key(0), jnp.zeros((1, 64, 64, 3)), hw, parts, present)
    variables = jax.tree.map(lambda leaf: jnp.asarray(0.02 * rng.normal(size=leaf.shape), jnp.float32), shapes)
    image = jnp.asarray(rng.normal(size=(1, height, width, 3)), jnp.float32)

    def forward(*arguments):
        out = net.apply(*arguments)
        return out["interactiveness_logits"], out["object_logits"], out["human_cxcywh"], out["object_cxcywh"]

    step = cpu_seconds(jax.jit(masks), (boxes, parts, present, scores), 10 * options.repeats)
    whole = cpu_seconds(jax.jit(forward), (variables, image, hw, parts, present), options.repeats)
    print(f"masks {1e3 * step:.2f} CPU ms, forward {1e3 * whole:.0f} CPU ms: {100 * step / whole:.3f} %")


if __name__ == "__main__":
    main()
