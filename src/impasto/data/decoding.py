"""Square crops out of picture files: decode little, resize once, pass over damaged files."""

import errno
import io
import math
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Protocol

import torch
from PIL import Image, ImageOps
from torch import Tensor
from torch.nn import functional as F

from impasto.data.batches import Sample, Skipped
from impasto.data.raw import cut_raw
from impasto.images import IMAGE_SUFFIXES, to_tensor

# What a worker holds decoded at most: 100 megapixels are 400 MB. JPEGs are scaled while decoding.
MAX_DECODED_PIXELS = 100_000_000

ORIENTATION = 0x0112  # the tag in EXIF

FAULTS_OF_THE_MACHINE = (errno.EIO, errno.EMFILE, errno.ENFILE, errno.ENOMEM)

_FORMAT_OF = Image.registered_extensions()
_FORMATS = sorted(  # most frequent first: Pillow tries them one after the other
    {_FORMAT_OF[suffix] for suffix in IMAGE_SUFFIXES}, key=lambda f: (f not in ("JPEG", "PNG"), f)
)

ChooseSquare = Callable[[int, int], tuple[int, int, int]]
"""Width and height of a picture to left, top and side of a square in it, all in pixels."""


class Photo(Protocol):
    """A picture file: a path, or one of many in a larger file; as text, where it is."""

    def read_bytes(self) -> bytes | memoryview:
        """All of the file."""


class UnreadableError(ValueError):
    """Something larger than a photo cannot be read.

    Args:
        path: What.
        reason: Why, in a few words.
    """

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(f"{path} cannot be read: {reason}")
        self.skipped = Skipped(path, reason)


def read_first(photos: Iterable[Photo], choose: ChooseSquare, image_size: int) -> Sample:
    """Read the first photo of several that can be read.

    Args:
        photos: At least one.
        choose: Tells the square to cut out.
        image_size: Side of the result, in pixels.

    Returns:
        The picture, and the files passed over.

    Raises:
        ValueError: If none can be read.
    """
    skipped: dict[Skipped, None] = {}
    num_tried = 0
    for photo in photos:
        num_tried += 1
        try:
            return Sample(read_crop(photo, choose, image_size), tuple(skipped))
        except Exception as error:  # hostile files make Pillow raise more than a dozen types
            if is_fault_of_the_machine(error):
                raise  # to pass over a good photo would change what the run sees
            skipped[explain(photo, error)] = None
    first = next(iter(skipped))
    raise ValueError(
        f"None of the {num_tried} pictures can be read, the first being {first.path} "
        f"({first.reason}): check the files, or give others."
    )


def is_fault_of_the_machine(error: Exception) -> bool:
    """Tell whether reading failed for a reason that is not in the file."""
    return isinstance(error, ConnectionError) or (
        isinstance(error, OSError) and error.errno in FAULTS_OF_THE_MACHINE
    )


def explain(photo: Photo, error: Exception) -> Skipped:
    """Say what cannot be read, and why."""
    if isinstance(error, UnreadableError):
        return error.skipped
    return Skipped(str(photo), (str(error) or type(error).__name__).splitlines()[0])


def read_crop(photo: Photo, choose: ChooseSquare, image_size: int) -> Tensor:
    """Cut a square out of a picture and resize it.

    The orientation that EXIF tells is followed. Embedded colour profiles are not: to a network that
    learns to paint, wide-gamut colours that come out a little dull are one more augmentation.

    Args:
        photo: What to read.
        choose: Tells the square to cut out.
        image_size: Side of the result, in pixels; smaller squares are enlarged.

    Returns:
        RGB, uint8, shape ``(3, image_size, image_size)``.
    """
    content = _content(photo)
    levels = None if isinstance(content, Path) else cut_raw(content, choose)
    if levels is None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of odd but harmless metadata
            with _open(content) as picture:
                crop = _upright(_cut(picture, choose, image_size))
            levels = _levels(crop)
    if levels.shape[-1] != image_size:
        # On bytes: several times as fast as Pillow's, and the same to a level.
        levels = F.interpolate(levels, (image_size, image_size), mode="bilinear", antialias=True)
    return levels[0]


def shrink(photo: Photo, short_side: int) -> tuple[Image.Image, bool]:
    """Make a photo smaller, upright and RGB.

    Args:
        photo: What to read.
        short_side: Of the result, in pixels; smaller photos stay as small.

    Returns:
        The picture, and whether the photo is as good a file of it: an upright RGB JPEG that was
        small enough already, and whole.

    Raises:
        Exception: Of many types, where the photo cannot be read.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with _open(_content(photo)) as picture:
            scale = short_side / min(picture.size)
            as_it_is = scale >= 1 and picture.format == "JPEG" and picture.mode == "RGB"
            picture.draft(None, _scaled(picture.size, min(1, scale)))
            _check_size(picture)
            picture.load()
            as_it_is = as_it_is and picture.getexif().get(ORIENTATION, 1) == 1
            levels = _levels(_upright(picture))
    height, width = levels.shape[2:]
    if min(width, height) > short_side:
        width, height = _scaled((width, height), short_side / min(width, height))
        levels = F.interpolate(levels, (height, width), mode="bilinear", antialias=True)
    return Image.fromarray(levels[0].permute(1, 2, 0).contiguous().numpy()), as_it_is


def _content(photo: Photo) -> Path | bytes | memoryview:
    """Of a file of its own its path: Pillow need not read all of it."""
    if not isinstance(photo, Path):
        return photo.read_bytes()
    if photo.exists() and not photo.is_file():
        raise ValueError("it is no file")  # opening a pipe would wait for ever
    return photo


def _open(content: Path | bytes | memoryview) -> Image.Image:
    source = content if isinstance(content, Path) else io.BytesIO(content)
    return Image.open(source, formats=_FORMATS)


def _scaled(size: tuple[int, int], scale: float) -> tuple[int, int]:
    width, height = (max(1, round(side * scale)) for side in size)
    return width, height


def _check_size(picture: Image.Image) -> None:
    if picture.width * picture.height > MAX_DECODED_PIXELS:
        raise ValueError(f"{picture.width} x {picture.height} pixels are too many")


def _cut(picture: Image.Image, choose: ChooseSquare, image_size: int) -> Image.Image:
    width, height = picture.size
    left, top, side = choose(width, height)
    # JPEG can decode at a half, a quarter or an eighth; the square keeps at least image_size.
    wanted = image_size / side
    picture.draft(None, (math.ceil(width * wanted), math.ceil(height * wanted)))
    _check_size(picture)
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
