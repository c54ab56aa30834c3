"""Composition of batches as a function of only (seed, step), for any number of hosts and after any restart.

Every epoch has each example once (or `copies` times), in its own order. There is one queue per static shape, and a full
queue becomes a batch, so that all images of a batch have one shape and no example is left out: examples that are still
queued at the end of an epoch are in batches of the next one.
"""

import dataclasses
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from jaxtyping import Bool, Int

from hoi_jax.data.draws import permutation

COPY_BITS = 20
"""First bit of the copy's number within "epoch", which gives every copy its own random changes."""
_GOLDEN = (np.sqrt(5.0) - 1.0) / 2.0


@dataclasses.dataclass(frozen=True)
class Rows:
    """Places in the stream: dataset, position in its split, and epoch (with the copy's number) as key of draws."""

    source: Int[np.ndarray, " n"]
    example: Int[np.ndarray, " n"]
    epoch: Int[np.ndarray, " n"]

    def __len__(self) -> int:
        return len(self.example)

    def take(self, rows: np.ndarray | slice) -> "Rows":
        return Rows(self.source[rows], self.example[rows], self.epoch[rows])


@dataclasses.dataclass(frozen=True)
class PlannedBatch:
    """One batch: its rows, the index of its static shape, and a mask of valid (not padding) rows."""

    rows: Rows
    shape: int
    valid: Bool[np.ndarray, " n"]

    def of_host(self, host: int, num_hosts: int) -> "PlannedBatch":
        """The part of one host."""
        share = len(self.rows) // num_hosts
        part = slice(host * share, (host + 1) * share)
        return PlannedBatch(self.rows.take(part), self.shape, self.valid[part])


ShapeOf = Callable[[Rows], Int[np.ndarray, " n"]]
"""Rows -> index of the static shape of each."""


def concatenate(parts: Sequence[Rows]) -> Rows:
    """Rows of all parts, in order."""
    fields = [field.name for field in dataclasses.fields(Rows)]
    return Rows(*(np.concatenate([getattr(part, name) for part in parts]) for name in fields))


def epochs(
    examples: int, seed: int, copies: Callable[[int], np.ndarray | None] = lambda epoch: None, source: int = 0
) -> Iterator[Rows]:
    """The stream of one dataset, one epoch at a time, shuffled over the whole split.

    Args:
      copies: epoch -> number of copies of each example, None = one.
    """
    epoch = 0
    while True:
        times = copies(epoch)
        times = np.ones(examples, np.int64) if times is None else times
        example = np.repeat(np.arange(examples), times)
        copy = np.arange(len(example)) - np.repeat(np.cumsum(times) - times, times)
        order = permutation(seed, epoch, np.stack([example, copy], axis=1))
        yield Rows(np.full(len(order), source), example[order], epoch + (copy[order] << COPY_BITS))
        epoch += 1


def source_of(positions: Int[np.ndarray, " n"], shares: tuple[float, ...]) -> Int[np.ndarray, " n"]:
    """The dataset of each position of a mixed stream; `shares` sum to one.

    Each dataset has its share of [0, 1), and position n takes the dataset that the n-th point of a golden-ratio
    sequence falls into, so that the shares hold evenly from the start.
    """
    point = (positions.astype(np.float64) * _GOLDEN + 0.5) % 1.0
    return np.minimum(np.searchsorted(np.cumsum(shares), point, side="right"), len(shares) - 1)


def mixed(streams: Sequence[Iterator[Rows]], shares: tuple[float, ...], length: int) -> Iterator[Rows]:
    """The streams of several datasets mixed into one, `length` rows at a time."""
    waiting = [next(stream) for stream in streams]
    start = 0
    while True:
        chosen = source_of(np.arange(start, start + length), shares)
        place = np.zeros(length, np.int64)
        offset, parts = 0, []
        for source, stream in enumerate(streams):
            mine = np.flatnonzero(chosen == source)
            while len(waiting[source]) < len(mine):
                waiting[source] = concatenate([waiting[source], next(stream)])
            parts.append(waiting[source].take(slice(0, len(mine))))
            waiting[source] = waiting[source].take(slice(len(mine), None))
            place[mine] = offset + np.arange(len(mine))
            offset += len(mine)
        yield concatenate(parts).take(place)
        start += length


def training_batches(
    stream: Iterator[Rows], batch_size: int, shape_of: ShapeOf, start_step: int = 0
) -> Iterator[PlannedBatch]:
    """Full batches of one static shape each, from `start_step` on."""
    step, left = 0, None
    for chunk in stream:
        rows = chunk if left is None else concatenate([left, chunk])
        shape = shape_of(rows)
        groups, ends, used = [], [], np.zeros(len(rows), bool)
        for number in np.unique(shape):
            mine = np.flatnonzero(shape == number)
            full = mine[: len(mine) // batch_size * batch_size].reshape(-1, batch_size)
            groups.append(full)
            ends.append(full[:, -1])
            used[full] = True
        batches = np.concatenate(groups)[np.argsort(np.concatenate(ends))]
        for members in batches[max(start_step - step, 0) :]:
            yield PlannedBatch(rows.take(members), int(shape[members[0]]), np.ones(batch_size, bool))
        step += len(batches)
        left = rows.take(~used)


def evaluation_batches(examples: int, batch_size: int, shape_of: ShapeOf, source: int = 0) -> Iterator[PlannedBatch]:
    """Every example once, in file order within a shape; the last batch of a shape is padded with its first row."""
    number = np.arange(examples)
    rows = Rows(np.full(examples, source), number, np.zeros(examples, np.int64))
    shape = shape_of(rows)
    batches = []
    for kind in np.unique(shape):
        mine = np.flatnonzero(shape == kind)
        for start in range(0, len(mine), batch_size):
            members = mine[start : start + batch_size]
            fill = np.full(batch_size - len(members), mine[0])
            valid = np.arange(batch_size) < len(members)
            batches.append((members[-1], PlannedBatch(rows.take(np.concatenate([members, fill])), int(kind), valid)))
    yield from (batch for _, batch in sorted(batches, key=lambda entry: entry[0]))
