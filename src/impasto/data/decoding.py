"""Square crops out of picture files: decode little, resize once, pass over damaged files."""

import errno
import math
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path

import torch
from PIL import Image, ImageOps
from torch import Tensor
from torch.nn import functional as F

from impasto.data.batches import Sample, Skipped
from impasto.images import IMAGE_SUFFIXES, to_tensor

# What a worker holds decoded at most: 100 megapixels are 400 MB. JPEGs are scaled while decoding.
MAX_DECODED_PIXELS = 100_000_000

FAULTS_OF_THE_MACHINE = (errno.EIO, errno.EMFILE, errno.ENFILE, errno.ENOMEM)

_FORMAT_OF = Image.registered_extensions()
_FORMATS = sorted(  # most frequent first: Pillow tries them one after the other
    {_FORMAT_OF[suffix] for suffix in IMAGE_SUFFIXES}, key=lambda f: (f not in ("JPEG", "PNG"), f)
)

ChooseSquare = Callable[[int, int], tuple[int, int, int]]
"""Width and height of a picture to left, top and side of a square in it, all in pixels."""


def read_first(paths: Iterable[Path], choose: ChooseSquare, image_size: int) -> Sample:
    """Read the first file of several that can be read.

    Args:
        paths: Of picture files, at least one.
        choose: Tells the square to cut out.
        image_size: Side of the result, in pixels.

    Returns:
        The picture, and the files passed over.

    Raises:
        ValueError: If none can be read.
    """
    skipped: list[Skipped] = []
    for path in paths:
        try:
            return Sample(read_crop(path, choose, image_size), tuple(skipped))
        except Exception as error:  # hostile files make Pillow raise more than a dozen types
            if isinstance(error, OSError) and error.errno in FAULTS_OF_THE_MACHINE:
                raise  # to pass over a good photo would change what the run sees
            reason = (str(error) or type(error).__name__).splitlines()[0]
            skipped.append(Skipped(str(path), reason))
    raise ValueError(
        f"None of the {len(skipped)} pictures can be read, the first being {skipped[0].path} "
        f"({skipped[0].reason}): check the files, or give another folder."
    )


def read_crop(path: Path, choose: ChooseSquare, image_size: int) -> Tensor:
    """Cut a square out of a picture and resize it.

    The orientation that EXIF tells is followed. Embedded colour profiles are not: to a network that
    learns to paint, wide-gamut colours that come out a little dull are one more augmentation.

    Args:
        path: Of a picture file.
        choose: Tells the square to cut out.
        image_size: Side of the result, in pixels; smaller squares are enlarged.

    Returns:
        RGB, uint8, shape ``(3, image_size, image_size)``.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of odd but harmless metadata
        with Image.open(path, formats=_FORMATS) as picture:
            crop = _upright(_cut(picture, choose, image_size))
        levels = _levels(crop)
    if levels.shape[-1] != image_size:
        # On bytes: several times as fast as Pillow's, and the same to a level.
        levels = F.interpolate(levels, (image_size, image_size), mode="bilinear", antialias=True)
    return levels[0]


def _cut(picture: Image.Image, choose: ChooseSquare, image_size: int) -> Image.Image:
    width, height = picture.size
    left, top, side = choose(width, height)
    # JPEG can decode at a half, a quarter or an eighth; the square keeps at least image_size.
    wanted = image_size / side
    picture.draft(None, (math.ceil(width * wanted), math.ceil(height * wanted)))
    if picture.width * picture.height > MAX_DECODED_PIXELS:
        raise ValueError(f"{width} x {height} pixels are too many")
    scale = picture.width / width
    side = max(1, min(round(side * scale), *picture.size))
    left = min(round(left * scale), picture.width - side)
    top = min(round(top * scale), picture.height - side)
    return picture.crop((left, top, left + side, top + side))


def _upright(crop: Image.Image) -> Image.Image:
    if "exif" not in crop.info:
        return crop
    try:
        return ImageOps.exif_transpose(crop)
    except Exception:  # damaged EXIF is no reason to refuse a photo
        return crop


def _levels(crop: Image.Image) -> Tensor:
    """RGB, uint8, shape (1, 3, H, W), channels last; 16-bit grey is scaled, not clipped."""
    if crop.mode == "RGB" and not crop.has_transparency_data:
        pixels = torch.frombuffer(bytearray(crop.tobytes()), dtype=torch.uint8)
        return pixels.view(1, crop.height, crop.width, 3).permute(0, 3, 1, 2)
    return (to_tensor(crop) * 255).round().to(torch.uint8)
