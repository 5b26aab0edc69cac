"""Nasty files: each is painted right, or refused in one line that names it."""

import io
import os
import struct
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageCms, features
from PIL.PngImagePlugin import PngInfo
from torch import Tensor

from impasto import cli
from impasto.cli import main
from impasto.images import split_alpha, to_picture
from impasto.manifest import MANIFEST_NAME
from profiles import swapped

COLOURS = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0)]  # of the corners, row by row
ORIENTATION = 0x0112
TURNS = {  # what is stored becomes upright by these
    1: [],
    2: [Image.Transpose.FLIP_LEFT_RIGHT],
    3: [Image.Transpose.ROTATE_180],
    4: [Image.Transpose.FLIP_TOP_BOTTOM],
    5: [Image.Transpose.TRANSPOSE],
    6: [Image.Transpose.ROTATE_270],
    7: [Image.Transpose.TRANSVERSE],
    8: [Image.Transpose.ROTATE_90],
}
INVERSE = {6: [Image.Transpose.ROTATE_90], 8: [Image.Transpose.ROTATE_270]}


class Copyist:
    """A stylizer that paints what it sees."""

    header = type("Header", (), {"styles": ["copy"]})
    device, dtype = torch.device("cpu"), "float32"

    def fits(self, height: int, width: int) -> bool:
        return True

    def __call__(self, image: Tensor | Image.Image, progress: object = None) -> Any:
        return image if isinstance(image, Tensor) else to_picture(*split_alpha(image))


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(cli.Stylizer, "load", lambda *_: Copyist())
    Path("ckpt").touch()
    return tmp_path


def paint(source: str = "photo.png", target: str = "painted.png", *more: str) -> Image.Image:
    assert main(["ckpt=ckpt", f"input={source}", f"output={target}", *more]) == 0
    with Image.open(target) as picture:
        picture.load()
        return picture


def refusal(
    capsys: pytest.CaptureFixture[str], source: str = "photo.png", *more: str, code: int = 1
) -> str:
    assert main(["ckpt=ckpt", f"input={source}", "output=painted.png", *more]) == code
    assert not Path("painted.png").exists()
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == (2 if code == 1 else 1)  # the last one counts
    return lines[0]


def corners(width: int = 48, height: int = 32, mode: str = "RGB") -> Image.Image:
    """A picture of four colours, one for each quarter."""
    small = Image.new("RGB", (2, 2))
    small.putdata(COLOURS)
    return small.resize((width, height), Image.Resampling.NEAREST).convert(mode)


def assert_corners(picture: Image.Image, tolerance: int = 12) -> None:
    picture = picture.convert("RGB")
    width, height = picture.size
    places = [
        (x, y) for y in (height // 4, -(-3 * height // 4)) for x in (width // 4, 3 * width // 4)
    ]
    for place, colour in zip(places, COLOURS, strict=True):
        assert np.abs(np.subtract(picture.getpixel(place), colour)).max() <= tolerance


def encoded(picture: Image.Image, format_name: str, **arguments: object) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, format_name, **arguments)
    return buffer.getvalue()


def png(width: int, height: int, bits: int, colour_type: int, pixels: bytes) -> bytes:
    """A PNG byte by byte, as Pillow would not write it."""

    def chunk(name: bytes, content: bytes) -> bytes:
        checksum = struct.pack(">I", zlib.crc32(name + content))
        return struct.pack(">I", len(content)) + name + content + checksum

    header = struct.pack(">IIBBBBB", width, height, bits, colour_type, 0, 0, 0)
    parts = [(b"IHDR", header), (b"IDAT", zlib.compress(pixels)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts)


def tiff(samples: np.ndarray, tags: dict[int, tuple[int, ...]]) -> bytes:
    """An uncompressed little-endian TIFF byte by byte; samples as they lie in the file."""
    tags = {
        259: (1,),
        278: (tags[257][0],),
        279: (samples.nbytes // tags.get(284, (1,))[0],),
    } | tags
    strips = 1
    if tags.get(284) == (2,):  # a plane for every colour
        strips = 3
        tags[279] = (samples.nbytes // 3,) * 3
    data_at = 8
    tags[273] = tuple(data_at + n * (samples.nbytes // strips) for n in range(strips))
    directory_at = data_at + samples.nbytes
    extra_at = directory_at + 2 + 12 * len(tags) + 4
    directory, extra = struct.pack("<H", len(tags)), b""
    for tag, values in sorted(tags.items()):
        packed = struct.pack(f"<{len(values)}I", *values)
        if len(packed) > 4:
            packed, extra = struct.pack("<I", extra_at + len(extra)), extra + packed
        directory += struct.pack("<HHI", tag, 4, len(values)) + packed
    return (
        struct.pack("<2sHI", b"II", 42, directory_at)
        + samples.astype(samples.dtype.newbyteorder("<")).tobytes()
        + directory
        + bytes(4)
        + extra
    )


# What is painted.


@pytest.mark.parametrize("format_name", ["JPEG", "PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_photo_of_any_orientation(orientation: int, format_name: str) -> None:
    stored = corners()
    for turn in INVERSE.get(orientation, TURNS[orientation]):
        stored = stored.transpose(turn)
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    Path("photo.png").write_bytes(encoded(stored, format_name, exif=exif))
    painted = paint()
    assert painted.size == (48, 32)
    assert_corners(painted)
    assert ORIENTATION not in painted.getexif()


def test_damaged_exif() -> None:
    content = encoded(corners(), "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff garbage")
    Path("photo.jpg").write_bytes(content)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert_corners(paint("photo.jpg"))


@pytest.mark.parametrize("has_adobe_marker", [True, False])
def test_cmyk_jpeg(has_adobe_marker: bool) -> None:
    content = encoded(corners(mode="CMYK"), "JPEG", quality=95)  # inverted, as Adobe's are
    at = content.index(b"\xff\xee")
    marker = content[at : at + 2 + struct.unpack_from(">H", content, at + 2)[0]]
    assert b"Adobe" in marker
    Path("photo.jpg").write_bytes(content if has_adobe_marker else content.replace(marker, b""))
    assert_corners(paint("photo.jpg"), 20)


@pytest.mark.parametrize("format_name", ["TIFF"])
def test_cmyk_elsewhere(format_name: str) -> None:
    Path("photo.tif").write_bytes(encoded(corners(mode="CMYK"), format_name))
    assert_corners(paint("photo.tif"))


@pytest.mark.parametrize(("colour_type", "channels"), [(0, 1), (2, 3), (4, 2), (6, 4)])
def test_sixteen_bit_png(colour_type: int, channels: int) -> None:
    levels = np.random.default_rng(0).integers(256, 65536, (5, 7, channels)).astype(">u2")
    rows = b"".join(b"\0" + row.tobytes() for row in levels)
    Path("photo.png").write_bytes(png(7, 5, 16, colour_type, rows))
    painted = np.asarray(paint().convert("RGBA"), np.float64)
    expected = levels.astype(np.float64) / 257
    assert np.abs(painted[..., :3] - expected[..., : 3 if channels > 2 else 1]).max() <= 1
    if channels in (2, 4):
        assert np.abs(painted[..., 3] - expected[..., -1]).max() <= 1


def test_transparent_level_of_a_sixteen_bit_png() -> None:
    picture = Image.new("I;16", (2, 1), 30_000)
    picture.putpixel((1, 0), 500)
    picture.save("photo.png", transparency=500)
    painted = paint()
    assert painted.getpixel((0, 0)) == (117, 117, 117, 255)
    assert painted.getpixel((1, 0))[3] == 0  # type: ignore[index]


@pytest.mark.parametrize(
    ("photometric", "channels", "kind"),
    [
        (1, 1, np.uint16),
        (2, 3, np.uint16),
        (2, 4, np.uint16),
        (1, 1, np.uint32),
        (1, 1, np.float32),
    ],
    ids=["grey", "RGB", "RGBA", "32-bit grey", "float grey"],
)
def test_deep_tiff(photometric: int, channels: int, kind: type) -> None:
    random = np.random.default_rng(0)
    levels = random.uniform(0.01, 1, (5, 7, channels))
    top = 1 if kind is np.float32 else np.iinfo(kind).max
    bits = (np.dtype(kind).itemsize * 8,) * channels
    tags = {256: (7,), 257: (5,), 258: bits, 262: (photometric,), 277: (channels,)}
    tags |= {338: (2,)} if channels == 4 else {}  # opacity, not multiplied in
    tags |= {339: (3,)} if kind is np.float32 else {}
    Path("photo.tif").write_bytes(tiff((levels * top).astype(kind), tags))
    painted = np.asarray(paint("photo.tif").convert("RGBA"), np.float64)
    assert np.abs(painted[..., :3] - 255 * levels[..., :3]).max() <= 1
    if channels == 4:
        assert np.abs(painted[..., 3] - 255 * levels[..., 3]).max() <= 1


def test_premultiplied_tiff() -> None:
    pixels = np.full((4, 4, 4), (64, 32, 0, 128), np.uint8)
    tags = {256: (4,), 257: (4,), 258: (8,) * 4, 262: (2,), 277: (4,), 338: (1,)}
    Path("photo.tif").write_bytes(tiff(pixels, tags))
    painted = np.asarray(paint("photo.tif"), np.int64)
    assert np.abs(painted - (128, 64, 0, 128)).max() <= 1


def test_palette_with_transparency() -> None:
    picture = corners(mode="P")
    picture.save("photo.png", transparency=picture.getpixel((0, 0)))
    painted = paint()
    assert painted.mode == "RGBA"
    assert painted.getpixel((0, 0))[3] == 0  # type: ignore[index]
    assert painted.getpixel((47, 0)) == (0, 255, 0, 255)


def test_grey_with_opacity() -> None:
    Image.new("LA", (5, 4), (100, 77)).save("photo.png")
    assert paint().getpixel((2, 2)) == (100, 100, 100, 77)


def test_single_bits() -> None:
    picture = Image.new("1", (9, 3))
    picture.putpixel((8, 2), 1)
    picture.save("photo.png")
    assert np.argwhere(np.asarray(paint()).min(2) == 255).tolist() == [[2, 8]]


@pytest.mark.parametrize("size", [(1, 500), (500, 1), (1, 1)])
def test_thin_picture(size: tuple[int, int]) -> None:
    Image.new("RGB", size, (9, 99, 199)).save("photo.png")
    painted = paint()
    assert painted.size == size
    assert painted.getpixel((0, 0)) == (9, 99, 199)


def test_profile_of_another_space() -> None:
    corners().save("photo.png", icc_profile=swapped("r", "g"))
    painted = paint()
    colours = [(0, 255, 0), (255, 0, 0), (0, 0, 255), (255, 255, 0)]
    for place, colour in zip([(9, 9), (40, 9), (9, 25), (40, 25)], colours, strict=True):
        assert np.abs(np.subtract(painted.getpixel(place), colour)).max() < 12


@pytest.mark.parametrize("space", ["LAB", "sRGB"])
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_profile_that_does_not_fit_is_ignored(mode: str, space: str) -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile(space)).tobytes()  # type: ignore[arg-type]
    Image.new(mode, (4, 4), 100).save("photo.png", icc_profile=profile)
    expected = Image.new(mode, (4, 4), 100).convert("RGB").getpixel((0, 0))
    assert paint().getpixel((0, 0)) == expected


@pytest.mark.parametrize(
    "name", ["a\nb.png", " two  spaces .png", "фото ä.png", "😀🎨.png", "-.png"]
)
def test_odd_names(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    corners().save(name)
    assert_corners(paint(name, f"painted {name}"))
    assert capsys.readouterr().out.count("\n") == 1


def test_name_that_is_no_text(capsys: pytest.CaptureFixture[str]) -> None:
    name = os.fsdecode(b"\xff\x1b[31m.png")
    try:
        corners().save(name)
    except OSError:
        pytest.skip("this file system takes only text")
    assert_corners(paint(name, f"painted {name}"))
    assert r"painted \udcff\x1b[31m.png: 1 painted" in capsys.readouterr().out


def test_jpeg_with_the_suffix_of_another() -> None:
    Path("photo.png").write_bytes(encoded(corners(), "JPEG"))
    painted = paint()
    assert painted.format == "PNG"
    assert_corners(painted)


@pytest.mark.parametrize("suffix", ["bmp", "ico", "tga", "pcx", "qoi", "jp2", "ppm", "avif"])
def test_other_formats(suffix: str) -> None:
    if suffix == "avif" and not features.check("avif"):
        pytest.skip("this Pillow knows no AVIF")
    corners(32, 32).save(f"photo.{suffix}")
    assert_corners(paint(f"photo.{suffix}"))


def test_tiff_of_several_pages(capsys: pytest.CaptureFixture[str]) -> None:
    corners().save("photo.tif", save_all=True, append_images=[Image.new("RGB", (9, 9))])
    assert_corners(paint("photo.tif"))
    assert capsys.readouterr().err == (
        "photo.tif has several frames, painted.png only the first of them.\n"
    )


# What moves.


def moving(path: str, alpha: bool = False, **arguments: object) -> list[Image.Image]:
    """Write an animation of three frames, of 40, 100 and 250 milliseconds."""
    frames = []
    for number in range(3):
        pixels = np.full((12, 16, 4), 255, np.uint8)
        pixels[..., :3] = np.roll((200, 30, 90), number)
        pixels[2:8, 2 + number : 6 + number] = (10, 20, 30, 255)
        if alpha:
            pixels[:, : 2 + 3 * number, 3] = 0
        frames.append(Image.fromarray(pixels).convert("RGBA" if alpha else "RGB"))
    if path.endswith(".webp"):
        arguments["lossless"] = True
    durations = [40, 100, 250]
    frames[0].save(
        path,
        save_all=True,
        append_images=frames[1:],
        duration=durations,
        disposal=2 if alpha else 0,
        **arguments,
    )
    return frames


def frames_of(path: str) -> tuple[list[np.ndarray], list[int], int | None]:
    frames, durations = [], []
    with Image.open(path) as picture:
        for number in range(getattr(picture, "n_frames", 1)):
            picture.seek(number)
            picture.load()
            durations.append(round(picture.info["duration"]))
            frames.append(np.asarray(picture.convert("RGBA"), np.int64))
        return frames, durations, picture.info.get("loop")


@pytest.mark.parametrize("alpha", [False, True], ids=["opaque", "transparent"])
@pytest.mark.parametrize("loop", [None, 0, 3])
@pytest.mark.parametrize("suffix", ["gif", "webp", "png"])
def test_animation_stays_one(suffix: str, loop: int | None, alpha: bool) -> None:
    expected = moving(f"film.{suffix}", alpha, **({} if loop is None else {"loop": loop}))
    before = frames_of(f"film.{suffix}")
    Path("films").mkdir()
    Path(f"film.{suffix}").rename(f"films/film.{suffix}")
    assert main(["ckpt=ckpt", "input=films", "output=painted", "quality=100"]) == 0
    frames, durations, painted_loop = frames_of(f"painted/film.{suffix}")
    assert durations == before[1] == [40, 100, 250]
    assert painted_loop == before[2]
    for frame, picture in zip(frames, expected, strict=True):
        original = np.asarray(picture.convert("RGBA"), np.int64)
        assert (frame[..., 3] == original[..., 3]).all()
        seen = original[..., 3] > 0
        assert np.abs(frame[seen] - original[seen]).mean() < 12


def test_single_gif_that_moves_is_named_gif() -> None:
    moving("film.gif")
    assert main(["ckpt=ckpt", "input=film.gif"]) == 0
    assert len(frames_of("film_copy.gif")[0]) == 3


def test_gif_becomes_another_animation() -> None:
    moving("film.gif", loop=0)
    for suffix in ("webp", "png"):
        paint("film.gif", f"painted.{suffix}")
        assert frames_of(f"painted.{suffix}")[1:] == ([40, 100, 250], 0)
    moving("film.webp")
    paint("film.webp", "painted.gif")
    assert frames_of("painted.gif")[1] == [40, 100, 250]


def test_where_nothing_moves_it_is_the_first_frame(capsys: pytest.CaptureFixture[str]) -> None:
    first = moving("film.gif")[0]
    painted = paint("film.gif", "painted.jpg")
    assert np.abs(np.subtract(painted.getpixel((15, 11)), first.getpixel((15, 11)))).max() < 12
    assert "film.gif has several frames, painted.jpg only the first" in capsys.readouterr().err


def test_default_image_of_an_animated_png_is_no_frame() -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "lime", "blue")]
    frames[0].save(
        "film.png", save_all=True, append_images=frames[1:], duration=[50, 70], default_image=True
    )
    paint("film.png")
    painted, durations, _ = frames_of("painted.png")
    assert [frame[0, 0].tolist() for frame in painted] == [[0, 255, 0, 255], [0, 0, 255, 255]]
    assert durations == [50, 70]


def test_animation_that_breaks_off(capsys: pytest.CaptureFixture[str]) -> None:
    moving("film.gif")
    Path("film.gif").write_bytes(Path("film.gif").read_bytes()[:-60])
    assert refusal(capsys, "film.gif").startswith("film.gif cannot be read as a picture (")


def test_bomb_of_frames(capsys: pytest.CaptureFixture[str]) -> None:
    frames = [Image.new("L", (300, 300), number % 2) for number in range(200)]
    frames[0].save("film.gif", save_all=True, append_images=frames[1:], duration=10)
    limit = "max_pixels=1000000"
    assert refusal(capsys, "film.gif", limit) == (
        "film.gif is too large (200 frames of 300 x 300 pixels exceed the limit of 1000000 pixels "
        "in all): make it smaller, or raise max_pixels."
    )


# What is refused.

NO_PICTURES = {
    "empty": b"",
    "text": b"this is a text\n" * 9,
    "PDF": b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n1 0 obj\n<< >>\nendobj\n",
    "EPS": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\n",
    "cut JPEG": encoded(corners(300, 300), "JPEG")[:1500],
    "cut PNG": encoded(Image.effect_noise((90, 90), 99), "PNG")[:3000],
    "cut WebP": encoded(Image.effect_noise((90, 90), 99), "WEBP")[:900],
    "zeros": bytes(5000),
    "HTML": b"<!DOCTYPE html><html><body>404</body></html>",
    "HEIC": b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(100),
}


@pytest.mark.parametrize("content", NO_PICTURES.values(), ids=NO_PICTURES.keys())
def test_what_is_no_picture(content: bytes, capsys: pytest.CaptureFixture[str]) -> None:
    Path("photo.png").write_bytes(content)
    assert refusal(capsys).startswith("photo.png cannot be read as a picture (")


def test_header_that_claims_too_much(capsys: pytest.CaptureFixture[str]) -> None:
    Path("photo.png").write_bytes(png(100_000, 100_000, 8, 2, bytes(99)))
    line = refusal(capsys)
    assert line.startswith("photo.png is too large (")
    assert "200000000" in line
    assert "max_pixels" in line


@pytest.mark.parametrize("is_zipped", [True, False])
def test_gigantic_text_in_a_png(is_zipped: bool, capsys: pytest.CaptureFixture[str]) -> None:
    text = PngInfo()
    text.add_text("comment", "a" * 70_000_000, zip=is_zipped)
    corners().save("photo.png", pnginfo=text)
    assert refusal(capsys).startswith("photo.png cannot be read as a picture (")


def test_sixteen_bits_in_planes_are_refused_for_pillow_misreads_them(
    capsys: pytest.CaptureFixture[str],
) -> None:
    planes = np.random.default_rng(0).integers(0, 65536, (3, 5, 7)).astype(np.uint16)
    tags = {256: (7,), 257: (5,), 258: (16,) * 3, 262: (2,), 277: (3,), 284: (2,)}
    Path("photo.tif").write_bytes(tiff(planes, tags))
    assert "each of its colours is a plane of its own" in refusal(capsys, "photo.tif")


def make_fifo(path: str) -> None:
    os.mkfifo(path)


def make_dangling_link(path: str) -> None:
    Path(path).symlink_to("nowhere")


def make_circle(path: str) -> None:
    Path(path).symlink_to(path)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such files")
@pytest.mark.parametrize("make", [make_fifo, make_dangling_link, make_circle])
def test_what_is_no_file(make: Callable[[str], None], capsys: pytest.CaptureFixture[str]) -> None:
    Path("photos").mkdir()
    make("photos/photo.png")
    corners().save("photos/z.png")
    assert main(["ckpt=ckpt", "input=photos", "output=painted"]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    assert "photos/photo.png" in lines[0]
    assert names_in("painted") == ["z.png"]


def names_in(folder: str) -> list[str]:
    return sorted(path.name for path in Path(folder).iterdir() if path.name != MANIFEST_NAME)


def test_folder_with_the_name_of_a_picture() -> None:
    Path("photo.png/more.jpg").mkdir(parents=True)
    corners().save("photo.png/more.jpg/a.png")
    assert main(["ckpt=ckpt", "input=photo.png", "output=painted"]) == 0
    assert names_in("painted/more.jpg") == ["a.png"]


def test_refusal_of_an_odd_name_stays_on_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    Path("photos").mkdir()
    Path("photos/a\nb\x1b[2J 😀.png").write_bytes(b"no picture")
    assert main(["ckpt=ckpt", "input=photos", "output=painted"]) == 1
    first, last = capsys.readouterr().err.splitlines()
    assert first.startswith(r"photos/a\nb\x1b[2J 😀.png cannot be read as a picture (")
    assert last == "1 of 1 pictures failed."
