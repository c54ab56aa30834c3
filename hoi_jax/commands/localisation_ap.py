"""COCO box AP and mask AP of the instances found by a system, for the cascade after each of its stages.

    python -m hoi_jax.commands.localisation_ap --workdir runs/cascade --stages 1 2 3
    python -m hoi_jax.commands.localisation_ap --workdir runs/cascade-mask --stages 1 2 3 --out localisation.json

"After stage t" means the detections of the first t heads of the checkpoint together, as in a network of t stages.
Masks are scored if the network predicts them, at the resolution of its input.
"""

import argparse
import copy
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hoi_jax import experiment as ex
from hoi_jax import io
from hoi_jax.evaluation.metrics.coco import Instances, average_precision, box_iou, mask_iou, summary
from hoi_jax.evaluation.metrics.scene_maps import grid_mask
from hoi_jax.training import load_for_evaluation, make_predictor

TRUTH_FIELDS = frozenset({"image_hw_px", "instances_xyxy_px", "instances_class", "instances_valid"})


def localisation_config(config: Mapping[str, Any], stages: int | None) -> dict[str, Any]:
    """The config without relations, with `stages` stages of the cascade, and annotated masks in full size.

    Raises:
      ValueError: the system has no stages, or fewer than `stages`.
    """
    changed = copy.deepcopy(dict(config))
    model = changed["model"]
    if stages is not None:
        if not 1 <= stages <= model.get("stages", 0):
            raise ValueError(f"stages is {stages}, but the run has {model.get('stages', 'no')} stages")
        model["stages"] = stages
        model["loss"] = {**model.get("loss", {}), "parts": "detector"}
    changed["sizes"]["mask_hw"] = changed["sizes"]["image_hw"]
    return changed


def found_instances(
    predictions: Mapping[str, np.ndarray], image_hw: tuple[int, int], padded_hw: tuple[int, int]
) -> Instances:
    """Instances of one image's predictions (without batch axis), with masks if predicted."""
    if "instance_xyxy_px" not in predictions:
        raise ValueError("predictions have no field 'instance_xyxy_px': the system does not localise instances")
    rows = np.flatnonzero(predictions["instance_valid"])
    masks = None
    if "instance_mask" in predictions:
        grids = predictions["instance_mask"][rows]
        masks = np.array([grid_mask(m, image_hw, padded_hw, image_hw) >= 0.5 for m in grids], bool)
        masks = masks.reshape((len(rows), *image_hw))
    boxes, label, score = (predictions[f"instance_{name}"][rows] for name in ("xyxy_px", "class", "score"))
    return Instances(boxes, label, score, masks)


def annotated_instances(batch: Mapping[str, np.ndarray], row: int, image_hw: tuple[int, int]) -> Instances:
    """Annotated instances of one image of a batch."""
    used = np.flatnonzero(batch["instances_valid"][row])
    masks = None
    if "instances_mask" in batch:
        masks = batch["instances_mask"][row][used][:, : image_hw[0], : image_hw[1]]
    boxes, label = (batch[f"instances_{name}"][row][used] for name in ("xyxy_px", "class"))
    return Instances(boxes, label, np.ones(len(used), np.float32), masks)


def localisation_ap(
    variables: Any, config: Mapping[str, Any], data_dir: Path, split: str | None, stages: int | None
) -> dict[str, float]:
    """AP, AP50 and AP75 of boxes and, if predicted, of masks, in [0, 1]."""
    experiment = ex.load_experiment(localisation_config(config, stages))
    system = experiment.build_system()
    directory = data_dir / experiment.dataset.name
    has_masks = bool(experiment.model.get("masks", {}).get("enabled"))
    needs = system.needs_predict | TRUTH_FIELDS | ({"instances_mask"} if has_masks else set())
    pipeline = ex.eval_pipeline(experiment, directory, split or experiment.dataset.eval_split, needs)
    predict = make_predictor(system, variables)
    found, truth = [], []
    for batch in pipeline.eval_batches():
        predictions = predict({name: value for name, value in batch.items() if name in system.needs_predict})
        padded = (batch["image"].shape[1], batch["image"].shape[2])
        for row in np.flatnonzero(batch["batch_valid"]):
            size = (int(batch["image_hw_px"][row, 0]), int(batch["image_hw_px"][row, 1]))
            found.append(found_instances({name: value[row] for name, value in predictions.items()}, size, padded))
            truth.append(annotated_instances(batch, int(row), size))
    scores = {f"box/{name}": value for name, value in summary(average_precision(found, truth, box_iou)).items()}
    if has_masks:
        scores |= {f"mask/{name}": value for name, value in summary(average_precision(found, truth, mask_iou)).items()}
    return scores


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--workdir", type=Path, required=True, help="folder of the trained run, or an exported checkpoint"
    )
    parser.add_argument(
        "--stages", type=int, nargs="+", help="numbers of stages to score (default: those of the system)"
    )
    parser.add_argument("--data-dir", "--data_dir", type=Path, default=Path("data"), help="folder of built datasets")
    parser.add_argument("--checkpoint", default="best", help="best, last or a step number (default: best)")
    parser.add_argument("--split", help="default: the config's evaluation split")
    parser.add_argument("--out", type=Path, help="JSON file to write")
    options = parser.parse_args(arguments)
    try:
        variables, text, _ = load_for_evaluation(options.workdir, options.checkpoint)
        rows = {
            "whole" if stages is None else f"stages_{stages}": localisation_ap(
                variables, json.loads(text), options.data_dir, options.split, stages
            )
            for stages in options.stages or (None,)
        }
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    for name, scores in rows.items():
        print(f"{name:<10}" + "".join(f"{key:>12}{100 * value:>7.2f}" for key, value in scores.items()), flush=True)
    if options.out:
        io.write_json_atomic(options.out, rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
