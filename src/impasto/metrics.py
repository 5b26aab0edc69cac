"""Metrics of inpainting: how close filled pictures are to the originals, one number per picture.

All take pictures in [0, 1] and, to judge the hole only, the mask; without it they judge the whole
picture. Where a hole is judged that is empty, there is no answer: NaN. Publish which it is, and
whether the known part was put back before: it is most of a picture, and perfect.
"""

import math

import torch
from torch import Tensor

SSIM_RADIUS, SSIM_SIGMA = 5, 1.5  # pixels: the window of 11 that is cut from a Gaussian of 1.5
SSIM_C1, SSIM_C2 = 0.01**2, 0.03**2
ONE_LEVEL = 1 / 255
# dB: errors that rounding to 8 bits makes, a twelfth of a squared level on average. Originals are
# not known any better, and the infinity of a perfect fill would spoil every mean.
MAX_PSNR = 10 * math.log10(12 * 255**2)


def l1(filled: Tensor, images: Tensor, mask: Tensor | None = None) -> Tensor:
    """Mean absolute error, as a fraction: 0.0937 is what the paper calls 9.37 %.

    Args:
        filled: In [0, 1], shape ``(N, C, H, W)``.
        images: The originals, same shape.
        mask: 1 where the picture is missing, shape ``(N, 1, H, W)`` or ``(1, 1, H, W)``; ``None``
            for the whole picture.

    Returns:
        From 0, equal, to 1, black for white; float32, shape ``(N,)``.

    Raises:
        ValueError: If the shapes do not go together.
    """
    return _mean(_difference(filled, images).abs(), mask)


def l2(filled: Tensor, images: Tensor, mask: Tensor | None = None) -> Tensor:
    """Mean squared error, as a fraction: 0.0196 is what the paper calls 1.96 %.

    Args:
        filled: In [0, 1], shape ``(N, C, H, W)``.
        images: The originals, same shape.
        mask: See ``l1``.

    Returns:
        From 0, equal, to 1, black for white; float32, shape ``(N,)``.

    Raises:
        ValueError: If the shapes do not go together.
    """
    return _mean(_difference(filled, images).square(), mask)


def psnr(filled: Tensor, images: Tensor, mask: Tensor | None = None) -> Tensor:
    """Peak signal-to-noise ratio, in dB.

    Average it over pictures, as is usual, and not the errors first.

    Args:
        filled: In [0, 1], shape ``(N, C, H, W)``.
        images: The originals, same shape.
        mask: See ``l1``.

    Returns:
        0 for black instead of white, 20 for errors of 0.1, infinite for equal pictures; float32,
        shape ``(N,)``.

    Raises:
        ValueError: If the shapes do not go together.
    """
    return -10 * l2(filled, images, mask).log10()


def ssim(filled: Tensor, images: Tensor, mask: Tensor | None = None) -> Tensor:
    """Structural similarity, with the Gaussian window of the paper.

    Of the whole picture it is the mean over windows that lie inside; of a hole, over windows around
    every missing pixel, for which the picture is continued by its mirror image. scikit-image does
    the same with ``gaussian_weights=True, use_sample_covariance=False``.

    Args:
        filled: In [0, 1], shape ``(N, C, H, W)``, at least 11 x 11 pixels.
        images: The originals, same shape.
        mask: See ``l1``.

    Returns:
        1 for equal pictures, about 0 for unlike ones, at least -1; the mean over channels, float32,
        shape ``(N,)``.

    Raises:
        ValueError: If the shapes do not go together, or the pictures are too small.

    Source:
        Wang et al. 2004, https://doi.org/10.1109/TIP.2003.819861
    """
    size = 2 * SSIM_RADIUS + 1
    if min(filled.shape[-2:]) < size:
        raise ValueError(
            f"SSIM needs pictures of at least {size} x {size} pixels, "
            f"got {filled.shape[-2]} x {filled.shape[-1]}."
        )
    _check_shapes(filled, images)
    similarity = _similarity(filled.float(), images.float())
    if mask is not None:
        return _mean(similarity, mask)
    inside = slice(SSIM_RADIUS, -SSIM_RADIUS)
    return similarity[..., inside, inside].mean((1, 2, 3))


def seam(filled: Tensor, images: Tensor, mask: Tensor) -> Tensor:
    """Steps across the border of the hole, relative to those of the original in the same places.

    A step is the absolute difference of two neighbours of which one is missing. One level of 8 bits
    is added to both means, so that originals without any step do not matter too much.

    Args:
        filled: In [0, 1], shape ``(N, C, H, W)``, with the known part put back.
        images: The originals, same shape.
        mask: 1 where the picture is missing, shape ``(N, 1, H, W)`` or ``(1, 1, H, W)``.

    Returns:
        1 where the border shows as little as in the original, more where it is visible, less where
        it is washed out; NaN where there is no border. Float32, shape ``(N,)``.

    Raises:
        ValueError: If the shapes do not go together.
    """
    _check_shapes(filled, images)
    mask = _expanded(mask, filled)
    steps, count = _steps(torch.cat([filled, images]).float(), mask.repeat(2, 1, 1, 1))
    found, wanted = (steps / count.clamp_min(1) + ONE_LEVEL).chunk(2)
    return torch.where(count[: len(filled)] > 0, found / wanted, math.nan)


def _difference(filled: Tensor, images: Tensor) -> Tensor:
    _check_shapes(filled, images)
    return filled.float() - images.float()


def _check_shapes(filled: Tensor, images: Tensor) -> None:
    if filled.ndim != 4 or filled.shape != images.shape:
        raise ValueError(
            f"Pictures and originals must be of one shape (N, C, H, W), "
            f"got {tuple(filled.shape)} and {tuple(images.shape)}."
        )


def _expanded(mask: Tensor, images: Tensor) -> Tensor:
    """One mask for every picture, float32."""
    count, _, height, width = images.shape
    if mask.ndim != 4 or mask.shape[0] not in (1, count) or mask.shape[1:] != (1, height, width):
        raise ValueError(
            f"A mask for pictures of shape {tuple(images.shape)} must be of shape "
            f"{(count, 1, height, width)}, got {tuple(mask.shape)}."
        )
    return mask.float().expand(count, 1, height, width)


def _mean(values: Tensor, mask: Tensor | None) -> Tensor:
    """Over channels and over pixels of the mask, (N,); 0 / 0 where it is empty."""
    if mask is None:
        return values.mean((1, 2, 3))
    mask = _expanded(mask, values)
    return (values * mask).sum((1, 2, 3)) / (mask.sum((1, 2, 3)) * values.shape[1])


def _similarity(filled: Tensor, images: Tensor) -> Tensor:
    """SSIM around every pixel, (N, C, H, W)."""
    moments = torch.cat([filled, images, filled.square(), images.square(), filled * images])
    mean_f, mean_i, square_f, square_i, product = _smoothed(moments).chunk(5)
    variances = square_f - mean_f.square() + square_i - mean_i.square()
    covariance = product - mean_f * mean_i
    luminance = (2 * mean_f * mean_i + SSIM_C1) / (mean_f.square() + mean_i.square() + SSIM_C1)
    return luminance * (2 * covariance + SSIM_C2) / (variances + SSIM_C2)


def _smoothed(values: Tensor) -> Tensor:
    """Averages under the Gaussian window; (N, C, H, W) in and out."""
    offsets = range(-SSIM_RADIUS, SSIM_RADIUS + 1)
    window = [math.exp(-(offset**2) / (2 * SSIM_SIGMA**2)) for offset in offsets]
    for dim in (2, 3):
        size = values.shape[dim]
        # The outermost pixel comes twice, which no padding of torch does.
        first, last = (
            values.narrow(dim, 0, SSIM_RADIUS),
            values.narrow(dim, -SSIM_RADIUS, SSIM_RADIUS),
        )
        continued = torch.cat([first.flip(dim), values, last.flip(dim)], dim)
        # On a CPU a tenth of the time that a convolution of one channel takes.
        values = torch.zeros_like(values)
        for start, weight in enumerate(window):
            values.add_(continued.narrow(dim, start, size), alpha=weight / sum(window))
    return values


def _steps(images: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Absolute differences of neighbours across the border of the mask, sum and number, (N,)."""
    total = count = images.new_zeros(len(images))
    for dim in (2, 3):
        crosses = mask.diff(dim=dim).abs()  # (N, 1, ...)
        total = total + (images.diff(dim=dim).abs() * crosses).sum((1, 2, 3))
        count = count + crosses.sum((1, 2, 3)) * images.shape[1]
    return total, count
