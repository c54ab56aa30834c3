"""TIN on real labels without images, from only the maps of the two boxes and the class of the object.

    python -m studies.run tin_real_labels

HICO-DET: HAKE's training pairs, scored on the real test pairs under the official protocol. V-COCO: train and val,
scored on the pairs of the test images (files of pairs lack part of the official test labels, see
`hoi_jax.evaluation.metrics.annotated_pairs`). Annotated boxes replace detections, so every person of an image with
every other box is a candidate pair, and the scores are not comparable with published ones. Both networks are compared
with the class frequencies of the training labels on exactly the same pairs, with intervals of the paired bootstrap over
images.
"""

import argparse
import dataclasses
import json
import time
from pathlib import Path
from typing import Any

from hoi_jax.annotations import Annotations
from hoi_jax.evaluation.analysis.baselines import frequency_of_pairs
from hoi_jax.evaluation.analysis.bootstrap import difference, intervals
from hoi_jax.evaluation.analysis.compare import stored_draws
from hoi_jax.evaluation.metrics.alignment import versions
from hoi_jax.evaluation.metrics.result import EvaluationResult
from hoi_jax.evaluation.scorer import Scorer
from hoi_jax.io import write_json_atomic
from hoi_jax.predictions import Predictions, load_predictions
from hoi_jax.vocab import get_vocabulary
from studies.run import RESULTS, commit, folder, train_run
from studies.runs import Run, fingerprint, runs_of, values_of

CLAIM = "The shape of a pair says more than its object's class alone: above the class frequencies on both datasets."
METRICS = ("default/full", "default/rare", "default/non_rare", "pairs_role_ap/24", "pairs_agent_ap/22")
RUNS = {
    "hico_det": Run("configs/tin_hico_det_geometry.py"),
    "vcoco": Run("configs/tin_vcoco_geometry.py"),
}
STUDY = "tin_real_labels"
REPLICATES = 1000


def scored(
    predictions: Predictions, labels: Annotations, train: Annotations, metrics: tuple[str, ...]
) -> dict[str, Any]:
    """Metrics of predictions and of class frequencies on the same pairs, with intervals and paired differences.

    "class_frequency" is P(verb | object) among annotated pairs, "class rate" annotated pairs per candidate pair.
    """
    vocabulary = get_vocabulary(predictions.vocabulary_name)
    ranked = tuple(name for name in metrics if name != "nis")
    scorer = Scorer(predictions, labels, vocabulary, ranked, split="test", dataset=vocabulary.name)
    others = {
        "class_frequency": frequency_of_pairs(predictions, train, vocabulary),
        "class rate": frequency_of_pairs(predictions, train, vocabulary, per_candidate=True),
    }
    results: dict[str, EvaluationResult] = {
        "model": scorer.with_intervals(scorer.result(), replicates=REPLICATES),
        "no_suppression": scorer.with_intervals(scorer.result(use_nis=False), replicates=REPLICATES),
    }
    for name, other in others.items():
        counted = dataclasses.replace(scorer, predictions=other)
        results[name] = counted.with_intervals(counted.result(), replicates=REPLICATES)
    values = {name: dict(result.to_json()["metrics"]) for name, result in results.items()}
    values["model"] |= dataclasses.replace(scorer, metrics=("nis",)).result().to_json()["metrics"]
    own, found = stored_draws(results["model"]), {}
    for name in list(results)[1:]:
        other = stored_draws(results[name])
        if own is not None and other is not None:
            spread = intervals(difference(other, own))
            found[name] = {m: {"difference": i.estimate, "low": i.low, "high": i.high} for m, i in spread.items()}
    return {
        "metrics": values,
        "intervals": {name: result.manifest["intervals"] for name, result in results.items()},
        "model_minus": found,
        "candidate_pairs": len(predictions.pair_image),
    }


def score_run(name: str, run: Run, options: argparse.Namespace) -> None:
    """Train one run unless it is trained, and score the predictions of its last step."""
    path, expected = RESULTS / STUDY / f"{name}.json", fingerprint(STUDY, run)
    if path.is_file() and json.loads(path.read_text())["config_fingerprint"] == expected:
        print(f"{STUDY}/{name}: has a result already")
        return
    started = time.monotonic()
    train_run(STUDY, name, run, options)
    config = values_of(STUDY, run)
    dataset, directory = config["dataset"], Path(options.data_dir) / config["dataset"]["name"]
    labels = Annotations.load(directory / f"annotations_{dataset['eval_split']}.npz")
    train = Annotations.load(directory / f"annotations_{dataset['train_split']}.npz")
    predictions = load_predictions(folder(f"{STUDY}/{name}", options) / f"predictions_{dataset['eval_split']}.npz")
    result = {
        "study": STUDY,
        "run": name,
        "config": run.config,
        "changes": dict(run.changes),
        "config_fingerprint": expected,
        "annotations_fingerprint": labels.fingerprint,
        "code": commit(),
        "versions": versions(),
        **scored(predictions, labels, train, tuple(config["evaluation"]["metrics"])),
        "minutes": round((time.monotonic() - started) / 60, 1),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json_atomic(path, result)


def run_all(options: argparse.Namespace) -> None:
    """Train and score every run without a result for its config."""
    for name, run in runs_of(STUDY).items():
        if name in (options.only or RUNS):
            score_run(name, run, options)
