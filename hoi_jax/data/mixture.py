"""Training on several datasets at once: a deterministic sequence of examples from each, known from its position
(`plan.mixed`)."""

import dataclasses
from collections.abc import Iterator

import numpy as np

from hoi_jax.data import plan
from hoi_jax.data.pipeline import HostBatch, Pipeline, read_batches


@dataclasses.dataclass(frozen=True)
class Mixture:
    """Like `Pipeline`, over several of them with the same fields and shapes.

    Attributes:
      sources: pipelines of the same sizes and needs; their own batch size and host do not count.
      shares: of the stream that each source gets.
      batch_size, host, num_hosts: of the mixed stream.
    """

    sources: tuple[Pipeline, ...]
    shares: tuple[float, ...]
    batch_size: int
    host: int = 0
    num_hosts: int = 1

    def __post_init__(self):
        if len(self.sources) != len(self.shares) or abs(sum(self.shares) - 1.0) > 1e-9:
            raise ValueError(f"shares {self.shares} of {len(self.sources)} sources do not sum to one")
        if self.batch_size % self.num_hosts:
            raise ValueError(f"batch_size {self.batch_size} is not a multiple of {self.num_hosts} hosts")

    @property
    def epoch_size(self) -> int:
        """Examples of all sources together."""
        return sum(source.epoch_size for source in self.sources)

    def train_batches(self, start_step: int) -> Iterator[HostBatch]:
        """Endless batches from `start_step` on; `source_id` says where an example comes from."""
        streams = [source.stream(number) for number, source in enumerate(self.sources)]
        rows = plan.mixed(streams, self.shares, max(self.epoch_size, self.batch_size))
        planned = plan.training_batches(rows, self.batch_size, self._shapes_of, start_step)
        return read_batches(
            self.sources, planned, self.batch_size, train=True, host=self.host, num_hosts=self.num_hosts
        )

    def _shapes_of(self, rows: plan.Rows) -> np.ndarray:
        shapes = np.zeros(len(rows), np.int64)
        for number, source in enumerate(self.sources):
            mine = np.flatnonzero(rows.source == number)
            shapes[mine] = source.shapes_of(rows.take(mine), True)
        return shapes
