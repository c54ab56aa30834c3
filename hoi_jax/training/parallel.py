"""Device placement of states and batches, and per-device functions over a named axis.

The per-device function is written once, with collectives over the axis "batch", and wrapped by `pmap`, or by
`shard_map` over a mesh (for pods and newer code). Both give the same results. Each process passes its own part of the
batch; all must pass the same number of examples.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from hoi_jax.settings import SettingsError, choice
from hoi_jax.system import Batch, System
from hoi_jax.training.step import AXIS, TrainStep

HostBatch = Mapping[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Parallel:
    """Devices of a run and the method to run functions on them.

    Attributes:
      kind: "pmap" or "shard_map".
      num_devices: number of devices of all processes; None = all. Several processes must use all devices.
    """

    kind: str = "pmap"
    num_devices: int | None = None

    def __post_init__(self) -> None:
        choice("kind", self.kind, ("pmap", "shard_map"))
        there = jax.device_count()
        if self.num_devices is not None and not 1 <= self.num_devices <= there:
            raise ValueError(f"num_devices is {self.num_devices}, expected 1 to {there} (available devices)")
        if jax.process_count() > 1 and self.num_devices not in (None, there):
            raise ValueError(f"num_devices is {self.num_devices}; several processes must use all {there} devices")

    @property
    def devices(self) -> list[Any]:
        """All devices of the run, in the order of the batch."""
        return jax.devices()[: self.num_devices]

    @property
    def local_count(self) -> int:
        """Devices of this process."""
        return sum(device.process_index == jax.process_index() for device in self.devices)

    @property
    def _mesh(self) -> Mesh:
        # Auto axes, because the default (explicit) makes sharding part of types and rejects code that ignores it.
        return jax.make_mesh(
            (len(self.devices),), (AXIS,), axis_types=(jax.sharding.AxisType.Auto,), devices=self.devices
        )

    def replicate(self, tree: Any) -> Any:
        """Copy a host or one-device tree to every device."""
        # Via copies in host memory, because a device array may share its buffer with the replica on the same device,
        # and the step donates (deletes) the replica.
        host = jax.tree.map(lambda x: np.array(x, copy=True), tree)
        if self.kind == "shard_map":
            sharding = NamedSharding(self._mesh, P())
            return jax.tree.map(lambda x: jax.make_array_from_process_local_data(sharding, x, x.shape), host)
        stacked = jax.tree.map(lambda x: np.broadcast_to(x, (self.local_count, *x.shape)), host)
        return self._stack(stacked)

    def _stack(self, tree: Any) -> Any:
        """Convert leaves [local devices, ...] to arrays with one row per device, the input format of pmap."""
        sharding = NamedSharding(self._mesh, P(AXIS))
        return jax.tree.map(lambda x: jax.make_array_from_process_local_data(sharding, x), tree)

    def unreplicate(self, tree: Any) -> Any:
        """Host copy (NumPy) of one device's part of a replicated tree."""

        def one(x: jax.Array) -> np.ndarray:
            part = np.array(x.addressable_shards[0].data, copy=True)
            return np.asarray(part[0]) if self.kind == "pmap" else part

        return jax.tree.map(one, tree)

    def shard_batch(self, batch: HostBatch) -> dict[str, jax.Array]:
        """Distribute this process's part of a batch [b, ...] over its devices.

        Raises ValueError if b is not a multiple of the number of this process's devices.
        """
        size = len(next(iter(batch.values())))
        if size % self.local_count:
            raise ValueError(f"a batch of {size} examples cannot be divided evenly over {self.local_count} devices")
        if self.kind == "shard_map":
            return self._stack(dict(batch))
        split = (self.local_count, size // self.local_count)
        return self._stack({name: x.reshape(split + x.shape[1:]) for name, x in batch.items()})

    def compile_step(self, step: TrainStep) -> TrainStep:
        """Compile a per-device step for a replicated state, which is donated (deleted), and a sharded batch."""
        if self.kind == "pmap":
            return jax.pmap(step, axis_name=AXIS, devices=self._pmap_devices, donate_argnums=0)
        mapped = jax.shard_map(step, mesh=self._mesh, in_specs=(P(), P(AXIS)), out_specs=P(), check_vma=False)
        return jax.jit(mapped, donate_argnums=0)

    @property
    def _pmap_devices(self) -> list[Any] | None:
        return None if jax.process_count() > 1 else self.devices

    def compile_predict(
        self, predict: Callable[[Any, Batch], Any]
    ) -> Callable[[Any, HostBatch], dict[str, np.ndarray]]:
        """Return (replicated variables, host batch [b, ...]) -> host predictions [b, ...] of this process's examples.

        A batch that cannot be divided evenly over the devices is padded with its first example.
        """
        if self.kind == "pmap":
            mapped = jax.pmap(predict, axis_name=AXIS, devices=self._pmap_devices)
        else:
            mapped = jax.jit(
                jax.shard_map(predict, mesh=self._mesh, in_specs=(P(), P(AXIS)), out_specs=P(AXIS), check_vma=False)
            )

        def run(variables: Any, batch: HostBatch) -> dict[str, np.ndarray]:
            size = len(next(iter(batch.values())))
            fill = -size % self.local_count
            full = {k: np.concatenate([x, np.repeat(x[:1], fill, axis=0)]) for k, x in batch.items()}
            outputs = mapped(variables, self.shard_batch(full if fill else batch))
            return {name: self._local_rows(x)[:size] for name, x in outputs.items()}

        return run

    def _local_rows(self, x: jax.Array) -> np.ndarray:
        shards = sorted(x.addressable_shards, key=lambda shard: shard.index[0].start or 0)
        rows = np.concatenate([np.asarray(shard.data) for shard in shards])
        return rows.reshape((-1, *rows.shape[2:])) if self.kind == "pmap" else rows


def check_batch(batch_size: int, accumulate: int, kind: str = "pmap", num_devices: int | None = None) -> None:
    """Check that a batch of the whole run can be divided evenly over devices and micro-batches, before any other work.

    Raises:
      SettingsError: it cannot (the message gives the nearest valid sizes), or there are fewer devices than configured.
    """
    try:
        devices = len(Parallel(kind, num_devices).devices)
    except ValueError as error:
        raise SettingsError(f"train: {error}") from error
    unit = devices * accumulate
    if batch_size % unit:
        micro = f" with {accumulate} micro-batches on each" if accumulate > 1 else ""
        below = batch_size // unit * unit
        near = [str(size) for size in (below, below + unit) if size]
        raise SettingsError(
            f"batch_size {batch_size} cannot be divided evenly over {devices} devices{micro}: use "
            f"{' or '.join(near)}, or a different train.num_devices"
        )


def make_predictor(
    system: System, variables: Any, parallel: Parallel | None = None
) -> Callable[[HostBatch], dict[str, np.ndarray]]:
    """Return host batch [b, ...] -> host predictions [b, ...]; the host variables are placed on the devices once."""
    parallel = parallel or Parallel()
    placed = parallel.replicate(variables)
    run = parallel.compile_predict(system.predict)
    return lambda batch: run(placed, batch)
