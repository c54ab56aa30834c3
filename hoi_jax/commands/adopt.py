"""Export converted weights as a checkpoint that can be scored and used without training.

    python -m hoi_jax.systems.body_part.convert qpic_resnet50_hico.pth qpic.npz
    python -m hoi_jax.commands.adopt configs/body_part_hico_det_qpic.py qpic.npz runs/qpic_authors
    python evaluate.py --workdir runs/qpic_authors

The config defines the system of the weights and the records on which it is scored; --config.KEY=VALUE changes a value
as in train.py. The arrays of the file and of the system must have the same names and shapes; otherwise all missing,
mismatched and unused arrays are listed and nothing is written. The folder becomes an exported checkpoint, like those in
`checkpoints/`, and can be passed anywhere a workdir is accepted (`evaluate.py --workdir`, `predict.py --checkpoint`,
`train.init_from`).
"""

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")

import jax
import numpy as np
from flax import traverse_util

from hoi_jax.data.numpy_batch import blank_batch
from hoi_jax.experiment import Experiment, config_text, load_experiment, read_config
from hoi_jax.serialization.exported import write_sums
from hoi_jax.serialization.state import read_state
from hoi_jax.settings import config_changes, with_changes
from hoi_jax.training import Metadata
from hoi_jax.training.exported import write_exported
from hoi_jax.training.init_from import flatten


class AdoptError(ValueError):
    """The weights do not match the system; the message lists every mismatched array."""


def expected_shapes(experiment: Experiment) -> dict[str, tuple[int, ...]]:
    """Names ("params/...") and shapes of all variables of the configured system, without computing them."""
    system = experiment.build_system()
    batch = blank_batch(system.needs_train, experiment.sizes, experiment.vocabulary)
    shapes = {name: jax.ShapeDtypeStruct(value.shape, value.dtype) for name, value in batch.items()}
    variables = jax.eval_shape(system.init, jax.random.key(0), shapes)
    return {name: tuple(leaf.shape) for name, leaf in flatten(variables).items()}


def adopted_variables(
    arrays: Mapping[str, np.ndarray], expected: Mapping[str, tuple[int, ...]]
) -> dict[str, np.ndarray]:
    """Flat variables of the system from the file's arrays.

    Training state (collections other than parameters and statistics, such as CDN's queue of class counts) is not part
    of weight files and starts empty.

    Raises:
      AdoptError: an array is missing, has another shape, or is not in the system.
    """
    memory = {name for name in expected if name.partition("/")[0] not in ("params", "batch_stats")}
    problems = [f"  missing: {name} {shape}" for name, shape in expected.items() if name not in {*arrays, *memory}]
    problems += [
        f"  unfit: {name} is {arrays[name].shape} in the file, {shape} in the system"
        for name, shape in expected.items()
        if name in arrays and arrays[name].shape != shape
    ]
    problems += [f"  without a place: {name} {array.shape}" for name, array in arrays.items() if name not in expected]
    if problems:
        raise AdoptError("\n".join([f"{len(problems)} arrays do not fit; nothing is written", *problems]))
    empty = {name: np.zeros(expected[name], np.float32) for name in memory if name not in arrays}
    return {**{name: np.asarray(array, np.float32) for name, array in arrays.items()}, **empty}


def adopt(config: Mapping[str, Any], weights: Path, folder: Path) -> int:
    """Write the exported checkpoint; return the number of arrays.

    Raises:
      AdoptError, SettingsError: weights or config do not fit.
      io.DataError: the file does not contain weights.
      FileExistsError: the folder is not empty.
    """
    if folder.is_dir() and any(folder.iterdir()):
        raise FileExistsError(f"{folder}: the folder is not empty")
    found = adopted_variables(read_state(weights), expected_shapes(load_experiment(config)))
    variables = traverse_util.unflatten_dict({tuple(name.split("/")): array for name, array in found.items()})
    folder.mkdir(parents=True, exist_ok=True)
    write_exported(folder, variables, Metadata(0, 0, config_text(config), f"adopted from {weights.name}", {}))
    write_sums(folder)
    return len(found)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("config", metavar="CONFIG[:OPTIONS]", help="config file of the system and its records")
    parser.add_argument("weights", type=Path, help="converted weights (npz or safetensors)")
    parser.add_argument("folder", type=Path, help="folder of the exported checkpoint to write")
    options, rest = parser.parse_known_args(arguments)
    try:
        config = with_changes(read_config(options.config), config_changes(rest))
        count = adopt(config, options.weights, options.folder)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"{options.folder}: {count} arrays; score them with evaluate.py --workdir {options.folder}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
