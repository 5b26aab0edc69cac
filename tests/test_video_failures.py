"""Videos that are damaged, refused or stopped: what is lost, and what is said."""

import contextlib
import errno
import resource
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from clips import (
    NUM_FRAMES,
    RATE,
    STEADY,
    TICK,
    Interrupting,
    frames_of,
    gradient,
    make_clip,
    paint,
    sine,
    sound_of,
    times_of,
)
from impasto.inference.video import (
    SAVED_VIDEO_SUFFIXES,
    VIDEO_SUFFIXES,
    Film,
    paint_video,
    painting,
)

av = pytest.importorskip("av")


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    return make_clip(tmp_path / "clip.mp4")


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


def test_second_ctrl_c_loses_nothing(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drain, film = painting._drain, Film()

    def drain_slowly(*arguments: Any) -> None:
        signal.raise_signal(signal.SIGINT)
        drain(*arguments)

    monkeypatch.setattr(painting, "_drain", drain_slowly)
    former = signal.signal(signal.SIGINT, signal.default_int_handler)  # off in background jobs
    try:
        with pytest.raises(KeyboardInterrupt):
            paint_video(clip, tmp_path / "painted.mp4", Interrupting(7), film)  # type: ignore[arg-type]
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, former)
    assert film.saved == tmp_path / "painted.partial.mp4"


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
