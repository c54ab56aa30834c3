"""Measurement of one row of the league table: predictions of the test scenes, scores, and cost per image."""

import os
import time
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")

import jax
import numpy as np

from hoi_jax import experiment as ex
from hoi_jax import zoo
from hoi_jax.evaluation.analysis.baselines import frequency_baseline
from hoi_jax.evaluation.metrics.result import EvaluationResult
from hoi_jax.evaluation.score import EvaluationSettings, score
from hoi_jax.predictions import Predictions
from hoi_jax.report.run import versions
from hoi_jax.serialization.exported import parameter_count, zoo_folder
from hoi_jax.training import make_predictor
from hoi_jax.training.cost import count_flops
from hoi_jax.vocab import get_vocabulary
from studies.league_rules import DATASET, FREQUENCY, METRICS, SUBSETS
from studies.run import commit

if TYPE_CHECKING:
    from hoi_jax.data.pipeline import HostBatch
    from hoi_jax.system import System

SETTINGS = EvaluationSettings(metrics=METRICS, subsets=SUBSETS)
GIVEN = {"detections_xyxy_px": "boxes", "detections_keypoints_px": "poses", "faces_xyxy_px": "faces"}
"""Field of the simulated detector -> its name in the table."""


def cost_of(system: "System", variables: Any, batch: "HostBatch") -> dict[str, int]:
    """Operations of the prediction of one batch, and bytes of its compiled program."""
    memory = jax.jit(system.predict).lower(variables, dict(batch)).compile().memory_analysis()
    if memory is None:
        raise RuntimeError("this backend does not report the memory of a program")
    parts = {
        "arguments": memory.argument_size_in_bytes,
        "results": memory.output_size_in_bytes,
        "temporary": memory.temp_size_in_bytes,
    }
    flops = count_flops(system.predict, variables, dict(batch))
    return {"flops": flops, "memory_bytes": sum(parts.values()), **parts}


def given_to(needs: Collection[str]) -> list[str]:
    """Names of a system's inputs from the simulated detector."""
    return [name for field, name in GIVEN.items() if field in needs]


def predicted(name: str, data_dir: Path, workdir: Path) -> tuple[Predictions, list[str], dict[str, int]]:
    """(predictions of all test scenes, inputs from the detector, cost of one image) of an exported checkpoint."""
    model = zoo.load(name)
    experiment = ex.load_experiment(model.config)
    needs = model.system.needs_predict
    pipeline = ex.eval_pipeline(experiment, data_dir / DATASET, "test", needs)
    run = make_predictor(model.system, model.variables)
    manifest = {"system": model.system.name, "split": "test", "dataset": DATASET}
    path = workdir / f"{name}.npz"
    predictions = ex.predict_split(experiment, pipeline.eval_batches(), run, path, manifest)
    one = {field: np.asarray(value)[:1] for field, value in next(pipeline.eval_batches()).items()}
    cost = {"parameters": parameter_count(zoo_folder() / name), **cost_of(model.system, model.variables, one)}
    return predictions, given_to(needs), cost


def measure(name: str, data_dir: Path, workdir: Path) -> dict[str, Any]:
    """Content of the result file of one checkpoint or baseline, without its fingerprint.

    Raises:
      io.DataError: the dataset is not built, or a file of the checkpoint is malformed.
    """
    started = time.process_time()
    test = ex.load_annotations(data_dir / DATASET, "test")
    vocabulary = get_vocabulary(test.vocabulary_name)
    if name == FREQUENCY:
        predictions = frequency_baseline(ex.load_annotations(data_dir / DATASET, "train"), test, vocabulary)
        given, cost = ["boxes"], {}
    else:
        predictions, given, cost = predicted(name, data_dir, workdir)
    results = {"model": score(SETTINGS, predictions, test, vocabulary)}
    if not predictions.pair_nis_keep.all():
        results["no_suppression"] = score(SETTINGS, predictions, test, vocabulary, use_nis=False)
    manifest = results["model"].manifest
    return {
        "annotations_fingerprint": test.fingerprint,
        "code": commit(),
        "cost": cost,
        "crowded_images": manifest["subset/crowded"]["num_images"],
        "given": given,
        "images": test.num_images,
        "metrics": {kind: _plain(result, verbs=len(predictions.triplet_pair) > 0) for kind, result in results.items()},
        "own_interactiveness": not bool(np.isnan(predictions.pair_interactiveness).all()),
        "processor_minutes": round((time.process_time() - started) / 60, 2),
        "versions": versions(),
    }


def _plain(result: EvaluationResult, *, verbs: bool) -> dict[str, float]:
    """The meaningful metrics: only interactiveness for a first stage, which has no verbs."""
    return {
        name: float(value)
        for name, value in result.metrics.items()
        if np.isfinite(value) and (verbs or "interactiveness" in name)
    }
