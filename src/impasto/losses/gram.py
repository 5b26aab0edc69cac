"""Gram matrices: what is in an image, with where it is thrown away."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


def gram_matrix(features: Tensor) -> Tensor:
    """Correlate every channel with every other, averaged over positions.

    Computed in float32 whatever the features are in, and scaled before the product: half precision
    would overflow at 65504 with pictures larger than 256 px squared.

    Args:
        features: Activations of one layer, shape ``(N, C, H, W)``, any real range.

    Returns:
        Symmetric float32 matrices, shape ``(N, C, C)``, divided by ``C * H * W`` so that layers of
        any size compare.

    Raises:
        ValueError: If ``features`` is not four-dimensional.

    Source:
        Johnson et al. 2016, eq. 3, https://arxiv.org/abs/1603.08155
    """
    if features.ndim != 4:
        raise ValueError(
            f"gram_matrix needs features of shape (N, C, H, W), got {tuple(features.shape)}."
        )
    return _Gram.apply(features)


class _Gram(torch.autograd.Function):
    """The product and its gradient, which is symmetric: one product backward instead of two.

    On a CPU, where memory is what a wide layer waits for, this is a tenth of a training step.
    """

    @staticmethod
    def forward(ctx: Any, features: Tensor) -> Tensor:
        """(N, C, H, W) to float32 (N, C, C)."""
        ctx.save_for_backward(features)
        with torch.autocast(features.device.type, enabled=False):
            rows = _rows(features).float() * features[0].numel() ** -0.5
            return rows.mT @ rows

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        """d/dF of <gradient, F^T F> is F (gradient + gradient^T)."""
        (features,) = ctx.saved_tensors
        count, channels, height, width = features.shape
        symmetric = (gradient + gradient.mT) / features[0].numel()
        with torch.autocast(features.device.type, enabled=False):  # it may be on around a backward
            rows = (_rows(features).float() @ symmetric).to(features.dtype)
        return rows.view(count, height, width, channels).permute(0, 3, 1, 2)


def _rows(features: Tensor) -> Tensor:
    """(N, C, H, W) to (N, H * W, C): a view of channels-last features, no copy."""
    return features.permute(0, 2, 3, 1).flatten(1, 2)


def style_distance(gram: Tensor, target: Tensor) -> Tensor:
    """Squared distance of Gram matrices, relative to the target's own squared norm.

    Dimensionless: 0 for the painting itself, 1 for features that are all zero, whatever the layer,
    the image size or the scale of the features. The paper leaves it unscaled, with a
    weight per style.

    Args:
        gram: Matrices of the images, shape ``(N, C, C)``.
        target: The painting's matrix, shape ``(C, C)``.

    Returns:
        A scalar, the mean over the N images.

    Source:
        Johnson et al. 2016, eq. 4, divided by the target's squared Frobenius norm.
    """
    return style_distances(gram, target).mean()


def style_distances(grams: Tensor, targets: Tensor) -> Tensor:
    """The same image by image, each of which may have a painting of its own.

    Args:
        grams: Matrices of the images, shape ``(N, C, C)``.
        targets: Those of the paintings, likewise, or ``(C, C)`` of one for all.

    Returns:
        Shape ``(N,)``.
    """
    energies = targets.square().sum((-2, -1)).clamp_min(torch.finfo(torch.float32).tiny)
    return (grams - targets).square().sum((1, 2)) / energies
