"""Where to paint: masks become shares, and shares mix photo and painting."""

import numpy as np
import pytest
import torch
from PIL import Image

from impasto.inference.coverage import check_coverage, lay_on, lay_on_picture, to_coverage

SHADES = [0, 1, 64, 128, 254, 255]


def shades(mode: str = "L") -> Image.Image:
    return Image.fromarray(np.array([SHADES], np.uint8)).convert(mode)


def levels(picture: Image.Image) -> list[int]:
    return np.asarray(picture).flatten().tolist()


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "CMYK"])
def test_greys_are_shares(mode: str) -> None:
    assert levels(to_coverage(shades(mode))) == SHADES
    assert levels(to_coverage(shades(mode), invert=True)) == [255 - shade for shade in SHADES]


def test_opacity_counts_where_there_is_some() -> None:
    strokes = Image.new("RGBA", (6, 1))
    strokes.putalpha(shades())
    assert levels(to_coverage(strokes)) == SHADES


def test_edges_are_resized_smoothly_and_nothing_overshoots() -> None:
    mask = Image.new("L", (8, 1))
    mask.paste(255, (4, 0, 8, 1))
    wide = levels(to_coverage(mask, (80, 1)))
    assert wide[:35] == [0] * 35
    assert wide[45:] == [255] * 35
    assert all(0 < step < 40 for step in np.diff(wide[35:45]))


def test_light_grows_with_its_soft_edge() -> None:
    mask = Image.fromarray(np.array([[0, 0, 0, 0, 90, 255]], np.uint8))
    assert levels(to_coverage(mask, dilate=2)) == [0, 0, 90, 255, 255, 255]


@pytest.mark.parametrize(
    "dtype", [torch.uint8, torch.float16, torch.bfloat16, torch.float32, torch.float64]
)
def test_ends_are_exact_and_between_it_is_between(dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(2, 2, 3, 4, 6, dtype=torch.float64, generator=generator)
    photo, painted = (images * 255).to(dtype) if dtype == torch.uint8 else images.to(dtype)
    coverage = torch.tensor([0, 1, 0.5]).repeat_interleave(2).expand(1, 1, 4, 6)
    mixed = lay_on(photo, painted, coverage)
    assert mixed.dtype == dtype
    assert torch.equal(mixed[..., :2], photo[..., :2])
    assert torch.equal(mixed[..., 2:4], painted[..., 2:4])
    halfway = (photo.double() + painted.double())[..., 4:] / 2
    tolerance = 0.51 if dtype == torch.uint8 else 0.01
    assert (mixed[..., 4:].double() - halfway).abs().max() < tolerance


@pytest.mark.parametrize("mode", ["1", "L", "LA", "La", "P", "RGB", "RGBA", "CMYK", "I;16"])
def test_pictures_of_any_mode_are_kept_where_they_are_not_painted(mode: str) -> None:
    gradient = Image.linear_gradient("L").resize((10, 9))
    photo = gradient.convert("LA").convert("La") if mode == "La" else gradient.convert(mode)
    plain = photo.convert("LA") if mode == "La" else photo
    painted = Image.new("RGBA" if "a" in mode.lower() else "RGB", (10, 9), "red")
    mask = Image.new("L", (10, 9))
    mask.paste(255, (5, 0, 10, 9))
    mixed = lay_on_picture(photo, painted, mask)
    assert mixed.mode == painted.mode
    left, right = (0, 0, 5, 9), (5, 0, 10, 9)
    if mode != "I;16":  # rounded to 8 bits
        expected = plain.convert(painted.mode).crop(left)
        assert mixed.crop(left).tobytes() == expected.tobytes()
    assert mixed.crop(right).tobytes() == painted.crop(right).tobytes()


def test_hidden_colours_and_opacity_stay() -> None:
    photo = Image.fromarray(np.random.default_rng(0).integers(0, 256, (9, 10, 4)).astype(np.uint8))
    photo.putpixel((0, 0), (10, 20, 30, 0))
    painted = Image.new("RGB", photo.size, "red")
    painted.putalpha(photo.getchannel("A"))
    assert lay_on_picture(photo, painted, Image.new("L", photo.size)).tobytes() == photo.tobytes()
    half = lay_on_picture(photo, painted, Image.new("L", photo.size, 128))
    assert half.getchannel("A").tobytes() == photo.getchannel("A").tobytes()


@pytest.mark.parametrize("shape", [(1, 4, 6), (1, 1, 4, 6), (2, 1, 4, 6)])
def test_masks_for_one_and_for_all_are_taken(shape: tuple[int, ...]) -> None:
    images = torch.zeros(2, 3, 4, 6)
    assert check_coverage(torch.ones(shape), images).shape[1:] == (1, 4, 6)
    assert check_coverage(torch.ones(shape).bool(), images).is_floating_point()


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (torch.zeros(4, 6), r"must be of shape \(2, 1, 4, 6\) or \(1, 4, 6\).*got \(4, 6\)"),
        (torch.zeros(3, 1, 4, 6), r"got \(3, 1, 4, 6\)"),
        (torch.zeros(1, 6, 4), r"got \(1, 6, 4\)"),
        (torch.zeros(1, 4, 6).byte(), r"floats in \[0, 1\], got torch\.uint8: divide by 255"),
        (torch.full((1, 4, 6), 255.0), r"from 0 to 1, got values from 255 to 255"),
        (torch.full((1, 4, 6), torch.nan), r"from 0 to 1, got values from nan"),
        (np.zeros((1, 4, 6)), r"must be a tensor, got ndarray"),
    ],
)
def test_what_is_no_mask_is_refused(mask: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_coverage(mask, torch.zeros(2, 3, 4, 6))


def test_coverage_never_overshoots() -> None:
    mask = Image.new("L", (8, 8), 100)
    mask.paste(255, (4, 0, 8, 8))
    assert np.asarray(to_coverage(mask, (64, 64))).min() == 100


def test_mask_a_shade_below_opaque_counts_as_opaque() -> None:
    mask = Image.new("L", (8, 8))
    mask.paste(255, (4, 0, 8, 8))
    layer = mask.convert("RGBA")
    layer.putalpha(250)
    assert to_coverage(layer).tobytes() == mask.tobytes()
