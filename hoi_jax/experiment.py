"""A configured experiment, shared by `train.py`, `evaluate.py` and `predict.py`.

A config (plain values) becomes checked settings, and the settings become a system, pipelines and scores.
"""

import dataclasses
import json
import runpy
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from hoi_jax.annotations import Annotations
from hoi_jax.data.feature_cache import META, FeatureCache, cache_directory, open_cache
from hoi_jax.data.pipeline import HostBatch, Mixture, Pipeline, example_batch
from hoi_jax.data.records import RecordFiles, base_and_part, content_counts, part_mask, read_meta
from hoi_jax.data.settings import AugmentSettings, DatasetSettings, PipelineSettings, SizeSettings
from hoi_jax.evaluation.score import EvaluationSettings
from hoi_jax.io import DataError, read_json
from hoi_jax.predictions import Predictions, PredictionWriter
from hoi_jax.settings import SettingsError, from_config
from hoi_jax.system import Requirement, System
from hoi_jax.systems.registry import build_system
from hoi_jax.training import OptimizerSettings, TrainSettings
from hoi_jax.vocab import Vocabulary, get_vocabulary


@dataclasses.dataclass(frozen=True)
class Experiment:
    """A whole config, checked. `model` is checked later, when its system is built."""

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


def read_config(text: str) -> dict[str, Any]:
    """Values of a config file, given as "FILE" or "FILE:OPTIONS".

    Raises:
      SettingsError: there is no such file, or it rejects the options.
    """
    path, _, argument = text.partition(":")
    if not Path(path).is_file():
        raise SettingsError(f"{path}: no such config file")
    get_config = runpy.run_path(path)["get_config"]
    try:
        return (get_config(argument) if argument else get_config()).to_dict()
    except ValueError as error:
        raise SettingsError(f"{path}: {error}") from error


def load_experiment(config: Mapping[str, Any]) -> Experiment:
    """Check a config. Raises SettingsError naming the first key that is unknown, of the wrong type or out of range."""
    experiment = from_config(Experiment, config)
    _ = experiment.vocabulary, experiment.build_system()
    return experiment


def config_text(config: Mapping[str, Any]) -> str:
    """The config as sorted JSON, the form stored in checkpoints and compared when a run is resumed."""
    return json.dumps(config, sort_keys=True, indent=1)


def _pipeline(
    experiment: Experiment, directory: Path, split: str, needs: frozenset[str], batch_size: int, **place: int
) -> Pipeline:
    files = RecordFiles(directory, split)
    return Pipeline(
        files=files,
        vocabulary=experiment.vocabulary,
        dataset=experiment.dataset,
        sizes=experiment.sizes,
        options=experiment.pipeline,
        augment=experiment.augment,
        needs=needs,
        batch_size=batch_size,
        seed=experiment.train.seed,
        features=_features(experiment, directory, files) if "image_features" in needs else None,
        **place,
    )


def feature_expectations(experiment: Experiment, directory: Path) -> dict[str, object]:
    """Properties that a feature cache must match."""
    return {
        "dataset_fingerprint": read_meta(directory)["fingerprint"],
        "image_hw": list(experiment.sizes.image_hw),
        "fit": experiment.sizes.fit,
        "interpolation": experiment.sizes.interpolation,
        "short_side": experiment.sizes.short_side,
        "long_side": experiment.sizes.long_side,
    }


def _features(experiment: Experiment, directory: Path, files: RecordFiles) -> FeatureCache:
    if not experiment.dataset.features:
        raise SettingsError("model.backbone.cached needs dataset.features, the name of a cache")
    training = files.base_split == base_and_part(experiment.dataset.train_split)[0]
    return open_cache(
        cache_directory(directory, experiment.dataset.features),
        files.base_split,
        feature_expectations(experiment, directory),
        files.base_examples,
        mirrored=training and experiment.augment.flip > 0,
    )


def dataset_fingerprint(experiment: Experiment, directory: Path) -> str:
    """Fingerprint of the records and of the feature cache, if one is used; it must not change between resumes."""
    fingerprint = str(read_meta(directory)["fingerprint"])
    if not experiment.dataset.features:
        return fingerprint
    meta = read_json(cache_directory(directory, experiment.dataset.features) / META)
    return f"{fingerprint}+{meta.get('fingerprint')}"


def train_pipeline(
    experiment: Experiment, directory: Path, needs: frozenset[str], host: int = 0, num_hosts: int = 1
) -> Pipeline | Mixture:
    """Training batches of this host. Further datasets (`dataset.mix`) are in folders beside the first one."""
    place = {"host": host, "num_hosts": num_hosts}
    if experiment.dataset.mix:
        return _mixture(experiment, directory, needs, place)
    return _pipeline(experiment, directory, experiment.dataset.train_split, needs, experiment.batch_size, **place)


def _mixture(experiment: Experiment, directory: Path, needs: frozenset[str], place: Mapping[str, int]) -> Mixture:
    data_dir = directory.parents[len(Path(experiment.dataset.name).parts) - 1]
    sources = [_pipeline(experiment, directory, experiment.dataset.train_split, needs, 1)]
    for other in experiment.dataset.mix:
        dataset = dataclasses.replace(experiment.dataset, name=other.name, labels=other.labels, mix=())
        part = dataclasses.replace(experiment, dataset=dataset)
        sources.append(_pipeline(part, data_dir / other.name, other.split, needs, 1))
    sizes = [source.files.num_examples for source in sources]
    if experiment.dataset.mix_by == "equal":
        sizes = [1] * len(sources)
    shares = tuple(size / sum(sizes) for size in sizes)
    return Mixture(tuple(sources), shares, experiment.batch_size, **place)


CLEANING = Requirement(
    "detections", "dataset.clean_labels replaces labelled boxes by detections", "build with --detections", "train"
)


def check_requirements(experiment: Experiment, directory: Path, system: System, when: str) -> None:
    """Check that the records contain every input that this configuration of a method requires.

    Args:
      when: "train" checks the training split (and the datasets mixed with it), "predict" the evaluation split.

    Raises:
      DataError: an input is missing; the message lists all of them, with their purpose and how to obtain them.
    """
    dataset = experiment.dataset
    places = [(directory, dataset.train_split if when == "train" else dataset.eval_split)]
    if when == "train":
        data_dir = directory.parents[len(Path(dataset.name).parts) - 1]
        places += [(data_dir / other.name, other.split) for other in dataset.mix]
    needed = [requirement for requirement in system.requires if requirement.when in (when, "both")]
    if when == "train" and dataset.clean_labels == "detections":
        needed.append(CLEANING)
    missing = []
    for place, split in places if needed else []:
        counts = content_counts(read_meta(place), split)
        for requirement in needed:
            column = requirement.column
            if dataset.detections == "ground_truth" and column.startswith("detections"):
                column = column.replace("detections", "instances", 1)
            if column not in counts:
                raise KeyError(f"system {system.name!r} requires {column!r}, which no build counts")
            if not counts[column]:
                missing.append(f"  {place} ({split}) has no {column}: {requirement.why}; {requirement.bring}")
    if missing:
        lines = "\n".join(missing)
        raise DataError(f"system {system.name!r} as configured requires inputs that are missing:\n{lines}")


def first_batch(pipeline: Pipeline | Mixture) -> HostBatch:
    """Zeros with the shapes of this host's training batches, for initialising parameters."""
    one = pipeline.sources[0] if isinstance(pipeline, Mixture) else pipeline
    return example_batch(one, pipeline.batch_size // pipeline.num_hosts)


def eval_pipeline(experiment: Experiment, directory: Path, split: str, needs: frozenset[str]) -> Pipeline:
    """Batches with every image of the split once, all of them on this host."""
    return _pipeline(experiment, directory, split, needs, experiment.evaluation.batch_size)


def load_annotations(directory: Path, split: str) -> Annotations:
    """Ground truth of one split, or part of a split, of a built dataset."""
    base, part = base_and_part(split)
    annotations = Annotations.load(directory / f"annotations_{base}.npz")
    return annotations.select(part_mask(split, annotations.num_images)) if part else annotations


def predict_split(
    experiment: Experiment,
    batches: Iterator[HostBatch],
    predict: Callable[[HostBatch], Mapping[str, np.ndarray]],
    path: Path,
    manifest: Mapping[str, Any],
    progress: Callable[[int], object] = lambda count: None,
) -> Predictions:
    """Run `predict` on all batches and write the prediction file to `path`."""
    limit = experiment.evaluation.max_triplets
    with PredictionWriter(path, experiment.vocabulary.name, manifest, limit) as writer:
        for batch in batches:
            writer.add(batch, predict(batch))
            progress(int(batch["batch_valid"].sum()))
    return writer.predictions()
