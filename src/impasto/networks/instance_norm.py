"""Instance norm: every channel of every image gets a mean and a variance of its own."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F


class InstanceNorm(nn.InstanceNorm2d):
    """Normalise every channel of every image by its own mean and variance, then scale and shift.

    No running statistics: training and inference compute the same thing. Scale and shift have one
    value per channel, shape ``(C,)``, or one of every image's own, ``(N, C)``: then it is the
    conditional instance norm of Dumoulin et al. 2017, https://arxiv.org/abs/1610.07629.

    Source:
        Ulyanov et al. 2016, https://arxiv.org/abs/1607.08022
    """

    def __init__(self, num_channels: int) -> None:
        super().__init__(num_channels, affine=True, track_running_stats=False)

    def forward(self, features: Tensor) -> Tensor:
        """Normalise ``(N, C, H, W)`` features, of two positions at least."""
        if features.device.type == "cpu" and features.dtype == torch.bfloat16:
            scale, shift = (_per_image(values) for values in (self.weight, self.bias))
            return _ChannelsLastNorm.apply(features, scale, shift, self.eps)
        if self.weight.ndim == 1:
            return F.instance_norm(features, weight=self.weight, bias=self.bias, eps=self.eps)
        scale, shift = (
            values.to(features.dtype)[..., None, None] for values in (self.weight, self.bias)
        )
        return F.instance_norm(features, eps=self.eps) * scale + shift


class _ChannelsLastNorm(torch.autograd.Function):
    """The same for bfloat16 on a CPU, where convolutions leave channels last.

    PyTorch's own lays the features out anew, forward and backward: of a training step of the
    half-width network it takes a third, and this a sixth. Statistics are computed in float32.
    """

    @staticmethod
    def forward(ctx: Any, features: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
        """(N, C, H, W) features, in their own precision; weight and bias (N, 1, C) or (1, 1, C)."""
        rows = _rows(features)
        mean = rows.mean(1, keepdim=True)
        variance = (rows.square().mean(1, keepdim=True) - mean.square()).clamp_min(0)
        rate = (variance + eps).rsqrt()
        ctx.save_for_backward(features, mean, rate, weight)
        scale = rate * weight
        return _images(rows.mul_(scale).add_(bias - mean * scale), features)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of the features, of weight and of bias, each of their shape."""
        features, mean, rate, weight = ctx.saved_tensors
        rows, outer = _rows(features), _rows(gradient)
        total = outer.sum(1, keepdim=True)
        with_normalized = ((outer * rows).sum(1, keepdim=True) - mean * total) * rate
        scale = rate * weight / rows.shape[1]
        # d/dx = rate * weight * (g - mean(g) - normalized * mean(g * normalized))
        slope = -scale * rate * with_normalized
        offset = -scale * total - slope * mean
        inner = outer.mul_(scale * rows.shape[1]).add_(rows.mul_(slope)).add_(offset)
        sums = (values.sum_to_size(weight.shape) for values in (with_normalized, total))
        return _images(inner, gradient), *sums, None


def _per_image(values: Tensor) -> Tensor:
    """(C,) or (N, C) to (1, 1, C) or (N, 1, C)."""
    return values.view(-1, 1, values.shape[-1])


def _rows(features: Tensor) -> Tensor:
    """(N, C, H, W) of any precision to a copy of shape (N, H * W, C), float32."""
    return features.permute(0, 2, 3, 1).flatten(1, 2).to(torch.float32, copy=True)


def _images(rows: Tensor, like: Tensor) -> Tensor:
    """Undo ``_rows``: back to ``like``'s shape and precision, in memory of its own."""
    images = torch.empty_like(like, memory_format=torch.channels_last)
    count, channels, height, width = like.shape
    images.permute(0, 2, 3, 1).copy_(rows.view(count, height, width, channels))
    return images
