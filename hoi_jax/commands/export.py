"""Export a checkpoint of a run: weights, config, log and scores in a small folder.

    python -m hoi_jax.commands.export runs/body1 checkpoints/body_part_hoi_scenes --scores runs/body1/scores.json

The folder, or its name if it is in `checkpoints/`, can be passed anywhere a workdir is accepted: `evaluate.py
--workdir`, `predict.py --checkpoint`, `train.init_from`. `python -m scripts.zoo_tables --write` updates the tables of
exported checkpoints.
"""

import argparse
import shutil
from collections.abc import Sequence
from pathlib import Path

from hoi_jax.serialization.exported import write_sums
from hoi_jax.training.checkpoint import load_for_evaluation
from hoi_jax.training.exported import write_exported


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("workdir", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--checkpoint", default="best", help="best, last or a step number (default: best)")
    parser.add_argument("--scores", type=Path, help="result of evaluate.py --out for this checkpoint")
    parser.add_argument(
        "--half", action="store_true", help="16 bits per weight: half the size, three significant digits"
    )
    options = parser.parse_args(arguments)
    variables, _, metadata = load_for_evaluation(options.workdir, options.checkpoint)
    options.folder.mkdir(parents=True, exist_ok=True)
    size = write_exported(options.folder, variables, metadata, half=options.half)
    shutil.copyfile(options.workdir / "metrics.jsonl", options.folder / "metrics.jsonl")
    if options.scores:
        shutil.copyfile(options.scores, options.folder / "scores.json")
    write_sums(options.folder)
    print(f"{options.folder}: step {metadata.step}, {size / 1e6:.2f} MB of weights")


if __name__ == "__main__":
    main()
