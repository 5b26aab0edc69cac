"""Styles: what a network learns to paint like."""

from pathlib import Path

from torch import Tensor

from impasto.images import load_image, resize_short_side


def load_painting(path: str | Path, size: int) -> Tensor:
    """Load a painting at the size in which its strokes are learnt.

    Args:
        path: Of the picture.
        size: Its shorter side afterwards, in pixels. The larger, the larger the strokes in photos
            and the fewer of them.

    Returns:
        RGB in [0, 1], shape ``(1, 3, H, W)``.

    Raises:
        FileNotFoundError: If there is no such picture.
        ValueError: If the file is no picture, or ``size`` is below 32.
    """
    if not isinstance(size, int) or size < 32:
        raise ValueError(
            f"style.size is the painting's shorter side in pixels, at least 32, got {size}."
        )
    return resize_short_side(load_image(path), size)
