"""Number formats: which one a machine computes natively, and what a GPU takes for float32."""

import torch


def half_dtype(device_type: str) -> torch.dtype | None:
    """The half precision to train and to compute features in, or ``None`` where it gains nothing.

    bfloat16 has the range of float32, so that no loss scaling is needed. Emulated, it is slower.

    Args:
        device_type: ``cpu``, ``cuda`` or any other of PyTorch's.
    """
    if device_type == "cuda":
        native = torch.cuda.is_bf16_supported(including_emulation=False)
    elif device_type == "cpu":
        native = _cpu_computes_bf16()
    else:
        native = False
    return torch.bfloat16 if native else None


def keep_float32() -> None:
    """Let a GPU convolve float32 as such in this process; PyTorch rounds it to TF32, ten bits.

    Of a painting's first layers these are too few: see ``FusedTransformer``.
    """
    torch.backends.cudnn.allow_tf32 = False


def _cpu_computes_bf16() -> bool:
    """Whether the processor multiplies bfloat16: AVX512-BF16 or AMX on x86, BF16 on Arm."""
    capabilities: dict[str, object] = getattr(
        torch.cpu, "get_capabilities", dict
    )()  # since torch 2.12
    return any(
        capabilities.get(name, False) for name in ("avx512_bf16", "amx_bf16", "amx_tile", "bf16")
    )
