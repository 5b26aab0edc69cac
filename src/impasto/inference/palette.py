"""Whose colours a painting has: its own or the photo's."""

from typing import NamedTuple

import torch
from torch import Tensor

COLORS = ("painting", "photo", "matched")
# Y of ITU-R BT.601, as in the YIQ of Gatys et al. and in the YCbCr of JPEG; of coded values, which
# is why equal steps of it look equal.
LUMA = (0.299, 0.587, 0.114)
# Variance that counts as noise, not to be blown up: one level of 255, as rounding leaves it.
FLOOR = 1 / 255**2
TINY = 1e-6  # chroma that nothing has to be done about, and that can be divided by


class Moments(NamedTuple):
    """How colours are spread: means of shape ``(N, 3)``, covariances of ``(N, 3, 3)``."""

    mean: Tensor
    covariance: Tensor


class ColourMap(NamedTuple):
    """What moves colours: matrices of shape ``(N, 3, 3)``, then shifts of ``(N, 3)``."""

    matrix: Tensor
    shift: Tensor


def keep_chroma(photo: Tensor, painted: Tensor) -> Tensor:
    """Give a painting the photo's chroma; of the painting, its luminance stays.

    Chroma is the difference of a colour from the grey of its luminance. Where that grey is too
    light or too dark to carry it, it becomes paler, of the same hue and luminance.

    Args:
        photo: RGB in [0, 1], float32, shape ``(N, 3, H, W)``.
        painted: Its painting, likewise.

    Returns:
        Of the same shape, in [0, 1].

    Source:
        Gatys et al. 2016, section "Luminance-only transfer", https://arxiv.org/abs/1606.05897,
        without its matching of luminances, which is ``matched``'s part.
    """
    grey = _luma(painted)
    chroma = photo - _luma(photo)
    room_above = (1 - grey) / chroma.amax(1, keepdim=True).clamp_min_(TINY)
    room_below = grey / chroma.amin(1, keepdim=True).neg_().clamp_min_(TINY)
    share = torch.minimum(room_above, room_below).clamp_max_(1)
    return chroma.mul_(share).add_(grey).clamp_(0, 1)


def measure_colours(images: Tensor, weights: Tensor | None = None) -> Moments:
    """Find how the colours of every image are spread.

    Args:
        images: RGB in [0, 1], float32, shape ``(N, 3, H, W)``.
        weights: How much each pixel counts, in [0, 1], shape ``(N, 1, H, W)``; where none does,
            all do.
    """
    colours = images.flatten(2)
    if weights is None or not weights.any():
        mean = colours.mean(2)
        centred = colours - mean[..., None]
        return Moments(mean, centred @ centred.mT / colours.shape[2])
    shares = weights.flatten(2)
    shares = shares / shares.sum(2, keepdim=True)
    mean = (colours * shares).sum(2)
    centred = colours - mean[..., None]
    return Moments(mean, (centred * shares) @ centred.mT)


def colour_map(photo: Moments, painted: Moments) -> ColourMap:
    """Find what gives a painting the mean and the covariance of its photo's colours.

    Of all linear maps that do, it is the one that moves colours least, which is symmetric and
    unique: it changes smoothly with the moments. The frames of a video each have a map of their
    own, and are as steady as with one map for all: the moments of whole frames hardly change.

    Args:
        photo: How the colours of N photos are spread.
        painted: Likewise of their paintings.

    Returns:
        N maps, float32, on the device of ``photo``. What varies by less than one level of 255 in
        the painting is not blown up to the photo's variation.

    Source:
        Pitié and Kokaram 2007, "The linear Monge-Kantorovitch linear colour mapping for
        example-based colour transfer".
    """
    # On the CPU: eigenvalues of 3 x 3 in double precision are nothing to start a GPU for.
    target, source = (
        moments.covariance.cpu().double() + FLOOR * torch.eye(3, dtype=torch.float64)
        for moments in (photo, painted)
    )
    root = _root(source)
    inverse = torch.linalg.inv(root)
    matrix = (inverse @ _root(root @ target @ root) @ inverse).float().to(photo.mean.device)
    return ColourMap(matrix, photo.mean - (matrix @ painted.mean[..., None])[..., 0])


class Survey:
    """Find the map of one picture that is seen part by part."""

    def __init__(self) -> None:
        self._photo: list[Moments] = []
        self._painted: list[Moments] = []
        self._counts: list[int] = []

    def add(self, photo: Tensor, painted: Tensor) -> None:
        """See parts of a picture.

        Args:
            photo: RGB in [0, 1], float32, shape ``(N, 3, H, W)``.
            painted: Its painting, likewise.
        """
        self._photo.append(measure_colours(photo))
        self._painted.append(measure_colours(painted))
        self._counts += len(photo) * [photo.shape[2] * photo.shape[3]]

    def colour_map(self) -> ColourMap:
        """The map for all of it, from whatever has been seen."""
        counts = torch.tensor(self._counts)
        shares = counts / counts.sum()
        return colour_map(_pooled(self._photo, shares), _pooled(self._painted, shares))


def move_colours(painted: Tensor, colours: ColourMap) -> Tensor:
    """Apply a map; what leaves [0, 1] is drawn back towards mid-grey.

    This keeps the hue, and what is light or colourful stays the one or the other to a part, where
    clipping at the luminance would make white and black patches of it.

    Args:
        painted: RGB in [0, 1], float32, shape ``(N, 3, H, W)``.
        colours: N maps, or one for all.

    Returns:
        Of the same shape, in [0, 1].
    """
    matrix, shift = colours
    from_grey = (matrix @ painted.flatten(2)).add_(shift[..., None] - 0.5)
    share = 0.5 / from_grey.abs().amax(1, keepdim=True).clamp_min_(0.5)
    return from_grey.mul_(share).add_(0.5).clamp_(0, 1).view(painted.shape)


def match_colours(photo: Tensor, painted: Tensor, opacity: Tensor | None = None) -> Tensor:
    """Move the colours of whole paintings to those of their photos.

    Args:
        photo: RGB in [0, 1], float32, shape ``(N, 3, H, W)``.
        painted: Its painting, likewise.
        opacity: In [0, 1], shape ``(N, 1, H, W)``: what cannot be seen does not count.

    Returns:
        Of the same shape, in [0, 1].
    """
    moments = measure_colours(photo, opacity), measure_colours(painted, opacity)
    return move_colours(painted, colour_map(*moments))


def _luma(images: Tensor) -> Tensor:
    """The grey that is as light, (N, 1, H, W)."""
    red, green, blue = images.split(1, dim=1)
    return (LUMA[0] * red).add_(green, alpha=LUMA[1]).add_(blue, alpha=LUMA[2])


def _root(matrices: Tensor) -> Tensor:
    """The square root of symmetric matrices without negative eigenvalues, (N, 3, 3)."""
    values, vectors = torch.linalg.eigh(matrices)
    return (vectors * values.clamp_min(0).sqrt()[:, None, :]) @ vectors.mT


def _pooled(parts: list[Moments], shares: Tensor) -> Moments:
    """Moments of the whole from those of P parts, whose pixels are so much of it, shape (P,)."""
    means, covariances = (torch.cat(values) for values in zip(*parts, strict=True))
    shares = shares.to(means.device)[:, None]
    mean = (shares * means).sum(0, keepdim=True)
    away = means - mean
    covariances = covariances + away[:, :, None] * away[:, None, :]
    return Moments(mean, (shares[..., None] * covariances).sum(0, keepdim=True))
