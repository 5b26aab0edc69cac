"""Where a network runs, and in which number format."""

import torch

from impasto.precision import half_dtype

DEVICES = "auto, cpu, cuda, cuda:0 (1, ...), mps"
PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def choose_device(name: str = "auto") -> torch.device:
    """Find a device by name.

    Args:
        name: ``cpu``, ``cuda``, ``cuda:1``, ``mps``, or ``auto`` for the fastest there is.

    Raises:
        ValueError: If there is no such device, or this machine has none.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        device = torch.device("meta")
    if device.type not in ("cpu", "cuda", "mps"):
        raise ValueError(f"device must be one of {DEVICES}, got {name!r}.")
    present = {
        "cpu": 1,
        "cuda": torch.cuda.device_count(),
        "mps": int(torch.backends.mps.is_available()),
    }[device.type]
    if (device.index or 0) >= present:
        raise ValueError(f"device {name!r} is not on this machine: device=auto takes what is.")
    return device


def choose_dtype(precision: str, device: torch.device) -> torch.dtype:
    """Find the number format to compute in.

    Args:
        precision: ``fp32``, ``bf16``, ``fp16``, or ``auto``: fp16 on CUDA, bf16 on processors that
            multiply it natively, fp32 elsewhere. What a GPU convolves in fp32 PyTorch rounds to
            TF32, unless it is told not to, as by ``infer.py`` (``impasto.precision.keep_float32``).
        device: Where the network is to run.

    Raises:
        ValueError: If ``precision`` is none of these, or is fp16 on the CPU.
    """
    if precision == "auto":
        if device.type == "cuda":
            return torch.float16  # three more bits than bf16; those of the released networks fit
        return half_dtype(device.type) or torch.float32
    if precision not in PRECISIONS:
        allowed = ", ".join(["auto", *PRECISIONS])
        raise ValueError(f"precision must be one of {allowed}, got {precision!r}.")
    if precision == "fp16" and device.type == "cpu":  # measured: 100 times slower than fp32
        raise ValueError("precision fp16 is emulated on the CPU: take auto, bf16 or fp32 there.")
    return PRECISIONS[precision]
