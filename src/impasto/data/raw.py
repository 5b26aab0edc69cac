"""Pictures that are bare pixels in a file: of a square, its own bytes are all that is read."""

import re
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

# Of a PPM file as Pillow writes it: width, height, greatest level; RGB follows, row by row.
_HEADER = re.compile(rb"P6\n([1-9][0-9]{0,8}) ([1-9][0-9]{0,8})\n255\n")


def cut_raw(
    content: bytes | memoryview, choose: Callable[[int, int], tuple[int, int, int]]
) -> Tensor | None:
    """Cut a square out of a file of bare pixels.

    Args:
        content: Of a picture file, may lie in a larger one that is mapped into memory.
        choose: Width and height of the picture to left, top and side of the square, in pixels.

    Returns:
        RGB, uint8, shape ``(1, 3, side, side)``, channels last; ``None`` for other kinds of file.

    Raises:
        ValueError: If there are more or fewer bytes than the size that is claimed needs.
    """
    header = _HEADER.match(content)
    if header is None:
        return None
    width, height = (int(side) for side in header.groups())
    num_bytes = len(content) - header.end()
    if num_bytes != 3 * width * height:
        raise ValueError(
            f"{width} x {height} raw pixels are {3 * width * height} bytes, got {num_bytes}"
        )
    pixels = np.frombuffer(content, np.uint8, offset=header.end()).reshape(height, width, 3)
    left, top, side = choose(width, height)
    square = pixels[top : top + side, left : left + side].copy()
    return torch.from_numpy(square).permute(2, 0, 1)[None]
