"""Lay out how holes are filled: the README's picture.

    python scripts/hole_grid.py docs/holes.jpg checkpoints/inpainting.safetensors

A row for every photo, and in it for every family of holes: the photo with its hole, filled by
Telea's method, filled by the network, and as it was. Without ``--photos`` they are scikit-image's.
"""

import argparse
from pathlib import Path

import torch
from torch import Tensor

import classical_fills
from impasto import Inpainter, load_image, save_image
from impasto.data.masks import FAMILIES, draw_mask
from impasto.images import image_grid, square
from style_grid import PHOTOS

CLASSIC = "telea"


def fills_of(photo: Tensor, mask: Tensor, inpainter: Inpainter) -> list[Tensor]:
    """A photo with a hole, without it in two ways, and as it was: (1, 3, S, S) each, in [0, 1]."""
    levels = (photo * 255).round().byte().masked_fill(mask > 0.5, 0)
    picture, hole = levels[0].permute(1, 2, 0).contiguous().numpy(), mask[0, 0].numpy() > 0.5
    classic = torch.from_numpy(classical_fills.fill(CLASSIC, picture, hole)).permute(2, 0, 1)[None]
    filled = inpainter(levels, mask)
    return [photo.masked_fill(mask > 0.5, 1), classic / 255, filled / 255, photo]


def main() -> None:
    """Fill and save."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("picture", type=Path, help="where to")
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--photos", type=Path, nargs="+", default=PHOTOS)
    parser.add_argument(
        "--families",
        nargs="+",
        choices=FAMILIES,
        default=["brush_thin", "brush_medium"],
        help="of holes",
    )
    parser.add_argument("--filled-at", type=int, default=256, help="size of photos, in pixels")
    parser.add_argument("--size", type=int, default=176, help="of each in the picture, in pixels")
    parser.add_argument("--seed", type=int, default=0, help="of the holes")
    parser.add_argument("--quality", type=int, default=88)
    options = parser.parse_args()
    inpainter, side, rows = Inpainter.load(options.checkpoint), options.filled_at, []
    for number, path in enumerate(options.photos):
        photo, row = square(load_image(path), side), []
        for family in options.families:
            mask = draw_mask(FAMILIES[family], side, side, options.seed, number)
            row += fills_of(photo, mask, inpainter)
        rows.append(torch.cat([square(image, options.size) for image in row]))
    save_image(image_grid(rows)[None], options.picture, quality=options.quality)


if __name__ == "__main__":
    main()
