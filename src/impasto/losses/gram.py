"""Gram matrices: what is in an image, with where it is thrown away."""

import torch
from torch import Tensor


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
    count, channels, height, width = features.shape
    with torch.autocast(features.device.type, enabled=False):
        # (N, H * W, C): a view of channels-last features, no copy.
        rows = features.permute(0, 2, 3, 1).reshape(count, height * width, channels)
        rows = rows.float() * (channels * height * width) ** -0.5
        return rows.transpose(1, 2) @ rows


def style_distance(gram: Tensor, target: Tensor) -> Tensor:
    """Squared distance of Gram matrices, relative to the target's own squared norm.

    Dimensionless: 0 for the painting itself, 1 for a black image, whatever the layer, the image
    size or the scale of the features. The paper leaves it unscaled, and needs a weight per style.

    Args:
        gram: Matrices of the images, shape ``(N, C, C)``.
        target: The painting's matrix, shape ``(C, C)``.

    Returns:
        A scalar, the mean over the N images.

    Source:
        Johnson et al. 2016, eq. 4, divided by the target's squared Frobenius norm.
    """
    energy = target.square().sum().clamp_min(torch.finfo(torch.float32).tiny)
    return (gram - target).square().sum(dim=(1, 2)).mean() / energy
