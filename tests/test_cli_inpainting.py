"""infer.py with an inpainting checkpoint: masks are found, photos are filled, misuse is told."""

import json
import os
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageCms

from impasto import filling
from impasto.checkpoint import Header, save_checkpoint
from impasto.cli import main
from impasto.manifest import MANIFEST_NAME
from impasto.networks import ContextEncoderPlus

WIDTH, HEIGHT = 30, 20
HOLE = (8, 5, 17, 12)  # left, top, right, bottom


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An own folder to work in, with checkpoints, a photo and a mask."""
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    header = Header("inpainting", "ContextEncoderPlus", {"width": 2})
    save_checkpoint(Path("inpainting.safetensors"), ContextEncoderPlus(width=2), header)
    draw("photo.png")
    draw_mask("mask.png")
    return tmp_path


def draw(path: str, mode: str = "RGB") -> Image.Image:
    levels = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
    picture = Image.fromarray(levels).convert(mode)
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    picture.save(path)
    return picture


def draw_mask(path: str, size: tuple[int, int] = (WIDTH, HEIGHT), light: int = 255) -> None:
    mask = Image.new("L", (WIDTH, HEIGHT), 255 - light)
    mask.paste(light, HOLE)
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    mask.resize(size, Image.Resampling.NEAREST).save(path)


def fill(*arguments: str) -> int:
    return main(["ckpt=inpainting.safetensors", "device=cpu", "precision=fp32", *arguments])


def changed(before: str, after: str) -> tuple[int, int, int, int] | None:
    """The rectangle in which two pictures differ: left, top, right, bottom."""
    with Image.open(before) as one, Image.open(after) as other:
        levels = [np.asarray(picture.convert("RGB")).astype(int) for picture in (one, other)]
    differs = Image.fromarray((np.abs(levels[0] - levels[1]).max(2) > 0).astype(np.uint8) * 255)
    return differs.getbbox()


def files_in(folder: str) -> list[str]:
    return sorted(
        path.relative_to(folder).as_posix()
        for path in Path(folder).rglob("*")
        if path.is_file() and path.name != MANIFEST_NAME
    )


def test_hole_is_filled_and_nothing_else(capsys: pytest.CaptureFixture[str]) -> None:
    assert fill("input=photo.png", "mask=mask.png", "output=filled.png") == 0
    assert changed("photo.png", "filled.png") == HOLE
    expected = r"filled\.png: 1 filled, \d+ ms per picture \(cpu, float32\)\n"
    captured = capsys.readouterr()
    assert re.fullmatch(expected, captured.out)
    assert captured.err == ""


def test_filled_photo_is_png_beside_the_photo() -> None:
    draw("album/photo.jpg")
    assert fill("input=album/photo.jpg", "mask=mask.png") == 0
    assert files_in("album") == ["photo.jpg", "photo_filled.png"]
    assert changed("album/photo.jpg", "album/photo_filled.png") == HOLE


def test_mask_is_resized_inverted_and_grown() -> None:
    draw_mask("large.png", size=(2 * WIDTH, 2 * HEIGHT))
    draw_mask("inverted.png", light=0)
    for arguments in (["mask=large.png"], ["mask=inverted.png", "invert_mask=true"]):
        assert fill("input=photo.png", "output=filled.png", *arguments) == 0
        assert changed("photo.png", "filled.png") == HOLE
    assert fill("input=photo.png", "output=filled.png", "mask=mask.png", "dilate=2") == 0
    left, top, right, bottom = HOLE
    assert changed("photo.png", "filled.png") == (left - 2, top - 2, right + 2, bottom + 2)


def test_folder_takes_masks_of_the_same_names(capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("a.jpg", "trip/b.png", "c.png"):
        draw(f"photos/{name}")
    for name in ("a.png", "trip/b.jpg"):
        draw_mask(f"photos/masks/{name}")
    assert fill("input=photos", "mask=photos/masks", "output=filled") == 1
    assert files_in("filled") == ["a.png", "trip/b.png"]
    assert changed("photos/a.jpg", "filled/a.png") == HOLE
    captured = capsys.readouterr()
    assert captured.err.splitlines() == [
        "photos/c.png has no mask in photos/masks: one named c.png is needed.",
        "1 of 3 pictures failed.",
    ]
    assert "filled: 2 filled" in captured.out


def test_one_mask_serves_all_and_is_no_photo() -> None:
    for name in ("a.png", "b.jpg", "mask.png"):
        draw(f"photos/{name}")
    draw_mask("photos/mask.png")
    assert fill("input=photos", "mask=photos/mask.png", "output=filled") == 0
    assert files_in("filled") == ["a.png", "b.png"]


def test_format_can_be_kept() -> None:
    draw("photos/a.jpg")
    assert fill("input=photos", "mask=mask.png", "output=filled", "format=keep") == 0
    assert files_in("filled") == ["a.jpg"]


def test_several_masks_of_a_name(capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("a.png", "b.bmp"):
        draw(f"photos/{name}")
        for suffix in (".png", ".jpg"):
            draw_mask(f"masks/{Path(name).stem}{suffix}")
    assert fill("input=photos", "mask=masks", "output=filled") == 1
    assert files_in("filled") == ["a.png"]  # its mask has its suffix
    assert "photos/b.bmp has several masks in masks" in capsys.readouterr().err


def test_run_goes_on_and_notices_changed_masks(capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("a", "b"):
        draw(f"photos/{name}.png")
        draw_mask(f"masks/{name}.png")
    arguments = ("input=photos", "mask=masks", "output=filled")
    assert fill(*arguments) == fill(*arguments) == 0
    assert "2 were there already" in capsys.readouterr().out
    draw_mask("masks/a.png", size=(2 * WIDTH, 2 * HEIGHT))
    assert fill(*arguments) == 0
    assert re.search("1 filled, .*; 1 were there already", capsys.readouterr().out)
    assert fill(*arguments, "dilate=1") == 0
    assert "2 filled" in capsys.readouterr().out
    lines = Path("filled", MANIFEST_NAME).read_text().splitlines()
    assert json.loads(lines[-1])["recipe"]["dilate"] == 1


def test_transparent_pixels_are_the_hole(capsys: pytest.CaptureFixture[str]) -> None:
    picture = draw("photo.png")
    alpha = Image.new("L", picture.size, 255)
    alpha.paste(0, HOLE)
    alpha.putpixel((0, 0), 200)
    picture.putalpha(alpha)
    picture.save("erased.png")
    assert fill("input=erased.png", "output=filled.png") == 0
    with Image.open("filled.png") as filled:
        assert filled.mode == "RGB"
    assert changed("photo.png", "filled.png") == HOLE
    assert fill("input=photo.png", "output=again.png") == 1
    assert "photo.png has no transparent pixels to fill: mask= is needed" in capsys.readouterr().err


def test_opacity_is_kept_where_there_is_a_mask() -> None:
    picture = draw("photo.png")
    picture.putalpha(Image.linear_gradient("L").resize(picture.size))
    picture.save("sheer.png")
    assert fill("input=sheer.png", "mask=mask.png", "output=filled.png") == 0
    with Image.open("filled.png") as filled:
        assert filled.getchannel("A").tobytes() == picture.getchannel("A").tobytes()
    assert changed("sheer.png", "filled.png") == HOLE


def test_hole_that_is_transparent_all_over_becomes_opaque() -> None:
    picture = draw("photo.png")
    alpha = Image.new("L", picture.size, 128)
    alpha.paste(0, HOLE)
    picture.putalpha(alpha)
    picture.save("erased.png")
    assert fill("input=erased.png", "mask=mask.png", "output=filled.png") == 0
    alpha.paste(255, HOLE)
    with Image.open("filled.png") as filled:
        assert filled.getchannel("A").tobytes() == alpha.tobytes()


def test_colours_of_another_profile_stay_as_they_are() -> None:
    profile = wide_profile()
    draw("photo.png").save("wide.png", icc_profile=profile)
    assert fill("input=wide.png", "mask=mask.png", "output=filled.png") == 0
    assert changed("wide.png", "filled.png") == HOLE
    with Image.open("filled.png") as filled:
        assert filled.info["icc_profile"] == profile
    with Image.open("wide.png") as picture:
        picture.putalpha(200)
        picture.save("sheer.png", icc_profile=profile)
    assert fill("input=sheer.png", "mask=mask.png", "output=filled.jpg") == 0
    with Image.open("filled.jpg") as filled:
        assert filled.info["icc_profile"] == profile


def wide_profile() -> bytes:
    """sRGB with red and green exchanged: its colours are others than those of its numbers."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    tags = {bytes(profile[at : at + 4]): at for at in range(132, 132 + 12 * profile[131], 12)}
    red, green = (slice(tags[name] + 4, tags[name] + 12) for name in (b"rXYZ", b"gXYZ"))
    profile[red], profile[green] = profile[green], profile[red]
    name = profile.index("sRGB".encode("utf-16-be"))
    profile[name : name + 8] = "wide".encode("utf-16-be")
    return bytes(profile)


def test_mask_of_other_proportions_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    draw_mask("square.png", (24, 24))
    assert fill("input=photo.png", "mask=square.png", "output=filled.png") == 0
    assert "mask of photo.png has other proportions, and is stretched" in capsys.readouterr().err
    draw_mask("half.png", (WIDTH // 2 + 1, HEIGHT // 2))
    assert fill("input=photo.png", "mask=half.png", "output=filled.png") == 0
    assert capsys.readouterr().err == ""


def test_mask_of_a_photo_lying_down_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    draw("photo.png").save("turned.png", exif=exif)
    assert fill("input=turned.png", "mask=mask.png", "output=filled.png") == 1
    assert "mask.png is of turned.png as it is stored, 30 x 20" in capsys.readouterr().err


@pytest.mark.parametrize("light", [1, 76])
def test_lighter_one_of_two_dark_levels_is_missing(light: int) -> None:
    mask = Image.new("L", (WIDTH, HEIGHT))
    mask.paste(light, HOLE)
    mask.save("labels.png")
    assert fill("input=photo.png", "mask=labels.png", "output=filled.png") == 0
    assert changed("photo.png", "filled.png") == HOLE


def test_mask_is_never_written_over(capsys: pytest.CaptureFixture[str]) -> None:
    draw_mask("masks/photo.png")
    draw("album/photo.jpg")
    before = Path("masks/photo.png").read_bytes()
    for arguments in (
        ("input=photo.png", "mask=masks/photo.png", "output=masks/photo.png"),
        ("input=photo.png", "mask=masks", "output=masks/photo.png"),
        ("input=album", "mask=masks", "output=masks", "overwrite=true"),
    ):
        assert fill(*arguments) == 2
        assert "goes with the input: give another" in capsys.readouterr().err
    assert Path("masks/photo.png").read_bytes() == before


def test_another_mask_of_the_same_size_and_time_is_noticed(
    capsys: pytest.CaptureFixture[str],
) -> None:
    draw("album/photo.png")
    for number, place in enumerate(((2, 2), (9, 9))):
        mask = Image.new("L", (WIDTH, HEIGHT))
        mask.paste(255, (*place, place[0] + 3, place[1] + 3))
        mask.save(f"{number}.bmp")
        os.utime(f"{number}.bmp", (1, 1))
        assert fill("input=album", f"mask={number}.bmp", "output=filled") == 0
        assert "1 filled" in capsys.readouterr().out


@pytest.mark.parametrize("suffix", ["png", "tif", "pgm"])
def test_grey_of_16_bits_is_kept(suffix: str) -> None:
    levels = np.random.default_rng(0).integers(0, 65536, (HEIGHT, WIDTH), np.uint16)
    Image.fromarray(levels).save(f"deep.{suffix}")
    target = f"filled.{suffix.replace('pgm', 'png')}"
    assert fill(f"input=deep.{suffix}", "mask=mask.png", f"output={target}") == 0
    with Image.open(target) as filled:
        after = np.array(filled)
    assert after.dtype == np.uint16
    rows, columns = np.nonzero(after != levels)
    assert (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1) == HOLE


def test_what_would_lose_bits_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    deep = np.zeros((HEIGHT, WIDTH), np.uint16)
    Image.fromarray(deep).save("deep.png")
    assert fill("input=deep.png", "mask=mask.png", "output=filled.jpg") == 1
    assert "filled.jpg cannot hold the 16 bits of its photo: .png and .tif" in (
        capsys.readouterr().err
    )
    colour = np.zeros((HEIGHT, WIDTH, 3), np.uint16)
    write_deep_colour(Path("colour.png"), colour)
    assert fill("input=colour.png", "mask=mask.png", "output=filled.png") == 1
    assert "colour.png has colours of 16 bits, of which 8 would be lost" in capsys.readouterr().err
    Path("colour.ppm").write_bytes(b"P6 %d %d 65535 " % (WIDTH, HEIGHT) + colour.tobytes())
    assert fill("input=colour.ppm", "mask=mask.png", "output=filled.png") == 1
    assert "colour.ppm has colours of 16 bits, of which 8 would be lost" in capsys.readouterr().err
    assert not Path("filled.png").exists()


def write_deep_colour(path: Path, levels: np.ndarray) -> None:
    """A PNG of 16 bits per colour, which Pillow does not write."""
    import struct
    import zlib

    def chunk(kind: bytes, data: bytes) -> bytes:
        check = zlib.crc32(kind + data)
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", check)

    height, width, _ = levels.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in levels)
    header = struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)
    parts = (chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b""))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))


def test_empty_mask_is_told_and_full_mask_refused(capsys: pytest.CaptureFixture[str]) -> None:
    Image.new("L", (3, 3)).save("empty.png")
    assert fill("input=photo.png", "mask=empty.png", "output=same.png") == 0
    assert "Nothing is missing in photo.png by its mask" in capsys.readouterr().err
    assert changed("photo.png", "same.png") is None
    Image.new("L", (3, 3), 255).save("full.png")
    assert fill("input=photo.png", "mask=full.png", "output=filled.png") == 1
    assert "full.png leaves nothing known of photo.png" in capsys.readouterr().err


def test_animations_and_huge_pictures_are_refused(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    frames = [Image.new("RGB", (WIDTH, HEIGHT), colour) for colour in ("red", "blue")]
    Path("photos").mkdir()
    frames[0].save("photos/a.gif", save_all=True, append_images=frames[1:])
    draw("photos/b.png")
    Image.new("RGB", (100, 90)).save("photos/c.png")
    Path("photos/film.mp4").touch()
    monkeypatch.setattr(filling, "MIN_PIXELS", 5000)
    assert fill("input=photos", "mask=mask.png", "output=filled") == 1
    assert files_in("filled") == ["b.png"]
    assert capsys.readouterr().err.splitlines() == [
        "Only pictures are filled: the videos in photos stay as they are.",
        "photos/a.gif is an animation, and only still pictures are filled.",
        "photos/c.png has 9000 pixels, and up to 5000 are filled: make it smaller, or cut out the "
        "part around the hole.",
        "2 of 3 pictures failed.",
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["mask=nowhere.png"], r"Nothing at mask=nowhere\.png: give a picture or a folder"),
        (["mask=empty"], r"mask=empty holds no pictures"),
        (["mask=mask.png", "dilate=-1"], r"dilate must be at least 0, got -1"),
        (["mask=mask.png", "dilate=far"], r"dilate must be a whole number, got 'far'"),
        (["mask=mask.png", "invert_mask=yeah"], r"invert_mask must be true or false, got 'yeah'"),
        (["invert_mask=true"], r"invert_mask= goes with mask="),
        (["mask=mask.png", "tile=exact"], r"tile= is for style networks"),
        (["mask=mask.png", "smooth=0.5"], r"smooth= is for style networks"),
        (["mask=mask.png", "colors=photo"], r"colors= is for style networks, and ckpt=inpainting"),
        (["mask=mask.png", "input=film.mp4"], r"film\.mp4 is a video, and only pictures"),
        (["mask=mask.png", "output=photo.png"], r"output=photo\.png is the input itself"),
    ],
)
def test_wrong_arguments_are_explained_in_one_line(
    capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    Path("empty").mkdir()
    Path("film.mp4").touch()
    assert fill("input=photo.png", *arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert re.search(message, captured.err)
