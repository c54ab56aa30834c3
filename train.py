"""Trains a system.

    python train.py --config configs/tin_hoi_scenes.py --workdir runs/tin
    python train.py --config configs/tin_hoi_scenes.py --workdir runs/tin --config.train.num_steps=3000

A workdir that holds a checkpoint is resumed from it, exactly. Ctrl-C saves and exits. The workdir gets checkpoints,
metrics.jsonl, TensorBoard files, the predictions and scores of every evaluation.

Several processes (pods): give every process --coordinator HOST:PORT --num_processes N --process_id I.
"""

import os
import sys
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")

from absl import app, flags, logging
from ml_collections import config_flags

_CONFIG = config_flags.DEFINE_config_file("config", None, "Config file; --config.key=value changes a value.")
_WORKDIR = flags.DEFINE_string("workdir", None, "Folder of this run: checkpoints, logs, predictions.")
_DATA_DIR = flags.DEFINE_string("data_dir", "data", "Folder of built datasets.")
_COORDINATOR = flags.DEFINE_string("coordinator", None, "HOST:PORT of process 0, for several processes.")
_NUM_PROCESSES = flags.DEFINE_integer("num_processes", None, "Number of processes.")
_PROCESS_ID = flags.DEFINE_integer("process_id", None, "Number of this process.")
flags.mark_flags_as_required(["config", "workdir"])


def ensure_dataset(name: str, data_dir: str) -> Path:
    """The folder of a built dataset; `hoi_scenes` is built on first use, others have their own command."""
    from data_prep.builder import build, dataset_directory
    from hoi_jax.data.records import META_FILE

    directory = dataset_directory(data_dir, name)
    if name.startswith("hoi_scenes/") and not (directory / META_FILE).is_file():
        from data_prep.hoi_scenes import scenes_source

        print(f"building {name} in {directory} (once)", flush=True)
        build(scenes_source(name.partition("/")[2]), data_dir)
    return directory


def run(config: dict, workdir: str, data_dir: str) -> None:
    """Trains `config` in `workdir`; evaluates on its evaluation split as often as the config says."""
    import jax

    from hoi_jax import experiment as ex
    from hoi_jax.evaluation.scoring import score
    from hoi_jax.training import in_steps, train

    experiment = ex.load_experiment(config)
    for other in experiment.dataset.mix:
        ensure_dataset(other.name, data_dir)
    directory = ensure_dataset(experiment.dataset.name, data_dir)
    system = experiment.build_system()
    place = {"host": jax.process_index(), "num_hosts": jax.process_count()}
    pipeline = ex.train_pipeline(experiment, directory, system.needs_train, **place)
    steps_per_epoch = pipeline.epoch_size / pipeline.batch_size
    train_settings, optimizer_settings = in_steps(experiment.train, experiment.optimizer, steps_per_epoch)
    split = experiment.dataset.eval_split
    annotations = ex.load_annotations(directory, split)
    train_labels = ex.load_annotations(directory, experiment.dataset.train_split)
    eval_pipeline = ex.eval_pipeline(experiment, directory, split, system.needs_predict)

    def evaluate(step: int, predict) -> dict[str, float]:
        path = Path(workdir) / f"predictions_{split}.npz"
        if jax.process_index():
            path = path.with_suffix(f".process{jax.process_index()}.npz")
        manifest = {"system": system.name, "step": step, "split": split}
        store = ex.predict_split(experiment, eval_pipeline.eval_batches(), predict, path, manifest)
        result = score(experiment.evaluation, store, annotations, experiment.vocabulary, train=train_labels)
        result.write(path.with_name(f"metrics_{split}.json"))
        return dict(result.metrics)

    train(
        system,
        train_settings,
        optimizer_settings,
        pipeline.train_batches,
        workdir,
        config_text=ex.config_text(config),
        dataset_fingerprint=ex.dataset_fingerprint(experiment, directory),
        init_batch=ex.first_batch(pipeline),
        evaluate=evaluate if train_settings.evaluate_every else None,
    )


def main(arguments: list[str]) -> None:
    if len(arguments) > 1:
        raise app.UsageError(f"unknown arguments {arguments[1:]}")
    logging.set_verbosity(logging.WARNING)
    import jax
    import tensorflow as tf

    from hoi_jax.io import DataError
    from hoi_jax.settings import SettingsError
    from hoi_jax.training import CheckpointError, InitFromError

    tf.config.set_visible_devices([], "GPU")
    if _COORDINATOR.value:
        jax.distributed.initialize(_COORDINATOR.value, _NUM_PROCESSES.value, _PROCESS_ID.value)
    try:
        run(_CONFIG.value.to_dict(), str(_WORKDIR.value), _DATA_DIR.value)
    except (SettingsError, DataError, CheckpointError, InitFromError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    app.run(main)
