"""What videos are written as: containers, named by their suffixes, and codecs."""

from dataclasses import dataclass
from pathlib import Path

FORMATS = {".m4v": "mp4", ".mkv": "matroska", ".mov": "mov", ".mp4": "mp4", ".webm": "webm"}
SAVED_VIDEO_SUFFIXES = frozenset(FORMATS)
VIDEO_SUFFIXES = SAVED_VIDEO_SUFFIXES | {
    *(".3g2", ".3gp", ".asf", ".avi", ".divx", ".dv", ".f4v", ".flv", ".m2ts", ".m2v", ".mpe"),
    *(".mpeg", ".mpg", ".mts", ".mxf", ".ogv", ".rm", ".rmvb", ".ts", ".vob", ".wmv"),
}


@dataclass(frozen=True)
class Encoder:
    """What FFmpeg is asked for.

    Args:
        name: Of the encoder.
        pixels: Their format.
        odd_pixels: The same where width or height is odd: x264 and x265 halve the colour of even
            sizes only.
        suffixes: Of the containers that hold its videos.
    """

    name: str
    pixels: str
    odd_pixels: str
    suffixes: frozenset[str]


ENCODERS = {
    "h264": Encoder("libx264", "yuv420p", "yuv444p", SAVED_VIDEO_SUFFIXES - {".webm"}),
    "h265": Encoder("libx265", "yuv420p", "yuv444p", SAVED_VIDEO_SUFFIXES - {".webm"}),
    "vp9": Encoder("libvpx-vp9", "yuv420p", "yuv420p", SAVED_VIDEO_SUFFIXES - {".mov"}),
    "av1": Encoder("libsvtav1", "yuv420p", "yuv420p", SAVED_VIDEO_SUFFIXES - {".mov"}),
    "prores": Encoder("prores_ks", "yuv422p10le", "yuv422p10le", frozenset((".mov", ".mkv"))),
}
CODECS = ("auto", *ENCODERS)


def choose_codec(codec: str, target: Path) -> str:
    """Decide what a file is encoded as.

    Args:
        codec: One of ``CODECS``; ``auto`` is VP9 in WebM, H.264 elsewhere.
        target: The file, of any suffix.

    Returns:
        A name in ``ENCODERS``.

    Raises:
        ValueError: If there is no such codec or container, or the one does not hold the other.
    """
    suffix = target.suffix.lower()
    if suffix not in SAVED_VIDEO_SUFFIXES:
        raise ValueError(
            f"{target} cannot be saved: a video's suffix must be one of "
            f"{', '.join(sorted(SAVED_VIDEO_SUFFIXES))}."
        )
    if codec not in CODECS:
        raise ValueError(f"codec must be one of {', '.join(CODECS)}, got {codec!r}.")
    if codec == "auto":
        return "vp9" if suffix == ".webm" else "h264"
    suffixes = ENCODERS[codec].suffixes
    if suffix not in suffixes:
        raise ValueError(
            f"{target} cannot hold {codec}: its suffix must be one of "
            f"{', '.join(sorted(suffixes))}."
        )
    return codec


def choose_suffix(codec: str, wanted: str = ".mp4") -> str:
    """Decide what a video is saved as where nobody says it.

    Args:
        codec: One of ``CODECS``.
        wanted: The suffix to keep where it can be written and holds the codec.
    """
    suffixes = ENCODERS[codec].suffixes if codec != "auto" else SAVED_VIDEO_SUFFIXES
    return next(s for s in (wanted, ".mp4", ".mov") if s.lower() in suffixes)


def encoder_options(codec: str, quality: int) -> dict[str, str]:
    """Say what an encoder is told.

    x264's CRF runs from 47.7 (quality 1) by 24 (75) and 17.6 (95) to 16 (100); 23 is its default,
    17 or 18 is held to be visually lossless. The others' scales are laid beside it by their own
    defaults for the same look: 28 of x265, 31 of VP9, 35 of AV1.

    Args:
        codec: A name in ``ENCODERS``.
        quality: 1 to 100; of ProRes it chooses the profile.
    """
    crf = 48 - 0.32 * quality
    if codec == "h264":
        return {"crf": f"{crf:.1f}"}
    if codec == "h265":
        return {"crf": f"{crf + 4:.1f}", "x265-params": "log-level=none"}
    if codec == "vp9":
        return {"crf": f"{crf * 1.25:.0f}", "row-mt": "1", "cpu-used": "3"}
    if codec == "av1":
        return {"crf": f"{min(crf * 1.25 + 5, 63):.0f}", "preset": "7"}
    return {"profile": str(min(quality // 25, 3))}  # of ProRes: proxy, LT, standard, HQ
