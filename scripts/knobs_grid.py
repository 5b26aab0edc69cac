"""Lay out what the knobs of a network of many styles do: the README's picture.

    python scripts/knobs_grid.py docs/knobs.jpg checkpoints/paintings.safetensors

A row each: strength from 0 to 1; two styles mixed in five steps; three sizes of strokes, colours of
the photo, and two styles side by side. Without ``--photo`` it is scikit-image's astronaut.
"""

import argparse
from pathlib import Path

import torch

from impasto import Stylizer, load_image, save_image
from impasto.images import image_grid, square
from style_grid import PHOTOS

SHARES = (0, 0.25, 0.5, 0.75, 1)


def mix(first: str, second: str, share: float) -> str:
    """``style=`` for so much of the second."""
    parts = [(first, 1 - share), (second, share)]
    return ",".join(f"{name}:{weight:g}" for name, weight in parts if weight)


def main() -> None:
    """Paint and save."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("picture", type=Path, help="where to")
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--photo", type=Path, default=PHOTOS[0])
    parser.add_argument("--styles", nargs=2, default=["starry_night_vivid", "the_scream"])
    parser.add_argument("--painted-at", type=int, default=336, help="size of the photo, in pixels")
    parser.add_argument("--size", type=int, default=224, help="of each in the picture, in pixels")
    parser.add_argument("--quality", type=int, default=85)
    options = parser.parse_args()
    photo = square(load_image(options.photo), options.painted_at)
    first, second = options.styles
    stylizer = Stylizer.load(options.checkpoint, style=first)
    smallest, largest = stylizer.header.arguments["strokes"]
    strokes = (smallest, (smallest * largest) ** 0.5, largest)
    labels = (torch.arange(options.painted_at) >= options.painted_at // 2).long()
    rows = [
        [stylizer.with_knobs(strength=share)(photo) for share in SHARES],
        [stylizer.with_knobs(style=mix(first, second, share))(photo) for share in SHARES],
        [stylizer.with_knobs(style=second, stroke=stroke)(photo) for stroke in strokes],
    ]
    rows[2].append(stylizer.with_knobs(colors="photo")(photo))
    regions = labels.expand(1, 1, *photo.shape[2:])
    rows[2].append(stylizer.with_knobs(style=f"{first}/{second}")(photo, regions=regions))
    images = torch.cat([square(image, options.size) for row in rows for image in row])
    save_image(
        image_grid([images], columns=len(SHARES))[None], options.picture, quality=options.quality
    )


if __name__ == "__main__":
    main()
