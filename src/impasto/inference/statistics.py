"""Statistics of features, as instance norms need them."""

from typing import NamedTuple

import torch
from torch import Tensor

BAND_SIZE = 2**16  # positions whose statistics are computed in one go


class Statistics(NamedTuple):
    """What an instance norm knows of its channels: ``(N, C)`` each, float32, variance biased."""

    mean: Tensor
    variance: Tensor


def measure(raw: Tensor) -> Statistics:
    """Find the statistics of every image's features, of shape ``(N, C, H, W)``."""
    if raw.device.type == "cpu" and len(raw) == 1:
        return _measure_in_bands(raw)
    variance, mean = torch.var_mean(raw.float(), dim=(2, 3), correction=0)
    return Statistics(mean, variance)


def as_one(raw: Tensor) -> Tensor:
    """View (N, C, H, W) features, channels last, as those of one image, one below the other."""
    return raw.permute(0, 2, 3, 1).flatten(0, 1)[None].permute(0, 3, 1, 2)


def pool(mean: Tensor, variance: Tensor, counts: Tensor) -> Statistics:
    """Find the statistics of the whole from those of its parts.

    Args:
        mean: Of each part, ``(P, C)``.
        variance: Likewise.
        counts: Positions in each part, ``(P, 1)``.
    """
    shares = counts / counts.sum()
    whole = (shares * mean).sum(0, keepdim=True)
    return Statistics(whole, (shares * (variance + (mean - whole).square())).sum(0, keepdim=True))


def _measure_in_bands(raw: Tensor) -> Statistics:
    """Statistics of (1, C, H, W) features on a CPU, by PyTorch's batch norm.

    It is the only one that is fast for channels last; but it adds numbers up one by one in float32,
    of which a million are too many.
    """
    bands = raw.split(max(1, BAND_SIZE // raw.shape[3]), dim=2)
    shape = (2, len(bands), raw.shape[1])
    mean, variance = torch.zeros(shape, dtype=torch.float32, device=raw.device)
    counts = [band.shape[2] * band.shape[3] for band in bands]
    for index, (band, count) in enumerate(zip(bands, counts, strict=True)):
        torch.batch_norm_update_stats(band, mean[index], variance[index], momentum=1.0)
        # It gives the unbiased variance, which a single position has not.
        variance[index].mul_((count - 1) / count).nan_to_num_()
    if len(bands) == 1:
        return Statistics(mean, variance)
    return pool(mean, variance, torch.tensor(counts, device=raw.device)[:, None])
