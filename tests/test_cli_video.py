"""infer.py on videos: where they are painted to, what is said, and how it ends."""

import errno
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from impasto import cli
from impasto.checkpoint import Header, save_checkpoint
from impasto.cli import main
from impasto.inference import Stylizer
from impasto.networks import TransformerNet

av = pytest.importorskip("av")

NUM_FRAMES = 6


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An own folder to work in, with a checkpoint and a video."""
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    arguments = {"width": 4, "num_blocks": 1}
    header = Header("stylization", "TransformerNet", arguments, ["Starry Night"])
    save_checkpoint(Path("night.safetensors"), TransformerNet(width=4, num_blocks=1), header)
    film("clip.mp4")
    return tmp_path


def film(path: str, codec: str = "mpeg4") -> None:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    levels = np.random.default_rng(0).integers(0, 256, (24, 32, 3), np.uint8)
    with av.open(path, "w") as clip:
        stream = clip.add_stream(codec, rate=25, width=32, height=24, pix_fmt="yuv420p")
        for shift in range(NUM_FRAMES):
            frame = av.VideoFrame.from_ndarray(np.roll(levels, shift, axis=1), "rgb24")
            clip.mux(stream.encode(frame))
        clip.mux(stream.encode(None))


def infer(*arguments: str) -> int:
    return main(["ckpt=night.safetensors", "device=cpu", *arguments])


def frames_of(path: str | Path) -> list[np.ndarray]:
    with av.open(str(path)) as clip:
        return [frame.to_ndarray(format="rgb24") for frame in clip.decode(video=0)]


def names_in(folder: str) -> list[str]:
    return sorted(path.name for path in Path(folder).iterdir())


def one_line(capsys: pytest.CaptureFixture[str]) -> str:
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    return captured.err


def press_ctrl_c_after(num_frames: int, monkeypatch: pytest.MonkeyPatch) -> None:
    frames = []

    def paint(_: Stylizer, photo: Tensor) -> Tensor:
        if len(frames) == num_frames:
            raise KeyboardInterrupt
        frames.append(photo)
        return photo

    monkeypatch.setattr(Stylizer, "__call__", paint)


def watch_as_camera(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("impasto.inference.video.source.open_camera", lambda _: av.open(path))


def test_video_is_painted_by_the_network(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert infer("input=clip.mp4", "output=new/painted.mp4", "precision=fp32", "quality=100") == 0
    captured = capsys.readouterr()
    expected = rf"new/painted\.mp4: {NUM_FRAMES} frames painted, \d+ ms per frame \(cpu, float32\)"
    assert re.fullmatch(expected + "\n", captured.out)
    assert captured.err == ""
    stylizer = Stylizer.load("night.safetensors", device="cpu", precision="fp32")
    paintings = frames_of("new/painted.mp4")
    assert len(paintings) == NUM_FRAMES
    for photo, painting in zip(frames_of("clip.mp4"), paintings, strict=True):
        expected_pixels = np.array(stylizer(Image.fromarray(photo)))
        # Not closer than halved colour allows.
        luminance = (expected_pixels.astype(int) - painting) @ [0.3, 0.6, 0.1]
        assert np.abs(luminance).mean() < 6


@pytest.mark.parametrize(
    ("name", "option", "painted"),
    [
        ("clip.mp4", "codec=auto", "clip_Starry_Night.mp4"),
        ("clip.MOV", "codec=h264", "clip_Starry_Night.MOV"),
        ("clip.avi", "codec=auto", "clip_Starry_Night.mp4"),
        ("clip.mkv", "codec=prores", "clip_Starry_Night.mkv"),
        ("clip.mp4", "codec=prores", "clip_Starry_Night.mov"),
    ],
)
def test_painting_is_named_after_video_and_style(
    here: Path, name: str, option: str, painted: str
) -> None:
    film(f"album/{name.lower()}")
    Path(f"album/{name.lower()}").rename(f"album/{name}")
    assert infer(f"input=album/{name}", option) == 0
    assert names_in("album") == sorted([name, painted])


@pytest.mark.parametrize("name", ["clip.mts", "clip"])
def test_video_of_any_name_is_painted(here: Path, name: str) -> None:
    (here / "clip.mp4").rename(name)
    assert infer(f"input={name}", "output=painted.mkv") == 0
    assert Path("painted.mkv").is_file()


def test_what_a_killed_run_left_is_removed(here: Path) -> None:
    left = here / ".painted.mp4.0123abcd"
    left.touch()
    os.utime(left, (1, 1))
    assert infer("input=clip.mp4", "output=painted.mp4") == 0
    assert not left.exists()


def test_video_is_painted_into_a_folder(here: Path) -> None:
    Path("there").mkdir()
    assert infer("input=clip.mp4", "output=there") == 0
    assert infer("input=clip.mp4", "output=later/", "codec=vp9", "smooth=0.5") == 0
    assert names_in("there") == names_in("later") == ["clip_Starry_Night.mp4"]
    with av.open("later/clip_Starry_Night.mp4") as clip:
        assert clip.streams.video[0].codec_context.name.endswith("vp9")


def test_options_are_passed_on(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = {}

    def paint_video(*arguments: object, **options: object) -> None:
        given.update(options)
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "paint_video", paint_video)
    infer("input=clip.mp4", "codec=av1", "quality=7", "smooth=0.25", "max_pixels=1000")
    expected = {"codec": "av1", "quality": 7, "smooth": 0.25, "max_pixels": 1000}
    expected |= {"cover": None, "arrange": None}
    assert given == expected


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["output=painted.png"], r"painted\.png cannot be saved: a video's suffix must be one of"),
        (["output=painted.mp4", "codec=prores"], r"painted\.mp4 cannot hold prores"),
        (["output=clip.mp4"], r"clip\.mp4 is the video itself"),
        (["input=camera:front"], r"named by its number, such as camera:0: got 'camera:front'"),
        (["input=gone.mp4"], r"Nothing at input=gone\.mp4"),
        (["smooth=1"], r"smooth must be from 0 to below 1, got 1\."),
        (["codec=divx"], r"codec must be one of auto"),
    ],
)
def test_wrong_arguments_are_explained_in_one_line(
    here: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    assert infer("input=clip.mp4", *arguments) == 2
    assert re.search(message, one_line(capsys))
    assert names_in(".") == ["clip.mp4", "night.safetensors"]


def test_mask_is_one_for_all_frames(here: Path) -> None:
    mask = Image.new("L", (64, 48))
    mask.paste(255, (32, 0, 64, 48))
    mask.save("mask.png")
    options = ("mask=mask.png", "precision=fp32", "quality=100", "smooth=0.9")
    assert infer("input=clip.mp4", "output=painted.mp4", *options) == 0
    paintings = frames_of("painted.mp4")
    assert len(paintings) == NUM_FRAMES
    for photo, painting in zip(frames_of("clip.mp4"), paintings, strict=True):
        off = np.abs((photo.astype(int) - painting) @ [0.3, 0.6, 0.1])
        # Not closer than halved colour allows; and smoothing leaves no ghosts in the photo.
        assert off[:, :12].mean() < 6
        assert off[:, 20:].mean() > 20


def test_mask_of_a_video_that_cannot_be_read_is_told(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("mask.png").write_bytes(b"no picture")
    assert infer("input=clip.mp4", "output=painted.mp4", "mask=mask.png") == 1
    assert "mask.png cannot be read as a picture" in one_line(capsys)
    assert names_in(".") == ["clip.mp4", "mask.png", "night.safetensors"]


def test_missing_pyav_is_told_in_one_line(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    assert infer("input=clip.mp4") == 2
    assert 'pip install "impasto[video]"' in one_line(capsys)


def test_picture_needs_no_pyav(here: Path) -> None:
    Image.new("RGB", (8, 8)).save("photo.png")
    code = (
        "import sys; from impasto.cli import main;"
        "sys.exit(main(['ckpt=night.safetensors', 'input=photo.png']) or 'av' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


def test_broken_video_is_told(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("broken.mp4").write_bytes(Path("clip.mp4").read_bytes()[:500])
    assert infer("input=broken.mp4") == 1
    assert "broken.mp4 cannot be read as a video" in one_line(capsys)


def test_notes_are_told(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with av.open("loud.mkv", "w") as clip:
        stream = clip.add_stream("mpeg4", rate=25, width=32, height=24, pix_fmt="yuv420p")
        track = clip.add_stream("libopus", rate=48_000, layout="mono")
        clip.mux(stream.encode(av.VideoFrame(32, 24, "yuv420p")))
        silence = av.AudioFrame.from_ndarray(np.zeros((1, 960), np.int16), "s16", "mono")
        silence.sample_rate = 48_000
        clip.mux(track.encode(silence))
        for each in (stream, track):
            clip.mux(each.encode(None))
    assert infer("input=loud.mkv", "output=painted.mov") == 0
    captured = capsys.readouterr()
    assert captured.err == "Sound track 1 (opus) is encoded again: .mov does not take it.\n"
    assert captured.out.startswith("painted.mov: 1 frame painted")


def test_ctrl_c_names_what_is_kept(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    press_ctrl_c_after(4, monkeypatch)
    assert infer("input=clip.mp4", "output=painted.mp4") == 130
    expected = "Stopped. painted.partial.mp4 holds 4 frames, painted until then.\n"
    assert one_line(capsys) == expected
    assert len(frames_of("painted.partial.mp4")) == 4
    press_ctrl_c_after(0, monkeypatch)
    assert infer("input=clip.mp4", "output=other.mp4") == 130
    assert one_line(capsys) == "Stopped before anything was painted.\n"


def test_camera_is_recorded_until_ctrl_c(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    watch_as_camera("clip.mp4", monkeypatch)
    for name in ("camera_Starry_Night.mp4", "camera_Starry_Night_2.mp4"):  # none is lost
        press_ctrl_c_after(3, monkeypatch)
        assert infer("input=camera:0") == 0
        captured = capsys.readouterr()
        assert captured.err == "Painting what camera:0 sees, until Ctrl-C.\n"
        assert captured.out.startswith(f"{name}: 3 frames painted")
    press_ctrl_c_after(2, monkeypatch)
    assert infer("input=camera:0", "output=camera_Starry_Night.mp4") == 0
    assert len(frames_of("camera_Starry_Night.mp4")) == 2  # as it was asked for


def test_missing_camera_is_told(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert infer("input=camera:97") == 1
    assert "camera:97 cannot be opened" in capsys.readouterr().err


def test_full_disk_is_told(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_space(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(cli, "paint_video", no_space)
    assert infer("input=clip.mp4", "output=painted.mp4") == 1
    assert one_line(capsys) == "Cannot write painted.mp4: No space left on device.\n"


def test_frames_too_large_for_memory_are_told(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_memory(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(Stylizer, "__call__", no_memory)
    assert infer("input=clip.mp4", "output=painted.mp4") == 1
    assert "clip.mp4 is too large for the memory" in one_line(capsys)
    assert names_in(".") == ["clip.mp4", "night.safetensors"]


def test_videos_of_a_folder_are_passed_over_and_told(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("a.mp4", "trip/b.avi", ".hidden/c.mp4", "painted/d.mp4"):
        film(f"photos/{name}")
    assert infer("input=photos", "output=photos/painted") == 2
    expected = r"holds no pictures, .*\. Its videos are painted one by one: input=photos/a\.mp4"
    assert re.search(expected, one_line(capsys))
    Image.new("RGB", (8, 8)).save("photos/e.png")
    assert infer("input=photos", "output=photos/painted") == 0
    captured = capsys.readouterr()
    expected = "Videos are painted one by one, so 2 in photos stay as they are: input=photos/a.mp4"
    assert captured.err == expected + "\n"
    assert "1 painted" in captured.out
    assert names_in("photos/painted") == [".impasto.jsonl", "d.mp4", "e.png"]


def test_folder_named_like_a_video_is_a_folder(here: Path) -> None:
    Path("trip.mp4").mkdir()
    Image.new("RGB", (8, 8)).save("trip.mp4/a.png")
    assert infer("input=trip.mp4", "output=painted") == 0
    assert (here / "painted" / "a.png").is_file()
