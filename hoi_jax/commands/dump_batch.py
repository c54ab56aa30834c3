"""Write the first batch exactly as the network receives it: `--dump-batch` of train.py and evaluate.py."""

import json
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path

import numpy as np

from hoi_jax import experiment as ex
from hoi_jax.data.pipeline import HostBatch
from hoi_jax.io import write_bytes_atomic
from hoi_jax.training.checkpoint import stored_config


def training_batch(experiment: ex.Experiment, directory: Path) -> HostBatch:
    """The batch of the first update, [batch_size, ...] per field. Raises DataError, SettingsError."""
    system = experiment.build_system()
    ex.check_requirements(experiment, directory, system, "train")
    return next(ex.train_pipeline(experiment, directory, system.needs_train).train_batches(0))


def evaluation_batch(experiment: ex.Experiment, directory: Path, split: str) -> HostBatch:
    """The first batch of an evaluation. Raises DataError, SettingsError."""
    system = experiment.build_system()
    ex.check_requirements(experiment, directory, system, "predict")
    return next(ex.eval_pipeline(experiment, directory, split, system.needs_predict).eval_batches())


def batch_of_run(workdir: Path, config: str | None, data_dir: str, split: str | None) -> HostBatch:
    """The first batch that `evaluate.py --workdir` would predict, without reading parameters."""
    values = ex.read_config(config) if config else json.loads(stored_config(workdir))
    experiment = ex.load_experiment(values)
    directory = Path(data_dir) / experiment.dataset.name
    return evaluation_batch(experiment, directory, split or experiment.dataset.eval_split)


def write_batch(path: Path, batch: Mapping[str, np.ndarray]) -> str:
    """Write every field under its schema name; return one line per field that describes its content."""
    stream = BytesIO()
    np.savez_compressed(stream, **batch)  # type: ignore[arg-type]
    write_bytes_atomic(path, stream.getvalue())
    lines = [f"{path}: {len(batch)} fields of the first batch"]
    lines += [
        f"  {name} {value.dtype}{list(value.shape)}{_content(name, value)}" for name, value in sorted(batch.items())
    ]
    return "\n".join(lines)


def _content(name: str, value: np.ndarray) -> str:
    """Number of used rows of a table, or share of non-zero values of a column."""
    if name.endswith("_valid"):
        return f": {int(value.sum())} rows"
    if name.endswith("_px") and name not in ("image_hw_px", "original_hw_px"):
        rows = value.reshape(*value.shape[:2], -1).any(axis=-1)
        return f": {int(rows.sum())} rows with content"
    if name in ("image_hw_px", "original_hw_px"):
        return ": " + ", ".join(f"{h} x {w}" for h, w in value.tolist())
    return ""
