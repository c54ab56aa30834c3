"""Detection from one trained DEFR without further training: regional features (Table 11) and noisy boxes (Eq. 7).

    python -m studies.defr_detection --workdir runs/defr --data_dir data

Scores the same weights with mask-1 to mask-n, their two-stream approximation, ave-pool and both priors, then mask-1
with boxes moved by growing noise. Every row is written to `studies/results/defr_detection/` as it ends, with the
fingerprint of the training config and the step; rows that are there are skipped.
"""

import argparse
import copy
import hashlib
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")

from hoi_jax import experiment as ex
from hoi_jax.evaluation.scoring import score
from hoi_jax.io import write_json_atomic
from hoi_jax.training import load_for_evaluation, make_predictor

RESULTS = Path(__file__).resolve().parent / "results" / "defr_detection"
NOISE = (0.05, 0.1, 0.2, 0.3, 0.5)


def variants(layers: int) -> Iterator[tuple[str, dict[str, Any]]]:
    """(name, what changes in `model.detection`) of every row."""
    yield "mask-1", {}
    yield "ave-pool", {"rule": "average"}
    for blocks in range(2, layers + 1):
        yield f"mask-{blocks}", {"blocks": blocks}
        if blocks > 2:
            yield f"mask-{blocks}-two-stream", {"blocks": blocks, "exact": False}
    yield "mask-1-prior-2.8", {"prior_power": 2.8}
    for share in NOISE:
        yield f"noise-{share}", {"box_noise": share}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workdir", type=Path, required=True, help="folder of a training run of DEFR with a ViT")
    parser.add_argument("--data_dir", default="data")
    parser.add_argument("--checkpoint", default="best")
    options = parser.parse_args()
    variables, text, metadata = load_for_evaluation(options.workdir, options.checkpoint)
    config = json.loads(text)
    config["evaluation"]["metrics"] = (
        ["hoi", "image"] if config["dataset"]["name"].startswith("hoi_scenes") else ["hoi"]
    )
    base = {key: value for key, value in config["model"].get("detection", {}).items() if key not in ("rule", "blocks")}
    about = {"config_fingerprint": hashlib.sha256(text.encode()).hexdigest()[:16], "step": metadata.step}
    for name, change in variants(config["model"]["backbone"]["layers"]):
        path = RESULTS / f"{options.workdir.name}_{name}.json"
        if path.is_file() and about.items() <= json.loads(path.read_text()).items():
            continue
        changed = copy.deepcopy(config)
        changed["model"]["detection"] = {**base, **change}
        experiment = ex.load_experiment(changed)
        directory, split = Path(options.data_dir) / experiment.dataset.name, experiment.dataset.eval_split
        system, started = experiment.build_system(), time.monotonic()
        batches = ex.eval_pipeline(experiment, directory, split, system.needs_predict).eval_batches()
        store_path = options.workdir / f"predictions_{name}.npz"
        store = ex.predict_split(experiment, batches, make_predictor(system, variables), store_path, {"row": name})
        annotations = ex.load_annotations(directory, split)
        metrics = score(experiment.evaluation, store, annotations, experiment.vocabulary).metrics
        row = {"detection": change, "metrics": dict(metrics), "seconds": round(time.monotonic() - started, 1)}
        write_json_atomic(path, {**about, **row})
        print(f"{name:<18}" + "".join(f"{k} {100 * metrics[k]:6.2f}  " for k in ("default/full", "default/rare")))


if __name__ == "__main__":
    main()
