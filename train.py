"""Train a system.

    python train.py --config configs/tin_hoi_scenes.py --workdir runs/tin
    python train.py --config configs/tin_hoi_scenes.py --workdir runs/tin --config.train.num_steps=3000
    python train.py --config configs/tin_hoi_scenes.py:mode=c --workdir runs/c --config.train.init_from=runs/tin
    python train.py --config configs/tin_hoi_scenes.py --dump-batch batch.npz     # write the network's first input

--config.KEY=VALUE changes any value, also one that the config file does not set; options of a config file follow a
colon. If the workdir contains a checkpoint, training resumes from it exactly. Ctrl-C saves and exits. Checkpoints,
metrics.jsonl, TensorBoard files, and the predictions and scores of every evaluation are written to the workdir.

Several processes (pods): start each one with --coordinator HOST:PORT --num_processes N --process_id I.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")

from hoi_jax.settings import config_changes


def ensure_dataset(name: str, data_dir: str) -> Path:
    """The folder of a built dataset; `hoi_scenes` is built on first use, others by `data_prep.build`."""
    from data_prep.builder import build, dataset_directory
    from hoi_jax.data.records import META_FILE

    directory = dataset_directory(data_dir, name)
    if name.startswith("hoi_scenes/") and not (directory / META_FILE).is_file():
        from data_prep.hoi_scenes import scenes_source

        print(f"building {name} in {directory} (once)", flush=True)
        build(scenes_source(name.partition("/")[2]), data_dir)
    return directory


def dump_batch(config: dict[str, Any], path: Path, data_dir: str) -> None:
    """Write the first training batch of the run to `path`, exactly as the network receives it."""
    from hoi_jax import experiment as ex
    from hoi_jax.commands.dump_batch import training_batch, write_batch

    experiment = ex.load_experiment(config)
    for other in experiment.dataset.mix:
        ensure_dataset(other.name, data_dir)
    print(write_batch(path, training_batch(experiment, ensure_dataset(experiment.dataset.name, data_dir))))


def run(config: dict[str, Any], workdir: str, data_dir: str) -> None:
    """Train `config` in `workdir`, with evaluations on its evaluation split at the configured interval."""
    import jax

    from hoi_jax import experiment as ex
    from hoi_jax.evaluation.score import score
    from hoi_jax.training import check_batch, describe_schedule, in_steps, train

    experiment = ex.load_experiment(config)
    settings = experiment.train
    check_batch(experiment.batch_size, settings.accumulate, settings.parallel, settings.num_devices)
    for other in experiment.dataset.mix:
        ensure_dataset(other.name, data_dir)
    directory = ensure_dataset(experiment.dataset.name, data_dir)
    system = experiment.build_system()
    ex.check_requirements(experiment, directory, system, "train")
    if settings.evaluate_every:
        ex.check_requirements(experiment, directory, system, "predict")
    place = {"host": jax.process_index(), "num_hosts": jax.process_count()}
    pipeline = ex.train_pipeline(experiment, directory, system.needs_train, **place)
    steps_per_epoch = pipeline.epoch_size / pipeline.batch_size
    train_settings, optimizer_settings = in_steps(
        experiment.train, experiment.optimizer, steps_per_epoch, experiment.batch_size
    )
    if jax.process_index() == 0:
        written, size = experiment.optimizer, experiment.batch_size
        print(describe_schedule(written, train_settings, optimizer_settings, size, system.frozen))
    split = experiment.dataset.eval_split
    annotations = ex.load_annotations(directory, split)
    train_labels = ex.load_annotations(directory, experiment.dataset.train_split)
    eval_pipeline = ex.eval_pipeline(experiment, directory, split, system.needs_predict)

    def evaluate(step: int, predict) -> dict[str, float]:
        path = Path(workdir) / f"predictions_{split}.npz"
        if jax.process_index():
            path = path.with_suffix(f".process{jax.process_index()}.npz")
        manifest = {"system": system.name, "step": step, "split": split}
        predictions = ex.predict_split(experiment, eval_pipeline.eval_batches(), predict, path, manifest)
        result = score(experiment.evaluation, predictions, annotations, experiment.vocabulary, train=train_labels)
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


def parse_arguments(arguments: Sequence[str] | None) -> tuple[argparse.Namespace, dict[str, str]]:
    """(command-line options, changes of the config)."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--config", required=True, metavar="FILE[:OPTIONS]", help="config file")
    parser.add_argument("--workdir", help="folder of this run: checkpoints, logs, predictions (required for training)")
    parser.add_argument(
        "--dump-batch",
        "--dump_batch",
        type=Path,
        metavar="FILE.npz",
        help="write the first training batch, exactly as the network receives it, and stop; needs no weights",
    )
    parser.add_argument("--data_dir", "--data-dir", default="data", help="folder of built datasets (default: data)")
    parser.add_argument("--coordinator", metavar="HOST:PORT", help="address of process 0, for several processes")
    parser.add_argument("--num_processes", "--num-processes", type=int, help="number of processes")
    parser.add_argument("--process_id", "--process-id", type=int, help="index of this process, from 0")
    options, rest = parser.parse_known_args(arguments)
    if not options.workdir and not options.dump_batch:
        parser.error("the following arguments are required: --workdir")
    try:
        return options, config_changes(rest)
    except ValueError as error:
        parser.error(str(error))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command. Returns its exit status."""
    options, changes = parse_arguments(arguments)
    import jax
    import tensorflow as tf
    from absl import logging

    from hoi_jax.experiment import read_config
    from hoi_jax.io import DataError
    from hoi_jax.settings import SettingsError, with_changes
    from hoi_jax.training import CheckpointError, InitFromError

    logging.set_verbosity(logging.WARNING)
    tf.config.set_visible_devices([], "GPU")
    if options.coordinator:
        jax.distributed.initialize(options.coordinator, options.num_processes, options.process_id)
    try:
        config = with_changes(read_config(options.config), changes)
        if options.dump_batch:
            dump_batch(config, options.dump_batch, options.data_dir)
        else:
            run(config, options.workdir, options.data_dir)
    except (SettingsError, DataError, CheckpointError, InitFromError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
