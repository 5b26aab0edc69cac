"""Paint photos of a shape that came before by replaying what a GPU did then, as a CUDA graph.

Starting a hundred small operations one by one can take longer than computing them. A graph starts
all of them at once, and the painting is the same.
"""

import threading
import warnings
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor

MAX_SHAPES = 4
# Of a batch: 1920 x 1088. More takes far longer to compute than to start, and memory that is kept.
MAX_PIXELS = 2**21

Network = Callable[[Tensor], Tensor]
# PyTorch records one graph at a time in a process, and a recording holds one batch at a time.
_lock = threading.Lock()


class Recording(NamedTuple):
    """What a network did with photos of one shape."""

    graph: torch.cuda.CUDAGraph
    photos: Tensor  # where it reads
    painted: Tensor  # where it writes
    stream: torch.cuda.Stream  # in which it was recorded
    done: torch.cuda.Event  # the last replay of those that share memory


class Replay:
    """A network on a CUDA device that paints the same, and sooner what it has painted before.

    The first photos of a shape are painted as ever, for they may be the only ones; the second ones
    are recorded, and from then on that is replayed. The last ``MAX_SHAPES`` shapes are known. Where
    recording fails, as for lack of memory, photos are painted as ever from then on, by all of this
    process, and a warning says so.

    Args:
        network: Photos to paintings, without waiting for the GPU; its weights stay where they are.
    """

    _is_off = False  # for all: a recording that fails can leave PyTorch in the belief it goes on

    def __init__(self, network: Network) -> None:
        self.network = network
        self._recordings: OrderedDict[torch.Size, Recording | None] = OrderedDict()

    def __call__(self, photos: Tensor) -> Tensor:
        """Paint photos.

        Args:
            photos: RGB in [0, 1], float32, shape ``(N, 3, H, W)``, on the network's device.

        Returns:
            Paintings in [0, 1], float32, of the same shape; nobody else's.
        """
        if not self._is_off and photos[:, 0].numel() <= MAX_PIXELS:
            with _lock:
                recording = self._recall(photos)
                if recording is not None:
                    return _replayed(recording, photos)
        try:
            return self.network(photos)
        except torch.OutOfMemoryError:
            if not self._forget():
                raise
        return self.network(photos)

    def __reduce__(self) -> tuple[Any, ...]:
        """Recordings are of this process and this network: a copy makes its own."""
        return type(self), (self.network,)

    def _recall(self, photos: Tensor) -> Recording | None:
        """What to replay for photos; nothing where their shape is new or cannot be recorded."""
        recording = self._recordings.get(photos.shape)
        if recording is None and photos.shape in self._recordings:
            others = (other for other in self._recordings.values() if other is not None)
            try:
                recording = record(self.network, photos, next(others, None))
            except RuntimeError as error:
                Replay._is_off = True
                self._recordings.clear()
                reason = str(error).partition("\n")[0]
                warnings.warn(f"Painting goes on without CUDA graphs: {reason}", stacklevel=3)
                return None
        self._recordings[photos.shape] = recording
        self._recordings.move_to_end(photos.shape)
        if len(self._recordings) > MAX_SHAPES:
            self._recordings.popitem(last=False)
        return recording

    def _forget(self) -> bool:
        """Give the memory of recordings back; tells whether there was any."""
        with _lock:
            had_some = any(self._recordings.values())
            self._recordings.clear()
        return had_some


def _replayed(recording: Recording, photos: Tensor) -> Tensor:
    with in_turn(recording):
        recording.photos.copy_(photos)
        recording.graph.replay()
        return recording.painted.clone()


def record(network: Network, photos: Tensor, shared: Recording | None) -> Recording:
    """Let a network paint photos, and keep what the GPU did.

    Args:
        network: Paints.
        photos: Of the shape to record, on a CUDA device.
        shared: A recording to share memory with; both are never replayed at the same time.

    Raises:
        RuntimeError: If it cannot be recorded, or memory runs out.
    """
    device = photos.device
    with torch.inference_mode(False):  # else nobody could write to it outside of that mode
        static = torch.empty_like(photos)
    static.copy_(photos)
    graph, before = torch.cuda.CUDAGraph(), torch.cuda.current_stream(device)
    stream = shared.stream if shared else torch.cuda.Stream(device)
    stream.wait_stream(before)
    with torch.cuda.device(device), torch.cuda.stream(stream):
        network(static)  # libraries choose kernels and take memory, which no graph can hold
        pool = shared.graph.pool() if shared else None
        # Other threads may use the GPU meanwhile.
        with torch.cuda.graph(graph, pool, stream, capture_error_mode="thread_local"):
            painted = network(static)
    before.wait_stream(stream)
    return Recording(graph, static, painted, stream, shared.done if shared else torch.cuda.Event())


@contextmanager
def in_turn(recording: Recording) -> Iterator[None]:
    """Let what is done here begin on the GPU after the last replay, in whatever stream that was."""
    stream = torch.cuda.current_stream(recording.photos.device)
    stream.wait_event(recording.done)
    recording.photos.record_stream(stream)  # which may be at it still when this is forgotten
    yield
    recording.done.record(stream)
