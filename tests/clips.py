"""Short videos for tests, and what is in them."""

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torch import Tensor

from impasto.inference.video import Film, paint_video

av = pytest.importorskip("av")

NUM_FRAMES = 12
TICK = Fraction(1, 12800)
STEADY = [512 * i for i in range(NUM_FRAMES)]  # 25 frames a second
RATE = 48_000


def invert(frames: Tensor) -> Tensor:
    """What stands for a stylizer: whoever sees its work can tell."""
    return 255 - frames


def keep(frames: Tensor) -> Tensor:
    return frames


class Interrupting:
    """A stylizer before which someone presses Ctrl-C."""

    def __init__(self, num_frames: int, error: type[BaseException] = KeyboardInterrupt) -> None:
        self.num_left = num_frames
        self.error = error

    def __call__(self, frames: Tensor) -> Tensor:
        if self.num_left == 0:
            raise self.error
        self.num_left -= 1
        return 255 - frames


def gradient(width: int, height: int, level: int) -> np.ndarray:
    """Red grows to the right and green downwards; blue is what it is told."""
    y, x = np.mgrid[:height, :width]
    channels = x * 255 // max(width - 1, 1), y * 255 // max(height - 1, 1), np.full_like(x, level)
    return np.stack(channels, -1).astype(np.uint8)


def make_clip(
    path: Path,
    *,
    size: tuple[int, int] = (64, 48),
    ticks: list[int] = STEADY,
    codec: str = "libx264",
    pixels: str = "yuv444p",
    sound: str | None = "aac",
    layout: str = "mono",
    rotation: int | None = None,
    mirrored: bool = False,
    picture: Callable[[int], np.ndarray] | None = None,
    colours: tuple[int, int] = (5, 1),
    transfer: int = 2,
    offset: int = 0,
    hold: int | None = None,
) -> Path:
    matrix, colour_range = colours
    with av.open(str(path), "w", options={"output_ts_offset": str(offset)}) as clip:
        stream = clip.add_stream(codec, rate=25)
        stream.width, stream.height = size
        stream.pix_fmt = pixels
        stream.time_base = stream.codec_context.time_base = TICK
        stream.colorspace, stream.color_range, stream.color_trc = matrix, colour_range, transfer
        if codec == "libx264":  # durations of irregular frames are true only without B-frames
            stream.options = {"bf": "0", "crf": "1"}
        if rotation is not None:
            stream.set_display_rotation(rotation, hflip=mirrored)
        track = clip.add_stream(sound, rate=RATE, layout=layout) if sound else None
        for index, tick in enumerate(ticks):
            rgb = picture(index) if picture else gradient(*size, 20 * index % 256)
            frame = av.VideoFrame.from_ndarray(rgb, "rgb24").reformat(
                format=pixels, dst_colorspace=matrix, dst_color_range=colour_range
            )
            frame.pts, frame.time_base = tick, TICK
            clip.mux(stream.encode(frame))
            if track is not None:
                clip.mux(track.encode(sine(index)))
        held_back = stream.encode(None)
        if hold is not None:  # ticks that the last frame is shown
            held_back[-1].duration = hold
        clip.mux(held_back)
        if track is not None:
            clip.mux(track.encode(None))
    return path


def sine(index: int, num_samples: int = RATE // 25) -> Any:
    seconds = (np.arange(num_samples) + index * num_samples) / RATE
    wave = (0.3 * np.sin(2 * np.pi * 440 * seconds)).astype(np.float32)[None]
    frame = av.AudioFrame.from_ndarray(wave, "fltp", "mono")
    frame.sample_rate, frame.pts, frame.time_base = RATE, index * num_samples, Fraction(1, RATE)
    return frame


def paint(source: Path | str, target: Path, stylizer: Any = invert, **options: Any) -> Film:
    film = Film()
    paint_video(source, target, stylizer, film, **options)
    return film


def frames_of(path: Path) -> list[np.ndarray]:
    with av.open(str(path)) as clip:
        return [frame.to_ndarray(format="rgb24") for frame in clip.decode(video=0)]


def times_of(path: Path) -> list[Fraction]:
    """When frames come, in seconds."""
    with av.open(str(path)) as clip:
        return [frame.pts * frame.time_base for frame in clip.decode(video=0)]


def sound_of(path: Path) -> list[bytes]:
    with av.open(str(path)) as clip:
        return [bytes(packet) for packet in clip.demux(audio=0) if packet.size]


def duration_of(path: Path) -> float:
    with av.open(str(path)) as clip:
        return clip.duration / 1_000_000
