"""Samples and batches, in an order that a resumed run continues.

Position is the running number of a training sample in the whole run. Every training set here is
endless, and its sample at a position depends on the seed and that position alone: a run that goes
on at step k starts at position k * batch_size and sees the very same samples, bit for bit.
"""

import os
import signal
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

MAX_DEFAULT_WORKERS = 8  # they feed any one device, and leave room to others on large machines


class Skipped(NamedTuple):
    """A file that cannot be read.

    Args:
        path: Of the file.
        reason: Why, in a few words.
    """

    path: str
    reason: str


class Sample(NamedTuple):
    """One picture, and what was passed over to get it.

    Args:
        image: RGB, uint8, shape ``(3, S, S)``.
        skipped: Files that could not be read and that this picture stands in for.
        mask: 1 where a pixel is to be missing, uint8, shape ``(1, S, S)``; ``None`` for tasks that
            need no masks.
    """

    image: Tensor
    skipped: tuple[Skipped, ...] = ()
    mask: Tensor | None = None


class Batch(NamedTuple):
    """Several pictures on their way from a worker to the main process.

    An array and not a tensor: for small batches a pipe costs no more than shared memory.

    Args:
        levels: RGB, uint8, shape ``(N, S, S, 3)``.
        skipped: Of all samples.
        masks: Of all samples, uint8, shape ``(N, 1, S, S)``, or none.
    """

    levels: np.ndarray
    skipped: tuple[Skipped, ...]
    masks: np.ndarray | None = None


class PhotoSource(Protocol):
    """Where photos come from."""

    @property
    def train(self) -> Dataset[Sample]:
        """Endless: any position from 0 up gives a sample."""

    @property
    def val(self) -> Dataset[Sample]:
        """The held-out photos, always the same; has a length."""


class PositionSampler(Sampler[int]):
    """Counts positions, from wherever training stands.

    Of several processes that train together, each takes its own batches: in turn, so that together
    they see what one process with batches as large as all of theirs would.

    Args:
        num_batches: In the whole run, of this process.
        batch_size: Positions in a batch.
        start: Tells the first batch, asked anew for every pass.
        rank: Number of this process, from 0.
        num_processes: How many train together.
    """

    def __init__(
        self,
        num_batches: int,
        batch_size: int,
        start: Callable[[], int],
        rank: int = 0,
        num_processes: int = 1,
    ) -> None:
        self.num_batches = num_batches
        self.batch_size = batch_size
        self.start = start
        self.rank = rank
        self.num_processes = num_processes

    def __len__(self) -> int:
        # Of the whole run: Lightning adds the steps before a resumption to its own count.
        return self.num_batches * self.batch_size

    def __iter__(self) -> Iterator[int]:
        for batch in range(self.start(), self.num_batches):
            first = (batch * self.num_processes + self.rank) * self.batch_size
            yield from range(first, first + self.batch_size)


class TrainLoader(DataLoader[Any]):
    """Loads one run's batches as a single pass, from wherever training stands.

    Args:
        dataset: Endless, see ``PhotoSource.train``.
        sampler: Of positions.
        **options: Of ``torch.utils.data.DataLoader``.
    """

    sampler: PositionSampler

    def __init__(self, dataset: Dataset[Sample], sampler: PositionSampler, **options: Any) -> None:
        super().__init__(dataset, sampler=sampler, **options)

    def state_dict(self) -> dict[str, int]:
        """Tell where training stands; with this method Lightning knows the loader to resume."""
        return {"batch": self.sampler.start()}

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        """Do nothing: the position follows from the trainer's own count of batches."""


class Remembered(Dataset[Sample]):
    """Keeps every sample in memory once it was read; for the few held-out ones.

    Args:
        dataset: Has a length.
    """

    def __init__(self, dataset: Dataset[Sample]) -> None:
        self.dataset = dataset
        self._samples: dict[int, Sample] = {}

    def __len__(self) -> int:
        return len(self.dataset)  # type: ignore[arg-type]

    def __getitem__(self, index: int) -> Sample:
        if index not in self._samples:
            self._samples[index] = self.dataset[index]
        return self._samples[index]


def collate(samples: Sequence[Sample]) -> Batch:
    """Gather samples in a batch, with a single copy."""
    levels = torch.stack([sample.image.permute(1, 2, 0) for sample in samples]).numpy()
    skipped = tuple(file for sample in samples for file in sample.skipped)
    masks = [sample.mask for sample in samples if sample.mask is not None]
    return Batch(levels, skipped, torch.stack(masks).numpy() if masks else None)


def default_num_workers() -> int:
    """Processes to load with: one per core this process may use, at most 8."""
    if hasattr(os, "sched_getaffinity"):  # Linux: containers and job queues give fewer cores
        return min(MAX_DEFAULT_WORKERS, len(os.sched_getaffinity(0)))
    return min(MAX_DEFAULT_WORKERS, os.cpu_count() or 1)


def ignore_interrupts(worker: int) -> None:
    """Leave signals to the main process: terminals and job queues send them to all processes."""
    for name in ("SIGINT", "SIGTERM", "SIGUSR1", "SIGUSR2"):
        if hasattr(signal, name):  # Windows knows the first two
            signal.signal(getattr(signal, name), signal.SIG_IGN)
