"""Which painting shows where: regions of a picture, and what in it is to be protected."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
import torch
from PIL import Image, ImageFilter
from torch import Tensor

from impasto.images import split_picture
from impasto.inference.coverage import check_coverage, check_maps, to_coverage

# Pixels: standard deviation of the blur of borders, some strokes wide, so that one painting passes
# into the other without an edge; of small pictures 1/32 of the shorter side.
SOFTNESS = 12.0
SMALLEST_SHARE = 1 / 32
SHOWN_LEVELS = 8  # of those that a message names

Coverage = TypeVar("Coverage", Image.Image, Tensor)


@dataclass(frozen=True)
class Layout(Generic[Coverage]):
    """How paintings of one image are laid on each other.

    Coverages are pictures of mode L of the image's size, or shares in [0, 1] of shape
    ``(N, 1, H, W)`` or ``(1, 1, H, W)``.

    Args:
        regions: Where the second painting is laid on the first, where the third on these, and so
            on.
        protect: Where at last a weaker painting is laid on, if anywhere.
    """

    regions: Sequence[Coverage] = ()
    protect: Coverage | None = None


def picture_layout(
    size: tuple[int, int],
    labels: Image.Image | None,
    order: Sequence[int],
    protect: Image.Image | None,
) -> Layout[Image.Image]:
    """Arrange the paintings of a picture.

    Args:
        size: Its width and height, in pixels.
        labels: A picture whose grey levels are the regions, from dark to light, of any size;
            ``None`` where there is one region.
        order: For every region, which painting it shows, counted from 0.
        protect: A picture that is white where the painting is to be weaker, of any mode and size.

    Raises:
        ValueError: If there are not as many grey levels as regions.
    """
    coverages = []
    if labels is not None:
        numbered = number_levels(labels, len(order)).resize(size, Image.Resampling.NEAREST)
        coverages = _coverages(numbered, order)
    return Layout(coverages, None if protect is None else _soft(to_coverage(protect, size)))


def tensor_layout(
    images: Tensor, labels: object, order: Sequence[int], protect: object
) -> Layout[Tensor]:
    """Arrange the paintings of tensors.

    Args:
        images: Of shape ``(N, C, H, W)``.
        labels: Number of the region of every pixel, from 0, of any integer type, shape
            ``(N, 1, H, W)``, ``(1, 1, H, W)`` or ``(1, H, W)``; ``None`` where there is one region.
        order: For every region, which painting it shows, counted from 0.
        protect: How much weaker the painting is to be, as ``check_coverage`` takes it, or ``None``.

    Raises:
        ValueError: If labels or protection are of another kind, or a label is out of range.
    """
    coverages: list[Tensor] = []
    if labels is not None:
        numbers = _check_labels(labels, images, len(order))
        maps = [_coverages(Image.fromarray(one.numpy()), order) for one in numbers[:, 0]]
        coverages = [
            torch.cat([to_shares(one) for one in ones]) for ones in zip(*maps, strict=True)
        ]
    return Layout(
        coverages, None if protect is None else check_coverage(protect, images, "protect")
    )


def to_tensors(layout: Layout[Image.Image]) -> Layout[Tensor]:
    """Turn the coverages of a layout of pictures into shares."""
    protect = None if layout.protect is None else to_shares(layout.protect)
    return Layout([to_shares(coverage) for coverage in layout.regions], protect)


def to_shares(coverage: Image.Image) -> Tensor:
    """Turn a picture of mode L into shares in [0, 1], float32, shape ``(1, 1, H, W)``."""
    return torch.from_numpy(np.array(coverage))[None, None].float().div_(255)


def number_levels(picture: Image.Image, num_regions: int) -> Image.Image:
    """Number the regions of a label picture.

    Args:
        picture: Of any mode; its grey levels are the regions.
        num_regions: How many there should be.

    Returns:
        A picture of mode L and the same size: 0 where it was darkest, 1 where it was the next grey
        level, and so on.

    Raises:
        ValueError: If it has not as many grey levels.
    """
    is_deep = picture.mode == "I" or picture.mode.startswith("I;16")
    levels = np.asarray(picture if is_deep else split_picture(picture)[0].convert("L"))
    found = np.unique(levels)
    if len(found) != num_regions:
        names, hint = ", ".join(str(level) for level in found[:SHOWN_LEVELS]), ""
        if len(found) > SHOWN_LEVELS:
            names += f", ..., {found[-1]}"
            hint = " JPEG and soft brushes blur labels: save them as PNG, with hard edges."
        raise ValueError(
            f"{_named(num_regions)}, and the label picture has {len(found)} grey "
            f"level{'s' * (len(found) > 1)}: {names}.{hint}"
        )
    return Image.fromarray(np.searchsorted(found, levels).astype(np.uint8))


def _coverages(numbers: Image.Image, order: Sequence[int]) -> list[Image.Image]:
    """Coverages that mix paintings by the blurred shapes of their regions.

    A mean of paintings whose weights add up to 1 is made by laying on one after the other, each
    with its weight's share in those of all until then.
    """
    total = np.zeros((numbers.height, numbers.width), np.uint16)
    coverages = []
    for painting in range(max(order) + 1):
        shape = [255 * (region < len(order) and order[region] == painting) for region in range(256)]
        weight = np.asarray(_soft(numbers.point(shape))).astype(np.uint16)
        total += weight
        share = (255 * weight + total // 2) // np.maximum(total, 1)
        coverages.append(Image.fromarray(share.astype(np.uint8)))
    return coverages[1:]


def _soft(coverage: Image.Image) -> Image.Image:
    radius = min(SOFTNESS, SMALLEST_SHARE * min(coverage.size))
    return coverage.filter(ImageFilter.GaussianBlur(radius))


def _check_labels(labels: object, images: Tensor, num_regions: int) -> Tensor:
    """Numbers of regions, uint8, shape (N, 1, H, W) or (1, 1, H, W), on the CPU."""
    numbers = check_maps(labels, images, "regions")
    if numbers.is_floating_point() or numbers.is_complex():
        raise ValueError(f"regions= must hold integers, from 0 on, got {numbers.dtype}.")
    low, high = int(numbers.min()), int(numbers.max())
    if low < 0 or high >= num_regions:
        raise ValueError(
            f"{_named(num_regions)}, so that labels are from 0 to {num_regions - 1}, got {low} to "
            f"{high}."
        )
    return numbers.to("cpu", torch.uint8)


def _named(num_regions: int) -> str:
    return f"style= names {num_regions} region{'s' * (num_regions > 1)}"
