"""Pictures larger than memory: the same paintings, through files; here they are not so large."""

import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from impasto import huge
from impasto.checkpoint import Header, save_checkpoint
from impasto.cli import main
from impasto.inference import stylizer
from impasto.networks import TransformerNet
from profiles import srgb, swapped

pytest.importorskip("pyvips")
ARGUMENTS = {"width": 4, "num_blocks": 1}


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An own folder with a checkpoint, where pictures are huge from 3000 pixels on."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(huge, "MIN_PIXELS", 3000)
    monkeypatch.setattr(stylizer, "MAX_UNTILED_PIXELS", 3000)
    monkeypatch.setattr(stylizer, "TILE_SIZE", 32)
    header = Header("stylization", "TransformerNet", ARGUMENTS, ["night"])
    save_checkpoint(Path("night.safetensors"), TransformerNet(**ARGUMENTS), header)


def draw(path: str, mode: str = "RGB", width: int = 90, height: int = 70, **save: object) -> None:
    coarse = np.random.default_rng(0).integers(0, 256, (7, 9, len(mode)), np.uint8).squeeze()
    Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC).save(path, **save)


def infer(source: str, target: str, *arguments: str) -> int:
    options = ["ckpt=night.safetensors", "device=cpu", "precision=fp32", *arguments]
    return main([*options, f"input={source}", f"output={target}"])


def paint_in_memory(monkeypatch: pytest.MonkeyPatch, source: str) -> Image.Image:
    monkeypatch.setattr(huge, "MIN_PIXELS", 10**9)
    assert infer(source, "expected.png") == 0
    return Image.open("expected.png")


@pytest.mark.parametrize("name", ["photo.png", "photo.jpg", "photo.tif"])
@pytest.mark.parametrize("target", ["painted.png", "painted.tif"])
def test_painting_is_that_of_the_picture_in_memory(
    monkeypatch: pytest.MonkeyPatch, name: str, target: str
) -> None:
    draw(name)
    assert infer(name, target) == 0
    painted = Image.open(target)
    expected = paint_in_memory(monkeypatch, name)
    assert painted.mode == "RGB"
    off = np.abs(np.asarray(painted).astype(int) - np.asarray(expected))
    assert off.max() <= 1
    assert sorted(path.name for path in Path().iterdir() if path.name.startswith(".")) == []


@pytest.mark.parametrize("colors", ["photo", "matched"])
def test_colours_are_those_of_the_picture_in_memory(
    monkeypatch: pytest.MonkeyPatch, colors: str
) -> None:
    draw("photo.png")
    assert infer("photo.png", "painted.png", f"colors={colors}") == 0
    assert infer("photo.png", "plain.png") == 0
    monkeypatch.setattr(huge, "MIN_PIXELS", 10**9)
    assert infer("photo.png", "expected.png", f"colors={colors}") == 0
    painted, plain, expected = (
        np.asarray(Image.open(f"{name}.png")).astype(int)
        for name in ("painted", "plain", "expected")
    )
    assert np.abs(painted - expected).max() <= 1
    assert np.abs(painted - plain).mean() > 5


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L"])
@pytest.mark.parametrize("profile", [swapped("r", "b"), srgb(), b"nonsense"])
def test_profile_changes_what_it_changes_in_memory(
    monkeypatch: pytest.MonkeyPatch, mode: str, profile: bytes
) -> None:
    draw("photo.png", mode, icc_profile=profile)
    assert infer("photo.png", "painted.png", "colors=photo") == 0
    painted = np.asarray(Image.open("painted.png")).astype(int)
    monkeypatch.setattr(huge, "MIN_PIXELS", 10**9)
    assert infer("photo.png", "expected.png", "colors=photo") == 0
    assert np.abs(painted - np.asarray(Image.open("expected.png"))).mean() < 0.5


def test_opacity_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    draw("photo.png", "RGBA")
    assert infer("photo.png", "painted.png") == 0
    with Image.open("painted.png") as painted, Image.open("photo.png") as photo:
        assert painted.mode == "RGBA"
        assert painted.getchannel("A").tobytes() == photo.getchannel("A").tobytes()


def test_channel_that_is_no_opacity_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    pyvips = pytest.importorskip("pyvips")
    draw("photo.tif")
    rgb = pyvips.Image.new_from_file("photo.tif")
    rgb.bandjoin(0).tiffsave("infrared.tif")
    content = Path("infrared.tif").read_bytes()
    # The tag that says what the fourth is: 0, unspecified, in place of 2, opacity.
    mark = struct.pack("<HHIH", 338, 3, 1, 2)
    assert content.count(mark) == 1
    Path("infrared.tif").write_bytes(content.replace(mark, struct.pack("<HHIH", 338, 3, 1, 0)))
    assert infer("infrared.tif", "painted.png") == 0
    painted = Image.open("painted.png")
    expected = paint_in_memory(monkeypatch, "photo.tif")
    assert painted.mode == "RGB"
    assert np.abs(np.asarray(painted).astype(int) - np.asarray(expected)).max() <= 1


@pytest.mark.parametrize("mode", ["F", "I"])
def test_kinds_that_libvips_sees_otherwise_are_painted_in_memory(mode: str) -> None:
    levels = np.full((70, 90), 0.5 if mode == "F" else 2**31 - 1)
    Image.fromarray(levels.astype({"F": np.float32, "I": np.int32}[mode])).save("grey.tif")
    assert not huge.is_huge(Path("grey.tif"), 10**6)
    draw("photo.tif")
    assert huge.is_huge(Path("photo.tif"), 10**6)


def test_photo_is_turned_upright(monkeypatch: pytest.MonkeyPatch) -> None:
    exif = Image.Exif()
    exif[274] = 6  # to be turned by 90 degrees
    draw("photo.jpg", exif=exif)
    assert infer("photo.jpg", "painted.tif") == 0
    with Image.open("painted.tif") as painted:
        assert painted.size == (70, 90)
    expected = paint_in_memory(monkeypatch, "photo.jpg")
    with Image.open("painted.tif") as painted:
        off = np.abs(np.asarray(painted).astype(int) - np.asarray(expected))
    assert off.mean() < 1


def test_folder_records_huge_pictures_too(capsys: pytest.CaptureFixture[str]) -> None:
    Path("photos").mkdir()
    draw("photos/a.png")
    draw("photos/b.png", width=20, height=20)
    assert infer("photos", "painted") == 0
    assert "2 painted" in capsys.readouterr().out
    assert infer("photos", "painted") == 0
    assert "2 were there already" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("target", "message"),
    [("painted.webp", "becomes .tif or .png"), ("painted.jpg", None)],
)
def test_suffixes(target: str, message: str | None, capsys: pytest.CaptureFixture[str]) -> None:
    draw("photo.png")
    assert infer("photo.png", target) == (1 if message else 0)
    assert Path(target).exists() == (message is None)
    assert (message or "") in capsys.readouterr().err


def test_truncated_picture_is_refused_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    draw("photo.png")
    content = Path("photo.png").read_bytes()
    Path("photo.png").write_bytes(content[: len(content) // 2])
    assert infer("photo.png", "painted.png") == 1
    error = capsys.readouterr().err
    assert error.startswith("photo.png cannot be painted")
    assert error.count("\n") == 2  # of the picture, and of how many failed
    assert sorted(path.name for path in Path().iterdir()) == ["night.safetensors", "photo.png"]


def test_without_the_library_pillow_reads_it(monkeypatch: pytest.MonkeyPatch) -> None:
    draw("photo.png")
    monkeypatch.setattr(huge.importlib.util, "find_spec", lambda name: None)
    assert not huge.is_huge(Path("photo.png"), 10**9)
    assert infer("photo.png", "painted.webp") == 0


def test_quality_of_huge_pictures_matters() -> None:
    draw("photo.png")
    for quality in (10, 95):
        assert infer("photo.png", f"{quality}.jpg", f"quality={quality}") == 0
    assert Path("95.jpg").stat().st_size > 2 * Path("10.jpg").stat().st_size


def draw_half_transparent(path: str, hidden: tuple[int, int, int]) -> None:
    levels = np.zeros((70, 90, 4), np.uint8)
    levels[:, :45] = (*hidden, 0)
    levels[:, 45:] = (90, 120, 150, 255)
    Image.fromarray(levels).save(path)


def test_what_transparency_hides_of_a_huge_picture_does_not_matter() -> None:
    paintings = []
    for hidden in ((0, 0, 0), (255, 0, 255)):
        draw_half_transparent("photo.png", hidden)
        assert infer("photo.png", "painted.png") == 0
        paintings.append(np.asarray(Image.open("painted.png")))
    assert np.array_equal(*paintings)


def test_what_transparency_hides_is_the_mean_of_what_it_shows(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    draw_half_transparent("photo.png", (255, 0, 255))
    assert infer("photo.png", "painted.png") == 0
    painted = np.asarray(Image.open("painted.png")).astype(int)
    expected = np.asarray(paint_in_memory(monkeypatch, "photo.png"))
    assert np.abs(painted - expected).max() <= 1


def test_opacity_of_one_everywhere_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    Image.new("RGBA", (90, 70), (9, 99, 199, 255)).save("photo.png")
    assert infer("photo.png", "painted.png") == 0
    with Image.open("painted.png") as painted, paint_in_memory(monkeypatch, "photo.png") as other:
        assert painted.mode == other.mode == "RGB"


def test_transparent_huge_picture_lies_on_white_in_a_jpeg() -> None:
    draw_half_transparent("photo.png", (0, 0, 0))
    assert infer("photo.png", "painted.jpg") == 0
    assert np.asarray(Image.open("painted.jpg"))[:, :30].min() > 250
