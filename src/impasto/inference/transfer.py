"""Photos and frames on their way to a CUDA device and back while it paints others."""

import time
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor


def bring(pixels: np.ndarray, device: torch.device) -> Tensor:
    """Bring a photo to where it is painted, without waiting for it to be there.

    Args:
        pixels: uint8, shape ``(H, W, 3)``.
        device: The painter's; if it is no CUDA device, the painter brings the photo there itself.

    Returns:
        The same, shape ``(1, 3, H, W)``.
    """
    levels = torch.from_numpy(pixels)
    if device.type == "cuda":  # from other memory than pinned one, it would be waited for
        levels = levels.pin_memory().to(device, non_blocking=True)
    return levels.permute(2, 0, 1)[None]


def fetch(painted: Tensor) -> Callable[[], np.ndarray]:
    """Begin to bring a painting back.

    Args:
        painted: uint8, shape ``(1, 3, H, W)``, on the CPU or on a CUDA device.

    Returns:
        What gives the pixels, shape ``(H, W, 3)``, as soon as they are there; in any thread.
    """
    pixels = painted[0].permute(1, 2, 0).contiguous()
    if not pixels.is_cuda:
        return pixels.numpy
    copied = torch.empty(pixels.shape, dtype=pixels.dtype, pin_memory=True)
    copied.copy_(pixels, non_blocking=True)
    done = torch.cuda.Event()
    done.record(torch.cuda.current_stream(pixels.device))

    def wait() -> np.ndarray:
        done.synchronize()
        return copied.numpy()

    return wait


def moment(device: torch.device) -> "torch.cuda.Event | float":
    """Mark when a device has come so far, for ``seconds_between``."""
    if device.type != "cuda":
        return time.perf_counter()
    event = torch.cuda.Event(enable_timing=True)
    event.record(torch.cuda.current_stream(device))
    return event


def seconds_between(first: "torch.cuda.Event | float", last: "torch.cuda.Event | float") -> float:
    """Tell how long a device took from one moment to another; waits for it."""
    if isinstance(first, float) or isinstance(last, float):
        return float(last) - float(first)  # type: ignore[arg-type]
    last.synchronize()
    return float(first.elapsed_time(last)) / 1000
