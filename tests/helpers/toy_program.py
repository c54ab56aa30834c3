"""The toy run as a program, for tests that kill, interrupt or pair processes.

    python -m tests.helpers.toy_program WORKDIR STEPS SECONDS_PER_STEP KIND [ADDRESS PROCESS_ID]

The number of devices is set by XLA_FLAGS.
"""

import sys
import time

import jax

from hoi_jax.training import OptimizerSettings, TrainSettings, train
from tests.helpers.toy import make_batch, make_system

SIZE = 8


def main(workdir, num_steps, pause, kind, address=None, process_id="0"):
    process, processes = int(process_id), 1
    if address is not None:
        processes = 2
        jax.distributed.initialize(address, num_processes=processes, process_id=process)
    part = slice(process * SIZE // processes, (process + 1) * SIZE // processes)

    def local_batches(start):
        while True:
            time.sleep(float(pause))
            yield make_batch(start, SIZE, part)
            start += 1

    def evaluate(step, predict):
        return {"score": float(predict(make_batch(10_000, 4))["hoi_scores"].mean())}

    settings = TrainSettings(
        num_steps=int(num_steps),
        seed=5,
        parallel=kind,
        log_every=1,
        checkpoint_every=2,
        evaluate_every=6,
        best_metric="score",
        tensorboard=False,
    )
    train(
        make_system(),
        settings,
        OptimizerSettings(learning_rate=1e-2, ema_decay=0.9),
        local_batches,
        workdir,
        config_text="toy",
        dataset_fingerprint="toy",
        init_batch=make_batch(0, 1),
        evaluate=evaluate,
    )
    print("finished", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
