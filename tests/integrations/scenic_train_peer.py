"""Scenic's own training loop on one of our systems and one of our datasets: run with Scenic's source on PYTHONPATH.

    PYTHONPATH=<repository>:<scenic source> python tests/integrations/scenic_train_peer.py DATA_DIR NAME CONFIG WORKDIR

Two steps and an evaluation, a checkpoint, and from it one step more; prints what came out as one line of JSON.
"""

import importlib
import json
import sys

import jax
import ml_collections
import numpy as np
from clu import metric_writers
from scenic.train_lib import classification_trainer, train_utils

from hoi_jax.integrations import scenic as bridge


def run(data_dir, name, config, workdir):
    values = importlib.import_module(f"configs.{config}").get_config().to_dict()
    registered = bridge.register_datasets(data_dir, values)

    def train(steps):
        scenic_config = ml_collections.ConfigDict(
            {
                "dataset_name": f"hoi_jax/{name}", "batch_size": 2 * jax.device_count(), "rng_seed": 0,
                "eval_batch_size": 2 * jax.device_count(), "data_dtype_str": "float32", "shuffle_seed": 5,
                "dataset_configs": {"pipeline": {"threads": 1}, "augment": {"flip": 0.5}},
                "num_training_steps": steps, "log_eval_steps": steps, "steps_per_eval": 1, "log_summary_steps": 1,
                "checkpoint": True, "checkpoint_steps": 1, "debug_train": False, "debug_eval": False, "xprof": False,
                "count_flops": False, "optimizer": "adam", "optimizer_configs": {},
                "lr_configs": {"learning_rate_schedule": "compound", "factors": "constant",
                               "base_learning_rate": 1e-3},
            }
        )  # fmt: skip
        rng = jax.random.PRNGKey(0)
        dataset = train_utils.get_dataset(scenic_config, rng)
        state, summary, evaluated = classification_trainer.train(
            rng=rng, config=scenic_config, model_cls=bridge.system_model(), dataset=dataset, workdir=workdir,
            writer=metric_writers.create_default_writer(workdir, just_logging=True),
        )  # fmt: skip
        return state, summary, evaluated

    _, first, evaluated = train(2)
    state, second, _ = train(3)
    _, arrays, _ = bridge.read_scenic(f"{workdir}/checkpoint_3")
    kept = jax.tree.map(lambda x: np.asarray(x[0]), state.params)
    saved = {jax.tree_util.keystr(path): x for path, x in jax.tree_util.tree_leaves_with_path(kept)}
    print(
        json.dumps(
            {
                "registered": registered,
                "devices": jax.device_count(),
                "train": {name: float(value) for name, value in first.items()},
                "evaluated": {name: float(value) for name, value in evaluated.items()},
                "continued": {name: float(value) for name, value in second.items()},
                "step": int(np.asarray(state.global_step)[0]),
                "parameters": len(saved),
                "arrays": sum(name.startswith("params/") for name in arrays),
            }
        )
    )


if __name__ == "__main__":
    run(*sys.argv[1:])
