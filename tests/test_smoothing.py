"""Less flicker: what is smoothed, what is not, and how it is measured."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from clips import NUM_FRAMES, frames_of, gradient, make_clip, paint
from impasto.inference.video import Smoother

measure_flicker = pytest.importorskip("measure_flicker")


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


def test_flicker_is_measured_of_videos_and_folders(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.mp4")
    (tmp_path / "frames").mkdir()
    for index, pixels in enumerate(frames_of(clip)[:4]):
        Image.fromarray(pixels).save(tmp_path / "frames" / f"{index:03}.png")
    film = measure_flicker.read_frames(clip, 4, 24)
    folder = measure_flicker.read_frames(tmp_path / "frames", 4, 24)
    assert [frame.shape for frame in film] == [(1, 3, 24, 32)] * 4
    assert all(torch.equal(a, b) for a, b in zip(film, folder, strict=True))
    with pytest.raises(ValueError, match="flicker needs two"):
        measure_flicker.read_frames(clip, 1, 24)


def test_scene_change_starts_afresh_where_pixels_stay() -> None:
    smoother = Smoother(0.9)
    photo = torch.zeros(1, 3, 16, 64, dtype=torch.uint8)
    smoother(photo, torch.full_like(photo, 100))
    later = photo.clone()
    later[..., 32:] = 255
    painting = torch.full_like(photo, 200)
    assert torch.equal(smoother(later, painting), painting)
