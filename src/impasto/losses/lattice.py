"""Lattice: how much of a picture's fine detail is one small tile, repeated."""

import torch
from torch import Tensor

PERIOD = 4  # pixels: what a transformer network paints from one position of its innermost features
PATCH = 32  # pixels: where a tile is repeated; elsewhere it may be another


def lattice(images: Tensor) -> Tensor:
    """Share of the detail within 4x4 pixels that repeats from one such cell to the next.

    Gram matrices do not mind where texture is, so a network likes to fill areas with what costs it
    least: the same few pixels again and again, upsampled from its innermost features. In every
    patch of 32x32 pixels the mean of its 64 cells is what they all share, once each has lost its
    own mean colour.

    Args:
        images: RGB in [0, 1], shape ``(N, 3, H, W)``. A last part of a patch is left out.

    Returns:
        A float32 scalar: 1 if every patch is one cell repeated, about 0.03 for photos and for
        paintings, 0 for a picture without detail or smaller than a patch.
    """
    count, channels, height, width = images.shape
    rows, columns, cells = height // PATCH, width // PATCH, PATCH // PERIOD
    if rows == 0 or columns == 0:
        return images.new_zeros((), dtype=torch.float32)
    tiled = images[..., : rows * PATCH, : columns * PATCH].float()
    tiled = tiled.reshape(count, channels, rows, cells, PERIOD, columns, cells, PERIOD)
    detail = tiled - tiled.mean((4, 7), keepdim=True)
    shared = detail.mean((3, 6))
    # The 1e-4, a deviation of 1 %, keeps flat pictures from mattering.
    return shared.square().mean() / (detail.square().mean() + 1e-4)
