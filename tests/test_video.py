"""Videos: frames, times, sound, colours and sizes that are kept."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from av.stream import Disposition
from PIL import Image
from torch import Tensor

from clips import (
    NUM_FRAMES,
    RATE,
    STEADY,
    TICK,
    duration_of,
    frames_of,
    gradient,
    invert,
    keep,
    make_clip,
    paint,
    sound_of,
    times_of,
)
from impasto.inference.transfer import bring, fetch, moment, seconds_between
from impasto.inference.video import CODECS, SAVED_VIDEO_SUFFIXES
from impasto.inference.video.codecs import ENCODERS
from impasto.inference.video.colours import Colours

av = pytest.importorskip("av")


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


@pytest.mark.parametrize(
    ("codec", "suffix"),
    [(codec, suffix) for codec in ENCODERS for suffix in sorted(ENCODERS[codec].suffixes)],
)
def test_last_frame_is_shown_as_long(tmp_path: Path, codec: str, suffix: str) -> None:
    second = round(1 / TICK)
    clip = make_clip(tmp_path / "clip.mp4", sound=None, pixels="yuv420p", hold=second)
    target = tmp_path / f"painted{suffix}"
    paint(clip, target, codec=codec)
    assert duration_of(target) == pytest.approx(STEADY[-1] * TICK + 1, abs=0.025)


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


@pytest.mark.parametrize(("suffix", "codec"), [("avi", "pcm_s16le"), ("mkv", "pcm_s24le")])
@pytest.mark.parametrize(("layout", "channels"), [("stereo", 2), ("5.1", 6)])
def test_plain_sound_of_which_only_the_channels_are_told_is_copied(
    tmp_path: Path, suffix: str, codec: str, layout: str, channels: int
) -> None:
    ticks = STEADY[:3]
    source = make_clip(tmp_path / f"in.{suffix}", sound=codec, layout=layout, ticks=ticks)
    target = tmp_path / "out.mp4"
    paint(source, target)
    with av.open(str(target)) as clip:
        (track,) = clip.streams.audio
        assert (track.codec.name, track.channels) == (codec, channels)
    assert b"".join(sound_of(target)) == b"".join(sound_of(source))


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


def test_the_default_video_is_painted(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "clip.mkv"), "w") as clip:
        streams = []
        for size in (32, 64):
            stream = clip.add_stream("libx264", rate=25)
            stream.width = stream.height = size
            stream.pix_fmt = "yuv420p"
            stream.disposition = Disposition.default if size == 64 else Disposition(0)
            streams.append(stream)
        for index in range(4):
            for stream in streams:
                frame = av.VideoFrame.from_ndarray(
                    gradient(stream.width, stream.height, 0), "rgb24"
                )
                frame.pts, frame.time_base = index, Fraction(1, 25)
                clip.mux(stream.encode(frame))
        for stream in streams:
            clip.mux(stream.encode(None))
    paint(tmp_path / "clip.mkv", tmp_path / "painted.mp4")
    assert frames_of(tmp_path / "painted.mp4")[0].shape == (64, 64, 3)


def test_apple_players_know_h265(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.mp4", size=(160, 128), sound=None)
    paint(clip, tmp_path / "painted.mp4", codec="h265")
    with av.open(str(tmp_path / "painted.mp4")) as painted:
        assert painted.streams.video[0].codec_context.codec_tag == "hvc1"


def test_language_of_sound_is_kept(tmp_path: Path) -> None:
    clip = tmp_path / "clip.mp4"
    make_clip(tmp_path / "plain.mp4")
    with av.open(str(tmp_path / "plain.mp4")) as source, av.open(str(clip), "w") as told:
        copies = {s.index: told.add_stream_from_template(s) for s in source.streams}
        copies[source.streams.audio[0].index].metadata["language"] = "deu"
        for packet in source.demux():
            if packet.dts is not None:
                packet.stream = copies[packet.stream.index]
                told.mux(packet)
    paint(clip, tmp_path / "painted.mp4")
    with av.open(str(tmp_path / "painted.mp4")) as painted:
        assert painted.streams.audio[0].language == "deu"


@pytest.mark.parametrize(("width", "height", "matrix"), [(1280, 720, 1), (640, 480, 6)])
def test_hd_that_tells_no_matrix_is_of_bt709(
    tmp_path: Path, width: int, height: int, matrix: int
) -> None:
    def black(index: int) -> np.ndarray:
        return np.zeros((height, width, 3), np.uint8)

    path, told = tmp_path / "clip.mp4", (2, 1)
    make_clip(path, size=(width, height), colours=told, sound=None, ticks=STEADY[:1], picture=black)
    with av.open(str(path)) as opened:
        frame = next(opened.decode(video=0))
        assert frame.colorspace == 2
        assert Colours.of(frame).matrix == matrix


def test_lowest_quality_of_av1_can_be_encoded(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.mp4", sound=None, ticks=STEADY[:2])
    paint(clip, tmp_path / "painted.mp4", codec="av1", quality=1)
    assert len(frames_of(tmp_path / "painted.mp4")) == 2


def first_sound(path):
    with av.open(str(path)) as clip:
        return next(packet.pts * packet.time_base for packet in clip.demux(audio=0) if packet.size)


def test_copied_sound_of_a_file_that_starts_late_starts_with_it(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.mkv", offset=5)
    paint(clip, tmp_path / "painted.mp4")
    with av.open(str(clip)) as opened:
        start = Fraction(opened.start_time, 1_000_000)
    assert start > 4
    assert abs(first_sound(tmp_path / "painted.mp4") - (first_sound(clip) - start)) < Fraction(
        1, 100
    )


def nothing(size: tuple[int, int]) -> Image.Image:
    return Image.new("L", size)


def test_smoothing_leaves_what_is_not_painted(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 4, (NUM_FRAMES, 48, 64, 3))
    clip = make_clip(
        tmp_path / "clip.mkv",
        sound=None,
        picture=lambda i: (gradient(64, 48, 100) // 2 + noise[i]).astype(np.uint8),
    )
    for smooth in (0.0, 0.9):
        paint(clip, tmp_path / f"{smooth}.mkv", keep, smooth=smooth, cover=nothing, quality=100)
    for plain, smoothed in zip(
        frames_of(tmp_path / "0.0.mkv"), frames_of(tmp_path / "0.9.mkv"), strict=True
    ):
        assert np.array_equal(plain, smoothed)


@pytest.mark.parametrize("count", [1, 2])
def test_shortest_films_are_encoded_as_h265(tmp_path: Path, count: int) -> None:
    clip = make_clip(tmp_path / "clip.mp4", size=(320, 240), sound=None, ticks=STEADY[:count])
    for _ in range(8):  # what fails, fails every other time
        paint(clip, tmp_path / "painted.mp4", codec="h265")
        assert len(frames_of(tmp_path / "painted.mp4")) == count
