"""Videos: frames, times, sound, colours and sizes that are kept; what is refused or lost."""

import contextlib
import errno
import resource
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from impasto.inference.transfer import bring, fetch, moment, seconds_between
from impasto.inference.video import (
    CODECS,
    SAVED_VIDEO_SUFFIXES,
    VIDEO_SUFFIXES,
    Film,
    Smoother,
    paint_video,
)

av = pytest.importorskip("av")
measure_flicker = pytest.importorskip("measure_flicker")

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
    rotation: int | None = None,
    mirrored: bool = False,
    picture: Callable[[int], np.ndarray] | None = None,
    colours: tuple[int, int] = (5, 1),
    transfer: int = 2,
    offset: int = 0,
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
        track = clip.add_stream(sound, rate=RATE, layout="mono") if sound else None
        for index, tick in enumerate(ticks):
            rgb = picture(index) if picture else gradient(*size, 20 * index % 256)
            frame = av.VideoFrame.from_ndarray(rgb, "rgb24").reformat(
                format=pixels, dst_colorspace=matrix, dst_color_range=colour_range
            )
            frame.pts, frame.time_base = tick, TICK
            clip.mux(stream.encode(frame))
            if track is not None:
                clip.mux(track.encode(sine(index)))
        clip.mux(stream.encode(None))
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


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    return make_clip(tmp_path / "clip.mp4")


def test_video_is_painted_frame_by_frame(clip: Path, tmp_path: Path) -> None:
    target = tmp_path / "new" / "painted.mp4"
    film = paint(clip, target)
    assert (film.num_frames, film.num_damaged, film.notes) == (NUM_FRAMES, 0, [])
    assert film.seconds > 0
    assert film.saved == target
    assert [path.name for path in target.parent.iterdir()] == ["painted.mp4"]
    before, after = frames_of(clip), frames_of(target)
    assert len(after) == NUM_FRAMES
    for photo, painting in zip(before, after, strict=True):
        assert photo.shape == painting.shape
        assert np.abs(255 - photo.astype(int) - painting).mean() < 8


@pytest.mark.parametrize("suffix", sorted(SAVED_VIDEO_SUFFIXES))
def test_times_and_duration_are_kept(clip: Path, tmp_path: Path, suffix: str) -> None:
    target = tmp_path / f"painted{suffix}"
    paint(clip, target)
    before, after = times_of(clip), times_of(target)
    start = after[0] if suffix == ".mkv" else 0  # sound that runs ahead moves all of it
    assert start <= Fraction(1024 + 48, RATE)
    assert [time - start for time in after] == before
    assert duration_of(target) == pytest.approx(duration_of(clip), abs=0.025)


@pytest.mark.parametrize("suffix", [".mp4", ".mov"])
def test_irregular_times_are_kept(tmp_path: Path, suffix: str) -> None:
    ticks = [0, 512, 700, 1500, 1501, 4000, 4512, 6000, 6600, 7000, 9000, 9999]
    clip = make_clip(tmp_path / "clip.mp4", ticks=ticks, sound=None)
    target = tmp_path / f"painted{suffix}"
    paint(clip, target)
    assert times_of(target) == times_of(clip) == [tick * TICK for tick in ticks]


def test_irregular_times_in_matroska_are_kept_to_the_millisecond(tmp_path: Path) -> None:
    ticks = [0, 512, 700, 1500, 4000, 4512, 6000]
    clip = make_clip(tmp_path / "clip.mp4", ticks=ticks, sound=None)
    paint(clip, tmp_path / "painted.mkv")
    for before, after in zip(times_of(clip), times_of(tmp_path / "painted.mkv"), strict=True):
        assert abs(before - after) <= Fraction(1, 2000)


def test_file_that_starts_late_starts_at_zero(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.ts", offset=5)
    paint(clip, tmp_path / "painted.mp4")
    before, after = times_of(clip), times_of(tmp_path / "painted.mp4")
    assert np.diff(before).tolist() == np.diff(after).tolist()
    with av.open(str(clip)) as opened:
        start = Fraction(opened.start_time, 1_000_000)
    assert start > 4
    assert abs(after[0] - (before[0] - start)) < Fraction(1, 10_000)  # beside its sound, as before
    assert len(sound_of(tmp_path / "painted.mp4")) == len(sound_of(clip))


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv"])
def test_sound_is_copied(clip: Path, tmp_path: Path, suffix: str) -> None:
    target = tmp_path / f"painted{suffix}"
    assert paint(clip, target).notes == []
    assert sound_of(target) == sound_of(clip)


@pytest.mark.parametrize(
    ("source", "sound", "target", "codec"),
    [("clip.mp4", "aac", "painted.webm", "opus"), ("clip.webm", "libopus", "painted.mov", "aac")],
)
def test_sound_that_a_container_refuses_is_encoded_again(
    tmp_path: Path, source: str, sound: str, target: str, codec: str
) -> None:
    encoder = "libvpx-vp9" if source.endswith("webm") else "libx264"
    clip = make_clip(tmp_path / source, sound=sound, codec=encoder)
    film = paint(clip, tmp_path / target)
    assert len(film.notes) == 1
    assert "encoded again" in film.notes[0]
    with av.open(str(tmp_path / target)) as painted:
        assert painted.streams.audio[0].name == codec
        samples = np.concatenate([f.to_ndarray()[0] for f in painted.decode(audio=0)])
    assert len(samples) == pytest.approx(NUM_FRAMES * RATE // 25, abs=2048)
    loudness = np.sqrt(np.mean(samples.astype(np.float32)[4000:16000] ** 2))
    assert loudness == pytest.approx(0.3 / 2**0.5, rel=0.1)


def test_silent_video_stays_silent(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.mp4", sound=None)
    paint(clip, tmp_path / "painted.mkv")
    with av.open(str(tmp_path / "painted.mkv")) as painted:
        assert len(painted.streams) == 1


@pytest.mark.parametrize("codec", CODECS[1:])
@pytest.mark.parametrize("size", [(64, 48), (63, 47)])
def test_codecs_keep_any_size(tmp_path: Path, codec: str, size: tuple[int, int]) -> None:
    clip = make_clip(tmp_path / "clip.mkv", size=size, ticks=STEADY[:3])
    target = tmp_path / ("painted.mov" if codec == "prores" else "painted.mkv")
    paint(clip, target, codec=codec)
    frames = frames_of(target)
    assert [frame.shape for frame in frames] == [(size[1], size[0], 3)] * 3
    assert np.abs(255 - frames_of(clip)[0].astype(int) - frames[0]).mean() < 12


def test_one_pixel_is_painted(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.mkv", size=(1, 1), sound=None)
    paint(clip, tmp_path / "painted.mp4", smooth=0.5)
    assert frames_of(tmp_path / "painted.mp4")[0].shape == (1, 1, 3)


def test_codec_that_cannot_hold_a_size_says_so(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.mkv", size=(3, 3), sound=None)
    with pytest.raises(ValueError, match="cannot be encoded as av1"):
        paint(clip, tmp_path / "painted.mp4", codec="av1")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["clip.mkv"]


@pytest.mark.parametrize("rotation", [0, 90, 180, 270])
@pytest.mark.parametrize("mirrored", [False, True])
def test_network_sees_upright_frames(tmp_path: Path, rotation: int, mirrored: bool) -> None:
    clip = make_clip(
        tmp_path / "clip.mp4", rotation=rotation, mirrored=mirrored, ticks=STEADY[:2], sound=None
    )
    seen = []

    def look(frames: Tensor) -> Tensor:
        seen.append(frames)
        return frames

    paint(clip, tmp_path / "painted.mp4", look)
    upright = np.rot90(frames_of(clip)[0], rotation // 90)  # counterclockwise, as FFmpeg turns
    if mirrored:
        upright = upright[:, ::-1]
    assert np.abs(seen[0][0].permute(1, 2, 0).numpy().astype(int) - upright).max() <= 2
    with av.open(str(tmp_path / "painted.mp4")) as painted:
        frame = next(painted.decode(video=0))
        assert frame.rotation == 0
        assert np.abs(frame.to_ndarray(format="rgb24").astype(int) - upright).mean() < 5


def patches(_: int) -> np.ndarray:
    """48 colours, in squares of 8 pixels, so that halved colour does not matter within them."""
    colours = np.random.default_rng(0).integers(0, 256, (6, 8, 3), np.uint8)
    return colours.repeat(8, 0).repeat(8, 1)


@pytest.mark.parametrize("matrix", [1, 5])
@pytest.mark.parametrize("colour_range", [1, 2])
def test_colours_are_kept(tmp_path: Path, matrix: int, colour_range: int) -> None:
    clip = make_clip(tmp_path / "clip.mp4", picture=patches, colours=(matrix, colour_range))
    seen = []

    def look(frames: Tensor) -> Tensor:
        seen.append(frames)
        return frames

    paint(clip, tmp_path / "painted.mp4", look, quality=100)
    assert np.abs(seen[0][0].permute(1, 2, 0).numpy().astype(int) - patches(0)).max() <= 4
    with av.open(str(tmp_path / "painted.mp4")) as painted:
        frame = next(painted.decode(video=0))
        assert frame.color_range == 1
        assert frame.colorspace in ({1} if matrix == 1 else {5, 6})
        middle = frame.to_ndarray(format="rgb24").astype(int)[4::8, 4::8]
    assert np.abs(middle - patches(0)[4::8, 4::8]).mean() < 4


def test_hdr_becomes_bt709(tmp_path: Path) -> None:
    # 0.58 is the PQ code of 203 nits, HDR's diffuse white: ITU-R BT.2408
    white = np.full((48, 64, 3), round(0.58 * 255), np.uint8)
    clip = make_clip(
        tmp_path / "clip.mp4",
        picture=lambda _: white,
        colours=(9, 1),
        transfer=16,
        pixels="yuv420p10le",
        ticks=STEADY[:2],
    )
    film = paint(clip, tmp_path / "painted.mp4", keep)
    assert len(film.notes) == 1
    assert "HDR" in film.notes[0]
    with av.open(str(tmp_path / "painted.mp4")) as painted:
        frame = next(painted.decode(video=0))
        assert (frame.colorspace, frame.color_primaries, frame.color_trc) == (1, 1, 1)
        assert frame.to_ndarray(format="rgb24").mean() > 245


def test_pixels_keep_their_aspect(tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    with av.open(str(path), "w") as opened:
        stream = opened.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.sample_aspect_ratio = Fraction(16, 11)
        stream.set_display_rotation(90)
        for level in (0, 50):
            frame = av.VideoFrame.from_ndarray(gradient(64, 48, level), "rgb24")
            opened.mux(stream.encode(frame))
        opened.mux(stream.encode(None))
    paint(path, tmp_path / "painted.mp4")
    with av.open(str(tmp_path / "painted.mp4")) as painted:
        assert painted.streams.video[0].sample_aspect_ratio == Fraction(11, 16)


def test_higher_quality_is_larger_and_closer(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (NUM_FRAMES, 48, 64, 3), np.uint8)
    clip = make_clip(tmp_path / "clip.mkv", picture=lambda i: noise[i], sound=None)
    sizes = []
    for quality in (1, 50, 100):
        paint(clip, tmp_path / "painted.mp4", quality=quality)
        sizes.append((tmp_path / "painted.mp4").stat().st_size)
    assert sizes[0] * 1.5 < sizes[1] < sizes[2] / 1.2


def test_damaged_frame_is_left_out(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.mov", codec="png", pixels="rgb24")
    with av.open(str(clip)) as opened:
        packet = [p for p in opened.demux(video=0) if p.size][5]
        place, size = packet.pos, packet.size
    content = bytearray(clip.read_bytes())
    content[place + 60 : place + size - 20] = bytes(size - 80)
    clip.write_bytes(content)
    film = paint(clip, tmp_path / "painted.mp4")
    assert (film.num_frames, film.num_damaged) == (NUM_FRAMES - 1, 1)
    assert len(times_of(tmp_path / "painted.mp4")) == NUM_FRAMES - 1
    assert sound_of(tmp_path / "painted.mp4") == sound_of(clip)


def test_file_that_ends_too_early_is_painted_to_there(tmp_path: Path) -> None:
    ticks = [6400 * i for i in range(NUM_FRAMES)]  # half a second each
    noise = np.random.default_rng(0).integers(0, 256, (NUM_FRAMES, 48, 64, 3), np.uint8)
    whole = make_clip(tmp_path / "whole.mkv", ticks=ticks, picture=lambda i: noise[i], sound=None)
    paint(whole, tmp_path / "clip.mp4")  # its index comes first
    content = (tmp_path / "clip.mp4").read_bytes()
    (tmp_path / "clip.mp4").write_bytes(content[: len(content) // 2])
    film = paint(tmp_path / "clip.mp4", tmp_path / "painted.mp4")
    assert 0 < film.num_frames < NUM_FRAMES
    assert len(film.notes) == 1
    assert "cut off" in film.notes[0]


def test_what_is_no_video_is_refused(clip: Path, tmp_path: Path) -> None:
    cut_off = tmp_path / "cut_off.mp4"
    cut_off.write_bytes(clip.read_bytes()[:2000])  # the index, at its end, is lost
    empty, text, png, gif_like = (
        tmp_path / f"{name}.mp4" for name in ("empty", "text", "png", "jpg")
    )
    empty.touch()
    text.write_text("not a video\n" * 100)
    Image.new("RGB", (64, 48)).save(png, "PNG")
    Image.new("RGB", (64, 48)).save(gif_like, "JPEG")
    song = tmp_path / "song.m4a"
    with av.open(str(song), "w", format="mp4") as opened:
        track = opened.add_stream("aac", rate=RATE, layout="mono")
        for index in range(5):
            opened.mux(track.encode(sine(index)))
        opened.mux(track.encode(None))
    for path in (cut_off, empty, text, png, gif_like, song, tmp_path):
        with pytest.raises(ValueError, match=path.name) as caught:
            paint(path, tmp_path / "painted.mp4")
        assert "\n" not in str(caught.value)
    assert not (tmp_path / "painted.mp4").exists()


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nothing"):
        paint(tmp_path / "nothing.mp4", tmp_path / "painted.mp4")


def test_playlists_open_no_other_files(clip: Path, tmp_path: Path) -> None:
    playlist = tmp_path / "list.mp4"
    playlist.write_text(f"ffconcat version 1.0\nfile {clip.name}\n")
    with pytest.raises(ValueError, match="list"):
        paint(playlist, tmp_path / "painted.mp4")


def test_file_names_are_no_addresses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    make_clip(tmp_path / "clip.mkv").rename(tmp_path / "tcp:clip 100% #1.mkv")
    assert paint(Path("tcp:clip 100% #1.mkv"), Path("http:a.mp4")).num_frames == NUM_FRAMES
    assert Path("http:a.mp4").exists()


def test_large_frames_are_refused_before_they_are_decoded(clip: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"too large \(64 x 48 pixels\)"):
        paint(clip, tmp_path / "painted.mp4", max_pixels=64 * 48 - 1)
    other = make_clip(tmp_path / "other.mkv", codec="mpeg4", pixels="yuv420p")
    with pytest.raises(ValueError, match="or its frames exceed max_pixels"):
        paint(other, tmp_path / "painted.mp4", max_pixels=64 * 48 - 1)
    assert paint(clip, tmp_path / "painted.mp4", max_pixels=64 * 48).num_frames == NUM_FRAMES


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"codec": "divx"}, "codec must be one of auto, h264"),
        ({"codec": "prores"}, "cannot hold prores"),
        ({"quality": 0}, "quality must be from 1 to 100"),
        ({"smooth": 1.0}, "smooth must be from 0 to below 1"),
        ({"smooth": -0.1}, "smooth must be from 0 to below 1"),
    ],
)
def test_wrong_options_are_refused(
    clip: Path, tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        paint(clip, tmp_path / "painted.mp4", **options)


def test_suffix_that_cannot_be_written_is_refused(clip: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="must be one of"):
        paint(clip, tmp_path / "painted.gif")
    assert SAVED_VIDEO_SUFFIXES < VIDEO_SUFFIXES


def test_video_is_not_painted_over_itself(clip: Path, tmp_path: Path) -> None:
    before = clip.read_bytes()
    (tmp_path / "link.mp4").symlink_to(clip)
    for target in (clip, tmp_path / "link.mp4"):
        with pytest.raises(ValueError, match="the video itself"):
            paint(clip, target)
    assert clip.read_bytes() == before
    with pytest.raises(ValueError, match="the video itself"):  # where Ctrl-C would keep it
        paint(clip.rename(tmp_path / "painted.partial.mp4"), tmp_path / "painted.mp4")


def test_ctrl_c_keeps_what_is_painted(clip: Path, tmp_path: Path) -> None:
    film = Film()
    with pytest.raises(KeyboardInterrupt):
        paint_video(clip, tmp_path / "painted.mp4", Interrupting(7), film)  # type: ignore[arg-type]
    assert film.num_frames == 7
    assert film.saved == tmp_path / "painted.partial.mp4"
    assert len(frames_of(film.saved)) == 7
    assert sorted(path.name for path in tmp_path.iterdir()) == ["clip.mp4", "painted.partial.mp4"]


def test_ctrl_c_at_once_leaves_nothing(clip: Path, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        paint(clip, tmp_path / "painted.mp4", Interrupting(0))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["clip.mp4"]


def test_failures_leave_nothing_and_no_thread(clip: Path, tmp_path: Path) -> None:
    target = tmp_path / "painted.mp4"
    target.write_text("the former one")
    with pytest.raises(RuntimeError):
        paint(clip, target, Interrupting(5, RuntimeError))
    assert target.read_text() == "the former one"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["clip.mp4", "painted.mp4"]
    assert not [t.name for t in threading.enumerate() if t.name.startswith("ThreadPool")]


def test_place_that_cannot_be_written_is_an_os_error(clip: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file"):
        paint(clip, tmp_path / "file" / "painted.mp4")


@contextlib.contextmanager
def full_disk() -> Iterator[None]:
    """No file may grow beyond 4 kB; no fixture, for pytest's own output may be a longer file."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_full_disk_is_an_os_error(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (NUM_FRAMES, 48, 64, 3), np.uint8)
    clip = make_clip(tmp_path / "clip.mkv", picture=lambda i: noise[i], sound=None)
    with full_disk(), pytest.raises(OSError) as caught:  # noqa: PT011 - its number is what counts
        paint(clip, tmp_path / "painted.mkv")
    assert caught.value.errno == errno.EFBIG
    assert sorted(path.name for path in tmp_path.iterdir()) == ["clip.mkv"]


def test_missing_pyav_is_one_line(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(ImportError, match=r'pip install "impasto\[video\]"') as caught:
        paint(clip, tmp_path / "painted.mp4")
    assert "\n" not in str(caught.value)


def test_missing_camera_is_one_line(tmp_path: Path) -> None:
    for name in ("camera:97", "camera:front"):
        with pytest.raises(ValueError, match=name) as caught:
            paint(name, tmp_path / "painted.mp4")
        assert "\n" not in str(caught.value)


def test_ctrl_c_saves_what_a_camera_saw(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = make_clip(tmp_path / "seen.mkv", ticks=[tick + 12800 for tick in STEADY])
    monkeypatch.setattr("impasto.inference.video.source.open_camera", lambda _: av.open(str(seen)))
    film = paint("camera:0", tmp_path / "painted.mp4", Interrupting(5))
    assert film.saved == tmp_path / "painted.mp4"
    assert film.num_frames == 5
    assert times_of(tmp_path / "painted.mp4") == [tick * TICK for tick in STEADY[:5]]


MEMORY = """
import resource, sys
from pathlib import Path
from impasto.inference.video import Film, paint_video

film, peaks = Film(), []

def stylizer(frames):
    if film.num_frames in (100, 499):
        peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
    return 255 - frames

paint_video(Path("clip.mkv"), Path("painted.mp4"), stylizer, film, smooth=0.5)
print((peaks[1] - peaks[0]) / (2**20 if sys.platform == "darwin" else 2**10))
"""


@pytest.mark.slow
def test_memory_does_not_grow_with_the_video(tmp_path: Path) -> None:
    ticks = [512 * i for i in range(500)]
    picture = gradient(240, 180, 0)
    make_clip(
        tmp_path / "clip.mkv",
        size=(240, 180),
        ticks=ticks,
        picture=lambda i: np.roll(picture, i, axis=1),
        codec="mpeg4",
        pixels="yuv420p",
        sound=None,
    )
    done = subprocess.run(
        [sys.executable, "-c", MEMORY], capture_output=True, text=True, cwd=tmp_path, timeout=300
    )
    assert done.returncode == 0, done.stderr
    # MB, in a video five times as long as its beginning; its other frames are 52 in RGB.
    assert float(done.stdout) < 20


def grey(*levels: float, size: int = 16) -> list[Tensor]:
    return [torch.full((1, 3, size, size), level).round().to(torch.uint8) for level in levels]


def test_no_smoothing_changes_nothing() -> None:
    smoother = Smoother(0)
    for photo, painting in zip(grey(9, 9, 9), grey(10, 200, 30), strict=True):
        assert torch.equal(smoother(photo, painting), painting)


def test_painting_of_a_still_photo_is_held() -> None:
    smoother = Smoother(0.75)
    levels = [
        int(smoother(photo, painting).float().mean())
        for photo, painting in zip(grey(9, 9, 9), grey(100, 200, 100), strict=True)
    ]
    assert levels == [100, 125, 119]  # 100 + 25 % of 100, 125 - 25 % of 25


def test_scene_change_starts_afresh() -> None:
    smoother = Smoother(0.9)
    smoother(*grey(0, 100))
    photo = grey(0)[0]
    photo[..., 4:] = 255  # the left edge stays as it was
    painting = grey(200)[0]
    assert torch.equal(smoother(photo, painting), painting)


def test_moving_things_leave_no_ghosts() -> None:
    smoother = Smoother(0.9)
    for column in range(0, 48, 6):
        photo = torch.full((1, 3, 32, 64), 60, dtype=torch.uint8)
        photo[..., 8:24, column : column + 8] = 160
        painting = 255 - photo
        held = smoother(photo, painting)
        assert int((held.int() - painting.int()).abs().max()) <= 1


def test_slow_changes_add_up() -> None:
    smoother = Smoother(0.9)
    for level in range(60):
        held = smoother(*grey(level, level))
    assert abs(59 - float(held.float().mean())) < 5


def test_change_of_hue_alone_is_seen() -> None:
    smoother = Smoother(0.9)
    red, green = (torch.zeros(1, 3, 16, 16, dtype=torch.uint8) for _ in range(2))
    red[:, 0], green[:, 1] = 60, 30  # of about the same luminance
    smoother(red, red)
    assert torch.equal(smoother(green, green), green)


def test_smoothing_calms_a_noisy_video(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    noise = random.integers(-3, 4, (NUM_FRAMES, 48, 64, 3))

    def still(index: int) -> np.ndarray:
        return np.clip(gradient(64, 48, 100).astype(int) + noise[index], 0, 255).astype(np.uint8)

    clip = make_clip(tmp_path / "clip.mkv", picture=still)
    changes = []
    for smooth in (0.0, 0.5, 0.9):
        paint(clip, tmp_path / "painted.mov", smooth=smooth, codec="prores")
        frames = np.stack(frames_of(tmp_path / "painted.mov")).astype(int)
        changes.append(np.abs(np.diff(frames, axis=0)).mean())
    assert changes[0] > 1.5 * changes[1] > 2 * changes[2]


def test_flicker_is_measured_where_the_photo_stands_still() -> None:
    still, other = (torch.full((1, 3, 8, 8), level / 255) for level in (50.0, 51.0))
    photos = [still, other]
    photos[1] = other.clone()
    photos[1][..., 4:] = 1
    plain = [torch.zeros(1, 3, 8, 8), torch.full((1, 3, 8, 8), 20 / 255)]
    held = [plain[0], torch.full((1, 3, 8, 8), 5 / 255)]
    marks = measure_flicker.measure(photos, plain, held, 0.5)
    assert marks.flicker == pytest.approx(5, abs=1e-3)
    assert marks.photo_flicker == pytest.approx(1, abs=1e-3)
    assert marks.ghosting == pytest.approx(15, abs=1e-3)
    assert "| 0.5 | 5.00 | 1.00 | 15.00 |" in measure_flicker.table([marks])


def test_flicker_is_measured_of_videos_and_folders(clip: Path, tmp_path: Path) -> None:
    (tmp_path / "frames").mkdir()
    for index, pixels in enumerate(frames_of(clip)[:4]):
        Image.fromarray(pixels).save(tmp_path / "frames" / f"{index:03}.png")
    film = measure_flicker.read_frames(clip, 4, 24)
    folder = measure_flicker.read_frames(tmp_path / "frames", 4, 24)
    assert [frame.shape for frame in film] == [(1, 3, 24, 32)] * 4
    assert all(torch.equal(a, b) for a, b in zip(film, folder, strict=True))
    with pytest.raises(ValueError, match="flicker needs two"):
        measure_flicker.read_frames(clip, 1, 24)


on_gpu = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]


@pytest.mark.parametrize("name", ["cpu", pytest.param("cuda", marks=on_gpu)])
def test_frames_go_to_a_device_and_come_back(name: str) -> None:
    device = torch.device(name)
    frames = np.random.default_rng(0).integers(0, 256, (5, 30, 40, 3), np.uint8)
    start = moment(device)
    waiting = [fetch(invert(bring(frame, device))) for frame in frames]
    assert seconds_between(start, moment(device)) > 0
    for frame, pixels in zip(frames, waiting, strict=True):
        assert np.array_equal(pixels(), 255 - frame)
        assert pixels().flags.c_contiguous
