"""Looking at pictures another way, so that nobody can paint for one look only."""

import torch
from torch import Tensor
from torch.nn import functional as F

SCALES = (0.5, 1.0)
MULTIPLE = 16  # pixels that sizes come in: few sizes, of which the loss network's layers lose none


def random_view(images: Tensor) -> Tensor:
    """Mirror, turn and shrink all images alike, at random: in eight ways, to half size at most.

    Args:
        images: Of shape ``(N, C, H, W)``, any range.

    Returns:
        Of shape ``(N, C, H', W')``, channels last.
    """
    scale, mirror, turn = torch.rand(3).tolist()
    scale = SCALES[0] + (SCALES[1] - SCALES[0]) * scale
    size = [max(MULTIPLE, round(side * scale / MULTIPLE) * MULTIPLE) for side in images.shape[2:]]
    images = F.interpolate(images, size, mode="bilinear", antialias=True)
    if mirror < 0.5:
        images = images.flip(3)
    images = images.rot90(int(4 * turn), (2, 3))
    return images.contiguous(memory_format=torch.channels_last)
