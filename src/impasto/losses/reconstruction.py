"""Reconstruction: how far filled pictures are from the originals, in the hole and around it."""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

AUTHORS_RING_WEIGHT = 10.0

FLOOR = 1e-4  # 40 dB: what is as close as that need not come closer

_DISTANCES: dict[str, Callable[[Tensor], Tensor]] = {
    "l1": Tensor.abs,
    "l2": Tensor.square,
    "log_l2": Tensor.square,
}


class ReconstructionLoss(nn.Module):
    """Weighted L1 or L2 over the hole, over the known part, and over the ring at their border.

    Every part is a mean over its own pixels, so that none fades where it is small. This departs
    from the paper, where all pixels share one mean: there the ring of 4 pixels in a hole of 64
    counts three times as much as the rest of the hole, here ``ring_weight`` times.

    Args:
        distance: ``l1`` or ``l2``, of every value; or ``log_l2``, ``log(mean / FLOOR + 1)`` of
            every picture's mean ``l2``: a tenth less is worth as much wherever.
        hole_weight: Of the missing pixels in the total.
        known_weight: Of all others.
        ring_weight: Of those near the border, which count in their first part too.
        ring_width: Pixels on both sides of the border, see ``border_ring``.

    Raises:
        ValueError: If ``distance`` is not known, or a weight or the width is negative or no number.

    Source:
        Pathak et al. 2016, section 3.2 and its code, https://arxiv.org/abs/1604.07379, whose ring
        lies inside the hole only: a seam has two sides.
    """

    def __init__(
        self,
        distance: str = "l1",
        hole_weight: float = 1.0,
        known_weight: float = 0.1,
        ring_weight: float = AUTHORS_RING_WEIGHT,
        ring_width: int = 4,
    ) -> None:
        super().__init__()
        if distance not in _DISTANCES:
            raise ValueError(f"distance must be one of {', '.join(_DISTANCES)}, got {distance!r}.")
        weights = {"hole": hole_weight, "known": known_weight, "ring": ring_weight}
        for name, weight in weights.items():
            if not 0 <= weight < math.inf:
                raise ValueError(f"{name}_weight must be a number of at least 0, got {weight!r}.")
        _check_width("ring_width", ring_width)
        self.distance = _DISTANCES[distance]
        self.logarithmic = distance == "log_l2"
        self.weights = weights
        self.ring_width = ring_width

    def forward(self, filled: Tensor, images: Tensor, mask: Tensor) -> dict[str, Tensor]:
        """Compare what a network made of pictures with what they were.

        Args:
            filled: RGB in [0, 1], shape ``(N, 3, H, W)``, before the known part is put back.
            images: The originals, same shape and range.
            mask: 1 where the picture is missing, 0 elsewhere, shape ``(N, 1, H, W)``.

        Returns:
            Float32 scalars ``hole``, ``known``, ``ring``, each the mean over pictures of the mean
            over the part's pixels, which is 0 in pictures that have none of them (of ``log_l2``
            the mean of the logarithms); and their weighted sum ``total``.
        """
        with torch.autocast(filled.device.type, enabled=False):
            mask = mask.float()
            distances = self.distance(filled.float() - images.float())
            parts = {
                "hole": masked_mean(distances, mask),
                "known": masked_mean(distances, 1 - mask),
                "ring": masked_mean(distances, border_ring(mask, self.ring_width)),
            }
            if self.logarithmic:
                parts = {name: (part / FLOOR).log1p() for name, part in parts.items()}
        parts = {name: part.mean() for name, part in parts.items()}
        total = torch.stack([self.weights[name] * part for name, part in parts.items()]).sum()
        return {**parts, "total": total}


class CentreReconstruction(nn.Module):
    """``centre_distance`` of whole pictures, with the authors' scale of [-1, 1].

    Args:
        overlap: See there.
        ring_weight: See there.
    """

    def __init__(self, overlap: int = 4, ring_weight: float = AUTHORS_RING_WEIGHT) -> None:
        super().__init__()
        self.overlap = overlap
        self.ring_weight = ring_weight

    def forward(self, filled: Tensor, images: Tensor, mask: Tensor) -> dict[str, Tensor]:
        """Compare the middles.

        Args:
            filled: RGB in [0, 1], shape ``(N, 3, H, W)``, the middle as the network painted it.
            images: The originals, same shape and range.
            mask: Not looked at: ``overlap`` tells what of the middle was visible.

        Returns:
            Float32 scalars: ``hole``, the plain mean squared error of the middle; ``total``.
        """
        height, width = images.shape[-2:]
        rows, columns = (slice(side // 4, side // 4 + side // 2) for side in (height, width))
        patches, targets = (2 * picture[..., rows, columns] for picture in (filled, images))
        return {
            "hole": centre_distance(patches, targets, overlap=0),
            "total": centre_distance(patches, targets, self.overlap, self.ring_weight),
        }


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Average over the pixels of a mask and all channels.

    Args:
        values: Of shape ``(N, C, H, W)``, any real range.
        mask: Of 0 and 1, shape ``(N, 1, H, W)``.

    Returns:
        A mean per picture, shape ``(N,)``; 0 where the mask is empty.
    """
    count = mask.sum((1, 2, 3)) * values.shape[1]
    return (values * mask).sum((1, 2, 3)) / count.clamp_min(1)


def border_ring(mask: Tensor, width: int) -> Tensor:
    """Find the pixels near the border between the hole and what is known, on both sides.

    The border of the picture is none: a hole that reaches it has no ring there.

    Args:
        mask: Of 0 and 1, shape ``(N, 1, H, W)``.
        width: How near, in pixels along rows and columns; 0 gives an empty ring.

    Returns:
        1 in the ring and 0 elsewhere, same shape.

    Raises:
        ValueError: If ``width`` is negative.
    """
    _check_width("The width of a ring", width)
    near_hole, near_known = _widened(mask, width), _widened(1 - mask, width)
    return near_hole + near_known - 1  # every pixel is near one of them at least


def centre_distance(
    patches: Tensor, targets: Tensor, overlap: int = 4, ring_weight: float = AUTHORS_RING_WEIGHT
) -> Tensor:
    """Squared error of predicted centres, heavier in the part of them that the network could see.

    Exactly what the authors' code descends for its centre network, with their 0.999 left out: a
    mean over all values, not divided by the sum of the weights. (What their code prints is the
    unweighted error.)

    Args:
        patches: The network's output, shape ``(N, C, H, W)``: 64 x 64 in the paper.
        targets: The middle of the originals, same shape and range.
        overlap: Pixels at every side that were visible to the network; 4 in the code, 7 in the
            paper, 0 for the plain mean squared error.
        ring_weight: Of a value there, against 1 elsewhere.

    Returns:
        A float32 scalar, 0 for the originals.

    Raises:
        ValueError: If ``overlap`` is negative or leaves no middle, or the shapes differ.

    Source:
        Pathak et al. 2016, section 4, https://arxiv.org/abs/1604.07379
    """
    if patches.shape != targets.shape:
        raise ValueError(
            f"Patches and targets must be of one shape, got {tuple(patches.shape)} "
            f"and {tuple(targets.shape)}."
        )
    height, width = patches.shape[-2:]
    if not 0 <= 2 * overlap < min(height, width):
        raise ValueError(
            f"overlap must be at least 0 and leave a middle of {height} x {width} pixels, "
            f"got {overlap}."
        )
    with torch.autocast(patches.device.type, enabled=False):
        weights = patches.new_full((height, width), ring_weight, dtype=torch.float32)
        weights[overlap : height - overlap, overlap : width - overlap] = 1
        return (weights * (patches.float() - targets.float()).square()).mean()


def _check_width(name: str, width: int) -> None:
    if not isinstance(width, int) or width < 0:
        raise ValueError(f"{name} must be a whole number of pixels, at least 0, got {width}.")


def _widened(mask: Tensor, width: int) -> Tensor:
    """1 wherever the mask is 1 within a square around; rows and columns apart, which is quicker."""
    mask = F.max_pool2d(mask, (2 * width + 1, 1), stride=1, padding=(width, 0))
    return F.max_pool2d(mask, (1, 2 * width + 1), stride=1, padding=(0, width))
