"""The smooth fill that networks start from."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from impasto.networks import prefill


def harmonic(photos: Tensor, masks: Tensor) -> Tensor:
    """The exact solution of Laplace's equation on the missing pixels, for one small photo."""
    height, width = photos.shape[-2:]
    missing = masks[0, 0] > 0.5
    system = torch.eye(height * width, dtype=torch.double)
    wanted = photos[0].flatten(1).T.double()
    for row, column in missing.nonzero().tolist():
        position = row * width + column
        places = [(row, column - 1), (row, column + 1), (row - 1, column), (row + 1, column)]
        inside = [y * width + x for y, x in places if 0 <= y < height and 0 <= x < width]
        system[position, position] = len(inside)
        system[position, inside] = -1
        wanted[position] = 0
    return torch.linalg.solve(system, wanted).T.float().view_as(photos)


def smooth_photo(height: int, width: int) -> Tensor:
    rows = torch.linspace(0, 3, height)[:, None]
    columns = torch.linspace(0, 5, width)
    channels = [(rows * scale + columns).sin() * 0.4 + 0.5 for scale in (1, 2, 3)]
    return torch.stack(channels)[None]


def middle_hole(height: int, width: int) -> Tensor:
    masks = torch.zeros(1, 1, height, width)
    masks[..., height // 4 : height - height // 4, width // 4 : width - width // 4] = 1
    return masks


def scattered_holes(height: int, width: int) -> Tensor:
    torch.manual_seed(0)
    coarse = (torch.rand(1, 1, 6, 6) < 0.4).float()
    return torch.nn.functional.interpolate(coarse, size=(height, width), mode="nearest")


@pytest.mark.parametrize("size", [(32, 32), (33, 27), (20, 48)])
@pytest.mark.parametrize("holes", [middle_hole, scattered_holes])
def test_fill_is_nearly_harmonic(
    size: tuple[int, int], holes: Callable[[int, int], Tensor]
) -> None:
    photos, masks = smooth_photo(*size), holes(*size)
    difference = (prefill(photos, masks) - harmonic(photos, masks)).abs()
    assert difference.max() < 10 / 255
    assert difference[masks.expand_as(photos) > 0].mean() < 2 / 255


@pytest.mark.parametrize("size", [(1, 1), (1, 2), (2, 1), (3, 3), (1, 70), (31, 33), (64, 65)])
def test_known_pixels_stay_bit_for_bit_at_any_size(size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    photos, masks = torch.rand(2, 3, *size), (torch.rand(2, 1, *size) < 0.5).float()
    filled = prefill(photos, masks)
    known = (masks < 0.5).expand_as(photos)
    assert filled.shape == photos.shape
    assert torch.equal(filled[known], photos[known])
    assert filled.min() >= 0
    assert filled.max() <= 1


def test_nothing_missing_leaves_photos_alone() -> None:
    photos = torch.rand(1, 3, 20, 30)
    assert torch.equal(prefill(photos, torch.zeros(1, 1, 20, 30)), photos)


@pytest.mark.parametrize("size", [(1, 1), (7, 40), (64, 64)])
def test_where_nothing_is_known_it_is_mid_grey(size: tuple[int, int]) -> None:
    filled = prefill(torch.rand(1, 3, *size), torch.ones(1, 1, *size))
    torch.testing.assert_close(filled, torch.full_like(filled, 0.5))


def test_one_known_pixel_colours_all() -> None:
    photos, masks = torch.rand(1, 3, 40, 40), torch.ones(1, 1, 40, 40)
    masks[..., 5, 30] = 0
    wanted = photos[..., 5, 30][..., None, None].expand_as(photos)
    torch.testing.assert_close(prefill(photos, masks), wanted, atol=0.01, rtol=0)


def test_flat_photos_stay_flat() -> None:
    photos = torch.full((1, 3, 50, 40), 0.3)
    filled = prefill(photos, scattered_holes(50, 40))
    torch.testing.assert_close(filled, photos, atol=1e-5, rtol=0)


def test_what_lies_under_the_hole_does_not_matter() -> None:
    photos, masks = smooth_photo(24, 24), middle_hole(24, 24)
    for hidden in (7.0, float("nan")):
        other = photos.masked_fill(masks > 0.5, hidden)
        assert torch.equal(prefill(other, masks), prefill(photos, masks))


def test_photos_of_a_batch_do_not_mix() -> None:
    photos, masks = torch.rand(3, 3, 20, 24), (torch.rand(3, 1, 20, 24) < 0.5).float()
    masks[1] = 1  # nothing known of one of them
    filled = prefill(photos, masks)
    for index in range(3):
        alone = prefill(photos[index : index + 1], masks[index : index + 1])
        torch.testing.assert_close(filled[index : index + 1], alone)


def test_half_precision_is_filled_as_float32() -> None:
    photos, masks = smooth_photo(32, 32).bfloat16(), middle_hole(32, 32).bfloat16()
    filled = prefill(photos, masks)
    assert filled.dtype == torch.bfloat16
    assert torch.equal(filled, prefill(photos.float(), masks.float()).bfloat16())


def test_autocast_leaves_the_fill_as_it_is() -> None:
    photos, masks = smooth_photo(32, 32), middle_hole(32, 32)
    with torch.autocast("cpu", torch.bfloat16):
        filled = prefill(photos, masks)
    assert torch.equal(filled, prefill(photos, masks))


def test_no_gradient_flows_through_the_fill() -> None:
    photos, masks = smooth_photo(32, 32).requires_grad_(), middle_hole(32, 32)
    gradient = torch.autograd.grad(prefill(photos, masks).sum(), photos)[0]
    assert torch.equal(gradient, (1 - masks).expand_as(photos))


@pytest.mark.parametrize(
    ("photos", "masks", "message"),
    [
        ((3, 8, 8), (1, 1, 8, 8), r"photos must be of shape \(N, 3, H, W\), got \(3, 8, 8\)"),
        ((1, 4, 8, 8), (1, 1, 8, 8), r"photos must be of shape \(N, 3, H, W\), got \(1, 4, 8, 8\)"),
        ((1, 3, 8, 8), (1, 3, 8, 8), r"masks must be of shape \(N, 1, H, W\) .*got \(1, 3, 8, 8\)"),
        ((1, 3, 8, 8), (1, 1, 8, 9), r"masks must be of shape .*got \(1, 1, 8, 9\)"),
        ((2, 3, 8, 8), (1, 1, 8, 8), "Got 1 masks for 2 photos"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(
    photos: tuple[int, ...], masks: tuple[int, ...], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        prefill(torch.rand(photos), torch.zeros(masks))


def test_a_smooth_fill_stays_within_range() -> None:
    generator = torch.Generator().manual_seed(0)
    for _ in range(20):
        photos = (torch.rand(1, 3, 64, 64, generator=generator) > 0.01).float()
        masks = (torch.rand(1, 1, 64, 64, generator=generator) < 0.9).float()
        filled = prefill(photos, masks)
        assert filled.min() >= 0
        assert filled.max() <= 1
