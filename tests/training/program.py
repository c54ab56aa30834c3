"""The toy run as a program, for tests that kill, interrupt or pair processes.

Usage: python program.py WORKDIR STEPS SECONDS_PER_STEP [ADDRESS PROCESS_ID]
"""

import os
import sys
import time

os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=2"

import jax

workdir, num_steps, pause = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
process, processes = 0, 1
if len(sys.argv) > 4:
    process, processes = int(sys.argv[5]), 2
    jax.distributed.initialize(sys.argv[4], num_processes=2, process_id=process)

from toy import make_batch, make_system

from hoi_jax.training import OptimizerSettings, TrainSettings, train

SIZE = 8


def local_batches(start):
    part = slice(process * SIZE // processes, (process + 1) * SIZE // processes)
    while True:
        time.sleep(pause)
        yield make_batch(start, SIZE, part)
        start += 1


def evaluate(step, predict):
    return {"score": float(predict(make_batch(10_000, 4))["hoi_scores"].mean())}


train(
    make_system(),
    TrainSettings(
        num_steps, seed=5, log_every=1, checkpoint_every=2, evaluate_every=6, best_metric="score",
        parallel=os.environ.get("TOY_PARALLEL", "pmap"), tensorboard=False,
    ),
    OptimizerSettings(learning_rate=1e-2, ema_decay=0.9),
    local_batches,
    workdir,
    config_text="toy",
    dataset_fingerprint="toy",
    init_batch=make_batch(0, 1),
    evaluate=evaluate,
)  # fmt: skip
print("finished", flush=True)
