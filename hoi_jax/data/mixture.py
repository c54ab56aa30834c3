"""Training on several datasets at once: a deterministic sequence of examples from each, known from its position.

Example n of the mixed stream comes from the source in whose share of [0, 1) the n-th point of a golden-ratio sequence
falls. Shares are met evenly from the start, and how many examples of each source lie before a step is a count, so that
a resumed run goes on where it stopped.
"""

import dataclasses
import functools
from collections.abc import Iterator

import numpy as np
from jaxtyping import Int

from hoi_jax.data.pipeline import HostBatch, Pipeline

_GOLDEN = (np.sqrt(5.0) - 1.0) / 2.0


def source_of(positions: Int[np.ndarray, " n"], shares: tuple[float, ...]) -> Int[np.ndarray, " n"]:
    """The source of each position of the stream; `shares` sum to one."""
    point = (positions.astype(np.float64) * _GOLDEN + 0.5) % 1.0
    return np.minimum(np.searchsorted(np.cumsum(shares), point, side="right"), len(shares) - 1)


@dataclasses.dataclass(frozen=True)
class Mixture:
    """Like `Pipeline`, over several of them with the same fields and shapes.

    Attributes:
      sources: pipelines of batch size 1 on one host.
      shares: of the stream that each source gets.
      batch_size, host, num_hosts: of the mixed stream. Every host reads all examples and keeps its share.
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

    @functools.cached_property
    def _first_ids(self) -> list[int]:
        """Added to each source's example numbers, so that no two sources share their random draws."""
        sizes = [source.files.num_examples for source in self.sources]
        return [int(start) for start in np.concatenate([[0], np.cumsum(sizes)[:-1]])]

    @property
    def epoch_size(self) -> int:
        """Examples of all sources together."""
        return sum(source.epoch_size for source in self.sources)

    def train_batches(self, start_step: int) -> Iterator[HostBatch]:
        """Endless batches from `start_step` on; `source_id` says where an example comes from."""
        start = start_step * self.batch_size
        before = np.bincount(source_of(np.arange(start), self.shares), minlength=len(self.sources))
        streams = [
            source.train_batches(int(done) // source.batch_size)
            for source, done in zip(self.sources, before, strict=True)
        ]
        share = self.batch_size // self.num_hosts
        while True:
            chosen = source_of(np.arange(start, start + self.batch_size), self.shares)
            rows = [self._next(streams, int(source)) for source in chosen]
            rows = rows[self.host * share : (self.host + 1) * share]
            yield {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}
            start += self.batch_size

    def _next(self, streams: list[Iterator[HostBatch]], source: int) -> HostBatch:
        row = dict(next(streams[source]))
        row["source_id"] = np.full_like(row["source_id"], source)
        row["example_id"] = row["example_id"] + np.int32(self._first_ids[source])
        return row
