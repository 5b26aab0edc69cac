"""Animations: painted frame by frame, saved with the times and loops they had."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from impasto.pictures import (
    DEFAULT_MAX_PIXELS,
    DEFAULT_QUALITY,
    decoded,
    opened,
    save_arguments,
    write_encoded,
)

_FORMATS = {".apng": "PNG", ".avif": "AVIF", ".gif": "GIF", ".png": "PNG", ".webp": "WEBP"}
ANIMATED_SUFFIXES = frozenset(s for s, name in _FORMATS.items() if name in Image.SAVE_ALL)
_LONGEST_IN_GIF = 655_350  # milliseconds: 16 bits of hundredths of a second


@dataclass(frozen=True)
class Animation:
    """Frames, and how they are shown.

    Args:
        frames: Whole pictures of one size.
        durations: Of every frame, in milliseconds.
        loops: How often it is shown as its file says it, 0 for endlessly; ``None`` where that says
            nothing, as a GIF that is shown once.
    """

    frames: list[Image.Image]
    durations: list[float]
    loops: int | None


def is_animation(path: Path) -> bool:
    """Tell whether a file is an animation that ``map_frames`` takes.

    Args:
        path: Any file; one that is no picture, or is damaged, is no animation.
    """
    try:
        with opened(path) as picture:
            return _is_animated(picture)
    except (ValueError, FileNotFoundError):
        return False


def map_frames(
    path: Path,
    function: Callable[[Image.Image], Image.Image],
    max_pixels: int = DEFAULT_MAX_PIXELS,
) -> Animation:
    """Do something with every frame of an animation, decoding one at a time.

    Args:
        path: A picture file; one that does not move has one frame.
        function: Takes a frame, upright and in sRGB, and returns one of the same size.
        max_pixels: Largest width times height times number of frames.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is no picture, is damaged, or has more than ``max_pixels``.
    """
    frames, durations, loops = [], [], None
    for frame, duration, loops in _frames(path, max_pixels):  # noqa: B007 - of the last, as of all
        frames.append(function(frame))
        durations.append(duration)
    return Animation(frames, durations, loops)


def save_animation(animation: Animation, path: Path, quality: int = DEFAULT_QUALITY) -> None:
    """Write an animation in the format of the path's suffix, atomically.

    GIF knows 256 colours a frame, and opacity of all or nothing.

    Args:
        animation: Of frames of mode RGB or RGBA.
        path: Where to, with one of ``ANIMATED_SUFFIXES``; missing folders are made.
        quality: Of WebP and AVIF, 1 to 100.

    Raises:
        ValueError: If it does not fit the format.
        OSError: If the file cannot be written; a former one is left as it was.
    """
    format_name = _FORMATS[path.suffix.lower()]
    arguments = save_arguments(format_name, quality)
    frames, durations, loops = animation.frames, animation.durations, animation.loops
    has_alpha = any(frame.mode == "RGBA" for frame in frames)
    if has_alpha:
        frames = [frame.convert("RGBA") for frame in frames]
    if format_name == "GIF":
        frames = [_all_or_nothing(frame) for frame in frames] if has_alpha else frames
        durations = [min(duration, _LONGEST_IN_GIF) for duration in durations]
        arguments["disposal"] = 2 if has_alpha else 0  # 2: clear what the next frame leaves open
    if format_name != "PNG":  # which knows fractions
        durations = [round(duration) for duration in durations]
    if loops is not None or format_name != "GIF":
        arguments["loop"] = 1 if loops is None else loops
    arguments |= {"save_all": True, "append_images": frames[1:], "duration": durations}
    write_encoded(frames[0], path, format_name, arguments)


def _is_animated(picture: Image.Image) -> bool:
    return picture.format in _FORMATS.values() and getattr(picture, "is_animated", False)


def _frames(path: Path, max_pixels: int) -> Iterator[tuple[Image.Image, float, int | None]]:
    """Yield each frame, its milliseconds, and how often they all loop."""
    with opened(path, max_pixels) as picture:
        num_frames = getattr(picture, "n_frames", 1) if _is_animated(picture) else 1
        width, height = picture.size
        if width * height * num_frames > max_pixels:
            raise Image.DecompressionBombError(
                f"{num_frames} frames of {width} x {height} pixels exceed the limit of "
                f"{max_pixels} pixels in all"
            )
        endless = 0 if picture.format == "AVIF" else None  # it always is
        loops = picture.info.get("loop", endless)
        # The default image of an APNG is for viewers that know none, and no frame.
        first = 1 if picture.info.get("default_image") and num_frames > 1 else 0
        for number in range(first, num_frames):
            picture.seek(number)
            frame = decoded(picture)
            yield frame, float(picture.info.get("duration", 0)), loops


def _all_or_nothing(frame: Image.Image) -> Image.Image:
    """Make half-transparent pixels opaque or not, and those that are not of one colour."""
    is_seen = frame.getchannel("A").point([0] * 128 + [255] * 128)
    seen = Image.composite(frame, Image.new("RGBA", frame.size), is_seen)
    seen.putalpha(is_seen)
    return seen
