"""Evaluation of video: known motions have known errors, and the command agrees with itself."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

import evaluate
from evaluate_video import measure, paint
from impasto.checkpoint import Header, save_checkpoint
from impasto.images import open_picture, save_image
from impasto.losses.temporal import warp
from impasto.networks import TransformerNet
from video_motion import KINDS, Camera, Clip, draw_camera, read_clip, set_in_motion

STEP = 3  # pixels to the left from frame to frame


def scene(size: int = 96) -> Tensor:
    """Blots that a flow can follow, (1, 3, size, size)."""
    coarse = torch.rand(1, 3, size // 6, size // 6, generator=torch.Generator().manual_seed(0))
    return torch.nn.functional.interpolate(coarse, (size, size), mode="bicubic").clamp(0, 1)


@pytest.fixture
def film(tmp_path: Path) -> Path:
    """A folder of four frames of 64 pixels in which all moves by ``STEP``."""
    for number in range(4):
        left = STEP * number
        save_image(scene()[..., :64, left : left + 64], tmp_path / "film" / f"{number}.png")
    return tmp_path / "film"


def write_network(path: Path, seed: int = 0) -> Path:
    torch.manual_seed(seed)
    arguments = {"width": 2, "num_blocks": 1}
    header = Header("stylization", "TransformerNet", arguments, ["painting"])
    save_checkpoint(path, TransformerNet(**arguments), header)
    return path


@pytest.fixture
def network(tmp_path: Path) -> Path:
    return write_network(tmp_path / "network.safetensors")


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """The command, in this process: starting others takes long."""

    def command(*arguments: object) -> None:
        parts = ["evaluate.py", "video", *arguments, "--size=32"]
        monkeypatch.setattr(sys, "argv", [str(part) for part in parts])
        evaluate.main()

    return command


def test_flow_finds_a_known_shift(film: Path) -> None:
    clip = read_clip(film, 4, 64)
    assert clip.frames.shape == (4, 3, 64, 64)
    columns = (clip.positions[..., 0] + 1) * 32 - 0.5  # pixels
    shift = columns - torch.arange(64)
    seen = clip.visible[:, 0] > 0
    assert seen.float().mean() > 0.8
    assert shift[seen].mean().item() == pytest.approx(STEP, abs=0.1)


@pytest.mark.parametrize("kind", KINDS)
def test_photo_in_motion_moves_as_is_said(kind: str) -> None:
    clip = set_in_motion(scene(80), kind, 64, 4, torch.Generator().manual_seed(1))
    assert clip.frames.shape == (4, 3, 64, 64)
    assert clip.visible.mean() > 0.8
    ignored = (clip.frames[1:] - clip.frames[:-1]).square().mean().sqrt()
    assert 255 * ignored > 6
    # Noise of 1 to 2 levels in both frames, and what interpolation costs.
    assert 1.4 < measure(clip.frames, clip).error < 4


@pytest.mark.parametrize("kind", KINDS)
def test_camera_finds_again_what_it_saw(kind: str) -> None:
    camera = draw_camera(kind, 256, torch.Generator().manual_seed(3))
    places = 256 * torch.rand(100, 2, generator=torch.Generator().manual_seed(4)).double() - 128
    assert torch.allclose(camera.find(camera.see(places, 2.5), 2.5), places, atol=1e-3)


def test_camera_by_hand() -> None:
    places = torch.tensor([[10.0, 0.0]]).double()
    assert Camera(pan=(2.0, -1.0)).see(places, 3).tolist() == [[16, -3]]
    assert Camera(zoom=0.5).see(places, 2)[0, 0].item() == pytest.approx(10 * torch.e)
    assert Camera(turn=torch.pi / 4).see(places, 2).tolist()[0] == pytest.approx([0, 10])


def test_error_and_detail_by_hand() -> None:
    frames = torch.zeros(3, 3, 4, 4)
    positions = torch.nn.functional.affine_grid(
        torch.eye(2, 3).expand(2, 2, 3), [2, 3, 4, 4], align_corners=False
    )
    visible = torch.ones(2, 1, 4, 4)
    visible[..., 2:] = 0
    clip = Clip("still", frames, positions, visible)
    painted = frames.clone()
    painted[1, :, :, :2] = 0.2  # a change of 0.2 there and back
    painted[1, :, :, 2:] = 1.0  # where nobody looks
    marks = measure(painted, clip)
    assert marks.error == pytest.approx(255 * 0.2, rel=1e-4)
    # Of 3 * 3 * 4 neighbours across, a third of 12 in one frame differ by 0.8; none down.
    assert marks.detail == pytest.approx(255 * (0.8**2 / 9 / 2) ** 0.5, rel=1e-4)


def test_painter_that_moves_along_is_as_steady_as_the_photo(film: Path) -> None:
    clip = read_clip(film, 4, 64)
    photo = measure(clip.frames, clip).error
    assert measure(paint(lambda frame: 1 - frame, clip.frames), clip).error == pytest.approx(
        photo, rel=0.01
    )
    fixed = 0.1 * torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0)).sign()
    shaken = measure(paint(lambda frame: frame + fixed, clip.frames), clip).error
    assert shaken > photo + 20  # about 255 * 0.1 * sqrt(2), less what interpolation smooths
    assert warp(fixed, clip.positions[:1]).square().mean() < 0.01


def test_command_prints_tables_and_repeats_itself(
    run: Callable[..., None],
    network: Path,
    photos: Path,
    film: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    other = write_network(tmp_path / "other.safetensors", seed=1)
    written = [tmp_path / "first.json", tmp_path / "again.json"]
    extras = ["--num-photos=5", "--frames=3", f"--picture={tmp_path / 'picture.png'}"]
    for path in written:
        outputs = [f"--json={path}", f"--markdown={tmp_path / 'table.md'}"]
        inputs = ["--photos", photos, "--clip", film]
        run(network, "--baseline", other, *inputs, *extras, *outputs)
        table = capsys.readouterr().out
    assert written[0].read_bytes() == written[1].read_bytes()
    assert (tmp_path / "table.md").read_text() == table
    assert "| 1.00 |" in table  # the baseline's time to its own
    rows = json.loads(written[0].read_text())["networks"]
    assert [row["motion"] for row in rows] == ["photos", *KINDS, "film"]
    for row in rows:
        assert row["ratio"] == pytest.approx(row["error"] / row["baseline"])
        assert row["photo"] > 0
    width, height = open_picture(tmp_path / "picture.png").size
    assert (width, height) == (2 * 36 + 4, 5 * 36 + 4)


def test_another_seed_moves_photos_otherwise(
    run: Callable[..., None], network: Path, photos: Path, tmp_path: Path
) -> None:
    errors = []
    for seed in (0, 1):
        path = tmp_path / f"{seed}.json"
        settings = ["--num-photos=1", "--frames=2", f"--seed={seed}", f"--json={path}"]
        run(network, "--photos", photos, *settings)
        row = json.loads(path.read_text())["networks"][0]
        assert "ratio" not in row  # nothing to compare with
        errors.append(row["error"])
    assert errors[0] != errors[1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--clip", "short"], "flicker needs two"),
        (["--clip", "none.mp4"], "none.mp4"),
        (["--clip", "short", "--frames=1"], "--frames must be at least 2, got 1"),
        ([], "give --photos FOLDER"),
    ],
)
def test_what_cannot_be_measured_is_one_line_and_exit_code_2(
    run: Callable[..., None],
    network: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    message: str,
) -> None:
    save_image(scene(), tmp_path / "short" / "0.png")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stopped:
        run(network, *arguments)
    assert stopped.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line
