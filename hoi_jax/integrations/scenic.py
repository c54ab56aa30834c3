"""Our datasets and systems in Scenic's own programs (google-research/scenic, from source; docs/scenic.md).

    from hoi_jax.integrations import scenic as bridge
    bridge.register_datasets("data", config)     # "hoi_jax/<name>" in Scenic's DatasetRegistry
    bridge.system_model()                        # a BaseModel that Scenic's classification_trainer can train

Scenic is imported only inside these functions. PyPI's "scenic" is an unrelated language with the same import name:
it is told apart before anything of it is run.
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
    """Scenic is not there, or what is called so is another package."""


def find_scenic() -> Path:
    """The folder of google-research/scenic's package; nothing of it is imported.

    Raises:
      ScenicError: nothing is called scenic, or it is the other package; the message says what to do.
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
    """Adds every dataset built below `data_dir` to Scenic's DatasetRegistry as "hoi_jax/<name>"; returns the names.

    Args:
      config: values of one of our configs; it says the system, the sizes and how images are changed. What Scenic's
        config has in `dataset_configs` (plain values, nested as ours) takes the place of its values.

    Raises:
      ScenicError; io.DataError: nothing was built there.
    """
    find_scenic()
    from scenic.dataset_lib import datasets  # type: ignore[import-not-found]

    folder = Path(data_dir)
    built = sorted(str(meta.parent.relative_to(folder)) for meta in folder.rglob(META_FILE))
    if not built:
        raise DataError(f"{folder}: no built dataset in it (python -m data_prep.build)")
    for name in built:
        builder = functools.partial(dataset_builder, data_dir=folder, name=name, config=config)
        datasets.DatasetRegistry._REGISTRY.pop(f"hoi_jax/{name}", None)  # Registering again replaces.
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
    """Scenic's `Dataset` of one of ours: batches {"inputs": our batch, "batch_mask"}, sharded over `num_shards`.

    `meta_data` holds the system and an example batch beside what Scenic's trainer asks for.

    Args:
      batch_size, eval_batch_size: of this host. shuffle_seed: takes the place of `train.seed` unless None.
      start_step: first step, to continue in mid-epoch. unused: Scenic's `rng`, `dtype_str` and
        `dataset_service_address`; order and draws here depend on seed, epoch and example only.
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
    # The loss is what Scenic's evaluation asks for, so that evaluation needs what training needs.
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
    """`below` with the values of `above` in place of its own, dictionary by dictionary."""
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

    What the network returns ("logits" in Scenic) is {"loss": scalar, "terms": {name: scalar}}: our losses look into
    the batch, so that they are computed here and not in `loss_function`. Their mean over devices, which Scenic takes,
    is the value of the whole batch.
    """

    def __init__(self, system: System, example: Batch):
        self.system, self.example = system, example

    def init(self, rngs: Any, inputs: Array, *, train: bool = False, debug: bool = False) -> Any:
        """Variables; `inputs` is not looked at, the shapes of a batch are those of the example."""
        key = rngs["params"] if isinstance(rngs, Mapping) else rngs
        return self.system.init(_typed(key), self.example)

    def apply(
        self, variables: Mapping[str, Any], inputs: Batch, *, train: bool, mutable: Any = False,
        rngs: Mapping[str, Array] | None = None, debug: bool = False,
    ) -> Any:  # fmt: skip
        """The loss of a batch, and in training the new state."""
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
    """The class to give to `scenic.train_lib.classification_trainer.train` as `model_cls`.

    The system is the one in the dataset's `meta_data`. Metrics are its loss and named terms, averaged over devices.

    Raises:
      ScenicError
    """
    find_scenic()
    from scenic.model_lib.base_models.base_model import BaseModel  # type: ignore[import-not-found]

    class SystemModel(BaseModel):
        """A system of this library behind Scenic's `BaseModel`."""

        def build_flax_model(self) -> Any:
            return SystemModule(self.dataset_meta_data["system"], self.dataset_meta_data["example"])

        def default_flax_model_config(self) -> Any:
            raise ValueError("Scenic was given no config (None): a system of this library has no default one")

        def loss_function(self, logits: Any, batch: Any, model_params: Any = None) -> Array:
            return logits["loss"]

        def get_metrics_fn(self, split: str | None = None) -> Any:
            def metrics(logits: Any, batch: Any) -> dict[str, tuple[Array, Array]]:
                one = jax.lax.psum(jnp.ones(()), AXIS)
                values = {"loss": logits["loss"], **{f"loss_{name}": term for name, term in logits["terms"].items()}}
                return {name: (jax.lax.psum(value, AXIS), one) for name, value in values.items()}

            return metrics

    return SystemModel
