"""Datasets and systems of this library in Scenic's programs (google-research/scenic, from source; docs/scenic.md).

    from hoi_jax.integrations import scenic as bridge
    bridge.register_datasets("data", config)     # "hoi_jax/<name>" in Scenic's DatasetRegistry
    bridge.system_model()                        # a BaseModel that Scenic's classification_trainer can train

Scenic is imported only inside these functions. PyPI's "scenic" is an unrelated language with the same import name,
which is detected without importing it.
"""

import dataclasses
import functools
import importlib.util
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import flax
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from hoi_jax import experiment as ex
from hoi_jax.data.records import META_FILE
from hoi_jax.integrations.scenic_weights import convert_scenic, read_scenic, scenic_variables
from hoi_jax.io import DataError
from hoi_jax.losses.terms import counts_of, shares
from hoi_jax.system import Batch, System

__all__ = [
    "ScenicError", "SystemModule", "convert_scenic", "dataset_builder", "find_scenic", "read_scenic",
    "register_datasets", "scenic_variables", "system_model",
]  # fmt: skip

AXIS = "batch"
"""The axis name of Scenic's pmapped steps."""


class ScenicError(ImportError):
    """Scenic is not installed, or the package of that name is a different one."""


def find_scenic() -> Path:
    """Find the folder of google-research/scenic's package, without importing it.

    Raises:
      ScenicError: there is no package scenic, or it is the other one; the message explains what to do.
    """
    spec = importlib.util.find_spec("scenic")
    folders = [] if spec is None or spec.submodule_search_locations is None else spec.submodule_search_locations
    for folder in map(Path, folders):
        if (folder / "model_lib" / "base_models" / "base_model.py").is_file():
            return folder
    advice = "get the source of github.com/google-research/scenic and put it on PYTHONPATH (docs/scenic.md)"
    if spec is None:
        raise ScenicError(f"there is no package scenic; {advice}")
    found = spec.origin or next(map(str, folders), "?")
    raise ScenicError(
        f"the package called scenic ({found}) is not google-research/scenic: PyPI's scenic is an unrelated language "
        f"with the same name. Uninstall it, then {advice}"
    )


def register_datasets(data_dir: str | Path, config: Mapping[str, Any]) -> tuple[str, ...]:
    """Add every dataset built below `data_dir` to Scenic's DatasetRegistry as "hoi_jax/<name>"; return the names.

    Args:
      config: values of one of our configs, which gives the system, the sizes and the image augmentation. Values in
        `dataset_configs` of Scenic's config (plain values, nested as here) replace them.

    Raises:
      ScenicError: Scenic is not installed.
      io.DataError: the folder contains no built dataset.
    """
    find_scenic()
    from scenic.dataset_lib import datasets  # type: ignore[import-not-found]

    folder = Path(data_dir)
    built = sorted(str(meta.parent.relative_to(folder)) for meta in folder.rglob(META_FILE))
    if not built:
        raise DataError(f"{folder}: contains no built dataset; build one with python -m data_prep.build")
    for name in built:
        builder = functools.partial(dataset_builder, data_dir=folder, name=name, config=config)
        datasets.DatasetRegistry._REGISTRY.pop(f"hoi_jax/{name}", None)  # A repeated call replaces the entry.
        datasets.DatasetRegistry.add(f"hoi_jax/{name}", builder)
    return tuple(f"hoi_jax/{name}" for name in built)


def dataset_builder(
    *,
    batch_size: int,
    eval_batch_size: int,
    num_shards: int,
    data_dir: Path,
    name: str,
    config: Mapping[str, Any],
    dataset_configs: Mapping[str, Any] | None = None,
    shuffle_seed: int | None = None,
    start_step: int = 0,
    **unused: Any,
) -> Any:
    """Build Scenic's `Dataset` with batches {"inputs": our batch, "batch_mask"}, sharded over `num_shards`.

    `meta_data` contains the system and an example batch in addition to the entries that Scenic's trainer needs.

    Args:
      batch_size, eval_batch_size: batch sizes of this host.
      shuffle_seed: replaces `train.seed` unless None.
      start_step: first step, to continue within an epoch.
      unused: Scenic's `rng`, `dtype_str` and `dataset_service_address`; order and random draws here depend only on
        seed, epoch and example.
    """
    from scenic.dataset_lib import dataset_utils  # type: ignore[import-not-found]

    hosts, host = jax.process_count(), jax.process_index()
    values = _merged(config, dataset_configs or {})
    values = _merged(values, {"batch_size": batch_size * hosts, "dataset": {"name": name}})
    values = _merged(values, {"evaluation": {"batch_size": eval_batch_size * hosts}})
    if shuffle_seed is not None:
        values = _merged(values, {"train": {"seed": int(shuffle_seed)}})
    experiment = ex.load_experiment(values)
    system, directory = experiment.build_system(), Path(data_dir) / name
    train = ex.train_pipeline(experiment, directory, system.needs_train, host, hosts)
    # Scenic's evaluation computes the loss and so needs the fields of training.
    valid = ex.eval_pipeline(experiment, directory, experiment.dataset.eval_split, system.needs_train)
    valid = dataclasses.replace(valid, host=host, num_hosts=hosts)
    example = ex.first_batch(train)

    def train_batches() -> Iterator[dict[str, Any]]:
        yield from (_scenic_batch(batch, num_shards) for batch in train.train_batches(start_step))

    def valid_batches() -> Iterator[dict[str, Any]]:
        while True:
            yield from (_scenic_batch(batch, num_shards) for batch in valid.eval_batches())

    return dataset_utils.Dataset(
        train_iter=train_batches(),
        valid_iter=valid_batches(),
        meta_data={
            "input_shape": (-1, *experiment.sizes.image_hw, 3),
            "input_dtype": jnp.uint8,
            "num_train_examples": train.epoch_size,
            "num_eval_examples": valid.files.num_examples,
            "num_classes": len(experiment.vocabulary.hois) or len(experiment.vocabulary.verbs),
            "target_is_onehot": True,
            "system": system,
            "example": example,
        },
    )


def _merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """`below` with its values replaced by those of `above`, recursively in nested dictionaries."""
    result = dict(below)
    for key, value in above.items():
        inner = result.get(key)
        both = isinstance(value, Mapping) and isinstance(inner, Mapping)
        result[key] = _merged(inner, value) if both else value  # type: ignore[arg-type]
    return result


def _scenic_batch(batch: Mapping[str, np.ndarray], num_shards: int) -> dict[str, Any]:
    sharded = {name: value.reshape((num_shards, -1, *value.shape[1:])) for name, value in batch.items()}
    return {"inputs": sharded, "batch_mask": sharded["batch_valid"].astype(np.float32)}


class SystemModule:
    """A `System` with the two methods of a linen module that Scenic's trainer calls.

    The network's result ("logits" in Scenic) is {"loss": scalar, "terms": {name: scalar}}: our losses read the batch
    and so are computed here instead of in `loss_function`. Scenic averages them over devices, which gives the value of
    the whole batch.
    """

    def __init__(self, system: System, example: Batch):
        self.system, self.example = system, example

    def init(self, rngs: Any, inputs: Array, *, train: bool = False, debug: bool = False) -> Any:
        """Initial variables; `inputs` is ignored, because the shapes of a batch are those of the example."""
        key = rngs["params"] if isinstance(rngs, Mapping) else rngs
        return self.system.init(_typed(key), self.example)

    def apply(
        self, variables: Mapping[str, Any], inputs: Batch, *, train: bool, mutable: Any = False,
        rngs: Mapping[str, Array] | None = None, debug: bool = False,
    ) -> Any:  # fmt: skip
        """The loss of a batch and, in training, the new state."""
        variables = flax.core.unfreeze(flax.core.freeze(dict(variables)))
        key = _typed(jax.random.key(0) if rngs is None else rngs["dropout"])
        output = self.system.loss(variables, inputs, key, train=train, axis_name=AXIS)
        parts = shares(output.terms, jax.lax.psum(counts_of(output.terms), AXIS))
        terms = {name: jax.lax.axis_size(AXIS) * part for name, part in parts.items()}
        result = {"loss": sum(terms.values(), jnp.zeros(())), "terms": terms}
        if not mutable:
            return result
        state = {name: tree for name, tree in variables.items() if name != "params"}
        return result, flax.core.freeze({**state, **output.state})


def _typed(key: Array) -> Array:
    return key if jnp.issubdtype(key.dtype, jax.dtypes.prng_key) else jax.random.wrap_key_data(key)


def system_model() -> type:
    """Return the `model_cls` for `scenic.train_lib.classification_trainer.train`.

    The system is the one in the dataset's `meta_data`. Metrics are its loss and named terms, averaged over devices.

    Raises:
      ScenicError: Scenic is not installed.
    """
    find_scenic()
    from scenic.model_lib.base_models.base_model import BaseModel  # type: ignore[import-not-found]

    class SystemModel(BaseModel):
        """A system of this library as Scenic's `BaseModel`."""

        def build_flax_model(self) -> Any:
            return SystemModule(self.dataset_meta_data["system"], self.dataset_meta_data["example"])

        def default_flax_model_config(self) -> Any:
            raise ValueError("Scenic's config is None, but systems of this library have no default config")

        def loss_function(self, logits: Any, batch: Any, model_params: Any = None) -> Array:
            return logits["loss"]

        def get_metrics_fn(self, split: str | None = None) -> Any:
            def metrics(logits: Any, batch: Any) -> dict[str, tuple[Array, Array]]:
                one = jax.lax.psum(jnp.ones(()), AXIS)
                values = {"loss": logits["loss"], **{f"loss_{name}": term for name, term in logits["terms"].items()}}
                return {name: (jax.lax.psum(value, AXIS), one) for name, value in values.items()}

            return metrics

    return SystemModel
