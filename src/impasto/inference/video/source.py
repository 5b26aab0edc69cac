"""The video that is read: a file or a camera."""

import contextlib
import io
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.stream import Disposition
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream

from impasto.inference.video.camera import is_camera, open_camera
from impasto.inference.video.codecs import FORMATS
from impasto.inference.video.colours import Colours, is_wide, to_rgb
from impasto.inference.video.film import Film
from impasto.inference.video.frame import LONG_AGO, Frame, Sound, turned

# FFmpeg reads pictures as videos of one frame, and lists of files as videos of what they name.
_NO_VIDEOS = {"concat", "dash", "hls", "image2", "ico", "svg_pipe"}
_PICTURE_BRANDS = {"avif", "avis", "heic", "heix", "mif1", "msf1"}


@dataclass(frozen=True)
class Track:
    """Sound that is kept.

    Args:
        stream: Where it is from.
        encoder: What it is encoded again with; ``None`` where its packets are copied.
    """

    stream: AudioStream
    encoder: str | None


class Source:
    """A video file or a camera, opened.

    Args:
        source: A file that FFmpeg reads, or ``camera:0``, ``camera:1``, ...
        max_pixels: Largest width times height of a frame.
        suffix: Of the file that is to be written, which decides what becomes of the sound.
        film: Takes notes, and counts what is damaged.

    Attributes:
        name: As it was given.
        is_camera: Whether it ends only when someone ends it.
        rate: Frames a second, on average.
        time_base: The unit of times, in seconds.
        tracks: The sound, by the index of its stream.

    Raises:
        ValueError: If it is no video that can be read.
    """

    def __init__(self, source: Path | str, max_pixels: int, suffix: str, film: Film) -> None:
        self.name = str(source)
        self.is_camera = is_camera(source)
        self._film = film
        self._container = (
            open_camera(self.name) if self.is_camera else _open_file(self.name, max_pixels)
        )
        try:
            self._stream = _choose_stream(self._container, self.name, max_pixels)
            self.tracks = self._plan_sound(suffix)
        except BaseException:
            self._container.close()
            raise
        self._stream.thread_type = "AUTO"  # decode frames side by side
        self._stream.codec_context.options = {"max_pixels": str(max_pixels)}  # sizes may change
        rate = self._stream.average_rate or self._stream.guessed_rate or Fraction(25)
        self.rate = min(max(rate, Fraction(1)), Fraction(240)).limit_denominator(100_000)
        self.time_base = self._stream.time_base or 1 / self.rate
        self._origin = Fraction(max(self._container.start_time or 0, 0), 1_000_000)  # seconds
        self._size: tuple[int, int] | None = None
        self._converter = VideoReformatter()  # one for all: HDR takes it seconds to prepare
        self._last = self._end = LONG_AGO  # when the last frame came, and went

    def close(self) -> None:
        """Close the file, or free the camera."""
        self._container.close()

    @property
    def num_frames(self) -> int | None:
        """As the file says, or as its duration suggests; ``None`` where neither is known."""
        if self._stream.frames:
            return self._stream.frames
        seconds = (self._container.duration or 0) / 1_000_000
        return round(seconds * self.rate) or None

    def items(self) -> Generator[Frame | Sound, None, None]:
        """Whatever the file holds, in its order; what is damaged is counted and left out."""
        for packet in self._packets():
            if packet.stream is self._stream:
                yield from map(self._upright, self._decoded(packet))
            elif self.tracks[packet.stream.index].encoder:
                for sound in self._decoded(packet):
                    yield Sound(packet.stream.index, self._shifted(sound))
            elif packet.dts is not None:  # else it marks the end
                yield Sound(packet.stream.index, self._shifted(packet))

    def note_early_end(self) -> None:
        """Say so where the file promised a second more than it held."""
        if self.is_camera or not self._stream.duration:
            return
        missing = (self._stream.duration - self._end) * self.time_base
        if missing > 1:
            self._film.notes.append(
                f"{self.name} ends {float(missing):.1f} seconds before it should: it is cut off."
            )

    def _plan_sound(self, suffix: str) -> dict[int, Track]:
        """Decide which sound is copied, encoded again or left out."""
        tracks = {}
        for number, stream in enumerate(self._container.streams.audio, start=1):
            context = stream.codec_context  # None where FFmpeg does not know the codec
            name = f"Sound track {number} ({context.name if context else 'unknown'})"
            if _takes(FORMATS[suffix], stream):
                tracks[stream.index] = Track(stream, None)
            elif context is not None:
                encoder = "aac" if FORMATS[suffix] in ("mp4", "mov") else "libopus"
                tracks[stream.index] = Track(stream, encoder)
                self._film.notes.append(f"{name} is encoded again: {suffix} does not take it.")
            else:
                self._film.notes.append(f"{name} is left out: FFmpeg cannot decode it.")
        return tracks

    def _packets(self) -> Iterator["av.Packet[Any]"]:
        failed_at = -1
        num_packets = 0
        streams = [self._stream, *(track.stream for track in self.tracks.values())]
        while True:
            try:
                for packet in self._container.demux(streams):
                    num_packets += 1
                    yield packet
                return
            except av.FFmpegError:
                self._film.num_damaged += 1
                if num_packets == failed_at:  # nothing came since the last failure
                    return
                failed_at = num_packets

    def _decoded(self, packet: "av.Packet[Any]") -> list[Any]:
        is_video = packet.stream is self._stream
        try:
            frames = packet.decode()
        except av.FFmpegError:
            self._film.num_damaged += is_video
            return []
        whole = [frame for frame in frames if not frame.is_corrupt]
        self._film.num_damaged += is_video * (len(frames) - len(whole))
        return whole

    def _upright(self, frame: av.VideoFrame) -> Frame:
        if self._size is None:
            self._size = frame.width, frame.height
            if self.is_camera:  # whose clock may have started with the machine
                self._origin = (frame.pts or 0) * self.time_base
        ticks, duration = self._times(frame)
        pixels, is_turned = turned(to_rgb(frame, self._size, self._converter), frame)
        aspect = self._stream.sample_aspect_ratio or Fraction(1)
        return Frame(
            pixels=pixels,
            ticks=ticks,
            duration=duration,
            colours=Colours.of(frame),
            aspect=1 / aspect if is_turned else aspect,
            is_interlaced=frame.interlaced_frame,
            is_wide=is_wide(frame),
        )

    def _times(self, frame: av.VideoFrame) -> tuple[int, int]:
        """When a frame comes, and for how long, in ticks."""
        duration = frame.duration or max(round(1 / (self.rate * self.time_base)), 1)
        ticks = frame.pts if frame.pts is not None else frame.dts
        if ticks is None:
            ticks = max(self._end, 0)
        else:
            ticks -= round(self._origin / self.time_base)
        ticks = max(ticks, self._last + 1)  # encoders refuse two frames at one time
        self._last, self._end = ticks, ticks + duration
        return ticks, duration

    def _shifted(self, piece: Any) -> Any:
        """Move sound as frames are moved, where the file does not start at 0."""
        if self._origin:
            ticks = round(self._origin / piece.time_base)
            piece.pts = None if piece.pts is None else piece.pts - ticks
            piece.dts = None if piece.dts is None else piece.dts - ticks
        return piece


def _open_file(name: str, max_pixels: int) -> InputContainer:
    options = {"protocol_whitelist": "file", "max_pixels": str(max_pixels)}
    try:
        # With its protocol, else "a:b.mp4" would be a file of the protocol a.
        container = av.open(f"file:{name}", options=options, metadata_errors="replace")
    except av.FFmpegError as error:
        raise ValueError(
            f"{name} cannot be read as a video ({error.strerror}): it is empty, cut off, "
            "or something else."
        ) from None
    kind, brand = container.format.name, container.metadata.get("major_brand", "")
    if kind in _NO_VIDEOS or kind.endswith("_pipe") or brand.strip() in _PICTURE_BRANDS:
        container.close()
        raise ValueError(f"{name} is not a video but a picture or a list ({kind}).")
    return container


def _choose_stream(container: InputContainer, name: str, max_pixels: int) -> VideoStream:
    streams = [
        stream
        for stream in container.streams.video
        if not stream.disposition & Disposition.attached_pic  # the cover of a song
    ]
    if not streams:
        raise ValueError(f"{name} holds no video, only sound or data.")
    stream = max(streams, key=lambda s: bool(s.disposition & Disposition.default))
    context = stream.codec_context
    if context is None:
        raise ValueError(f"{name} has a video of a codec that FFmpeg cannot decode.")
    width, height = context.width, context.height
    if width * height > max_pixels:
        raise ValueError(
            f"{name} is too large ({width} x {height} pixels): make it smaller, "
            "or raise max_pixels."
        )
    return stream


def _takes(format_name: str, stream: AudioStream) -> bool:
    """Whether a container takes sound as it is: its header is tried."""
    trial = av.open(io.BytesIO(), "w", format_name)
    try:
        trial.add_stream_from_template(stream)
        trial.start_encoding()
    except (av.FFmpegError, ValueError):
        return False
    finally:
        with contextlib.suppress(av.FFmpegError):
            trial.close()
    return True
