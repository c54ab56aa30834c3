"""Estimate the cost of training a config without data: operations, memory and hours.

    python -m hoi_jax.commands.training_cost configs/tin_hico_det.py
    python -m hoi_jax.commands.training_cost configs/cascade_vcoco.py:phase=detector --set batch_size=4 --tflops 40

The estimate comes from shapes alone and takes seconds. Operations are those of convolutions and matrix products
(`hoi_jax.training.cost`). Hours are operations divided by the throughput of one device (`--tflops`). The default of 4.5
TFLOP/s is that of DETR's authors on a V100 in float32 (28 minutes per epoch of 118,287 images on eight of them, 86
billion multiply-adds per image and pass, three passes). It assumes that reading images is not the bottleneck
(`benchmarks/pipeline.py`). "Stored" is the memory that the backward pass keeps of the forward pass before compiler
optimisations; `--compile` asks the compiler (minutes).
"""

import argparse
import dataclasses
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")

import jax

from hoi_jax import experiment as ex
from hoi_jax.data.numpy_batch import blank_batch
from hoi_jax.schema import SchemaError
from hoi_jax.settings import SettingsError, with_changes
from hoi_jax.training import in_steps
from hoi_jax.training.cost import StepCost, count_flops, step_cost

V100_TFLOPS = 4.5
COLUMNS = ("config", "parameters", "GFLOPs per prediction", "batch", "stored + state, GB", "steps", "PFLOPs", "hours")


@dataclasses.dataclass(frozen=True)
class TrainingCost:
    """Cost of a whole training run on one device; `prediction_flops` is for one image."""

    prediction_flops: int
    step: StepCost
    batch_size: int
    num_steps: int

    def hours(self, tflops: float) -> float:
        return self.step.flops * self.num_steps / (tflops * 1e12) / 3600


def training_cost(experiment: ex.Experiment, epoch_images: int = 0, *, compiled: bool = False) -> TrainingCost:
    """Cost of training `experiment`.

    Args:
      epoch_images: images of an epoch including oversampled copies, for configs with a length in epochs.
      compiled: whether to ask the compiler for its memory use as well.

    Raises:
      ValueError: the length is in epochs, and `epoch_images` is 0.
      schema.SchemaError: the config trains on cached feature maps, of unknown shape.
    """
    train = experiment.train
    if not train.num_steps and not epoch_images:
        raise ValueError(f"the config trains for {train.num_epochs:g} epochs; give the images per epoch with --images")
    # A length in steps does not depend on the images of an epoch.
    epoch = (epoch_images or experiment.batch_size) / experiment.batch_size
    train, _ = in_steps(train, experiment.optimizer, epoch, experiment.batch_size)
    system = experiment.build_system()
    shapes = experiment.sizes, experiment.vocabulary
    batch = blank_batch(system.needs_train, *shapes, experiment.batch_size)
    one = blank_batch(system.needs_predict, *shapes)
    variables = jax.eval_shape(system.init, jax.random.key(0), one)
    step = step_cost(system, experiment.optimizer, batch, train.accumulate, compiled=compiled)
    return TrainingCost(count_flops(system.predict, variables, one), step, experiment.batch_size, train.num_steps)


def row(name: str, cost: TrainingCost, tflops: float) -> tuple[str, ...]:
    """Table cells of a config, in the order of `COLUMNS`."""
    hours, planned = cost.hours(tflops), cost.step.planned_bytes
    memory = f"{cost.step.stored_bytes / 1e9:.1f} + {cost.step.state_bytes / 1e9:.1f}"
    return (
        name,
        f"{cost.step.parameters / 1e6:.1f} M",
        f"{cost.prediction_flops / 1e9:.0f}",
        f"{cost.batch_size}",
        memory if planned is None else f"{memory} (compiler: {planned / 1e9:.1f})",
        f"{cost.num_steps:,}",
        f"{cost.step.flops * cost.num_steps / 1e15:,.0f}",
        f"{hours:,.0f}" if hours >= 10 else f"{hours:.1f}",
    )


def _values(text: str, changes: Sequence[str]) -> dict[str, Any]:
    pairs = [change.partition("=") for change in changes]
    if wrong := [key for key, equals, _ in pairs if not equals]:
        raise ValueError(f"--set {wrong[0]}: expected KEY=VALUE")
    return with_changes(ex.read_config(text), {key: value for key, _, value in pairs})


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", nargs="+", help="FILE[:OPTIONS], one table row each")
    parser.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE", help="changed values, for all configs")
    parser.add_argument(
        "--images", type=int, default=0, help="images per epoch including copies, for lengths in epochs"
    )
    parser.add_argument("--compile", action="store_true", help="also the compiler's memory use on this device")
    parser.add_argument(
        "--tflops", type=float, default=V100_TFLOPS, help="throughput of a device (default: %(default)s)"
    )
    options = parser.parse_args(arguments)
    print("| " + " | ".join(COLUMNS) + " |\n|---|" + "--:|" * (len(COLUMNS) - 1))
    for text in options.config:
        try:
            experiment = ex.load_experiment(_values(text, options.set))
            cost = training_cost(experiment, options.images, compiled=options.compile)
        except (SettingsError, SchemaError, ValueError) as error:
            print(f"error: {text}: {error}", file=sys.stderr)
            return 2
        path, colon, chosen = text.partition(":")
        print("| " + " | ".join(row(f"`{Path(path).stem}{colon}{chosen}`", cost, options.tflops)) + " |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
