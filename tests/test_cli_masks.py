"""infer.py with a style checkpoint and a mask, or with other colours than the painting's."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from impasto import huge
from impasto.checkpoint import Header, save_checkpoint
from impasto.cli import main
from impasto.manifest import MANIFEST_NAME
from impasto.networks import TransformerNet

WIDTH, HEIGHT = 40, 24
MIDDLE = WIDTH // 2


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An own folder with a checkpoint, a photo, and a mask that is white at the right."""
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    header = Header("stylization", "TransformerNet", {"width": 4, "num_blocks": 1}, ["Night"])
    save_checkpoint(Path("night.safetensors"), TransformerNet(width=4, num_blocks=1), header)
    draw("photo.png")
    draw_mask("mask.png")
    return tmp_path


def draw(path: str, mode: str = "RGB") -> Image.Image:
    colours = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, len(mode)), np.uint8)
    picture = Image.fromarray(colours)
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    picture.save(path)
    return picture


def draw_mask(path: str, size: tuple[int, int] = (WIDTH, HEIGHT), light: int = 255) -> None:
    mask = Image.new("L", size, 255 - light if light != 128 else 0)
    mask.paste(light, (size[0] // 2, 0, *size))
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    mask.save(path)


def infer(*arguments: str) -> int:
    return main(["ckpt=night.safetensors", "device=cpu", "precision=fp32", *arguments])


def levels(path: str) -> np.ndarray:
    with Image.open(path) as picture:
        return np.array(picture).astype(int)


def painted_columns(path: str, photo: str = "photo.png") -> list[int]:
    changed = np.abs(levels(path) - levels(photo))[..., :3].max((0, 2)) > 0
    return np.nonzero(changed)[0].tolist()


def test_only_white_is_painted_as_in_the_painting_of_the_whole() -> None:
    assert infer("input=photo.png", "output=whole.png") == 0
    assert infer("input=photo.png", "mask=mask.png", "output=half.png") == 0
    assert painted_columns("half.png") == list(range(MIDDLE, WIDTH))
    assert (levels("half.png")[:, MIDDLE:] == levels("whole.png")[:, MIDDLE:]).all()


def test_grey_is_half_painted() -> None:
    draw_mask("mask.png", light=128)
    assert infer("input=photo.png", "output=whole.png") == 0
    assert infer("input=photo.png", "mask=mask.png", "output=half.png") == 0
    mean = (levels("photo.png") + levels("whole.png")) / 2
    assert np.abs(levels("half.png") - mean)[:, MIDDLE:].max() <= 1
    assert painted_columns("half.png")[0] == MIDDLE


def test_mask_is_resized_inverted_and_grown() -> None:
    draw_mask("small.png", (10, 6))
    assert infer("input=photo.png", "mask=small.png", "output=a.png") == 0
    assert painted_columns("a.png")[0] in (MIDDLE - 2, MIDDLE - 1)  # a soft edge now
    assert infer("input=photo.png", "mask=mask.png", "invert_mask=true", "output=b.png") == 0
    assert painted_columns("b.png") == list(range(MIDDLE))
    assert infer("input=photo.png", "mask=mask.png", "dilate=3", "output=c.png") == 0
    assert painted_columns("c.png") == list(range(MIDDLE - 3, WIDTH))


def test_opacity_stays() -> None:
    picture = draw("sheer.png", "RGBA")
    assert infer("input=sheer.png", "mask=mask.png", "output=painted.png") == 0
    assert (levels("painted.png")[:, :MIDDLE] == levels("sheer.png")[:, :MIDDLE]).all()
    with Image.open("painted.png") as painted:
        assert painted.getchannel("A").tobytes() == picture.getchannel("A").tobytes()


def test_folder_takes_masks_of_the_same_names(capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("a.jpg", "trip/b.png", "c.png"):
        draw(f"photos/{name}")
    for name in ("a.png", "trip/b.png"):
        draw_mask(f"photos/masks/{name}")
    assert infer("input=photos", "mask=photos/masks", "output=painted") == 1
    assert painted_columns("painted/trip/b.png", "photos/trip/b.png")[0] == MIDDLE
    assert painted_columns("painted/a.png", "photos/a.jpg")[0] == MIDDLE  # PNG, not JPEG
    captured = capsys.readouterr()
    assert captured.err.startswith("photos/c.png has no mask in photos/masks: one named c.png")
    assert "painted: 2 painted" in captured.out


def test_record_knows_mask_and_colours(capsys: pytest.CaptureFixture[str]) -> None:
    draw("photos/a.png")

    def run(*arguments: str) -> str:
        assert infer("input=photos", "output=painted", "format=png", *arguments) == 0
        return capsys.readouterr().out

    run()
    lines = Path("painted", MANIFEST_NAME).read_text().splitlines()
    recipe = json.loads(lines[-1])["recipe"]
    assert set(recipe) == {
        "ckpt",
        "precision",
        "quality",
        "tile",
    }  # as it was before there were any
    for change in (["mask=mask.png"], ["mask=mask.png", "dilate=1"], ["colors=matched"]):
        assert "1 painted" in run(*change)
        assert "1 were there already" in run(*change)
    assert "1 painted" in run("mask=mask.png")
    draw_mask("mask.png", (10, 6))
    assert "1 painted" in run("mask=mask.png")


def test_animation_has_one_mask_for_all_frames() -> None:
    photo = draw("photo.png")
    frames = [photo, photo.transpose(Image.Transpose.FLIP_TOP_BOTTOM)]
    frames[0].save("film.png", save_all=True, append_images=frames[1:], duration=100)
    assert infer("input=film.png", "mask=mask.png", "output=painted.png") == 0
    with Image.open("painted.png") as painted:
        assert painted.n_frames == 2
        for number, frame in enumerate(frames):
            painted.seek(number)
            after = np.array(painted.convert("RGB"))
            assert (after[:, :MIDDLE] == np.array(frame)[:, :MIDDLE]).all()
            assert (after != np.array(frame))[:, MIDDLE:].mean() > 0.9


def test_huge_pictures_take_masks_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huge, "MIN_PIXELS", 100)
    assert infer("input=photo.png", "mask=mask.png", "output=painted.png") == 0
    assert painted_columns("painted.png") == list(range(MIDDLE, WIDTH))


def test_empty_mask_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    Image.new("L", (3, 3)).save("empty.png")
    assert infer("input=photo.png", "mask=empty.png", "output=same.png") == 0
    assert "Nothing is painted in photo.png by its mask" in capsys.readouterr().err
    assert painted_columns("same.png") == []


def test_colours_are_the_photos() -> None:
    draw("photo.png").convert("L").convert("RGB").save("grey.png")
    for colors in ("painting", "photo", "matched"):
        assert infer("input=grey.png", f"colors={colors}", f"output={colors}_.png") == 0
    assert np.ptp(levels("painting_.png"), axis=2).max() > 30
    assert np.ptp(levels("photo_.png"), axis=2).max() <= 1
    off = levels("matched_.png").mean((0, 1)) - levels("grey.png").mean((0, 1))
    assert np.abs(off).max() < 5


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["mask=nowhere.png"], r"Nothing at mask=nowhere\.png: give a picture or a folder"),
        (["mask=empty"], r"mask=empty holds no pictures"),
        (["mask=mask.png", "dilate=-1"], r"dilate must be at least 0, got -1"),
        (["dilate=3"], r"dilate= goes with mask=, which is missing"),
        (["invert_mask=true"], r"invert_mask= goes with mask=, which is missing"),
    ],
)
def test_misuse_is_explained_in_one_line(
    capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    Path("empty").mkdir()
    assert infer("input=photo.png", *arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert re.search(message, captured.err)
