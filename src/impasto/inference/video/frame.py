"""What goes from the video that is read to the one that is written: frames and sound."""

from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from impasto.inference.video.colours import Colours

if TYPE_CHECKING:
    import av

LONG_AGO = -(2**62)  # in ticks, before any time that a file may have


@dataclass(frozen=True)
class Frame:
    """A frame of the video.

    Args:
        pixels: RGB, upright, uint8, shape ``(H, W, 3)``.
        ticks: When it comes, in units of the source's time base.
        duration: In the same units.
        colours: How its painting is coded.
        aspect: Of a pixel, width by height.
        is_interlaced: Whether it is two half pictures in one.
        is_wide: Whether its colours had to be made fewer.
    """

    pixels: np.ndarray
    ticks: int
    duration: int
    colours: Colours
    aspect: Fraction
    is_interlaced: bool
    is_wide: bool


@dataclass(frozen=True)
class Sound:
    """A moment of sound.

    Args:
        track: Index of its stream in the source.
        piece: A packet to copy, or a frame to encode; ``None`` ends what is encoded.
    """

    track: int
    piece: Any


def turned(pixels: np.ndarray, frame: "av.VideoFrame") -> tuple[np.ndarray, bool]:
    """Rotate and mirror pixels as the display matrix of their frame says.

    Args:
        pixels: Of shape ``(H, W, 3)``.
        frame: Where they are from.

    Returns:
        The pixels, upright, and whether their width became their height.
    """
    side_data = frame.side_data.get("DISPLAYMATRIX")
    if side_data is None:
        return pixels, False
    # Points (x, y) go to (a x + c y, b x + d y); FFmpeg, libavutil/display.h
    a, b, _, c, d = np.frombuffer(cast(bytes, side_data), np.int32)[:5]
    is_turned = abs(int(b)) > abs(int(a))
    right, down = (c, b) if is_turned else (a, d)
    if is_turned:
        pixels = pixels.swapaxes(0, 1)
    pixels = pixels[:: -1 if down < 0 else 1, :: -1 if right < 0 else 1]
    return np.ascontiguousarray(pixels), is_turned
