"""Score detection by trained DEFRs without further training: regional features (Table 11) and noisy boxes (Eq. 7).

    python -m studies.run defr_detection                                # every run of `defr_losses`, all regions
    python -m studies.defr_detection --workdir runs/defr --data_dir data    # one run: two-stream, prior and noise too

Scores the same weights with mask-1 to mask-n and ave-pool; for a single run also with mask-n's two-stream
approximation, the release's prior, and mask-1 with boxes moved by growing noise. Every row is written to
`studies/results/defr_detection/<run>_<row>.json` when it is finished, with the fingerprint of the training config and
the step; existing rows are skipped.
"""

import argparse
import copy
import hashlib
import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")

from absl import logging

from hoi_jax import experiment as ex
from hoi_jax.evaluation.score import score
from hoi_jax.io import write_json_atomic
from hoi_jax.training import load_for_evaluation, make_predictor
from studies import defr_losses
from studies.run import RESULTS, commit

CLAIM = "HOI mAP from weights that never saw a box: mask-1 best, each further masked block worse, ave-pool far behind."
METRICS = ("default/full", "default/rare", "default/non_rare", "image/default")
RUNS = defr_losses.RUNS
NOISE = (0.05, 0.1, 0.2, 0.3, 0.5)


def regions(layers: int) -> dict[str, dict[str, Any]]:
    """Row name -> changes of `model.detection`, as in Table 11, for a ViT with `layers` blocks."""
    masks = {f"mask-{blocks}": {"blocks": blocks} for blocks in range(2, layers + 1)}
    return {"mask-1": {}, **masks, "ave-pool": {"rule": "average"}}


def all_rows(layers: int) -> dict[str, dict[str, Any]]:
    """`regions`, the two-stream approximation, the released prior, and noise."""
    cheap = {f"mask-{blocks}-two-stream": {"blocks": blocks, "exact": False} for blocks in range(3, layers + 1)}
    noisy = {f"noise-{share}": {"box_noise": share} for share in NOISE}
    return {**regions(layers), **cheap, "mask-1-prior-2.8": {"prior_power": 2.8}, **noisy}


def score_workdir(workdir: Path, data_dir: str, checkpoint: str, *, only_regions: bool) -> None:
    """Score one trained run with every row that has no result yet."""
    logging.set_verbosity(logging.ERROR)  # hides Orbax's warnings about reading checkpoints
    variables, text, metadata = load_for_evaluation(workdir, checkpoint)
    config = json.loads(text)
    scenes = config["dataset"]["name"].startswith("hoi_scenes")
    config["evaluation"]["metrics"] = ["hoi", "image"] if scenes else ["hoi"]
    base = {key: value for key, value in config["model"].get("detection", {}).items() if key not in ("rule", "blocks")}
    about = {"config_fingerprint": hashlib.sha256(text.encode()).hexdigest()[:16], "step": metadata.step}
    layers = config["model"]["backbone"]["layers"]
    for name, change in (regions if only_regions else all_rows)(layers).items():
        path = RESULTS / "defr_detection" / f"{workdir.name}_{name}.json"
        if path.is_file() and about.items() <= json.loads(path.read_text()).items():
            continue
        changed = copy.deepcopy(config)
        changed["model"]["detection"] = {**base, **change}
        started = time.monotonic()
        metrics, fingerprint = _score(
            ex.load_experiment(changed), workdir / f"predictions_{name}.npz", data_dir, variables
        )
        row = {
            "study": "defr_detection",
            "run": f"{workdir.name}_{name}",
            "detection": change,
            "annotations_fingerprint": fingerprint,
            "code": commit(),
            "metrics": {"model": {key: None if value != value else value for key, value in metrics.items()}},
            "seconds": round(time.monotonic() - started, 1),
        }
        write_json_atomic(path, {**about, **row})
        cells = (f"{key} {100 * metrics[key]:6.2f}  " for key in ("default/full", "default/rare"))
        print(f"{workdir.name} {name:<18}" + "".join(cells), flush=True)


def _score(
    experiment: ex.Experiment, predictions_path: Path, data_dir: str, variables: Mapping[str, Any]
) -> tuple[Mapping[str, float], str]:
    """(metrics of one row on the evaluation split, fingerprint of its labels)."""
    directory, split = Path(data_dir) / experiment.dataset.name, experiment.dataset.eval_split
    system = experiment.build_system()
    batches = ex.eval_pipeline(experiment, directory, split, system.needs_predict).eval_batches()
    predictions = ex.predict_split(
        experiment, batches, make_predictor(system, variables), predictions_path, {"row": predictions_path.stem}
    )
    annotations = ex.load_annotations(directory, split)
    train = ex.load_annotations(directory, experiment.dataset.train_split)
    result = score(experiment.evaluation, predictions, annotations, experiment.vocabulary, train=train)
    return result.metrics, annotations.fingerprint


def run_all(options: argparse.Namespace) -> None:
    """Score the trained runs of `defr_losses`; print the names of the others."""
    for name in options.only or RUNS:
        workdir = Path(options.workdir) / "defr_losses" / name
        if (workdir / "scores.json").is_file():
            score_workdir(workdir, options.data_dir, "best", only_regions=True)
        else:
            print(f"{name}: not trained yet, `python -m studies.run defr_losses --only {name}`")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workdir", type=Path, required=True, help="folder of a training run of DEFR with a ViT")
    parser.add_argument("--data_dir", default="data")
    parser.add_argument("--checkpoint", default="best")
    options = parser.parse_args()
    score_workdir(options.workdir, options.data_dir, options.checkpoint, only_regions=False)


if __name__ == "__main__":
    main()
