"""Fit suppression thresholds per HOI class on held-out training images, never on the test set.

    python train.py --config configs/tin_hoi_scenes.py --workdir runs/tin --config.dataset.train_split=train:fit
    python -m hoi_jax.commands.fit_suppression --workdir runs/tin --data-dir data
    python evaluate.py --workdir runs/tin --calibration runs/tin/calibration.json

The run must have been trained on the part "fit" of a split. Its checkpoint predicts the part "held_out" (a tenth), and
the thresholds with the best AP there are written to `calibration.json` in the workdir.
"""

import argparse
import dataclasses
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from hoi_jax import experiment as ex
from hoi_jax.data.records import base_and_part
from hoi_jax.evaluation.postprocess.suppression import fit_thresholds, write_calibration
from hoi_jax.training import load_for_evaluation, make_predictor


def fit(workdir: Path, data_dir: Path, checkpoint: str = "best") -> tuple[Path, int, int]:
    """Write `calibration.json`; return its path, the number of classes with a threshold above 0, and of all classes.

    Raises:
      ValueError: the run was trained on all training images, or its vocabulary has no HOI classes.
    """
    variables, config_text, metadata = load_for_evaluation(workdir, checkpoint)
    experiment = ex.load_experiment(json.loads(config_text))
    base, part = base_and_part(experiment.dataset.train_split)
    if part != "fit":
        raise ValueError(f"{workdir}: was trained on all of {base!r}; train with dataset.train_split={base}:fit")
    split = f"{base}:held_out"
    system, vocabulary = experiment.build_system(), experiment.vocabulary
    directory = data_dir / experiment.dataset.name
    pipeline = ex.eval_pipeline(experiment, directory, split, system.needs_predict)
    manifest = {"system": system.name, "step": metadata.step, "split": split}
    predict = make_predictor(system, variables)
    path = workdir / f"predictions_{base}_held_out.npz"
    predictions = ex.predict_split(experiment, pipeline.eval_batches(), predict, path, manifest)
    # The thresholds replace the suppression of the config.
    predictions = dataclasses.replace(predictions, pair_nis_keep=np.ones_like(predictions.pair_nis_keep))
    thresholds = fit_thresholds(predictions, ex.load_annotations(directory, split), vocabulary)
    target = workdir / "calibration.json"
    write_calibration(target, thresholds, predictions, split, vocabulary)
    return target, int((thresholds > 0).sum()), len(thresholds)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workdir", type=Path, required=True, help="run trained on a split's part 'fit'")
    parser.add_argument("--data-dir", "--data_dir", type=Path, default=Path("data"), help="folder of built datasets")
    parser.add_argument("--checkpoint", default="best", help="best, last or a step number (default: best)")
    options = parser.parse_args(arguments)
    try:
        target, above, classes = fit(options.workdir, options.data_dir, options.checkpoint)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"{target}: {above} of {classes} classes have a threshold above 0")
    return 0


if __name__ == "__main__":
    sys.exit(main())
