"""Picture files: upright, in sRGB, whole or not at all, hostile ones refused."""

import errno
import io
import os
import struct
import threading
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from impasto import files
from impasto.images import (
    IMAGE_SUFFIXES,
    SAVED_SUFFIXES,
    list_images,
    load_image,
    open_picture,
    save_image,
    save_picture,
)
from profiles import srgb, swapped

ORIENTATION = 0x0112  # the EXIF tag


def random_picture(mode: str = "RGB", width: int = 7, height: int = 5) -> Image.Image:
    channels = {"L": (), "LA": (2,), "RGB": (3,), "RGBA": (4,)}[mode]
    levels = np.random.default_rng(0).integers(0, 256, (height, width, *channels), np.uint8)
    return Image.fromarray(levels)


def encoded(picture: Image.Image, format_name: str, **arguments: object) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, format_name, **arguments)
    return buffer.getvalue()


def png_that_claims(width: int, height: int) -> bytes:
    def chunk(name: bytes, content: bytes) -> bytes:
        checksum = struct.pack(">I", zlib.crc32(name + content))
        return struct.pack(">I", len(content)) + name + content + checksum

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pixels = zlib.compress(b"\0" * 100)
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        [chunk(b"IHDR", header), chunk(b"IDAT", pixels), chunk(b"IEND", b"")]
    )


# Where EXIF says that the top left corner of what is stored belongs.
STORED = {
    1: lambda upright: upright,
    2: lambda upright: upright[:, ::-1],
    3: lambda upright: upright[::-1, ::-1],
    4: lambda upright: upright[::-1],
    5: lambda upright: upright.transpose(1, 0, 2),
    6: lambda upright: np.rot90(upright, 1),
    7: lambda upright: upright[::-1, ::-1].transpose(1, 0, 2),
    8: lambda upright: np.rot90(upright, -1),
}


@pytest.mark.parametrize("format_name", ["PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_photo_is_turned_upright(tmp_path: Path, orientation: int, format_name: str) -> None:
    upright = np.zeros((32, 48, 3), np.uint8)
    upright[:16, :16] = (255, 0, 0)  # a red corner at the top left
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    stored = Image.fromarray(np.ascontiguousarray(STORED[orientation](upright)))
    path = tmp_path / "photo"
    path.write_bytes(encoded(stored, format_name, exif=exif))

    picture = open_picture(path)

    assert picture.size == (48, 32)
    assert np.abs(np.asarray(picture, np.int16) - upright).mean() < 6
    assert picture.getexif().get(ORIENTATION, 1) == 1


def test_damaged_exif_is_ignored(tmp_path: Path) -> None:
    path = tmp_path / "photo.png"
    path.write_bytes(encoded(random_picture(), "PNG", exif=b"Exif\0\0nonsense"))
    assert open_picture(path).size == (7, 5)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"this is a text",
        encoded(random_picture(width=200, height=200), "JPEG")[:4000],
        encoded(random_picture(width=200, height=200), "PNG")[:4000],
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\n",
    ],
    ids=["empty", "text", "cut JPEG", "cut PNG", "EPS"],
)
def test_broken_file_is_refused_in_one_line(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "photo.jpg"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"photo\.jpg cannot be read") as caught:
        load_image(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("format_name", ["PNG", "JPEG", "WEBP", "GIF", "TIFF", "BMP", "ICO"])
def test_damaged_bytes_open_or_are_refused(tmp_path: Path, format_name: str) -> None:
    whole = encoded(random_picture(width=32, height=32), format_name)
    random = np.random.default_rng(1)
    path = tmp_path / "photo"
    num_refused = 0
    for _ in range(40):
        content = bytearray(whole)
        for position in random.integers(0, min(len(content), 200), 8):
            content[position] = random.integers(256)
        path.write_bytes(content)
        try:
            assert load_image(path, max_pixels=10**6).shape[1] == 3
        except ValueError:
            num_refused += 1
    assert num_refused > 0


def test_bomb_is_refused_by_its_header(tmp_path: Path) -> None:
    path = tmp_path / "bomb.png"
    path.write_bytes(png_that_claims(60_000, 60_000))
    with pytest.raises(ValueError, match=r"3600000000 pixels.* limit of 200000000"):
        open_picture(path)


def test_pixel_limit_refuses_and_leaves_pillow_alone(tmp_path: Path) -> None:
    former = Image.MAX_IMAGE_PIXELS
    path = tmp_path / "photo.png"
    random_picture(width=10, height=10).save(path)
    assert open_picture(path, max_pixels=100).size == (10, 10)
    with pytest.raises(ValueError, match="raise max_pixels"):
        open_picture(path, max_pixels=98)
    assert former == Image.MAX_IMAGE_PIXELS


def test_pixel_limit_above_pillows_own_is_possible(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    path = tmp_path / "photo.png"
    random_picture(width=10, height=10).save(path)
    assert open_picture(path).size == (10, 10)


def test_threads_open_pictures_at_once(tmp_path: Path) -> None:
    path = tmp_path / "photo.png"
    random_picture(width=10, height=10).save(path)
    former, failures = Image.MAX_IMAGE_PIXELS, []

    def read(limit: int) -> None:
        for _ in range(30):
            try:
                open_picture(path, limit)
            except ValueError:
                failures.append(limit)

    threads = [threading.Thread(target=read, args=(limit,)) for limit in (100, 50, 1000)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == [50] * 30
    assert former == Image.MAX_IMAGE_PIXELS


@pytest.mark.parametrize(("format_name", "several"), [("GIF", True), ("PNG", True), ("MPO", False)])
def test_further_frames_are_told(tmp_path: Path, format_name: str, several: bool) -> None:
    # What follows in an MPO is no further picture: a gain map, or what another eye sees.
    path = tmp_path / "photo"
    more = [Image.new("RGB", (7, 5), "red")]
    path.write_bytes(encoded(random_picture(), format_name, save_all=True, append_images=more))
    assert open_picture(path).info["has_more_frames"] == several
    path.write_bytes(encoded(random_picture(), format_name))
    assert not open_picture(path).info["has_more_frames"]


def test_what_does_not_fit_the_memory_is_not_called_broken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_memory(*_: object) -> None:
        raise MemoryError

    random_picture().save(tmp_path / "photo.png")
    monkeypatch.setattr(Image.Image, "copy", no_memory)
    with pytest.raises(MemoryError):
        open_picture(tmp_path / "photo.png")


def test_missing_file_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"No picture at .*nowhere\.jpg"):
        load_image(tmp_path / "nowhere.jpg")


def test_folder_is_no_picture(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no file"):
        load_image(tmp_path)


def write_grey_tiff(path: Path, bits: int, photometric: int, row: bytes) -> None:
    """A TIFF of two pixels, of kinds that Pillow does not write."""
    tags = [(256, 2), (257, 1), (258, bits), (259, 1), (262, photometric), (273, 8), (277, 1)]
    tags += [(278, 1), (279, len(row))]
    entries = b"".join(struct.pack("<HHIHH", tag, 3, 1, value, 0) for tag, value in tags)
    head = struct.pack("<2sHI", b"II", 42, 8 + len(row))
    path.write_bytes(head + row + struct.pack("<H", len(tags)) + entries + bytes(4))


@pytest.mark.parametrize(
    ("bits", "photometric", "row", "levels"),
    [
        (12, 1, bytes([0xFF, 0xF8, 0x00]), [65535, 32775]),
        (16, 0, bytes([0xFF, 0xFF, 0x00, 0x40]), [0, 49151]),
        (16, 1, bytes([0xFF, 0xFF, 0x00, 0x40]), [65535, 16384]),
    ],
)
def test_deep_grey_is_from_black_to_white(
    tmp_path: Path, bits: int, photometric: int, row: bytes, levels: list[int]
) -> None:
    write_grey_tiff(tmp_path / "grey.tif", bits, photometric, row)
    assert np.asarray(open_picture(tmp_path / "grey.tif")).tolist() == [levels]


def test_profile_that_only_calls_itself_srgb_is_applied(tmp_path: Path) -> None:
    content = bytearray(srgb())
    curves = content.index(b"para")  # of all three colours; a gamma of 1 in place of sRGB's
    content[curves + 8 : curves + 10] = (0).to_bytes(2)
    content[curves + 12 : curves + 16] = (1 << 16).to_bytes(4)
    path = tmp_path / "linear.png"
    Image.new("RGB", (3, 2), (64, 64, 64)).save(path, icc_profile=bytes(content))
    assert open_picture(path).getpixel((0, 0))[0] == pytest.approx(137, abs=2)


def test_folder_that_cannot_be_looked_into_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("open", "locked"):
        (tmp_path / name).mkdir()
        random_picture().save(tmp_path / name / "a.png")
    scan = os.scandir

    def scandir(path: str) -> object:
        if str(path).endswith("locked"):
            raise PermissionError(errno.EACCES, "Permission denied", path)
        return scan(path)

    monkeypatch.setattr(os, "scandir", scandir)
    assert list_images(tmp_path) == [tmp_path / "open" / "a.png"]
    assert f"Passing over {tmp_path / 'locked'}: Permission denied." in caplog.text


def test_colour_profile_is_applied(tmp_path: Path) -> None:
    path = tmp_path / "photo.png"
    red_picture = Image.new("RGBA", (4, 4), (255, 0, 0, 128))
    red_picture.save(path, icc_profile=swapped("r", "b"))

    picture = open_picture(path)

    pixel = picture.getpixel((0, 0))
    assert isinstance(pixel, tuple)
    assert pixel[0] < 10
    assert pixel[2] > 245
    assert pixel[3] == 128
    assert "icc_profile" not in picture.info


@pytest.mark.parametrize("profile", [b"nonsense", srgb()])
def test_damaged_or_srgb_profile_changes_nothing(tmp_path: Path, profile: bytes) -> None:
    path = tmp_path / "photo.png"
    random_picture().save(path, icc_profile=profile)
    assert open_picture(path).tobytes() == random_picture().tobytes()


@pytest.mark.parametrize("suffix", sorted(SAVED_SUFFIXES))
def test_what_is_saved_can_be_loaded(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / "made" / "for it" / f"painting{suffix.upper()}"
    image = torch.linspace(0, 1, 32 * 24).view(1, 1, 32, 24).expand(1, 3, 32, 24)
    save_image(image, path)
    assert (load_image(path) - image).abs().mean() < 0.02
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_jpeg_of_a_transparent_picture_lies_on_white(tmp_path: Path) -> None:
    path = tmp_path / "painting.jpg"
    save_picture(Image.new("RGBA", (16, 16), (0, 0, 0, 0)), path)
    assert load_image(path).min() > 0.98


@pytest.mark.parametrize(("quality", "factors"), [(95, (1, 1)), (90, (1, 1)), (80, (2, 2))])
def test_high_quality_keeps_colour_resolution(
    tmp_path: Path, quality: int, factors: tuple[int, int]
) -> None:
    path = tmp_path / "painting.jpg"
    save_picture(random_picture(width=64, height=64), path, quality)
    with Image.open(path) as picture:
        assert picture.layer[0][1:3] == factors  # type: ignore[attr-defined]


def test_quality_matters(tmp_path: Path) -> None:
    for suffix in ("jpg", "webp"):
        for quality in (20, 95):
            path = tmp_path / f"{quality}.{suffix}"
            save_picture(random_picture(width=64, height=64), path, quality)
        assert (tmp_path / f"20.{suffix}").stat().st_size < path.stat().st_size / 2


@pytest.mark.parametrize("name", ["painting.xyz", "painting", "painting.gif"])
def test_unknown_suffix_names_the_allowed(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match=r"allowed are .*\.jpg.*\.png.*\.webp"):
        save_picture(random_picture(), tmp_path / name)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("quality", [0, 101, -5])
def test_quality_out_of_range_is_refused(tmp_path: Path, quality: int) -> None:
    with pytest.raises(ValueError, match=f"1 to 100, got {quality}"):
        save_picture(random_picture(), tmp_path / "painting.jpg", quality)


def test_picture_too_long_for_webp_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="WEBP does not take 17000 x 1 pixels"):
        save_picture(Image.new("RGB", (17_000, 1)), tmp_path / "painting.webp")
    assert not list(tmp_path.iterdir())


def test_full_disk_leaves_the_former_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "painting.png"
    save_picture(random_picture(), path)
    former = path.read_bytes()

    def no_space(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", no_space)
    with pytest.raises(OSError, match="No space left"):
        save_picture(random_picture(width=90), path)
    assert path.read_bytes() == former
    assert [p.name for p in tmp_path.iterdir()] == ["painting.png"]


def test_saved_file_has_the_usual_permissions(tmp_path: Path) -> None:
    (tmp_path / "plain").write_bytes(b"")
    save_picture(random_picture(), tmp_path / "painting.png")
    assert (tmp_path / "painting.png").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_longest_possible_name_can_be_saved(tmp_path: Path) -> None:
    path = tmp_path / ("ä" * 125 + ".png")  # 254 bytes of the 255 a name can have
    save_picture(random_picture(), path)
    assert path.is_file()


def test_images_are_listed_in_order_without_hidden_ones(tmp_path: Path) -> None:
    names = ["b/2.JPG", "a.png", "b/1.webp", "notes.txt", ".a.png", ".trash/c.png", "b/.d/e.png"]
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    found = [path.relative_to(tmp_path).as_posix() for path in list_images(tmp_path)]
    assert found == ["a.png", "b/1.webp", "b/2.JPG"]


def test_hidden_parent_does_not_hide(tmp_path: Path) -> None:
    folder = tmp_path / ".cache" / "photos"
    folder.mkdir(parents=True)
    (folder / "a.png").touch()
    assert list_images(folder) == [folder / "a.png"]


def test_only_a_folder_can_be_listed(tmp_path: Path) -> None:
    (tmp_path / "a.png").touch()
    with pytest.raises(FileNotFoundError, match="No folder"):
        list_images(tmp_path / "a.png")


def test_suffixes_are_of_raster_images() -> None:
    assert {".jpg", ".jpeg", ".png", ".webp", ".gif", ".tif", ".tiff", ".bmp"} <= IMAGE_SUFFIXES
    assert not {".pdf", ".eps", ".ps", ".wmf", ".emf", ".mpg", ".h5"} & IMAGE_SUFFIXES
    assert {".png", ".jpg", ".jpeg", ".webp"} <= SAVED_SUFFIXES <= IMAGE_SUFFIXES
