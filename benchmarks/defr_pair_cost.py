"""Cost of pairs in DEFR relative to its backbone, and throughput for images of 672 pixels, on this machine.

    python benchmarks/defr_pair_cost.py --patch 32 --note "idle machine"
    python benchmarks/defr_pair_cost.py --patch 32 --torch-python OTHER_ENV/bin/python    # PyTorch in the same run

Random weights, one image, mask-1 in one pass over all pairs; best of several repeats. The goal is under 10 % of the
backbone at 1,000 pairs. The PyTorch comparison is a plain ViT of the same size (TransformerEncoder with scaled dot
product attention), run by another interpreter with torch.
"""

import argparse
import json
import os
import platform
import subprocess
import time
from pathlib import Path

RESULT = Path(__file__).parent / "results" / "defr_pair_cost.json"
PAIRS = (1, 10, 100, 435, 1000)

TORCH = """
import json, sys, time, torch
patch, repeats = int(sys.argv[1]), int(sys.argv[2])
tokens = (672 // patch) ** 2 + 1
embed = torch.nn.Conv2d(3, 768, patch, patch, bias=False)
layer = torch.nn.TransformerEncoderLayer(768, 12, 3072, 0.0, "gelu", batch_first=True, norm_first=True)
net = torch.nn.TransformerEncoder(layer, 12, enable_nested_tensor=False).eval()
position, image = torch.zeros(1, tokens, 768), torch.randn(1, 3, 672, 672)
def run():
    x = embed(image).flatten(2).transpose(1, 2)
    return net(torch.cat([torch.zeros(1, 1, 768), x], 1) + position)
best = float("inf")
with torch.inference_mode():
    run()
    for _ in range(repeats):
        start = time.perf_counter(); run(); best = min(best, time.perf_counter() - start)
print(json.dumps({"seconds": best, "torch": torch.__version__, "threads": torch.get_num_threads()}))
"""


def best_of(run, repeats: int) -> float:
    """Seconds of the fastest of `repeats` calls after a first one that compiles."""
    import jax

    jax.block_until_ready(run())
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        jax.block_until_ready(run())
        times.append(time.perf_counter() - start)
    return min(times)


def measure(patch: int, repeats: int) -> dict:
    """Seconds of the backbone and of pairs by their number."""
    import jax
    import jax.numpy as jnp
    import numpy as np

    from hoi_jax.systems.defr.config import BackboneConfig, DefrConfig
    from hoi_jax.systems.defr.model import DefrNet

    net = DefrNet(DefrConfig(backbone=BackboneConfig(patch=patch)), 600)
    rng = np.random.default_rng(0)
    image = jnp.asarray(rng.normal(size=(1, 672, 672, 3)), jnp.float32)
    shapes = jax.eval_shape(net.init, jax.random.key(0), image)
    variables = jax.tree.map(lambda s: jnp.asarray(rng.normal(0, 0.02, s.shape), jnp.float32), shapes)
    encode = jax.jit(lambda v, x: net.apply(v, x, method="streams"))
    score = jax.jit(lambda v, s, seen: net.apply(v, s, seen, method="pair_logits"))
    streams, _ = encode(variables, image)
    backbone = best_of(lambda: encode(variables, image), repeats)
    pairs = {}
    for count in PAIRS:
        seen = jnp.asarray(rng.random((1, count, (672 // patch) ** 2)) < 0.2)
        pairs[count] = best_of(lambda seen=seen: score(variables, streams, seen), repeats)
    return {"backbone_seconds": backbone, "images_per_second": 1 / backbone, "pair_seconds": pairs}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--patch", type=int, default=32, choices=(16, 32))
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--torch-python", metavar="PATH", help="interpreter with torch")
    parser.add_argument("--note", default="", help="note about other load on the machine, saved with the result")
    options = parser.parse_args()
    result = measure(options.patch, options.repeats)
    backbone = result["backbone_seconds"]
    print(f"B/{options.patch} at 672: {1 / backbone:.2f} images/s")
    for count, seconds in result["pair_seconds"].items():
        print(f"{count:>5} pairs: {1000 * seconds:8.1f} ms, {100 * seconds / backbone:6.2f} % of the backbone")
    if options.torch_python:
        command = [options.torch_python, "-c", TORCH, str(options.patch), str(options.repeats)]
        result["torch"] = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
        print(f"PyTorch {result['torch']['torch']}: {1 / result['torch']['seconds']:.2f} images/s")
    machine = {"processor": platform.processor() or platform.machine(), "cores": os.cpu_count()}
    result |= {"patch": options.patch, "note": options.note, "machine": machine, "load": os.getloadavg()[0]}
    old = json.loads(RESULT.read_text()) if RESULT.is_file() else {}
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps({**old, f"B/{options.patch}": result}, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
