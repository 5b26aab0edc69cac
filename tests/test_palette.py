"""Colours of paintings: the photo's chroma, or the photo's statistics, without leaving [0, 1]."""

import pytest
import torch
from torch import Tensor

from impasto.inference.palette import (
    LUMA,
    ColourMap,
    Moments,
    Survey,
    colour_map,
    keep_chroma,
    match_colours,
    measure_colours,
    move_colours,
)


def noise(seed: int, spread: float = 0.1, size: tuple[int, int] = (40, 30)) -> Tensor:
    """Colours around mid-grey whose channels depend on each other."""
    generator = torch.Generator().manual_seed(seed)
    mixture = torch.eye(3) + 0.3 * torch.randn(3, 3, generator=generator)
    values = torch.rand(3, size[0] * size[1], generator=generator) - 0.5
    return (0.5 + spread * mixture @ values).view(1, 3, *size)


def luma(images: Tensor) -> Tensor:
    return (images * torch.tensor(LUMA)[:, None, None]).sum(1, keepdim=True)


def test_luminance_is_the_paintings_and_chroma_the_photos() -> None:
    photo, painted = noise(0), noise(1)
    result = keep_chroma(photo, painted)
    assert torch.allclose(luma(result), luma(painted), atol=1e-6)
    assert torch.allclose(result - luma(result), photo - luma(photo), atol=1e-6)


def test_chroma_without_room_is_paler_and_of_the_same_hue() -> None:
    photo = torch.tensor([0.9, 0.2, 0.1]).view(1, 3, 1, 1).expand(1, 3, 1, 5)
    painted = torch.tensor([0.0, 0.1, 0.5, 0.95, 1.0]).expand(1, 3, 1, 5)
    result = keep_chroma(photo, painted)
    assert result.min() >= 0
    assert result.max() <= 1
    assert torch.allclose(luma(result), luma(painted), atol=1e-6)
    chroma, expected = result - luma(result), photo - luma(photo)
    shares = chroma / expected  # of every channel: equal where the hue is
    assert torch.allclose(shares, shares.mean(1, keepdim=True).expand_as(shares), atol=1e-5)
    assert torch.allclose(shares[0, 0, 0], torch.tensor([0, 0.3357, 0.9958, 0.0996, 0]), atol=1e-3)


def test_grey_photo_gives_a_grey_painting() -> None:
    result = keep_chroma(torch.full((1, 3, 4, 4), 0.3), noise(2, size=(4, 4)))
    assert (result.amax(1) - result.amin(1)).max() < 1e-6


@pytest.mark.parametrize("spread", [0.3, 0.9])
def test_matched_painting_has_the_photos_mean_and_covariance(spread: float) -> None:
    photo, painted = noise(3, 0.3), noise(4, spread) * 0.5 + 0.3
    found, wanted = measure_colours(match_colours(photo, painted)), measure_colours(photo)
    assert torch.allclose(found.mean, wanted.mean, atol=1e-4)
    assert (found.covariance - wanted.covariance).norm() < 0.05 * wanted.covariance.norm()


def test_map_between_diagonal_covariances_scales_channels() -> None:
    means = torch.tensor([[0.2, 0.4, 0.6]]), torch.tensor([[0.5, 0.5, 0.5]])
    variances = torch.tensor([[0.04, 0.01, 0.09]]), torch.tensor([[0.01, 0.04, 0.09]])
    photo, painted = (
        Moments(mean, torch.diag_embed(v)) for mean, v in zip(means, variances, strict=True)
    )
    matrix, shift = colour_map(photo, painted)
    assert torch.allclose(matrix[0], torch.diag(torch.tensor([2.0, 0.5, 1.0])), atol=0.02)
    moved = matrix[0] @ painted.mean[0] + shift[0]
    assert torch.allclose(moved, photo.mean[0], atol=1e-6)


def test_equal_colours_do_not_move() -> None:
    photo = noise(5)
    assert torch.allclose(match_colours(photo, photo), photo, atol=1e-5)
    flat = torch.full((1, 3, 4, 4), 0.25)
    assert torch.allclose(match_colours(flat, flat), flat, atol=1e-6)


def test_noise_of_a_flat_painting_is_not_blown_up() -> None:
    painted = torch.full((1, 3, 40, 30), 0.5) + noise(6, 2e-5) - 0.5
    result = match_colours(noise(7, 0.5), painted)
    assert result.isfinite().all()
    assert (result - result.mean((2, 3), keepdim=True)).abs().max() < 1 / 255


def test_images_of_a_batch_are_matched_one_by_one() -> None:
    photos, painted = torch.cat([noise(8), noise(9)]), torch.cat([noise(10), noise(11)])
    together = match_colours(photos, painted)
    alone = match_colours(photos[1:], painted[1:])
    assert torch.allclose(together[1:], alone, atol=1e-6)
    assert not torch.allclose(together[:1], match_colours(photos[1:], painted[:1]), atol=1e-2)


def test_what_leaves_the_range_is_drawn_to_grey_with_its_hue() -> None:
    painted = torch.tensor([[0.9, 0.3, 0.1], [0.5, 0.5, 0.6]]).T.reshape(1, 3, 1, 2)
    twice_from_grey = ColourMap(2 * torch.eye(3)[None], torch.full((1, 3), -0.5))
    result = move_colours(painted, twice_from_grey)
    assert torch.allclose(result[0, :, 0, 1], torch.tensor([0.5, 0.5, 0.7]), atol=1e-6)
    first = result[0, :, 0, 0] - 0.5
    wanted = 2 * (painted[0, :, 0, 0] - 0.5)
    assert torch.allclose(first / first.abs().max(), wanted / wanted.abs().max(), atol=1e-6)
    assert first.abs().max() == pytest.approx(0.5)


def test_what_cannot_be_seen_does_not_count() -> None:
    image = noise(12)
    opacity = torch.zeros(1, 1, 40, 30)
    opacity[..., :15] = 1
    covered = image.clone()
    covered[..., 15:] = 0.9
    found, expected = measure_colours(covered, opacity), measure_colours(image[..., :15])
    for one, other in zip(found, expected, strict=True):
        assert torch.allclose(one, other, atol=1e-6)
    hidden, plain = measure_colours(image, torch.zeros_like(opacity)), measure_colours(image)
    assert torch.equal(hidden.covariance, plain.covariance)


def test_parts_give_the_map_of_the_whole() -> None:
    photo, painted = noise(13), noise(14)
    survey = Survey()
    survey.add(photo[..., :12], painted[..., :12])
    survey.add(photo[..., 12:], painted[..., 12:])
    whole = colour_map(measure_colours(photo), measure_colours(painted))
    for one, other in zip(survey.colour_map(), whole, strict=True):
        assert torch.allclose(one, other, atol=1e-4)
