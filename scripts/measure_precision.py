"""Measure how far paintings in half precision are from those in float32.

    python scripts/measure_precision.py NETWORK... --photos photos/

Of every style of every network, in levels of 255, over photos as they are or resized: the largest
difference of any pixel, and the mean one of the photo where that is most.
"""

import argparse
from pathlib import Path

import numpy as np
from PIL import Image

from impasto.images import open_picture
from impasto.inference import Stylizer
from impasto.memory import keep_freed_memory
from impasto.pictures import list_images
from impasto.precision import keep_float32


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("networks", type=Path, nargs="+")
    parser.add_argument("--photos", type=Path, required=True, help="a folder")
    parser.add_argument("--size", type=int, help="longer side at most, pixels; default: as it is")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--precision", default="auto", help="auto, bf16 or fp16")
    options = parser.parse_args()
    keep_freed_memory()
    keep_float32()
    photos = [shrunk(path, options.size) for path in list_images(options.photos)]
    if not photos:
        parser.error(f"No pictures in {options.photos}.")
    print("| network | style | largest difference | by photo | largest mean |")
    print("| --- | --- | ---: | --- | ---: |")
    for path in options.networks:
        rounded = Stylizer.load(path, options.device, options.precision)
        exact = Stylizer.load(path, options.device, "fp32")
        for style in rounded.header.styles:
            largest, means = differences(
                rounded.with_knobs(style=style), exact.with_knobs(style=style), photos
            )
            by_photo = ", ".join(str(level) for level in sorted(largest, reverse=True))
            print(f"| {path.name} | {style} | {max(largest)} | {by_photo} | {max(means):.3f} |")
    print(f"\n{len(photos)} photos; {rounded.dtype} on {rounded.device} against float32.")


def shrunk(path: Path, size: int | None) -> Image.Image:
    """A photo whose longer side is at most ``size``."""
    photo = open_picture(path).convert("RGB")
    if size is not None:
        photo.thumbnail((size, size))
    return photo


def differences(
    rounded: Stylizer, exact: Stylizer, photos: list[Image.Image]
) -> tuple[list[int], list[float]]:
    """The largest and the mean difference of each photo's paintings, in levels of 255."""
    largest, means = [], []
    for photo in photos:
        ours, reference = (np.asarray(paint(photo), np.int16) for paint in (rounded, exact))
        off = np.abs(ours - reference)
        largest.append(int(off.max()))
        means.append(float(off.mean()))
    return largest, means


if __name__ == "__main__":
    main()
