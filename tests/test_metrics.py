"""Metrics of inpainting against numbers worked out by hand, and against scikit-image."""

from functools import partial

import numpy as np
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from torch import Tensor

from impasto.metrics import l1, l2, psnr, seam, ssim

PAIRWISE = [l1, l2, psnr, ssim]
similarity = partial(
    structural_similarity,
    data_range=1,
    channel_axis=2,
    gaussian_weights=True,
    sigma=1.5,
    use_sample_covariance=False,
    full=True,
)


def pictures(height: int, width: int, noise: float = 0.1) -> tuple[Tensor, Tensor, Tensor]:
    """Two smooth pictures with noise, without it, and masks for them."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(2, 3, 5, 6, generator=generator)
    images = torch.nn.functional.interpolate(coarse, (height, width), mode="bilinear")
    filled = images + noise * torch.randn(images.shape, generator=generator)
    mask = torch.zeros(2, 1, height, width)
    mask[0, :, : height // 2, : width // 3] = 1  # reaches the edge
    mask[1, :, height // 4 : height // 2, width // 3 : -3] = 1
    return filled.clamp(0, 1), images, mask


def in_numpy(image: Tensor) -> np.ndarray:
    return image.permute(1, 2, 0).double().numpy()


def test_errors_by_hand() -> None:
    images = torch.zeros(2, 3, 2, 2)
    filled = images.clone()
    filled[0, :, 0, 0] = 0.5
    filled[1, 0, 1, 1] = 1.0
    mask = torch.zeros(2, 1, 2, 2)
    mask[:, :, 0] = 1  # the upper row
    torch.testing.assert_close(l1(filled, images), torch.tensor([0.125, 1 / 12]))
    torch.testing.assert_close(l2(filled, images), torch.tensor([0.0625, 1 / 12]))
    torch.testing.assert_close(l1(filled, images, mask), torch.tensor([0.25, 0.0]))
    torch.testing.assert_close(l2(filled, images, mask), torch.tensor([0.125, 0.0]))


def test_psnr_by_hand() -> None:
    images = torch.full((3, 3, 4, 4), 0.25)
    filled = images + torch.tensor([0.1, 0.01, 0.0]).view(3, 1, 1, 1)
    found = psnr(filled, images)
    assert found[:2].tolist() == pytest.approx([20, 40], abs=1e-4)
    assert found[2] == torch.inf


def test_hole_of_a_quarter_costs_six_decibels() -> None:
    filled, images, _ = pictures(32, 32)
    mask = torch.zeros(1, 1, 32, 32)
    mask[..., 8:24, 8:24] = 1
    composite = torch.where(mask == 1, filled, images)
    difference = psnr(composite, images) - psnr(composite, images, mask)
    torch.testing.assert_close(difference, torch.full((2,), 6.0206), atol=1e-3, rtol=0)


def test_psnr_is_that_of_scikit_image() -> None:
    filled, images, _ = pictures(31, 45)
    expected = [
        peak_signal_noise_ratio(in_numpy(image), in_numpy(fill), data_range=1)
        for image, fill in zip(images, filled, strict=True)
    ]
    assert psnr(filled, images).tolist() == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("size", [(11, 11), (12, 37), (64, 48)])
@pytest.mark.parametrize("noise", [0.01, 0.3])
def test_ssim_is_that_of_scikit_image(size: tuple[int, int], noise: float) -> None:
    filled, images, mask = pictures(*size, noise)
    whole, hole = [], []
    for image, fill, where in zip(images, filled, mask[:, 0].bool().numpy(), strict=True):
        mean, around = similarity(in_numpy(image), in_numpy(fill))
        whole.append(mean)
        hole.append(around[where].mean())
    assert ssim(filled, images).tolist() == pytest.approx(whole, abs=1e-4)
    assert ssim(filled, images, mask).tolist() == pytest.approx(hole, abs=1e-4)


def test_equal_pictures_are_perfect() -> None:
    images = torch.rand(2, 3, 16, 16)
    assert l1(images, images).tolist() == [0, 0]
    assert l2(images, images).tolist() == [0, 0]
    torch.testing.assert_close(ssim(images, images), torch.ones(2))
    mask = (torch.rand(2, 1, 16, 16) < 0.5).float()
    assert seam(images, images, mask).tolist() == [1, 1]


@pytest.mark.parametrize("metric", PAIRWISE)
def test_full_mask_judges_the_whole_picture(metric) -> None:
    filled, images, mask = pictures(24, 32)
    whole = metric(filled, images, torch.ones_like(mask))
    # The windows of SSIM at the edge are the difference.
    tolerance = 0.05 if metric is ssim else 1e-5
    torch.testing.assert_close(whole, metric(filled, images), atol=tolerance, rtol=tolerance)


@pytest.mark.parametrize("metric", [*PAIRWISE, seam])
def test_every_picture_is_judged_alone_in_float32(metric) -> None:
    filled, images, mask = pictures(24, 32)
    both = metric(filled, images, mask)
    assert both.shape == (2,)
    assert both.dtype == torch.float32
    single = [metric(filled[i : i + 1], images[i : i + 1], mask[i : i + 1]) for i in range(2)]
    torch.testing.assert_close(both, torch.cat(single))
    shared = metric(filled, images, mask[:1])
    torch.testing.assert_close(shared, metric(filled, images, mask[:1].repeat(2, 1, 1, 1)))


@pytest.mark.parametrize("metric", [*PAIRWISE, seam])
def test_empty_hole_has_no_answer(metric) -> None:
    filled, images, mask = pictures(24, 32)
    mask[1] = 0
    found = metric(filled, images, mask)
    assert found.isnan().tolist() == [False, True]


def test_seam_by_hand() -> None:
    images = torch.tensor([[[[0.1, 0.1, 0.2, 0.2], [0.1, 0.1, 0.2, 0.2]]]])
    filled = torch.tensor([[[[0.1, 0.1, 0.5, 0.9], [0.1, 0.1, 0.2, 0.9]]]])
    mask = torch.tensor([[[[0.0, 0.0, 1.0, 1.0], [0.0, 0.0, 0.0, 1.0]]]])
    # Across the border: |.1 - .5|, |.2 - .9| in rows, |.5 - .2| in a column; .1, 0 and 0 before.
    level = 1 / 255
    expected = ((0.4 + 0.7 + 0.3) / 3 + level) / (0.1 / 3 + level)
    assert seam(filled, images, mask).item() == pytest.approx(expected)


def test_flat_hole_in_a_flat_picture_shows_by_its_offset() -> None:
    images = torch.full((2, 3, 16, 16), 0.5)
    mask = torch.zeros(1, 1, 16, 16)
    mask[..., 4:12, 4:12] = 1
    filled = images + mask * torch.tensor([0.0, 9 / 255]).view(2, 1, 1, 1)
    torch.testing.assert_close(seam(filled, images, mask), torch.tensor([1.0, 10.0]))


def test_shapes_that_do_not_go_together_are_refused() -> None:
    images, mask = torch.rand(2, 3, 16, 16), torch.ones(2, 1, 16, 16)
    for metric in PAIRWISE:
        with pytest.raises(ValueError, match="must be of one shape"):
            metric(images[:1], images)
        for wrong in (mask[0], mask.expand(2, 3, 16, 16), torch.ones(3, 1, 16, 16), mask[..., :8]):
            with pytest.raises(ValueError, match=r"must be of shape \(2, 1, 16, 16\), got"):
                metric(images, images, wrong)


def test_ssim_of_small_pictures_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 11 x 11 pixels, got 10 x 64"):
        ssim(torch.rand(1, 3, 10, 64), torch.rand(1, 3, 10, 64))
