"""Images as callers hold them, floats or 8-bit levels, and what all that use a network check."""

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from impasto.checkpoint import CheckpointError, Header

USERS = {"stylization": "Stylizer", "inpainting": "Inpainter"}  # by task


def to_floats(images: Tensor, device: torch.device) -> Tensor:
    """Bring images to a network.

    Args:
        images: In [0, 1] of any float type, or in [0, 255] as uint8.
        device: Where the network is.

    Returns:
        The same in [0, 1], float32.
    """
    floats = images.to(device).to(torch.float32)
    return floats if images.is_floating_point() else floats.div_(255)


def opaque_levels(picture: Image.Image) -> Tensor | None:
    """Take a picture for what a device computes floats of: a quarter of their bytes to bring there.

    Args:
        picture: Of any mode.

    Returns:
        uint8, shape ``(1, 3, H, W)``; ``None`` if it is anything but plain RGB.
    """
    if picture.mode != "RGB" or picture.has_transparency_data:
        return None
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1)[None]


def to_type(images: Tensor, dtype: torch.dtype) -> Tensor:
    """Undo ``to_floats``.

    Args:
        images: In [0, 1], float32.
        dtype: Any float type, or uint8.
    """
    return images.to(dtype) if dtype.is_floating_point else (images * 255).round_().to(dtype)


def check_image(image: Tensor) -> None:
    """Raise ValueError unless an image is of a shape and type that networks take."""
    if not isinstance(image, Tensor):
        raise ValueError(f"A tensor or a PIL picture can be painted, got {type(image).__name__}.")
    shape = tuple(image.shape)
    if image.ndim not in (3, 4) or shape[-3] != 3 or image.numel() == 0:
        raise ValueError(f"An image must be of shape (N, 3, H, W) or (3, H, W), got {shape}.")
    if not (image.is_floating_point() or image.dtype == torch.uint8):
        raise ValueError(
            f"An image must hold floats in [0, 1], or levels as uint8, got {image.dtype}."
        )


def require_task(header: Header, task: str) -> None:
    """Raise CheckpointError unless a checkpoint is for a task, one of ``USERS``."""
    if header.task != task:
        hint = f"; {USERS[header.task]} takes it" if header.task in USERS else ""
        raise CheckpointError(
            f"This checkpoint is for the task {header.task!r}, {USERS[task]} needs {task!r}{hint}."
        )
