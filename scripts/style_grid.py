"""Lay out what style networks paint: the README's picture.

    python scripts/style_grid.py docs/styles.jpg runs/*/*/network.safetensors

Photos above; below, a row for every style of every network, which the preview of its card leads.
Without ``--photos`` they are scikit-image's.
"""

import argparse
from pathlib import Path

import skimage
import torch
from torch import Tensor

from impasto import Stylizer, load_image, save_image
from impasto.cards import load_card
from impasto.images import image_grid, square
from impasto.styles import CARDS

PHOTOS = [
    Path(skimage.__file__).parent / "data" / name
    for name in ("astronaut.png", "coffee.png", "chelsea.png")
]


def rows_of(path: Path, photos: Tensor, size: int) -> list[Tensor]:
    """For each of a network's styles its preview, and what the network paints, all of one size."""
    stylizer, rows = Stylizer.load(path), []
    for style in stylizer.header.styles:
        preview = load_card(CARDS / f"{style}.safetensors").preview_image()
        paintings = stylizer.with_knobs(style=style)(photos).split(1)
        rows.append(torch.cat([square(image, size) for image in (preview, *paintings)]))
    return rows


def main() -> None:
    """Paint and save."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("picture", type=Path, help="where to")
    parser.add_argument("checkpoints", type=Path, nargs="+")
    parser.add_argument("--photos", type=Path, nargs="+", default=PHOTOS)
    parser.add_argument("--painted-at", type=int, default=384, help="size of photos, in pixels")
    parser.add_argument("--size", type=int, default=176, help="of each in the picture, in pixels")
    parser.add_argument("--columns", type=int, default=2, help="networks side by side")
    parser.add_argument("--quality", type=int, default=85)
    options = parser.parse_args()
    photos = torch.cat([square(load_image(path), options.painted_at) for path in options.photos])
    small = torch.cat([square(photo[None], options.size) for photo in photos])
    header = torch.cat([torch.ones_like(small[:1]), small])  # a white corner
    rows = [header] * options.columns
    for path in options.checkpoints:
        rows += rows_of(path, photos, options.size)
    rows += [torch.ones_like(header)] * (-len(rows) % options.columns)
    lines = [
        torch.cat(rows[first : first + options.columns])
        for first in range(0, len(rows), options.columns)
    ]
    save_image(image_grid(lines)[None], options.picture, quality=options.quality)


if __name__ == "__main__":
    main()
