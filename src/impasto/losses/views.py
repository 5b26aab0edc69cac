"""Looking at pictures another way, so that nobody can paint for one look only."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

SCALES = (0.5, 1.0)
TURN = math.pi / 4  # radians either way, at most: with quarter turns, any direction
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


def random_turn(images: Tensor) -> Tensor:
    """Turn all images alike by a random angle, of an eighth of a circle at most.

    Lines along rows and columns come cheap to a network, and end as a weave where it knows no
    better: turned, they are nothing special.

    Args:
        images: Of shape ``(N, C, H, W)``, any range.

    Returns:
        Of the same shape, channels last; corners show what lies inside, mirrored.
    """
    height, width = images.shape[2:]
    angle = TURN * (2 * torch.rand(()).item() - 1)
    cosine, sine = math.cos(angle), math.sin(angle)
    turn = images.new_tensor(  # of coordinates from -1 to 1, whatever the sides
        [[cosine, -sine * height / width, 0], [sine * width / height, cosine, 0]]
    )
    with torch.autocast(images.device.type, enabled=False):  # bfloat16 would miss pixels
        turns = turn.expand(len(images), 2, 3)
        grid = F.affine_grid(turns, list(images.shape), align_corners=False)
    turned = F.grid_sample(images, grid, padding_mode="reflection", align_corners=False)
    return turned.contiguous(memory_format=torch.channels_last)
