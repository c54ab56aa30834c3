"""Implementation of `evaluate.py --workdir`: predicts a split with a checkpoint, scores it, and writes the report."""

import dataclasses
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from hoi_jax import experiment as ex
from hoi_jax.annotations import Annotations
from hoi_jax.data.records import RecordFiles
from hoi_jax.evaluation.metrics.result import EvaluationResult
from hoi_jax.evaluation.postprocess.transfer import with_interactiveness
from hoi_jax.evaluation.scorer import Scorer
from hoi_jax.predictions import Predictions
from hoi_jax.report.run import RunSummary, plan_report, write_run_report
from hoi_jax.serialization.exported import find_folder, is_exported
from hoi_jax.system import System
from hoi_jax.training import load_for_evaluation, make_predictor
from hoi_jax.visualization.attention import (
    attention_caption,
    attention_of_pairs,
    draw_attention,
)
from hoi_jax.visualization.masks import draw_row, scene_of_row
from hoi_jax.vocab import Vocabulary

ATTENTION_IMAGES = 3
"""Number of images with attention maps in the report, with one pair each."""


@dataclasses.dataclass(frozen=True)
class RunRequest:
    """Request of one evaluation; every field is the argument of `evaluate.py` with that name."""

    workdir: Path
    checkpoint: str = "best"
    config: str | None = None
    data_dir: str = "data"
    split: str | None = None
    interactiveness_from: Path | None = None
    calibration: Path | None = None
    report: Path | None = None


def score_run(request: RunRequest) -> tuple[dict[str, EvaluationResult], Vocabulary]:
    """Results by name ("model" and its baselines) and the vocabulary of their classes.

    Raises:
      io.DataError, ValueError, RuntimeError: checkpoint, dataset or split do not exist, or the config does not fit.
    """
    from absl import logging
    from tqdm import tqdm

    logging.set_verbosity(logging.ERROR)  # hides Orbax's warnings about reading checkpoints
    workdir = find_folder(request.workdir)
    variables, config_text, metadata = load_for_evaluation(workdir, request.checkpoint)
    experiment = ex.load_experiment(ex.read_config(request.config) if request.config else json.loads(config_text))
    directory = Path(request.data_dir) / experiment.dataset.name
    fingerprint = ex.dataset_fingerprint(experiment, directory)
    if fingerprint != metadata.dataset_fingerprint:
        print(f"note: trained on records {metadata.dataset_fingerprint}, scored on {fingerprint}", file=sys.stderr)
    split = request.split or experiment.dataset.eval_split
    system = experiment.build_system()
    ex.check_requirements(experiment, directory, system, "predict")
    pipeline = ex.eval_pipeline(experiment, directory, split, system.needs_predict)
    manifest = {"system": system.name, "step": metadata.step, "split": split, "dataset": experiment.dataset.name}
    # Nothing is written into the folder of an exported checkpoint.
    folder = Path("runs") / workdir.name if is_exported(workdir) else workdir
    predictions_path = folder / f"predictions_{split}.npz"
    with tqdm(total=pipeline.files.num_examples, desc=f"predicting {split}", unit="img") as bar:
        predict, batches = make_predictor(system, variables), pipeline.eval_batches()
        predictions = ex.predict_split(
            experiment, batches, predict, predictions_path, manifest, lambda n: bar.update(n)
        )
    predictions = with_interactiveness(predictions, request.interactiveness_from, request.calibration)
    annotations = ex.load_annotations(directory, split)
    train = ex.load_annotations(directory, experiment.dataset.train_split)
    asked = experiment.evaluation
    results = Scorer(
        predictions, annotations, experiment.vocabulary, asked.metrics, asked.protocol, split, experiment.dataset.name,
        train=train, subsets=asked.subsets,
    ).results()  # fmt: skip
    if request.report:
        run = RunSummary(
            title=f"{experiment.system} on {experiment.dataset.name}",
            workdir=workdir,
            split=split,
            step=metadata.step,
            headline=next(iter(results["model"].metrics)),
            config=dataclasses.asdict(experiment),
        )
        drawings = draw_attention_maps(system, variables, next(pipeline.eval_batches()), experiment.vocabulary)
        _write_report(request.report, run, directory, predictions, annotations, experiment, results, drawings)
    return results, experiment.vocabulary


def draw_attention_maps(
    system: System, variables: Any, batch: Mapping[str, np.ndarray], vocabulary: Vocabulary
) -> list[tuple[str, Image.Image]]:
    """Drawings, with captions, of attention maps and masks for the first images of a batch.

    Empty for systems without either.
    """
    import jax

    found = jax.device_get(jax.jit(system.predict)(variables, dict(batch)))
    seen = jax.device_get(jax.jit(system.attention.explain)(variables, dict(batch))) if system.attention else {}
    drawn = []
    for row in np.flatnonzero(batch["batch_valid"])[:ATTENTION_IMAGES]:
        if attention := system.attention:
            words = {"captions": attention.captions, "legend": attention.legend}
            for pair in attention_of_pairs(
                found, seen, batch, row, vocabulary, attention.titles, attention.cell_px, 1, **words
            ):
                drawn.append((attention_caption(pair), draw_attention(pair)))
        if "instance_mask" in found:
            scene = scene_of_row(found, batch, row, vocabulary)
            drawn.append(("masks and the best relations", draw_row(scene, batch, row, vocabulary)))
    return drawn


def _write_report(
    path: Path,
    run: RunSummary,
    directory: Path,
    predictions: Predictions,
    annotations: Annotations,
    experiment: ex.Experiment,
    results: Mapping[str, EvaluationResult],
    drawings: list[tuple[str, Image.Image]],
) -> None:
    plan = plan_report(
        results, predictions, annotations, experiment.vocabulary, protocol=experiment.evaluation.protocol
    )
    images = RecordFiles(directory, run.split).images(plan.image_ids)
    write_run_report(path, run, plan, images, drawings)
    print(f"report: {path}")
