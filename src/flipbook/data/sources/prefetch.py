"""Batches ahead of time: worker processes draw and decode samples while the network computes."""

from __future__ import annotations

import signal
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

from flipbook.data.batch import Batch, Sample, collate


class DataWorkerError(RuntimeError):
    """A data worker process died (killed, out of memory) before it delivered its batch."""


class Numbered(Protocol):
    """Whatever gives a sample for a number: a stream, with buckets or without."""

    def sample(self, k: int, /) -> Sample: ...


@dataclass(frozen=True)
class _Samples:
    """A stream as torch's map-style dataset, which the loader asks for whole lists of sample numbers."""

    stream: Numbered

    def __getitem__(self, number: int) -> Sample:
        return self.stream.sample(number)

    def __getitems__(self, numbers: Sequence[int]) -> list[Sample]:
        return [self.stream.sample(k) for k in numbers]


def batches(stream: Numbered, numbers: Iterable[Sequence[int]], num_workers: int = 1) -> Generator[Batch, None, None]:
    """One batch for each list of sample numbers, in order, whatever the number of worker processes.

    num_workers: 0 draws and decodes in this process.
    Raises DataWorkerError when a worker dies; an error inside a source is raised here under its own type.
    """
    from torch.utils.data import DataLoader

    dataset: Any = _Samples(stream)
    loader: DataLoader[list[Sample]] = DataLoader(
        dataset,
        batch_sampler=map(list, numbers),
        num_workers=num_workers,
        collate_fn=_as_they_are,
        multiprocessing_context="spawn" if num_workers else None,
        worker_init_fn=_ignore_interrupts if num_workers else None,
    )
    with naming_dead_workers():
        for samples in loader:
            yield collate(samples)


@contextmanager
def naming_dead_workers() -> Iterator[None]:
    """Turn torch's error about a dead worker, which may come up anywhere in the process, into DataWorkerError."""
    try:
        yield
    except DataWorkerError:
        raise
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        raise DataWorkerError(
            f"a data worker died: {error} Often memory ran out: try num_workers=0 or a smaller memory_mb of the folder "
            "source. The last checkpoint is good: --resume."
        ) from error


def _as_they_are(samples: list[Sample]) -> list[Sample]:
    """Samples cross the process border as NumPy bytes: no shared-memory segments, which containers often keep tiny."""
    return samples


def _ignore_interrupts(worker: int) -> None:
    """Ctrl-C reaches the whole process group; the training process alone decides when to stop."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
