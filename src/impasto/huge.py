"""Pictures larger than memory: read, painted and written in strips, by libvips."""

import importlib.util
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
import torch
from torch import Tensor

from impasto.images import to_picture
from impasto.inference import Stylizer
from impasto.inference.tiling import Canvas, Region
from impasto.pictures import opened

if TYPE_CHECKING:
    from pyvips import Image as VipsImage

MIN_PIXELS = 2**26  # with more of them, Pillow takes half a gigabyte for photo and painting
LOADERS = {"JPEG": "jpegload", "PNG": "pngload", "TIFF": "tiffload"}
SUFFIXES = {".jpeg", ".jpg", ".png", ".tif", ".tiff"}
STRANGE_MODES = {"F", "I", "LAB", "YCbCr"}  # of which libvips and Pillow make other colours
OPAQUE, MID_GREY = 255, 128
SUM = 2  # its column in what libvips calls statistics


def is_huge(path: Path, max_pixels: int) -> bool:
    """Tell whether a picture is one for ``paint_huge``, and pyvips is there to read it.

    Args:
        path: A picture file; one that cannot be opened is not huge.
        max_pixels: Largest width times height.
    """
    if importlib.util.find_spec("pyvips") is None:
        return False
    try:
        with opened(path, max_pixels) as picture:
            is_plain = picture.format in LOADERS and picture.mode not in STRANGE_MODES
            return is_plain and picture.width * picture.height > MIN_PIXELS
    except (ValueError, FileNotFoundError):
        return False


def paint_huge(
    source: Path,
    target: Path,
    stylizer: Stylizer,
    quality: int,
    progress: Callable[[float], object],
) -> None:
    """Paint a picture that need not fit into memory.

    It takes temporary files instead: three bytes per pixel beside the painting, and as much where
    libvips unpacks the photo.

    Args:
        source: A picture for which ``is_huge`` is true.
        target: Where to, with one of ``SUFFIXES``; missing folders are made.
        stylizer: Paints.
        quality: Of JPEG, 1 to 100.
        progress: Is told which share of the work is done.

    Raises:
        OSError: If the painting cannot be written.
        ValueError: If the suffix is another one, the picture is damaged, or the format does not
            take one of its size.
    """
    if target.suffix.lower() not in SUFFIXES:
        raise ValueError(f"{target} cannot be saved: a picture of this size becomes .tif or .png.")
    import pyvips

    pyvips.cache_set_max(0)  # or a file that changed is taken for the one it was
    target.parent.mkdir(parents=True, exist_ok=True)
    beside, raw = (
        target.with_name(f".{target.name[:40]}.{secrets.token_hex(4)}{suffix}")
        for suffix in (target.suffix, ".raw")
    )
    try:
        rgb, alpha = _open(source)
        with raw.open("wb") as pixels:
            stylizer.paint_canvas(_canvas(rgb, pixels, stylizer.device), progress)
        painted = pyvips.Image.rawload(str(raw), rgb.width, rgb.height, 3)
        painted = painted.copy(interpretation="srgb")
        _save(painted if alpha is None else painted.bandjoin(alpha), beside, quality)
        beside.replace(target)
    except pyvips.Error as error:
        reason = str(error).strip().splitlines()[-1].strip()
        raise ValueError(f"{source} cannot be painted to {target}: {reason}.") from None
    finally:
        beside.unlink(missing_ok=True)
        raw.unlink(missing_ok=True)


def _open(source: Path) -> "tuple[VipsImage, VipsImage | None]":
    """Colours, upright, in sRGB and 8 bits, and opacity."""
    import pyvips

    with opened(source, max_pixels=2**62) as picture:  # it was checked before
        loader = getattr(pyvips.Image, LOADERS[str(picture.format)])
        has_alpha = picture.has_transparency_data  # a fourth channel may be infrared
    image = loader(str(source), access="random", fail_on="truncated").autorot()
    if image.get_typeof("icc-profile-data"):
        image = image.icc_transform("srgb", embedded=True)
    image = image.colourspace("srgb").cast("uchar")
    if image.bands < 4 or not has_alpha:
        return image[:3], None
    rgb, alpha = image[:3], image[3]
    if alpha.min() == OPAQUE:
        return rgb, None
    return (alpha == 0).ifthenelse(_visible_mean(rgb, alpha), rgb), alpha


def _visible_mean(rgb: "VipsImage", alpha: "VipsImage") -> list[int]:
    """What stands for what cannot be seen, as in ``split_picture``: one more look at the file."""
    _, *sums, weight = (rgb * alpha).bandjoin(alpha).stats().numpy()[:, SUM]  # first, of all bands
    return [round(float(total / weight)) if weight else MID_GREY for total in sums]


def _canvas(rgb: "VipsImage", pixels: BinaryIO, device: torch.device) -> Canvas:
    """Read regions of an image, and append whole rows of tiles to a file of bytes."""
    row: list[np.ndarray[Any, Any]] = []

    def read(region: Region) -> Tensor:
        levels = rgb.crop(region.left, region.top, region.width, region.height).numpy()
        planes = torch.from_numpy(levels).permute(2, 0, 1)[None].to(device)
        return planes.to(torch.float32).div_(255)

    def write(region: Region, tile: Tensor) -> None:
        row.append(np.asarray(to_picture(tile)))
        if region.right == rgb.width:
            pixels.write(np.concatenate(row, axis=1).tobytes())
            row.clear()

    return Canvas(rgb.height, rgb.width, read, write)


def _save(image: "VipsImage", path: Path, quality: int) -> None:
    suffix = path.suffix.lower()
    if suffix in (".jpg", ".jpeg"):
        image.jpegsave(str(path), Q=quality, background=255)
    elif suffix == ".png":
        image.pngsave(str(path))
    else:
        image.tiffsave(str(path), compression="deflate", predictor="horizontal", bigtiff=True)
