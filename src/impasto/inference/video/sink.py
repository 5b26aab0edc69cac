"""The video that is written."""

import contextlib
import os
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, cast

import av
from av.video.stream import VideoStream

from impasto.inference.video.codecs import ENCODERS, FORMATS, choose_codec, encoder_options
from impasto.inference.video.colours import SWSCALE
from impasto.inference.video.film import Film
from impasto.inference.video.frame import LONG_AGO, Frame, Sound
from impasto.inference.video.source import Source, Track

_SOUND_RATE = 48_000  # hertz, which all encoders take
# What so many channels most often are.
_LAYOUTS = {1: "mono", 2: "stereo", 3: "2.1", 4: "quad", 5: "5.0", 6: "5.1", 7: "6.1", 8: "7.1"}


class Sink:
    """A video file that grows.

    Args:
        place: Where it grows.
        target: What it will be, to choose the container by, and to name in errors.
        first: The first frame, which is not written: all are of its size and colours.
        source: Where frames are from, which decides about times and sound.
        film: Counts sound that is damaged.
        codec: One of ``CODECS`` that ``target`` holds.
        quality: 1 to 100.

    Attributes:
        is_complete: Whether the file can be kept.

    Raises:
        OSError: If the file cannot be written.
        ValueError: If the codec cannot hold such frames.
    """

    def __init__(
        self,
        place: Path,
        target: Path,
        first: Frame,
        source: Source,
        film: Film,
        *,
        codec: str,
        quality: int,
    ) -> None:
        self.is_complete = False
        self._target, self._codec = target, choose_codec(codec, target)
        self._time_base = source.time_base
        self._matrix = SWSCALE[first.colours.matrix]
        self._film = film
        self._num_frames = 0
        self._durations: dict[int | None, int] = {}  # by time, of frames that are in the encoder
        self._last_duration = 0
        self._last = dict.fromkeys(source.tracks, LONG_AGO)  # when the last packet is decoded
        format_name = FORMATS[target.suffix.lower()]
        options = {}
        self._is_mp4 = format_name in ("mp4", "mov")
        if self._is_mp4:
            # The index first, so that a browser can start before it has all; and the start of
            # each stream in units fine enough for it, which by default are milliseconds.
            ticks = self._time_base.denominator
            options = {"movflags": "+faststart", "movie_timescale": str(max(ticks, 1000))}
        self._container = av.open(f"file:{place}", "w", format_name, container_options=options)
        with self._explained():
            self._stream = self._add_video(first, source.rate, quality)
            self._sounds = {i: self._add_sound(track) for i, track in source.tracks.items()}
            self._container.start_encoding()

    def write(self, item: Frame | Sound) -> None:
        """Encode and write what comes next.

        Args:
            item: From the source, its frames painted.
        """
        with self._explained():
            if isinstance(item, Frame):
                self._write_frame(item)
            else:
                self._write_sound(item, self._sounds[item.track])

    def complete(self) -> None:
        """Write what encoders still hold, and the index."""
        with self._explained():
            packets = self._stream.encode(None)
            if packets and self._is_mp4:
                # MP4 ends when the frame that is decoded last does, which may not be the last one.
                self._durations[packets[-1].pts] = self._last_duration
            for packet in packets:
                if self._num_frames < 3:  # x265 says nothing, or anything, of when to decode these
                    packet.dts = packet.pts
                self._mux_frame(packet)
            for track, stream in self._sounds.items():
                if stream.codec_context.is_open:  # it encodes
                    self._write_sound(Sound(track, None), stream)
            self._container.close()
        self.is_complete = True

    def abandon(self) -> None:
        """Let go of a file that will not be kept."""
        with contextlib.suppress(av.FFmpegError):
            self._container.close()

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except av.FFmpegError as error:
            if isinstance(error, OSError | MemoryError):
                raise
            raise ValueError(
                f"{self._target} cannot be encoded as {self._codec} ({error.strerror}): "
                "try another codec."
            ) from None

    def _add_video(self, first: Frame, rate: Fraction, quality: int) -> VideoStream:
        encoder = ENCODERS[self._codec]
        height, width = first.pixels.shape[:2]
        if self._codec == "av1":
            os.environ.setdefault("SVT_LOG", "0")  # else it writes its settings to stderr
        options = encoder_options(self._codec, quality)
        stream = cast("VideoStream", self._container.add_stream(encoder.name, rate, options))
        stream.width, stream.height = width, height
        stream.pix_fmt = encoder.odd_pixels if width % 2 or height % 2 else encoder.pixels
        stream.time_base = stream.codec_context.time_base = self._time_base
        stream.codec_context.sample_aspect_ratio = first.aspect
        stream.color_range = 1  # limited, which all players know
        stream.colorspace = first.colours.matrix
        stream.color_primaries = first.colours.primaries
        stream.color_trc = first.colours.transfer
        if self._codec == "h265" and self._target.suffix.lower() != ".mkv":
            stream.codec_context.codec_tag = "hvc1"  # Apple's players know no other
        return stream

    def _add_sound(self, track: Track) -> Any:
        stream: Any
        if track.encoder is None:
            stream = self._container.add_stream_from_template(track.stream)
            layout = stream.codec_context.layout
            if layout.name.endswith("channels"):  # AVI and Matroska tell no more of plain sound,
                # and MP4 would find out at the very end that it wants to know.
                stream.codec_context.layout = _LAYOUTS.get(layout.nb_channels, layout)
        else:
            stream = self._container.add_stream(track.encoder, _SOUND_RATE)
            stream.layout = "mono" if track.stream.channels == 1 else "stereo"
            stream.bit_rate = 96_000 * stream.channels
        if track.stream.language:
            stream.metadata["language"] = track.stream.language
        return stream

    def _write_frame(self, frame: Frame) -> None:
        picture = av.VideoFrame.from_ndarray(frame.pixels, "rgb24").reformat(
            format=self._stream.pix_fmt, dst_colorspace=self._matrix, dst_color_range=1
        )
        picture.pts, picture.duration = frame.ticks, frame.duration
        picture.time_base = self._time_base
        self._num_frames += 1
        self._durations[frame.ticks] = self._last_duration = frame.duration
        for packet in self._stream.encode(picture):
            self._mux_frame(packet)

    def _mux_frame(self, packet: "av.Packet[Any]") -> None:
        # x265 and SVT-AV1 do not pass durations on; the last one is told by nothing else.
        packet.duration = self._durations.pop(packet.pts, packet.duration)
        self._container.mux(packet)

    def _write_sound(self, sound: Sound, stream: Any) -> None:
        is_copied = isinstance(sound.piece, av.Packet)
        try:
            for packet in [sound.piece] if is_copied else stream.encode(sound.piece):
                if is_copied:
                    self._hand_over(packet, sound.track, stream)
                self._container.mux(packet)
        except (av.FFmpegError, ValueError) as error:  # ValueError: channels come or go midway
            if isinstance(error, OSError | MemoryError):
                raise
            self._film.num_damaged += 1  # what is damaged costs a moment of sound, no more

    def _hand_over(self, packet: "av.Packet[Any]", track: int, stream: Any) -> None:
        # Containers refuse two packets at one time.
        ticks = max(cast(int, packet.dts), self._last[track] + 1)
        packet.dts = self._last[track] = ticks
        packet.pts = ticks if packet.pts is None else max(packet.pts, ticks)
        packet.stream = stream
