"""Scores a file of predictions, without loading any model, or a checkpoint.

    python evaluate.py --predictions preds.npz --dataset hico_det --annotations instances_test2015.json.gz --out m.json
    python evaluate.py --predictions results.json --annotations anno_bbox.mat --image-labels anno.mat --protocol qpic
    python evaluate.py --predictions cache.pkl --annotations vcoco_test.json --coco-instances instances_val2014.json
    python evaluate.py --workdir runs/tin --report report.html     # newest best checkpoint, its own split

Files are told apart by their content. Predictions: our store (npz), flat npz, result JSON of the PPDM, QPIC, CDN and
GEN-VLKT family, folders of official HICO-DET .mat files, official V-COCO detections (pickle, read as plain data).
HOI-W's lists (--dataset hoi_w) and PIC's folders of label maps (--dataset pic) go with labels of their own layout.
Labels: annotations_<split>.npz, HICO-DET JSON or anno_bbox.mat, V-COCO's official tables with COCO instances, V-COCO
pair JSON, flat V-COCO npz. Images without predictions, unknown images, NaN scores and other oddities are counted and
reported; a broken file is refused with its record and field.

Scores are printed in percent, with and without non-interaction suppression (NIS) where the predictions carry it, and
beside the class-frequency baseline where training labels are given. `--out` writes every figure as JSON: `metrics`
(0 to 1), `per_class`, `manifest`; null where nothing can be said.
"""

import argparse
import dataclasses
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")

from hoi_jax.evaluation.annotations import Annotations
from hoi_jax.evaluation.baselines import box_distance_interactiveness, frequency_baseline
from hoi_jax.evaluation.bootstrap import difference, intervals
from hoi_jax.evaluation.compare import stored_draws
from hoi_jax.evaluation.file_scores import DATASETS, FILE_METRICS, evaluate_hoi_w_files, load_scorer
from hoi_jax.evaluation.files.annotation_files import read_annotations
from hoi_jax.evaluation.files.prediction_checks import warnings_of
from hoi_jax.evaluation.files.prediction_files import FORMATS, write_official
from hoi_jax.evaluation.join import join_interactiveness
from hoi_jax.evaluation.nis_thresholds import apply_thresholds, read_calibration
from hoi_jax.evaluation.protocols import HOI_PRESETS, hoi_protocol
from hoi_jax.evaluation.relation_scores import evaluate_pic_files
from hoi_jax.evaluation.result import EvaluationResult, format_table
from hoi_jax.evaluation.scoring import EvaluationSettings, score
from hoi_jax.evaluation.store import PredictionStore, load_predictions
from hoi_jax.evaluation.subsets import SUBSETS
from hoi_jax.evaluation.vcoco import role_verbs
from hoi_jax.io import DataError
from hoi_jax.vocab import Vocabulary, get_vocabulary

if TYPE_CHECKING:
    from hoi_jax.experiment import Experiment
    from hoi_jax.report.attention import LookedAt
    from hoi_jax.system import System


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="evaluate.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument(
        "--workdir", type=Path, help="folder of a training run, or (name of) a kept checkpoint: predict, then score"
    )
    what.add_argument("--predictions", type=Path, help="file (or folder of .mat files) to score; no model is loaded")
    parser.add_argument("--out", type=Path, help="write all numbers as JSON")
    parser.add_argument("--per-class", action="store_true", help="print a line per class as well")

    files = parser.add_argument_group("with --predictions")
    files.add_argument("--annotations", type=Path, help="label file (required)")
    files.add_argument("--dataset", choices=[*DATASETS, "hoi_w", "pic"], help="default: what the labels are of")
    files.add_argument("--format", default="auto", choices=["auto", *FORMATS], help="of the predictions, if not clear")
    files.add_argument(
        "--protocol", default="official", help=f"named HOI protocol: {', '.join(HOI_PRESETS)} (default: official)"
    )
    files.add_argument("--metrics", nargs="+", choices=FILE_METRICS, help="default: what papers report for the dataset")
    files.add_argument("--subsets", nargs="+", choices=list(SUBSETS), default=(), help="score these parts as well")
    files.add_argument(
        "--coco-instances", type=Path, nargs="+", default=(), metavar="FILE", help="boxes of official V-COCO labels"
    )
    files.add_argument(
        "--image-labels", type=Path, metavar="FILE", help="anno.mat: Known Object by image labels, not visible pairs"
    )
    files.add_argument(
        "--interactiveness-gt", type=Path, metavar="FILE", help="npz of published pairs: interactiveness AP as well"
    )
    files.add_argument("--train-annotations", type=Path, metavar="FILE", help="training labels: baseline, Few@k")
    files.add_argument(
        "--bootstrap", type=int, metavar="N", help="95 %% intervals from N draws of images (1000 is a good number)"
    )
    files.add_argument(
        "--write-official", type=Path, metavar="PATH", help="also write predictions for the official scripts"
    )

    run = parser.add_argument_group("with --workdir")
    run.add_argument("--checkpoint", default="best", help="best, last or a step number (default: best)")
    run.add_argument("--config", metavar="FILE[:OPTIONS]", help="another config for the same parameters")
    run.add_argument("--data-dir", "--data_dir", default="data", help="folder of built datasets (default: data)")
    run.add_argument("--report", type=Path, help="write a self-contained HTML page")
    two = parser.add_argument_group("two networks")
    two.add_argument(
        "--interactiveness-from", type=Path, metavar="STORE", help="every pair takes the nearest pair's interactiveness"
    )
    two.add_argument("--calibration", type=Path, help="calibration.json: suppress by its thresholds per HOI class")
    parser.add_argument("--split", help="split to predict (default: the config's), or to read from a .mat (test)")
    options = parser.parse_args(arguments)
    if options.predictions and not options.annotations:
        parser.error("--predictions needs --annotations")
    if options.bootstrap is not None and options.bootstrap < 2:
        parser.error("--bootstrap needs at least 2 draws")
    if (options.report or options.config) and not options.workdir:
        parser.error("--report and --config need --workdir")
    return options


def score_all(
    store: PredictionStore,
    annotations: Annotations,
    train: Annotations | None,
    settings: EvaluationSettings,
    vocabulary: Vocabulary,
) -> dict[str, EvaluationResult]:
    """The model as it is, without NIS if it suppressed anything, and what it must beat.

    The class-frequency baseline pairs detections; it has no scores of whole pictures. Where interactiveness is asked
    for, box distance ranks the model's own pairs, and all pairs of detections.
    """
    results = {"model": score(settings, store, annotations, vocabulary, train=train)}
    if not store.pair_kept.all():
        results["without NIS"] = score(settings, store, annotations, vocabulary, use_nis=False, train=train)
    nearness = dataclasses.replace(settings, metrics=("interactiveness",))
    if "interactiveness" in settings.metrics:
        results["own by distance"] = score(nearness, box_distance_interactiveness(store), annotations, vocabulary)
    of_pairs = tuple(name for name in settings.metrics if name not in ("image", "mpii"))
    labelled = bool(vocabulary.hois) or annotations.vocabulary_name == vocabulary.name
    if of_pairs and train is not None and labelled and len(annotations["detections_class"]):
        baseline = frequency_baseline(train, annotations, vocabulary)
        of_pairs_only = dataclasses.replace(settings, metrics=of_pairs)
        results["class frequency"] = score(of_pairs_only, baseline, annotations, vocabulary)
        if "interactiveness" in settings.metrics:
            near = box_distance_interactiveness(baseline)
            results["all by distance"] = score(nearness, near, annotations, vocabulary)
    return results


def print_results(results: Mapping[str, EvaluationResult]) -> None:
    """One line per metric, one column per result, in percent."""
    names = list(results)
    print("".join([" " * 32, *(f"{name:>18}" for name in names)]))
    for metric in results["model"].metrics:
        row = [results[name].metrics.get(metric, float("nan")) for name in names]
        print(f"{metric:<32}" + "".join(f"{100 * value:>18.2f}" for value in row))


def print_about(result: EvaluationResult) -> None:
    """Under which rules, and what was odd about the predictions."""
    manifest = result.manifest
    protocol = manifest.get("protocol")
    name = protocol.get("name") if isinstance(protocol, Mapping) else protocol
    print(
        f"\n{manifest['dataset']}: {manifest['num_images']} images, {manifest['num_predictions']} predictions, {name}"
    )
    if manifest.get("known_object_source") == "visible_pairs":
        print("Known Object: images with a visible pair of the object (no image-level labels were given)")
    for metric, interval in manifest.get("intervals", {}).items():
        print(f"{metric:<32}{100 * interval['low']:>9.2f} to {100 * interval['high']:.2f} (95 % interval)")
    for line in warnings_of(manifest.get("input_counts", {})):
        print(f"note: {line}", file=sys.stderr)


def paired_differences(results: Mapping[str, EvaluationResult]) -> dict[str, dict[str, dict[str, float]]]:
    """The model minus every other result that was drawn on the same images: metric -> difference, low, high."""
    drawn = {name: stored_draws(result) for name, result in results.items()}
    own = drawn.pop("model")
    found: dict[str, dict[str, dict[str, float]]] = {}
    for name, other in drawn.items():
        if own is not None and other is not None:
            spread = intervals(difference(other, own))
            found[name] = {m: {"difference": i.estimate, "low": i.low, "high": i.high} for m, i in spread.items()}
    return found


def print_differences(found: Mapping[str, Mapping[str, Mapping[str, float]]]) -> None:
    """One line per metric, in percent points."""
    for name, metrics in found.items():
        print(f"\nmodel minus {name}, paired by image:")
        for metric, i in metrics.items():
            low, high = 100 * i["low"], 100 * i["high"]
            print(f"{metric:<32}{100 * i['difference']:>+9.2f}  {low:+.2f} to {high:+.2f} (95 % interval)")


def print_classes(result: EvaluationResult, vocabulary: Vocabulary) -> None:
    """A table for each list of classes that arrays of the result fit."""
    lists = {
        "HOI classes": tuple(vocabulary.hoi_name(hoi) for hoi in range(len(vocabulary.hois))),
        "actions": vocabulary.actions,
        "role classes": tuple(vocabulary.verbs[verb] for verb in role_verbs(vocabulary)),
    }
    for title, names in lists.items():
        arrays = tuple(name for name, array in result.per_class.items() if array.shape == (len(names),))
        if names and arrays:
            rows = dataclasses.replace(result, metrics={})
            print(f"\n{title}", format_table(rows, names, arrays=arrays).lstrip("\n"), sep="\n")


def with_interactiveness(store: PredictionStore, options: argparse.Namespace) -> PredictionStore:
    """The store with another network's interactiveness and fitted suppression, as far as they are asked for."""
    vocabulary = get_vocabulary(store.vocabulary_name)
    if options.interactiveness_from:
        store = join_interactiveness(store, load_predictions(options.interactiveness_from))
    if options.calibration:
        store = apply_thresholds(store, read_calibration(options.calibration, vocabulary), vocabulary)
    return store


def evaluate_file(options: argparse.Namespace) -> dict[str, EvaluationResult]:
    """Scores a file of predictions; imports neither JAX nor TensorFlow."""
    if options.dataset == "hoi_w":
        return {"model": evaluate_hoi_w_files(options.predictions, options.annotations)}
    if options.dataset == "pic":
        return {"model": evaluate_pic_files(options.predictions, options.annotations)}
    scorer = load_scorer(
        options.predictions,
        options.annotations,
        dataset=options.dataset,
        format=options.format,
        protocol=options.protocol,
        metrics=options.metrics,
        split=options.split or "test",
        coco_instances=options.coco_instances,
        image_labels=options.image_labels,
        interactiveness_gt=options.interactiveness_gt,
    )
    train = None
    if options.train_annotations:
        train = read_annotations(options.train_annotations, image_labels=options.image_labels, split="train")
    scorer = dataclasses.replace(scorer, store=with_interactiveness(scorer.store, options), train=train)
    results = {"model": scorer.result(subsets=options.subsets)}
    if options.bootstrap:
        results["model"] = scorer.with_intervals(results["model"], replicates=options.bootstrap)
    if not scorer.store.pair_kept.all():
        results["without NIS"] = scorer.result(use_nis=False, subsets=options.subsets)
    ranked = tuple(name for name in scorer.metrics if name in ("hoi", "role_pairs", "agent_pairs"))
    if train is not None and ranked and len(scorer.annotations["detections_class"]):
        baseline = frequency_baseline(train, scorer.annotations, scorer.vocabulary)
        counted = dataclasses.replace(scorer, store=baseline, metrics=ranked)
        results["class frequency"] = counted.result()
        if options.bootstrap:
            drawn = counted.with_intervals(results["class frequency"], replicates=options.bootstrap)
            results["class frequency"] = drawn
    if options.write_official:
        count = write_official(options.write_official, scorer.store, scorer.annotations, scorer.vocabulary)
        print(f"{options.write_official}: {count} records for the official script")
    if options.per_class:
        print_classes(results["model"], scorer.vocabulary)
    return results


def evaluate_workdir(options: argparse.Namespace) -> dict[str, EvaluationResult]:
    """Predicts a split with a checkpoint, scores it, and writes the report if asked."""
    import json

    from absl import logging
    from tqdm import tqdm

    from hoi_jax import experiment as ex
    from hoi_jax.files.kept_folder import find_folder, is_kept
    from hoi_jax.training import load_for_evaluation, make_predictor

    logging.set_verbosity(logging.ERROR)  # Orbax warns that opening a checkpoint to read does not write
    options.workdir = find_folder(options.workdir)
    variables, config_text, metadata = load_for_evaluation(options.workdir, options.checkpoint)
    config = _config_values(options.config) if options.config else json.loads(config_text)
    experiment = ex.load_experiment(config)
    directory = Path(options.data_dir) / experiment.dataset.name
    fingerprint = ex.dataset_fingerprint(experiment, directory)
    if fingerprint != metadata.dataset_fingerprint:
        print(f"note: trained on records {metadata.dataset_fingerprint}, these are {fingerprint}", file=sys.stderr)
    split = options.split or experiment.dataset.eval_split
    system = experiment.build_system()
    pipeline = ex.eval_pipeline(experiment, directory, split, system.needs_predict)
    manifest = {"system": system.name, "step": metadata.step, "split": split, "dataset": experiment.dataset.name}
    # A kept checkpoint lies among the sources: nothing is written into it.
    folder = Path("runs") / options.workdir.name if is_kept(options.workdir) else options.workdir
    store_path = folder / f"predictions_{split}.npz"
    with tqdm(total=pipeline.files.num_examples, desc=f"predicting {split}", unit="img") as bar:
        predict, batches = make_predictor(system, variables), pipeline.eval_batches()
        store = ex.predict_split(experiment, batches, predict, store_path, manifest, lambda n: bar.update(n))
    store = with_interactiveness(store, options)
    annotations = ex.load_annotations(directory, split)
    train = ex.load_annotations(directory, experiment.dataset.train_split)
    results = score_all(store, annotations, train, experiment.evaluation, experiment.vocabulary)
    if options.report:
        looks = _looks(system, variables, next(pipeline.eval_batches()), experiment.vocabulary)
        _write_report(options, experiment, split, store, annotations, results, metadata.step, looks)
    return results


def _looks(
    system: "System", variables: Any, batch: Mapping[str, np.ndarray], vocabulary: Vocabulary
) -> "list[LookedAt]":
    """The most interactive pair of three pictures, for systems that show where they look."""
    import jax

    from hoi_jax.report.attention import looked_at

    if system.look is None:
        return []
    found, seen = (
        jax.device_get(jax.jit(function)(variables, dict(batch))) for function in (system.predict, system.look.apply)
    )
    pictures = np.flatnonzero(batch["batch_valid"])[:3]
    titles, cell_px = system.look.titles, system.look.cell_px
    return [p for row in pictures for p in looked_at(found, seen, batch, row, vocabulary, titles, cell_px, 1)]


def _config_values(text: str) -> dict[str, Any]:
    """Values of a config file; what follows a colon is its options."""
    import runpy

    path, _, argument = text.partition(":")
    if not Path(path).is_file():
        raise ValueError(f"{path}: no such config file")
    get_config = runpy.run_path(path)["get_config"]
    return (get_config(argument) if argument else get_config()).to_dict()


def _write_report(
    options: argparse.Namespace,
    experiment: "Experiment",
    split: str,
    store: PredictionStore,
    annotations: Annotations,
    results: Mapping[str, EvaluationResult],
    step: int,
    looks: "list[LookedAt]",
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
    write_run_report(options.report, run, images, store, annotations, experiment.vocabulary, results, looks)
    print(f"report: {options.report}")


def to_json(results: Mapping[str, EvaluationResult]) -> dict[str, Any]:
    """The model's own numbers as of `EvaluationResult.to_json`, the others under `compared`."""
    others = {name: result.to_json()["metrics"] for name, result in results.items() if name != "model"}
    return {**results["model"].to_json(), "compared": others, "differences": paired_differences(results)}


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
    if options.predictions:
        print_about(results["model"])
        print_differences(paired_differences(results))
    if options.out:
        write_json_atomic(options.out, to_json(results))
    return 0


if __name__ == "__main__":
    sys.exit(main())
