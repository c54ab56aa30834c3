"""One configured experiment: what `train.py`, `evaluate.py` and `predict.py` share.

Turns a config (plain values) into checked settings, and settings into a system, pipelines, and scores.
"""

import dataclasses
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from hoi_jax.data.pipeline import HostBatch, Pipeline
from hoi_jax.data.records import RecordFiles
from hoi_jax.data.settings import AugmentSettings, DatasetSettings, PipelineSettings, SizeSettings
from hoi_jax.evaluation.annotations import Annotations
from hoi_jax.evaluation.scoring import EvaluationSettings
from hoi_jax.evaluation.store import PredictionStore, PredictionWriter
from hoi_jax.settings import from_config
from hoi_jax.system import System
from hoi_jax.systems.registry import build_system
from hoi_jax.training import OptimizerSettings, TrainSettings
from hoi_jax.vocab import Vocabulary, get_vocabulary


@dataclasses.dataclass(frozen=True)
class Experiment:
    """A whole config, checked. `model` is checked by the system it belongs to, when that is built."""

    system: str
    model: Mapping[str, Any]
    batch_size: int
    dataset: DatasetSettings
    sizes: SizeSettings
    train: TrainSettings
    optimizer: OptimizerSettings
    augment: AugmentSettings = AugmentSettings()
    pipeline: PipelineSettings = PipelineSettings()
    evaluation: EvaluationSettings = EvaluationSettings()

    def __post_init__(self):
        if self.batch_size < 1:
            raise ValueError(f"batch_size is {self.batch_size}, expected at least 1")

    @property
    def vocabulary(self) -> Vocabulary:
        return get_vocabulary(self.dataset.vocabulary)

    def build_system(self) -> System:
        return build_system(self.system, self.model, self.vocabulary)


def load_experiment(config: Mapping[str, Any]) -> Experiment:
    """Raises SettingsError naming the first key that is unknown, of the wrong type or impossible."""
    experiment = from_config(Experiment, config)
    _ = experiment.vocabulary, experiment.build_system()
    return experiment


def config_text(config: Mapping[str, Any]) -> str:
    """The config as sorted JSON: what checkpoints store and resuming compares."""
    return json.dumps(config, sort_keys=True, indent=1)


def _pipeline(
    experiment: Experiment, directory: Path, split: str, needs: frozenset[str], batch_size: int, **place: int
) -> Pipeline:
    return Pipeline(
        files=RecordFiles(directory, split),
        vocabulary=experiment.vocabulary,
        dataset=experiment.dataset,
        sizes=experiment.sizes,
        options=experiment.pipeline,
        augment=experiment.augment,
        needs=needs,
        batch_size=batch_size,
        seed=experiment.train.seed,
        **place,
    )


def train_pipeline(
    experiment: Experiment, directory: Path, needs: frozenset[str], host: int = 0, num_hosts: int = 1
) -> Pipeline:
    """The training stream of this host."""
    place = {"host": host, "num_hosts": num_hosts}
    return _pipeline(experiment, directory, experiment.dataset.train_split, needs, experiment.batch_size, **place)


def eval_pipeline(experiment: Experiment, directory: Path, split: str, needs: frozenset[str]) -> Pipeline:
    """Every picture of the split once, all of them on this host."""
    return _pipeline(experiment, directory, split, needs, experiment.evaluation.batch_size)


def load_annotations(directory: Path, split: str) -> Annotations:
    """Ground truth of one split of a built dataset."""
    return Annotations.load(directory / f"annotations_{split}.npz")


def predict_split(
    experiment: Experiment,
    batches: Iterator[HostBatch],
    predict: Callable[[HostBatch], Mapping[str, np.ndarray]],
    path: Path,
    manifest: Mapping[str, Any],
    progress: Callable[[int], object] = lambda count: None,
) -> PredictionStore:
    """Runs `predict` over all batches and writes the prediction store to `path`."""
    limit = experiment.evaluation.max_triplets
    with PredictionWriter(path, experiment.vocabulary.name, manifest, limit) as writer:
        for batch in batches:
            writer.add(batch, predict(batch))
            progress(int(batch["batch_valid"].sum()))
    return writer.store()
