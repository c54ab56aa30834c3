"""Checkpoints with Orbax, written atomically in the background and readable on any number of devices.

A checkpoint consists of host arrays (one copy, whatever the number of devices) and a JSON part: config text, dataset
fingerprint, position in the data, metrics. Layout: `workdir/checkpoints/<step>/{state,meta}`.
"""

import dataclasses
import difflib
import math
import os
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers as policies

from hoi_jax.serialization.exported import find_folder
from hoi_jax.training import exported
from hoi_jax.training.exported import CheckpointError, Metadata
from hoi_jax.training.optimizer import path_name
from hoi_jax.training.settings import TrainSettings
from hoi_jax.training.step import TrainState


def _to_saved(state: TrainState) -> dict[str, Any]:
    """Convert a state to plain nested dicts; named tuples of the optimizer become a flat dict by path."""
    optimiser = {path_name(p): x for p, x in jax.tree_util.tree_leaves_with_path(state.opt_state)}
    saved = {
        "step": state.step,
        "params": state.params,
        "model_state": state.model_state,
        "opt_state": optimiser,
        "ema_params": state.ema_params,
        "key": state.key,
    }
    # Orbax does not distinguish an empty dict from a missing one, so empty ones are not written.
    return {name: tree for name, tree in saved.items() if jax.tree.leaves(tree)}


def _from_saved(saved: dict[str, Any], like: TrainState, where: str) -> TrainState:
    flat = {path_name(p): x for p, x in jax.tree_util.tree_leaves_with_path(saved)}
    expected = _to_saved(like)

    def take(path: Any, leaf: Any) -> np.ndarray:
        name = path_name(path)
        value = flat.pop(name, None)
        if value is None:
            raise CheckpointError(f"{where}: {name!r} is missing in the checkpoint")
        if value.shape != leaf.shape or value.dtype != leaf.dtype:
            raise CheckpointError(
                f"{where}: {name!r} is {value.dtype}{value.shape}, but {leaf.dtype}{leaf.shape} in the model"
            )
        return value

    restored = jax.tree_util.tree_map_with_path(take, expected)
    if flat:
        raise CheckpointError(f"{where}: {sorted(flat)[:5]} are in the checkpoint but not in the model")
    optimiser = restored.pop("opt_state", {})
    opt_state = jax.tree_util.tree_map_with_path(lambda p, _: optimiser[path_name(p)], like.opt_state)
    return like.replace(opt_state=opt_state, healthy=np.ones((), bool), **restored)


def goodness(metrics: dict[str, float], name: str | None, mode: str) -> float:
    """Rank of a checkpoint, larger is better; without the metric, or with NaN, it is lower than any other."""
    value = metrics.get(name or "", math.nan)
    return -math.inf if math.isnan(value) else -value if mode == "min" else value


class Checkpoints:
    """The checkpoints of one workdir, for its writer.

    Creating it removes incomplete checkpoints left by a killed run.
    """

    def __init__(self, workdir: str | os.PathLike[str], settings: TrainSettings):
        keep: list[Any] = [policies.LatestN(settings.keep_last)]
        metric = settings.best_metric
        self._metric, self._mode = metric, settings.best_mode
        if metric is not None and settings.keep_best:
            keep.append(policies.BestN(get_metric_fn=self._goodness, n=settings.keep_best))
        self.folder = Path(workdir).absolute() / "checkpoints"
        self._manager = _manager(
            self.folder,
            cleanup_tmp_directories=True,
            preservation_policy=policies.AnyPreservationPolicy(keep),
            best_fn=None if metric is None else self._goodness,
        )

    def _goodness(self, metrics: dict[str, float]) -> float:
        return goodness(metrics, self._metric, self._mode)

    def latest_step(self) -> int | None:
        """Step of the newest complete checkpoint, or None."""
        return self._manager.latest_step()

    def save(self, state: TrainState, metadata: Metadata) -> None:
        """Start to write a host state in the background. A step that is already saved is skipped.

        The arrays must not change until `wait` returns (pass copies).

        Raises:
          CheckpointError: the state is not healthy, or the metrics do not contain the configured best metric.
        """
        if not bool(state.healthy):
            raise CheckpointError(f"step {metadata.step}: the state has non-finite values and is not saved")
        if metadata.step in self._manager.all_steps():
            return
        metrics = metadata.metrics
        if metrics and self._metric is not None and self._metric not in metrics:
            raise CheckpointError(f"best_metric {self._metric!r} is not among the metrics {sorted(metrics)}")
        meta = {**dataclasses.asdict(metadata), "best_metric": self._metric, "best_mode": self._mode}
        self._manager.save(
            metadata.step,
            metrics=None if self._metric is None else metrics,
            args=ocp.args.Composite(
                state=ocp.args.PyTreeSave(_to_saved(state)),
                meta=ocp.args.JsonSave(meta),
            ),
        )

    def restore(self, like: TrainState, step: int | None = None) -> tuple[TrainState, Metadata]:
        """Read the newest (or given) checkpoint as host arrays in the structure of `like`.

        Raises:
          CheckpointError: there is none, or it does not fit `like`; the message names the array.
        """
        step = self.latest_step() if step is None else step
        if step is None:
            raise CheckpointError(f"{self.folder}: no checkpoint")
        saved, meta = _read(self._manager, step)
        return _from_saved(saved, like, f"{self.folder}/{step}"), _metadata(meta)

    def wait(self) -> None:
        """Wait until everything is on disk. Raises errors that occurred while writing."""
        self._manager.wait_until_finished()
        self._manager.check_for_errors()

    def close(self) -> None:
        """Wait, then release Orbax's threads."""
        self._manager.close()


def _manager(folder: Path, **options: Any) -> ocp.CheckpointManager:
    handlers = {"state": ocp.PyTreeCheckpointHandler(), "meta": ocp.JsonCheckpointHandler()}
    return ocp.CheckpointManager(folder, item_handlers=handlers, options=ocp.CheckpointManagerOptions(**options))


def _read(manager: ocp.CheckpointManager, step: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """(arrays as NumPy, JSON part), for any number of devices at the time of saving."""
    tree = manager.item_metadata(step)["state"].tree
    as_numpy = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), tree)
    restored = manager.restore(
        step,
        args=ocp.args.Composite(state=ocp.args.PyTreeRestore(restore_args=as_numpy), meta=ocp.args.JsonRestore()),
    )
    return restored["state"], restored["meta"]


def _metadata(meta: dict[str, Any]) -> Metadata:
    return Metadata(**{field.name: meta[field.name] for field in dataclasses.fields(Metadata)})


def check_same_run(metadata: Metadata, config_text: str, dataset_fingerprint: str) -> None:
    """Raise CheckpointError if a resumed run has a different config or dataset; the message shows the difference."""
    if metadata.config_text != config_text:
        lines = difflib.unified_diff(
            metadata.config_text.splitlines(), config_text.splitlines(), "checkpoint", "now", n=0, lineterm=""
        )
        changed = "\n".join(line for line in lines if not line.startswith("@@"))
        raise CheckpointError(f"the workdir contains a run with a different config:\n{changed}")
    if metadata.dataset_fingerprint != dataset_fingerprint:
        raise CheckpointError(
            f"the workdir contains a run on a different dataset: fingerprint {metadata.dataset_fingerprint!r}, "
            f"now {dataset_fingerprint!r}"
        )


def load_for_evaluation(
    workdir: str | os.PathLike[str], which: str | int = "best"
) -> tuple[dict[str, Any], str, Metadata]:
    """(variables for prediction, with averaged parameters if kept; config text; metadata) of a checkpoint.

    Args:
      workdir: workdir of a run, or an exported checkpoint (`exported`) or its name, for which `which` is ignored.
      which: "last", "best" (by the run's `best_metric`; the newest one if it has none), or a step.

    Raises:
      CheckpointError: there is no such checkpoint; the message lists the existing ones.
      io.DataError: an exported checkpoint is damaged, or there is none of this name.
    """
    workdir = find_folder(workdir)
    if exported.is_exported(workdir):
        return exported.load_exported(workdir)
    folder = Path(workdir).absolute() / "checkpoints"
    if not folder.is_dir():
        raise CheckpointError(f"{folder}: no checkpoints here")
    manager = _manager(folder, read_only=True)
    try:
        step = _choose(manager, which, folder)
        saved, meta = _read(manager, step)
    finally:
        manager.close()
    params = saved.get("ema_params") or saved["params"]
    return {"params": params, **saved.get("model_state", {})}, meta["config_text"], _metadata(meta)


def stored_config(workdir: str | os.PathLike[str]) -> str:
    """Config of a run or an exported checkpoint as JSON text. Raises the errors of `load_for_evaluation`."""
    workdir = find_folder(workdir)
    if exported.is_exported(workdir):
        return exported.exported_config(workdir)
    folder = Path(workdir).absolute() / "checkpoints"
    if not folder.is_dir():
        raise CheckpointError(f"{folder}: no checkpoints here")
    manager = _manager(folder, read_only=True)
    try:
        step = _choose(manager, "last", folder)
        return manager.restore(step, args=ocp.args.Composite(meta=ocp.args.JsonRestore()))["meta"]["config_text"]
    finally:
        manager.close()


def _choose(manager: ocp.CheckpointManager, which: str | int, folder: Path) -> int:
    steps = sorted(manager.all_steps())
    if not steps:
        raise CheckpointError(f"{folder}: no checkpoint")
    if which == "last":
        return steps[-1]
    if which == "best":
        ranked = []
        for step in steps:
            restored = manager.restore(step, args=ocp.args.Composite(meta=ocp.args.JsonRestore()))
            meta = restored["meta"]
            if meta["best_metric"] in meta["metrics"]:
                ranked.append((goodness(meta["metrics"], meta["best_metric"], meta["best_mode"]), step))
        return max(ranked)[1] if ranked else steps[-1]
    if not str(which).isdigit() or int(which) not in steps:
        raise CheckpointError(f"{folder}: no checkpoint {which!r}; available are {steps}, 'best' and 'last'")
    return int(which)
