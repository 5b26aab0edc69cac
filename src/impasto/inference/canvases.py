"""Pictures and tensors as canvases, to be painted tile by tile."""

import torch
from PIL import Image
from torch import Tensor

from impasto.images import to_picture, to_tensor
from impasto.inference.levels import to_floats, to_type
from impasto.inference.tiling import Canvas, Region, cut


def picture_canvas(photo: Image.Image, painted: Image.Image, device: torch.device) -> Canvas:
    """Read from one picture and write to another.

    Args:
        photo: Of mode RGB.
        painted: Of the same mode and size.
        device: For what is read.
    """

    def read(region: Region) -> Tensor:
        box = (region.left, region.top, region.right, region.bottom)
        return to_tensor(photo.crop(box)).to(device)

    def write(region: Region, tile: Tensor) -> None:
        painted.paste(to_picture(tile), (region.left, region.top))

    return Canvas(photo.height, photo.width, read, write)


def tensor_canvas(photo: Tensor, painted: Tensor, device: torch.device) -> Canvas:
    """Read from one tensor and write to another.

    Args:
        photo: Of shape ``(1, 3, H, W)``, in [0, 1] of any float type, or in [0, 255] as uint8.
        painted: Of the same shape and type.
        device: For what is read.
    """

    def read(region: Region) -> Tensor:
        return to_floats(cut(photo, region), device)

    def write(region: Region, tile: Tensor) -> None:
        cut(painted, region).copy_(to_type(tile, painted.dtype))

    height, width = photo.shape[-2:]
    return Canvas(height, width, read, write)
