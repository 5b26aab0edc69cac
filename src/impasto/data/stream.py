"""Photos in an order that is random enough and never needs more than a few row groups at once.

A stream is one worker's share of the row groups. Like everywhere else the photo at a place of it
depends on the seed and that place alone: nothing has to be saved, and a run that goes on starts
where it stopped, after reading the few row groups that are due there. (The buffers that
``datasets`` shuffles streams with do not come back with their state.)
"""

import heapq
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from functools import partial
from typing import Any

import numpy as np
from torch.utils.data import Dataset, get_worker_info

from impasto.data.batches import Sample
from impasto.data.crops import CROP, crop_randomly
from impasto.data.rowgroups import Row, RowGroup, read_pictures

DEAL, SHARE = 2, 3  # streams of chance beside CROP: who gets which row group, the order of a share
GROUPS_AHEAD = 2  # read while the photos before them are decoded
NUM_CONNECTIONS = 4  # per worker
MAX_STAND_INS = 1000  # damaged photos in a row; to try all of a large repository would take days


class Stream:
    """Rows of some row groups, over and over, in a new order every time.

    Row groups come one after the other, in random order; each spreads its rows at random over the
    time in which ``buffer_size`` others come, so that about so many photos are mixed.

    Args:
        groups: At least one.
        buffer_size: Photos to mix.
        seed: Numbers, each at least 0, that decide the order.
    """

    def __init__(self, groups: Sequence[RowGroup], buffer_size: int, seed: tuple[int, ...]) -> None:
        self.groups = groups
        self.seed = seed
        self._counts = np.array([len(group.rows) for group in groups])
        self.num_rows = int(self._counts.sum())
        mean = self.num_rows / len(groups)
        self._spread = max(1.0, buffer_size / mean)  # in row groups
        self._lookahead = round(GROUPS_AHEAD * mean)
        self._epoch = -1
        self._window: dict[int, Future[Any]] = {}
        self._connections = threading.Semaphore(NUM_CONNECTIONS)

    def rows_from(self, place: int) -> Iterator[Row]:
        """Photos from a place on, not read yet; the first one, and those to stand in for it.

        Args:
            place: From 0 up, without end.
        """
        epoch, place = divmod(place, self.num_rows)
        self._plan(epoch)
        self._advance(place)
        for step in range(min(self.num_rows, MAX_STAND_INS)):
            turn = (place + step) % self.num_rows
            index = int(self._owners[turn])
            group = self.groups[index]
            yield Row(group, group.rows[self._rows[turn]], partial(self.pictures, index))

    def pictures(self, index: int) -> Any:
        """Picture files of one of the row groups; waits until they are there."""
        if index not in self._window:
            self._start(index)
        return self._window[index].result()

    def _plan(self, epoch: int) -> None:
        if epoch == self._epoch:
            return
        rng = np.random.default_rng((*self.seed, epoch))
        turns = rng.permutation(len(self.groups))
        counts = self._counts[turns]
        times = np.repeat(np.arange(len(turns)), counts) + self._spread * rng.random(self.num_rows)
        order = np.argsort(times, kind="stable")
        first = np.repeat(np.cumsum(counts) - counts, counts)
        self._owners = np.repeat(turns, counts)[order]
        self._rows = (np.arange(self.num_rows) - first)[order]
        places = np.arange(self.num_rows)
        self._first = np.full(len(turns), self.num_rows)
        np.minimum.at(self._first, self._owners, places)
        self._last = np.zeros(len(turns), np.intp)
        np.maximum.at(self._last, self._owners, places)
        self._epoch = epoch

    def _advance(self, place: int) -> None:
        """Forget what is used up; in a worker, begin to read what comes soon."""
        due = np.flatnonzero((self._first <= place + self._lookahead) & (self._last >= place))
        for index in self._window.keys() - set(due.tolist()):
            del self._window[index]
        if get_worker_info() is None:  # threads at work would not survive the start of workers
            return
        for index in due[np.argsort(self._first[due])].tolist():
            if index not in self._window:
                self._start(index)

    def _start(self, index: int) -> None:
        self._window[index] = future = Future[Any]()
        if get_worker_info() is None:
            self._read(index, future)
        else:  # a daemon, so that a worker can end while a server keeps it waiting
            threading.Thread(target=self._read, args=(index, future), daemon=True).start()

    def _read(self, index: int, future: "Future[Any]") -> None:
        with self._connections:
            try:
                future.set_result(read_pictures(self.groups[index]))
            except Exception as error:
                future.set_exception(error)


class StreamedCrops(Dataset[Sample]):
    """Endless random crops out of streams.

    Batches take the streams in turn, as processes that train together take the batches and, in
    each, its workers take those of the process: with as many workers as streams, every one reads
    its own share of the row groups and no other. With another number the samples are the same, but
    row groups are read by several workers.

    Args:
        groups: At least one; dealt to the streams so that all have about as many photos.
        image_size: Side of a crop, in pixels.
        scales: Smallest and largest side of a crop, as shares of the photo's shorter side.
        batch_size: Positions that are asked for together.
        num_streams: Of one process, at least 1; see ``share`` for several.
        buffer_size: Photos that each stream mixes.
        seed: Of order, crops and mirroring, at least 0.
    """

    def __init__(
        self,
        groups: Sequence[RowGroup],
        image_size: int,
        scales: tuple[float, float],
        *,
        batch_size: int,
        num_streams: int,
        buffer_size: int,
        seed: int,
    ) -> None:
        self.groups = groups
        self.image_size = image_size
        self.scales = scales
        self.batch_size = batch_size
        self.buffer_size = buffer_size
        self.seed = seed
        self.share(num_streams)

    def share(self, num_streams: int, num_processes: int = 1) -> None:
        """Deal the row groups to the streams of all processes that train together.

        There are never more streams than row groups. Where these are too few, workers of a process
        share its streams; and processes share streams where not each of them can have a row group.
        Even then no two see the same photo before the stream has shown all that it has.

        Args:
            num_streams: Of each process, at least 1.
            num_processes: How many, at least 1.
        """
        count = min(num_streams * num_processes, len(self.groups))
        if count > num_processes:
            count -= count % num_processes  # else batches of a process would wander over all
        self.num_streams = num_streams
        self.shares = deal(self.groups, count, self.seed)
        self._streams: dict[int, Stream] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_streams": {}}  # what was read stays in its process

    def __getitem__(self, position: int) -> Sample:
        batch, offset = divmod(position, self.batch_size)
        turn, number = divmod(batch, len(self.shares))
        rows = self._stream(number).rows_from(turn * self.batch_size + offset)
        return crop_randomly(rows, self.image_size, self.scales, (self.seed, CROP, position))

    def _stream(self, number: int) -> Stream:
        if number not in self._streams:
            seed = (self.seed, SHARE, number)
            self._streams[number] = Stream(self.shares[number], self.buffer_size, seed)
        return self._streams[number]


def deal(groups: Sequence[RowGroup], num_shares: int, seed: int) -> list[list[RowGroup]]:
    """Deal row groups at random, so that all shares have about as many photos.

    Args:
        groups: At least as many as shares.
        num_shares: How many.
        seed: At least 0.
    """
    rng = np.random.default_rng((seed, DEAL))
    shuffled = [groups[index] for index in rng.permutation(len(groups))]
    shares: list[list[RowGroup]] = [[] for _ in range(num_shares)]
    least = [(0, number) for number in range(num_shares)]
    for group in sorted(shuffled, key=lambda group: -len(group.rows)):
        num_rows, number = heapq.heappop(least)
        shares[number].append(group)
        heapq.heappush(least, (num_rows + len(group.rows), number))
    return shares
