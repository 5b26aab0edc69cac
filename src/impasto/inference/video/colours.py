"""The colours of frames: how they are coded, and RGB of them."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np

if TYPE_CHECKING:
    import av
    from av.video.reformatter import VideoReformatter

# By the matrices of ITU-T H.273 those of swscale, which numbers them in its own way.
SWSCALE = {1: 1, 4: 4, 5: 5, 6: 5, 7: 7}
_UNKNOWN = 2


@dataclass(frozen=True)
class Colours:
    """How colours are coded, in the numbers of ITU-T H.273."""

    matrix: int
    primaries: int
    transfer: int

    @classmethod
    def of(cls, frame: "av.VideoFrame") -> Self:
        """Say what the painting of a frame keeps.

        Args:
            frame: As it was decoded.
        """
        if is_wide(frame):
            return cls(1, 1, 1)
        matrix = frame.colorspace
        if frame.format.is_rgb:
            matrix = 1
        elif matrix not in SWSCALE:
            matrix = _guessed_matrix(frame)
        return cls(matrix, frame.color_primaries, frame.color_trc)


def is_wide(frame: "av.VideoFrame") -> bool:
    """Tell whether colours are of HDR (PQ is 16, HLG 18) or BT.2020 (primaries 9).

    Args:
        frame: As it was decoded.
    """
    return frame.color_trc in (16, 18) or frame.color_primaries == 9


def to_rgb(
    frame: "av.VideoFrame", size: tuple[int, int], converter: "VideoReformatter"
) -> np.ndarray:
    """Convert a frame; wide colours become those of BT.709.

    Args:
        frame: As it was decoded.
        size: Width and height of the result, in pixels.
        converter: Keeps for the next frame what it has prepared.

    Returns:
        uint8, shape ``(H, W, 3)``.
    """
    arguments: dict[str, Any] = {"dst_color_range": 2}  # full
    if not frame.format.is_rgb and frame.colorspace == _UNKNOWN:
        arguments["src_colorspace"] = SWSCALE[_guessed_matrix(frame)]
    if is_wide(frame):
        arguments |= {"dst_color_trc": 1, "dst_color_primaries": 1}
    return converter.reformat(frame, *size, "rgb24", **arguments).to_ndarray()


def _guessed_matrix(frame: "av.VideoFrame") -> int:
    """BT.709 for HD and BT.601 below, as players take a video that does not say."""
    return 1 if frame.width >= 1280 or frame.height > 576 else 6
