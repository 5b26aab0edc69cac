"""Masks of what is missing in a picture: float32, shape (N, 1, H, W), 1 where it is missing."""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from impasto.images import DEFAULT_MAX_PIXELS, open_picture, split_picture

HALF = 128  # of 255: levels from here on are light


def load_mask(
    path: str | Path,
    size: tuple[int, int] | None = None,
    invert: bool = False,
    dilate: int = 0,
    max_pixels: int = DEFAULT_MAX_PIXELS,
) -> Tensor:
    """Read a mask from a picture file; see ``to_mask`` for what in it counts as missing.

    Args:
        path: A picture file, see ``open_picture``.
        size: Height and width of the result, in pixels; ``None`` keeps the file's.
        invert: Whether the picture shows what is known instead of what is missing.
        dilate: Pixels by which what is missing grows, at the size of the result.
        max_pixels: Largest width times height accepted.

    Returns:
        0 where the picture is known and 1 where it is missing, shape ``(1, 1, H, W)``. It may be
        all 0 or all 1: ``missing_share`` tells.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is no picture, is damaged, has more than ``max_pixels``, or ``size`` or
            ``dilate`` is out of range.
    """
    return to_mask(open_picture(path, max_pixels), size, invert, dilate)


def to_mask(
    picture: Image.Image,
    size: tuple[int, int] | None = None,
    invert: bool = False,
    dilate: int = 0,
) -> Tensor:
    """Turn a picture of any mode into a mask.

    In an opaque picture, what is light is missing: white on black. In one with pixels that are
    transparent, opacity alone counts and what is painted is missing, in whatever colour: strokes on
    a layer of their own. A photo with a hole erased into it is the opposite: that needs ``invert``.
    Soft edges and what JPEG makes of hard ones are cut at half; of two levels, as the 0 and 1 of
    labels, the higher one is light.

    Args:
        picture: Of any mode.
        size: Height and width of the result, in pixels, by the nearest pixel and without regard to
            proportions; ``None`` keeps the picture's.
        invert: Whether the picture shows what is known instead of what is missing.
        dilate: Pixels by which what is missing grows, at the size of the result.

    Returns:
        0 where the picture is known and 1 where it is missing, shape ``(1, 1, H, W)``.

    Raises:
        ValueError: If ``size`` or ``dilate`` is out of range.
    """
    if size is not None and min(size) < 1:
        raise ValueError(f"A mask has at least 1 x 1 pixel, got a size of {tuple(size)}.")
    colour, opacity = split_picture(picture)
    levels = np.asarray(colour.convert("L"))
    if opacity is not None:
        painted = np.asarray(opacity)
        # A picture a shade below opaque everywhere is an opaque one.
        levels = painted if (painted < HALF).any() else levels
    levels = _with_white(levels)
    mask = torch.from_numpy((levels >= HALF) != invert)[None, None].to(torch.uint8)
    if size is not None and mask.shape[2:] != tuple(size):
        mask = F.interpolate(mask, tuple(size), mode="nearest-exact")
    return dilate_mask(mask.float(), dilate)


def _with_white(levels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Make white what is the lighter one of two levels, both dark, the lower black."""
    highest = levels.max()
    if 0 < highest < HALF and bool(((levels == 0) | (levels == highest)).all()):
        return np.where(levels > 0, np.uint8(255), np.uint8(0))
    return levels


def dilate_mask(mask: Tensor, pixels: int) -> Tensor:
    """Let what is missing grow by a square brush.

    A square and not a disc: nowhere does it grow by less than asked for, and the cost rises with
    ``pixels`` rather than with its square.

    Args:
        mask: Of shape ``(N, 1, H, W)``.
        pixels: How far, along rows and columns; 0 changes nothing.

    Returns:
        Of the same shape.

    Raises:
        ValueError: If ``pixels`` is negative.
    """
    if pixels < 0:
        raise ValueError(f"A mask is dilated by at least 0 pixels, got {pixels}.")
    if pixels == 0:
        return mask
    down, across = (min(pixels, side) for side in mask.shape[2:])
    mask = F.max_pool2d(mask, (2 * down + 1, 1), stride=1, padding=(down, 0))
    return F.max_pool2d(mask, (1, 2 * across + 1), stride=1, padding=(0, across))


def missing_share(mask: Tensor) -> Tensor:
    """Tell how much is missing: 0 where a mask is empty, 1 where it is full.

    Args:
        mask: Of shape ``(N, 1, H, W)``.

    Returns:
        Shares in [0, 1], shape ``(N,)``, exact at both ends.
    """
    return mask.mean((1, 2, 3), dtype=torch.float64).float()
