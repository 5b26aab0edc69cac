"""Picture files: list them, open them upright and in sRGB, save them whole or not at all."""

import io
import logging
import os
import struct
import threading
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageChops, ImageCms, ImageOps, UnidentifiedImageError

from impasto.files import write_atomically

DEFAULT_MAX_PIXELS = 200_000_000  # the largest phone cameras take 200 megapixels
DEFAULT_QUALITY = 95
ROUNDING = 2  # levels that colours of one profile of sRGB and another may differ by
FULL_COLOUR_QUALITY = 90  # from here on JPEG and AVIF keep colour at full resolution (4:4:4)

Image.init()
# Not rasters (EPS would run Ghostscript, WMF needs Windows), or stubs without a decoder.
_NOT_RASTER = {"BUFR", "EPS", "GRIB", "HDF5", "IPTC", "MPEG", "PDF", "WMF"}
_OPENED_FORMATS = tuple(sorted(Image.OPEN.keys() - _NOT_RASTER))
_SAVED_FORMATS = {"AVIF", "BMP", "JPEG", "PNG", "TIFF", "WEBP"} & Image.SAVE.keys()
# Where a further frame is a picture more; in MPO it is a gain map or another eye's, in PSD a layer.
_SEQUENCES = {"AVIF", "DCX", "FLI", "GIF", "PNG", "TIFF", "WEBP"}
_OTHER_COLOURS = {"CMYK", "LAB", "YCbCr"}  # modes of which a profile is of no use for RGB
_BITS_PER_SAMPLE, _PHOTOMETRIC_INTERPRETATION, _PLANAR_CONFIGURATION = 258, 262, 284  # of TIFF
_FORMATS = Image.registered_extensions()  # format by suffix
IMAGE_SUFFIXES = frozenset(s for s, name in _FORMATS.items() if name in _OPENED_FORMATS)
SAVED_SUFFIXES = frozenset(s for s, name in _FORMATS.items() if name in _SAVED_FORMATS)

log = logging.getLogger(__name__)

_pillow_settings = threading.Lock()


def list_images(folder: str | Path) -> list[Path]:
    """Find the pictures in a folder and below, by suffix, passing over hidden files and folders.

    Args:
        folder: Where to look; links to other folders are not followed.

    Returns:
        Paths that start with ``folder``, sorted. Folders in it that cannot be looked into are
        passed over with a warning.

    Raises:
        FileNotFoundError: If ``folder`` is no folder.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"No folder at {folder}: a folder with pictures is needed.")
    found: list[Path] = []
    for parent, folders, names in os.walk(folder, onerror=_warn_of):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [Path(parent, name) for name in names if not name.startswith(".")]
    return sorted(path for path in found if path.suffix.lower() in IMAGE_SUFFIXES)


def open_picture(
    path: str | Path, max_pixels: int = DEFAULT_MAX_PIXELS, keep_profile: bool = False
) -> Image.Image:
    """Open and decode a whole picture, turned upright and converted to sRGB.

    The orientation is the one EXIF tells. An embedded colour profile is applied; a damaged one, or
    one of a picture with more than 8 bits, is ignored. Of an animation it is the first frame.

    Args:
        path: A picture file; what it holds counts, not its suffix.
        max_pixels: Largest width times height; the header is asked before anything is decoded.
        keep_profile: Whether colours of RGB and grey pictures stay as the file has them, with the
            profile in ``info["icc_profile"]``, which ``save_picture`` writes.

    Returns:
        A picture of whatever mode the file has; ``info["has_more_frames"]`` is true where the file
        holds more than this one.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is no picture, is damaged, or has more than ``max_pixels``.
        MemoryError: If it does not fit.
    """
    with opened(path, max_pixels) as lazy:
        has_more_frames = lazy.format in _SEQUENCES and getattr(lazy, "is_animated", False)
        picture = decoded(lazy, keep_profile)
        picture.info["has_more_frames"] = has_more_frames
        return picture


@contextmanager
def opened(path: str | Path, max_pixels: int = DEFAULT_MAX_PIXELS) -> Iterator[Image.Image]:
    """Open a picture of which only the header is read, for as long as the context lasts.

    Args:
        path: A picture file; what it holds counts, not its suffix.
        max_pixels: Largest width times height.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is no picture, has more than ``max_pixels``, or anything goes wrong in the
            context: what is done there is reading it.
        MemoryError: If it does not fit.
    """
    path = Path(path)
    try:
        if path.exists() and not path.is_file():
            raise OSError("it is no file")  # opening a pipe would wait for ever
        with path.open("rb") as file:
            with _pillow_limited_to(max_pixels):
                picture = Image.open(file, formats=_OPENED_FORMATS)
            _refuse_deep_planes(picture)
            yield picture
    except MemoryError:
        raise
    except FileNotFoundError:
        raise FileNotFoundError(f"No picture at {path}.") from None
    except Image.DecompressionBombError as error:
        reason = str(error).split(",")[0]
        raise ValueError(
            f"{path} is too large ({reason}): make it smaller, or raise max_pixels."
        ) from None
    except Exception as error:  # hostile files make Pillow raise more than a dozen types
        raise ValueError(
            f"{path} cannot be read as a picture ({_reason(error)}): save it again as PNG or JPEG."
        ) from None


def decoded(picture: Image.Image, keep_profile: bool = False) -> Image.Image:
    """Decode the frame that an opened picture is at.

    Args:
        picture: As ``opened`` gives it.
        keep_profile: See ``open_picture``.

    Returns:
        A copy, upright and in sRGB.
    """
    picture.load()
    upright = _with_all_levels(_upright(picture), getattr(picture, "tag_v2", {}))
    return upright if keep_profile and picture.mode not in _OTHER_COLOURS else _to_srgb(upright)


def save_picture(picture: Image.Image, path: str | Path, quality: int = DEFAULT_QUALITY) -> None:
    """Write a picture in the format of the path's suffix, atomically.

    JPEG knows no transparency: there the picture is laid on white.

    Args:
        picture: Of any mode that converts to RGB.
        path: Where to; missing folders are made.
        quality: Of JPEG, WebP and AVIF, 1 to 100; 90 and more keep JPEG's colour unreduced.

    Raises:
        ValueError: If the suffix is of no format that can be saved, ``quality`` is out of range, or
            the picture is too large for the format.
        OSError: If the file cannot be written; a former one is left as it was.
    """
    path = Path(path)
    format_name = _saved_format(path)
    if not 1 <= quality <= 100:
        raise ValueError(f"quality must be from 1 to 100, got {quality}.")
    if picture.mode not in ("L", "RGB", "RGBA"):
        picture = picture.convert("RGBA" if picture.has_transparency_data else "RGB")
    if picture.mode == "RGBA" and format_name == "JPEG":
        white = Image.new("RGBA", picture.size, "white")
        white.info = picture.info  # with the profile, which goes on to what is laid on it
        picture = Image.alpha_composite(white, picture).convert("RGB")
    write_encoded(picture, path, format_name, save_arguments(format_name, quality))


def write_encoded(
    picture: Image.Image, path: Path, format_name: str, arguments: dict[str, Any]
) -> None:
    """Encode a picture in memory, then write it atomically.

    Args:
        picture: Of a mode that the format knows.
        path: Where to; missing folders are made.
        format_name: As Pillow calls it.
        arguments: For Pillow's ``save``.

    Raises:
        ValueError: If the picture does not fit the format.
        OSError: If the file cannot be written; a former one is left as it was.
    """
    encoded = io.BytesIO()
    profile = picture.info.get("icc_profile")  # of its colours, where they are not sRGB's
    try:
        picture.save(encoded, format_name, **arguments, icc_profile=profile)
    except (OSError, ValueError, struct.error) as error:
        # WebP stops at 16383 pixels a side, JPEG at 65500, GIF at 655 seconds a frame.
        width, height = picture.size
        raise ValueError(
            f"{path} cannot be saved: {format_name} does not take {width} x {height} pixels "
            f"({error}); PNG does."
        ) from None
    write_atomically(path, encoded.getvalue())


def _warn_of(error: OSError) -> None:
    log.warning("Passing over %s: %s.", error.filename, error.strerror)


@contextmanager
def _pillow_limited_to(max_pixels: int) -> Iterator[None]:
    """Make Pillow refuse larger headers, with its global limit changed for a moment only."""
    with _pillow_settings, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of half the limit, of odd but harmless metadata
        former = Image.MAX_IMAGE_PIXELS
        Image.MAX_IMAGE_PIXELS = -(-max_pixels // 2)  # Pillow warns here, and refuses at twice this
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS = former


def _refuse_deep_planes(picture: Image.Image) -> None:
    """Pillow reads the bytes of 16-bit TIFFs as pixels where each colour has a plane of its own."""
    tags = getattr(picture, "tag_v2", {})
    is_planar = tags.get(_PLANAR_CONFIGURATION) == 2
    if is_planar and max(tags.get(_BITS_PER_SAMPLE, (8,))) > 8:
        raise OSError("each of its colours is a plane of its own, of more than 8 bits")


def _reason(error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):
        return "of no known format"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error).splitlines()[0] if str(error) else type(error).__name__


def _with_all_levels(picture: Image.Image, tags: Mapping[int, Any]) -> Image.Image:
    """Grey of 12 bits, and of 16 where 0 is white, which Pillow reads from TIFFs as it is."""
    is_short = tags.get(_BITS_PER_SAMPLE, (16,))[0] == 12
    is_negative = tags.get(_PHOTOMETRIC_INTERPRETATION) == 0
    if not picture.mode.startswith("I;16") or not (is_short or is_negative):
        return picture
    levels = np.asarray(picture).astype(np.uint32)
    levels = levels * 65535 // 4095 if is_short else levels
    levels = 65535 - levels if is_negative else levels
    whole = Image.fromarray(levels.astype(np.uint16))
    whole.info = picture.info
    return whole


def _upright(picture: Image.Image) -> Image.Image:
    try:
        return ImageOps.exif_transpose(picture)
    except Exception:  # damaged EXIF is no reason to refuse a photo
        return picture.copy()


def _to_srgb(picture: Image.Image) -> Image.Image:
    profile = picture.info.pop("icc_profile", None)
    if not profile:
        return picture
    alpha = None
    plain_mode = {"LA": "L", "P": "RGB", "PA": "RGB", "RGBA": "RGB"}
    mode = plain_mode.get(picture.mode, picture.mode)
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        transform = ImageCms.buildTransform(
            source,
            ImageCms.createProfile("sRGB"),
            mode,
            "RGB",
            renderingIntent=ImageCms.Intent.PERCEPTUAL,
        )
        if _changes_little(transform, mode):
            return picture  # converting would only round
        if picture.has_transparency_data:
            alpha = picture.convert("RGBA").getchannel("A")
        converted = ImageCms.applyTransform(picture.convert(mode), transform)
    except Exception:  # damaged, of another colour space, or Pillow built without it
        return picture
    assert converted is not None  # it is None only where the conversion is in place
    converted.info.clear()
    if alpha is not None:
        converted.putalpha(alpha)
    return converted


def _changes_little(transform: ImageCms.ImageCmsTransform, mode: str) -> bool:
    """Whether colours are those of sRGB; by what becomes of some, for names of profiles lie."""
    if mode not in ("L", "RGB"):
        return False
    ramp = Image.linear_gradient("L").resize((1, 256))
    black = Image.new("L", ramp.size)
    ramps = [Image.merge("RGB", [ramp] * 3)]
    if mode == "RGB":
        for channel in range(3):
            planes = [ramp if channel == plane else black for plane in range(3)]
            ramps.append(Image.merge("RGB", planes))
    for before in ramps:
        after = ImageCms.applyTransform(before.convert(mode), transform)
        assert after is not None  # it is None only where the conversion is in place
        if max(ImageChops.difference(before, after).tobytes()) > ROUNDING:
            return False
    return True


def _saved_format(path: Path) -> str:
    suffix = path.suffix.lower()
    if suffix not in SAVED_SUFFIXES:
        raise ValueError(
            f"{path} cannot be saved: its suffix is {suffix or 'missing'}, "
            f"allowed are {', '.join(sorted(SAVED_SUFFIXES))}."
        )
    return _FORMATS[suffix]


def save_arguments(format_name: str, quality: int) -> dict[str, Any]:
    """Say how Pillow is to encode.

    Args:
        format_name: As Pillow calls it.
        quality: Of JPEG, WebP and AVIF, 1 to 100.
    """
    subsampling = "4:4:4" if quality >= FULL_COLOUR_QUALITY else "4:2:0"
    arguments: dict[str, dict[str, Any]] = {
        "AVIF": {"quality": quality, "subsampling": subsampling},
        "JPEG": {"quality": quality, "subsampling": subsampling},
        "WEBP": {"quality": quality},
    }
    return arguments.get(format_name, {})
