"""Scores a checkpoint, or a file of predictions without loading any model.

    python evaluate.py --workdir runs/tin                          # newest best checkpoint, its own split
    python evaluate.py --workdir runs/tin --report report.html     # and a page to look at
    python evaluate.py --predictions runs/tin/predictions_test.npz --annotations data/…/annotations_test.npz

Every score is printed with and without non-interaction suppression (NIS) where the predictions carry it, and for
HOI classes beside the class-frequency baseline. `--out` writes the numbers as JSON.
"""

import argparse
import dataclasses
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")

from hoi_jax.evaluation.annotations import Annotations
from hoi_jax.evaluation.baselines import frequency_baseline
from hoi_jax.evaluation.protocols import hoi_protocol
from hoi_jax.evaluation.result import EvaluationResult
from hoi_jax.evaluation.scoring import METRICS, EvaluationSettings, score
from hoi_jax.evaluation.store import PredictionStore, load_predictions
from hoi_jax.io import DataError
from hoi_jax.vocab import Vocabulary, get_vocabulary

if TYPE_CHECKING:
    from hoi_jax.experiment import Experiment


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="evaluate.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--workdir", type=Path, help="folder of a training run: predict with its checkpoint, then score")
    what.add_argument("--predictions", type=Path, help="prediction store (.npz) to score; no model is loaded")
    parser.add_argument("--checkpoint", default="best", help="best, last or a step number (default: best)")
    parser.add_argument("--split", help="split to predict (default: the config's evaluation split)")
    parser.add_argument("--data_dir", default="data", help="folder of built datasets (default: data)")
    parser.add_argument("--annotations", type=Path, help="annotations_<split>.npz, with --predictions")
    parser.add_argument("--metrics", nargs="+", choices=METRICS, help="with --predictions (default: by vocabulary)")
    parser.add_argument("--protocol", default="official", help="named HOI protocol (default: official)")
    parser.add_argument("--train-annotations", type=Path, help="annotations of the training split, for the baseline")
    parser.add_argument("--out", type=Path, help="write all numbers as JSON")
    parser.add_argument("--report", type=Path, help="with --workdir: write a self-contained HTML page")
    options = parser.parse_args(arguments)
    if options.predictions and not options.annotations:
        parser.error("--predictions needs --annotations")
    if options.report and not options.workdir:
        parser.error("--report needs --workdir")
    return options


def score_all(
    store: PredictionStore,
    annotations: Annotations,
    train: Annotations | None,
    settings: EvaluationSettings,
    vocabulary: Vocabulary,
) -> dict[str, EvaluationResult]:
    """The model as it is, without NIS if it suppressed anything, and the class-frequency baseline."""
    results = {"model": score(settings, store, annotations, vocabulary)}
    if not store.pair_kept.all():
        results["without NIS"] = score(settings, store, annotations, vocabulary, use_nis=False)
    if train is not None and vocabulary.hois and len(annotations["detections_class"]):
        baseline = frequency_baseline(train, annotations, vocabulary)
        results["class frequency"] = score(settings, baseline, annotations, vocabulary)
    return results


def print_results(results: Mapping[str, EvaluationResult]) -> None:
    """One line per metric, one column per result, in percent."""
    names = list(results)
    print("".join([" " * 26, *(f"{name:>18}" for name in names)]))
    for metric in results["model"].metrics:
        row = [results[name].metrics.get(metric, float("nan")) for name in names]
        print(f"{metric:<26}" + "".join(f"{100 * value:>18.2f}" for value in row))


def evaluate_file(options: argparse.Namespace) -> dict[str, EvaluationResult]:
    """Scores a prediction store; imports neither JAX nor TensorFlow."""
    store, annotations = load_predictions(options.predictions), Annotations.load(options.annotations)
    train = Annotations.load(options.train_annotations) if options.train_annotations else None
    vocabulary = get_vocabulary(store.vocabulary_name)
    metrics = options.metrics or (("hoi",) if vocabulary.hois else ("actions",))
    settings = EvaluationSettings(metrics=tuple(metrics), protocol=options.protocol)
    return score_all(store, annotations, train, settings, vocabulary)


def evaluate_workdir(options: argparse.Namespace) -> dict[str, EvaluationResult]:
    """Predicts a split with a checkpoint, scores it, and writes the report if asked."""
    import json

    from tqdm import tqdm

    from hoi_jax import experiment as ex
    from hoi_jax.data.records import read_meta
    from hoi_jax.training import load_for_evaluation, make_predictor

    variables, config_text, metadata = load_for_evaluation(options.workdir, options.checkpoint)
    experiment = ex.load_experiment(json.loads(config_text))
    directory = Path(options.data_dir) / experiment.dataset.name
    fingerprint = read_meta(directory)["fingerprint"]
    if fingerprint != metadata.dataset_fingerprint:
        print(f"note: trained on records {metadata.dataset_fingerprint}, these are {fingerprint}", file=sys.stderr)
    split = options.split or experiment.dataset.eval_split
    system = experiment.build_system()
    pipeline = ex.eval_pipeline(experiment, directory, split, system.needs_predict)
    manifest = {"system": system.name, "step": metadata.step, "split": split, "dataset": experiment.dataset.name}
    store_path = options.workdir / f"predictions_{split}.npz"
    with tqdm(total=pipeline.files.num_examples, desc=f"predicting {split}", unit="img") as bar:
        predict, batches = make_predictor(system, variables), pipeline.eval_batches()
        store = ex.predict_split(experiment, batches, predict, store_path, manifest, lambda n: bar.update(n))
    annotations = ex.load_annotations(directory, split)
    train = ex.load_annotations(directory, experiment.dataset.train_split)
    results = score_all(store, annotations, train, experiment.evaluation, experiment.vocabulary)
    if options.report:
        _write_report(options, experiment, split, store, annotations, results, metadata.step)
    return results


def _write_report(
    options: argparse.Namespace,
    experiment: "Experiment",
    split: str,
    store: PredictionStore,
    annotations: Annotations,
    results: Mapping[str, EvaluationResult],
    step: int,
) -> None:
    from hoi_jax.data.records import RecordFiles
    from hoi_jax.report.examples import choose_examples
    from hoi_jax.report.run import RunSummary, write_run_report

    run = RunSummary(
        title=f"{experiment.system} on {experiment.dataset.name}",
        workdir=options.workdir,
        split=split,
        step=step,
        headline=next(iter(results["model"].metrics)),
        config=dataclasses.asdict(experiment),
    )
    wanted = {e.image_id for e in choose_examples(store, annotations, experiment.vocabulary)}
    images = RecordFiles(Path(options.data_dir) / experiment.dataset.name, split).pictures(wanted)
    write_run_report(options.report, run, images, store, annotations, experiment.vocabulary, results)
    print(f"report: {options.report}")


def to_json(results: Mapping[str, EvaluationResult]) -> dict[str, Any]:
    """The model's own numbers as of `EvaluationResult.to_json`, the others under `compared`."""
    others = {name: result.to_json()["metrics"] for name, result in results.items() if name != "model"}
    return {**results["model"].to_json(), "compared": others}


def main(arguments: Sequence[str] | None = None) -> int:
    from hoi_jax.io import write_json_atomic

    options = parse_arguments(arguments)
    try:
        hoi_protocol(options.protocol)
        results = evaluate_workdir(options) if options.workdir else evaluate_file(options)
    except (DataError, ValueError, RuntimeError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print_results(results)
    if options.out:
        write_json_atomic(options.out, to_json(results))
    return 0


if __name__ == "__main__":
    sys.exit(main())
