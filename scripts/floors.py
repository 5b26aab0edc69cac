"""Floors: the least time a network can take here, by what it multiplies and by what it moves."""

import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode


class Traffic(TorchDispatchMode):
    """Counts the bytes that operations read and write, but for weights."""

    def __init__(self) -> None:
        super().__init__()
        self.num_bytes = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Do it; count it, unless it only looks at memory in another way."""
        result = func(*args, **(kwargs or {}))
        if not func.is_view:
            tensors = [leaf for leaf in tree_leaves((args, kwargs, result)) if is_feature(leaf)]
            self.num_bytes += sum(tensor.nbytes for tensor in tensors)
        return result


def is_feature(leaf: object) -> bool:
    """Whether this is a tensor that is larger for larger photos."""
    return isinstance(leaf, Tensor) and not isinstance(leaf, nn.Parameter)


def floors(network: nn.Module, like: Tensor, num_pixels: int) -> tuple[float, float]:
    """Seconds that a network's multiplications alone would take, and moving its data alone.

    Args:
        network: Paints photos of shape ``(1, 3, H, W)``; all it does grows with their area.
        like: Of the device and the number format in which it multiplies.
        num_pixels: Of a photo.
    """
    small = torch.rand(1, 3, 256, 256, device=like.device)
    with torch.inference_mode(), Traffic() as traffic, FlopCounterMode(display=False) as counter:
        network(small)
    share = num_pixels / small[0, 0].numel()
    return (
        share * counter.get_total_flops() / matrix_rate(like),
        share * traffic.num_bytes / bandwidth(small.device),
    )


def matrix_rate(like: Tensor) -> float:
    """Operations per second of a matrix product in a tensor's precision."""
    size = 8192 if like.is_cuda else 2048  # a GPU multiplies a small one before the clock is read
    left, right = (torch.rand(size, size, device=like.device).to(like.dtype) for _ in range(2))
    return 2 * size**3 / shortest(lambda: left @ right)


def bandwidth(device: torch.device) -> float:
    """Bytes per second that a copy reads and writes."""
    source = torch.zeros(2**28, dtype=torch.uint8, device=device)  # more than caches hold
    target = torch.zeros_like(source)
    return 2 * source.nbytes / shortest(lambda: target.copy_(source))


def shortest(work: Callable[[], object]) -> float:
    """Seconds that something takes, the best of ten."""
    seconds = []
    for _ in range(10):
        synchronize()
        start = time.perf_counter()
        work()
        synchronize()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def synchronize() -> None:
    """Wait for the GPU, if there is one."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
