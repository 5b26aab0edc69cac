"""Lay photos out above their paintings: before_after.py NETWORK.safetensors PICTURE.jpg PHOTO..."""

import argparse
from pathlib import Path

import torch
from torch import Tensor

from impasto import Stylizer, load_image, save_image
from impasto.images import image_grid, resize_short_side


def square(photo: Tensor, size: int) -> Tensor:
    """Cut the middle out of an image of shape ``(1, 3, H, W)``, ``size`` pixels a side."""
    photo = resize_short_side(photo, size)
    left, top = (photo.shape[-1] - size) // 2, (photo.shape[-2] - size) // 2
    return photo[..., top : top + size, left : left + size]


def main() -> None:
    """Paint and save."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("picture", type=Path, help="where to")
    parser.add_argument("photos", type=Path, nargs="+")
    parser.add_argument("--size", type=int, default=400, help="of every photo, in pixels")
    options = parser.parse_args()
    stylizer = Stylizer.load(options.checkpoint)
    photos = torch.cat([square(load_image(path), options.size) for path in options.photos])
    save_image(image_grid([photos, stylizer(photos)]), options.picture, quality=90)


if __name__ == "__main__":
    main()
