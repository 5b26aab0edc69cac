"""Pictures as tensors and back: every mode, 16 bits, transparency."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageCms

from impasto.images import (
    image_grid,
    load_image,
    open_picture,
    resize_short_side,
    split_alpha,
    split_picture,
    to_picture,
    to_tensor,
)

MODES = ["1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "LAB"]
MODES += ["HSV", "I", "F", "I;16", "I;16L", "I;16B"]


def random_picture(mode: str = "RGB", width: int = 7, height: int = 5) -> Image.Image:
    channels = {"L": (), "LA": (2,), "RGB": (3,), "RGBA": (4,)}[mode]
    levels = np.random.default_rng(0).integers(0, 256, (height, width, *channels), np.uint8)
    return Image.fromarray(levels)


@pytest.mark.parametrize("mode", MODES)
def test_every_mode_becomes_rgb(mode: str) -> None:
    image = to_tensor(Image.new(mode, (7, 5)))
    assert image.shape == (1, 3, 5, 7)
    assert image.dtype == torch.float32
    assert image.min() >= 0
    assert image.max() <= 1


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK", "YCbCr", "HSV", "LAB", "P", "F", "1"])
def test_white_is_one(mode: str) -> None:
    white = Image.new("RGB", (4, 4), "white")
    if mode == "LAB":
        profile = ImageCms.createProfile("sRGB")
        lab = ImageCms.createProfile("LAB")
        picture = ImageCms.profileToProfile(white, profile, lab, outputMode="LAB")
        assert picture is not None
    else:
        picture = (white.convert("L") if mode == "F" else white).convert(mode)
    assert to_tensor(picture).min() > 0.99


@pytest.mark.parametrize("mode", ["I;16", "I;16B", "I"])
def test_sixteen_bit_grey_keeps_its_precision(mode: str) -> None:
    levels = np.arange(0, 65536, 13, dtype=np.uint16)[None]
    kind = {"I;16": "<u2", "I;16B": ">u2", "I": "<i4"}[mode]
    size = (levels.shape[1], 1)
    picture = Image.frombytes(mode, size, levels.astype(kind).tobytes())
    image = to_tensor(picture)
    assert torch.equal((image[0, 0] * 65535).round().int(), torch.from_numpy(levels.astype("i4")))


def test_sixteen_bit_png_is_not_clipped(tmp_path: Path) -> None:
    path = tmp_path / "grey.png"
    Image.fromarray(np.full((3, 3), 32768, np.uint16)).save(path)
    assert load_image(path).sub(0.5).abs().max() < 1e-4


def test_thirty_two_bit_grey_is_not_clipped() -> None:
    levels = np.linspace(0, 2**32 - 1, 9).astype(np.uint32)[None]
    image = to_tensor(Image.frombytes("I", (9, 1), levels.tobytes()))
    assert torch.allclose(image[0, 0, 0], torch.linspace(0, 1, 9), atol=1e-4)


def test_hidden_level_of_sixteen_bit_grey_becomes_alpha() -> None:
    picture = Image.new("I;16", (2, 1), 30_000)
    picture.putpixel((1, 0), 500)
    picture.info["transparency"] = 500
    rgb, alpha = split_alpha(picture)
    assert alpha is not None
    assert alpha.flatten().tolist() == [1, 0]
    assert (rgb * 65535).round().unique().tolist() == [30_000]


def test_float_picture_keeps_its_range() -> None:
    assert to_tensor(Image.new("F", (2, 2), 0.25)).max() == 0.25
    assert to_tensor(Image.new("L", (2, 2), 51).convert("F")).max() == pytest.approx(0.2)


@pytest.mark.parametrize("mode", ["LA", "RGBA"])
def test_alpha_is_split_off_and_put_back(mode: str) -> None:
    picture = random_picture(mode)
    rgb, alpha = split_alpha(picture)
    assert alpha is not None
    assert to_picture(rgb, alpha).getchannel("A").tobytes() == picture.getchannel("A").tobytes()


def test_opaque_alpha_is_none() -> None:
    assert split_alpha(Image.new("RGBA", (3, 3), (1, 2, 3, 255)))[1] is None


def test_palette_transparency_becomes_alpha(tmp_path: Path) -> None:
    picture = Image.new("P", (2, 1))
    picture.putpalette([255, 0, 0, 0, 255, 0])
    picture.putdata([0, 1])
    path = tmp_path / "sprite.png"
    picture.save(path, transparency=1)
    rgb, alpha = split_alpha(open_picture(path))
    assert alpha is not None
    assert alpha.flatten().tolist() == [1, 0]
    assert rgb[0, :, 0, 0].tolist() == [1, 0, 0]


def test_what_transparency_hides_does_not_matter() -> None:
    first, second = (Image.new("RGBA", (4, 1), (*colour, 0)) for colour in [(0, 0, 0), (9, 200, 7)])
    for picture in (first, second):
        picture.putpixel((0, 0), (255, 0, 0, 255))
        picture.putpixel((1, 0), (10, 20, 30, 1))  # barely seen, but seen
    assert torch.equal(split_alpha(first)[0], split_alpha(second)[0])
    assert (split_alpha(first)[0][0, :, 0, 1] * 255).round().tolist() == [10, 20, 30]


def test_invisible_picture_is_grey() -> None:
    assert torch.all(to_tensor(Image.new("RGBA", (3, 3))) == 0.5)


def test_tensor_and_picture_are_inverse() -> None:
    picture = random_picture()
    assert to_picture(to_tensor(picture)).tobytes() == picture.tobytes()


def test_values_are_rounded_and_clamped() -> None:
    image = torch.tensor([-1.0, 0.7 / 255, 2.0]).view(3, 1, 1)
    assert to_picture(image).getpixel((0, 0)) == (0, 1, 255)


@pytest.mark.parametrize(
    "image",
    [
        torch.zeros(2, 3, 4, 4),
        torch.zeros(1, 4, 4),
        torch.zeros(3, 0, 4),
        torch.zeros(3, 4, 4).byte(),
        torch.zeros(4, 4),
    ],
)
def test_what_is_no_image_is_refused(image: torch.Tensor) -> None:
    with pytest.raises(ValueError, match="image must"):
        to_picture(image)


def test_alpha_of_another_size_is_refused() -> None:
    with pytest.raises(ValueError, match="one size"):
        to_picture(torch.zeros(3, 4, 4), torch.zeros(1, 1, 4, 5))


@pytest.mark.parametrize(
    ("shape", "size", "expected"),
    [
        ((40, 60), 20, (20, 30)),
        ((60, 40), 20, (30, 20)),
        ((10, 10), 25, (25, 25)),
        ((1000, 1), 1, (1000, 1)),
        ((3, 1000), 1, (1, 333)),
    ],
)
def test_short_side_gets_the_size(
    shape: tuple[int, int], size: int, expected: tuple[int, int]
) -> None:
    assert resize_short_side(torch.rand(2, 3, *shape), size).shape == (2, 3, *expected)


def test_reduction_averages() -> None:
    stripes = torch.tensor([0.0, 1.0]).repeat(32).expand(1, 3, 64, 64)
    assert resize_short_side(stripes, 8).sub(0.5).abs()[..., 1:-1].max() < 0.01


def test_size_below_one_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        resize_short_side(torch.rand(1, 3, 4, 4), 0)


def test_grid_has_a_row_for_every_batch() -> None:
    dark, bright = torch.zeros(3, 3, 4, 6), torch.full((3, 3, 4, 6), 0.5)
    grid = image_grid([dark, bright], padding=2)
    assert grid.shape == (3, 2 * 4 + 3 * 2, 3 * 6 + 4 * 2)
    assert torch.all(grid[:, 2:6, 2:8] == 0)
    assert torch.all(grid[:, 8:12, 2:8] == 0.5)
    assert torch.all(grid[:, :2] == 1)


def test_grid_wraps_and_leaves_places_empty() -> None:
    grid = image_grid([torch.zeros(3, 3, 4, 4)], columns=2, padding=0)
    assert grid.shape == (3, 8, 8)
    assert torch.all(grid[:, 4:, :4] == 0)
    assert torch.all(grid[:, 4:, 4:] == 1)


def test_float_picture_without_numbers_is_finite() -> None:
    levels = np.array([[np.nan, np.inf, -np.inf, 0.5]], np.float32)
    assert to_tensor(Image.fromarray(levels))[0, 0].tolist() == [[0, 1, 0, 0.5]]


def test_what_transparency_hides_of_a_large_picture_is_the_mean() -> None:
    picture = Image.new("RGBA", (256, 256), (10, 20, 30, 255))
    picture.paste((255, 0, 0, 0), (0, 0, 128, 256))
    assert split_picture(picture)[0].getpixel((5, 5)) == (10, 20, 30)
