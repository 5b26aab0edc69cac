"""Content: what is where."""

import torch
from torch import Tensor

from impasto.losses.processes import averaged


def content_distance(features: Tensor, target: Tensor) -> Tensor:
    """Squared distance of features, relative to the target features' own energy.

    Dimensionless: 0 for the photo itself, 1 for features that are all zero.

    Args:
        features: Activations of the painted images at one layer, shape ``(N, C, H, W)``.
        target: Those of the photos, same shape.

    Returns:
        A float32 scalar, over the whole batch: one flat photo cannot blow it up.

    Source:
        Johnson et al. 2016, eq. 2, divided by the mean square of the target.
    """
    with torch.autocast(features.device.type, enabled=False):
        energy = averaged(target.float().square().mean()).clamp_min(torch.finfo(torch.float32).tiny)
        return (features.float() - target.float()).square().mean() / energy
