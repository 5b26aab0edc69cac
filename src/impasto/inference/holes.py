"""Fill holes in pictures of any size, by a network that knows those of medium size.

Small ones are filled twice: as they are, and enlarged for the detail. In larger ones every group of
holes gets a window with as much context as the network was trained on. A window that is too large
is filled at half its size first, and so on down; at each size the network then paints anew what
lies within ``REACH`` pixels of the known, where detail is to be continued. Deeper inside, where
nobody can know the detail, the smaller copy's fill is enlarged smoothly. Scratches are filled once
more, enlarged, as all holes of small pictures are.
"""

import math
from collections.abc import Callable
from functools import partial
from itertools import pairwise, product

import torch
from torch import Tensor
from torch.nn import functional as F

from impasto.inference.tiling import Region, cut
from impasto.masks import dilate_mask

Fill = Callable[[Tensor, Tensor], Tensor]
"""Maps photos in [0, 1], ``(N, 3, H, W)``, and masks, ``(N, 1, H, W)``, to photos without holes."""

# What the released network was trained at. Tried by hand on 10 photos of 512 px, filling from half
# the size on was better than at once, by 0.3 dB in the middle half and by 0.5 dB in blocks.
DIRECT_PIXELS = 256 * 256
LEAST_SIDE = 32  # pixels that a network computes of a shorter side
CONTEXT = 96  # pixels around a hole, at least; else half its size: holes are the middle half then
# Pixels around all holes, of the enlarged copy twice as many. Tried on squares of 20 and 48 pixels
# in 40 photos of 256: 24 to 64 are as good as the whole photo.
DETAIL_CONTEXT = 48
GRID_SIZE = 32  # cells of a picture's longer side, in which holes are grouped
LEAST_CELL = 16  # pixels
# Pixels. Networks that are trained for accuracy have little detail to give farther from the border.
REACH = 32
TILE_SIZE = 512  # pixels a side, to which REACH is added all around
SCRATCH_WIDTH = 6  # pixels, at most
# Likewise, but small: what is enlarged takes time. Twice the reach gains 0.01 dB.
SCRATCH_TILE_SIZE, SCRATCH_REACH = 64, 16


def fill_small(fill: Fill, photos: Tensor, missing: Tensor) -> Tensor:
    """Fill photos that fit, and what lies near the known anew at twice the size.

    A network that works on blocks of 2x2 pixels has each pixel to itself then. What it sees of the
    photos the second time is the rectangle of all holes and ``DETAIL_CONTEXT`` around it.

    Args:
        fill: The network.
        photos: RGB in [0, 1], float32, shape ``(N, 3, H, W)``.
        missing: True where a pixel is missing, shape ``(N, 1, H, W)``.

    Returns:
        The photos without holes, of the same shape.
    """
    if not missing.any():
        return photos
    filled, everything = fill(photos, missing.float()), Region(0, 0, *photos.shape[-2:])
    holes = _tighten(everything, missing.any(0, keepdim=True))
    window = clipped(_extended(holes, DETAIL_CONTEXT, DETAIL_CONTEXT), *photos.shape[-2:])
    cut(filled, window).copy_(_refine(fill, cut(filled, window), cut(missing, window)))
    return torch.where(missing, filled, photos)


def _refine(fill: Fill, filled: Tensor, missing: Tensor) -> Tensor:
    """Fill photos again at twice the size, where what lies near the known is missing."""
    enlarged = F.interpolate(filled, scale_factor=2.0, mode="bicubic").clamp(0, 1)
    missing_there = F.interpolate(missing.float(), scale_factor=2.0, mode="nearest") > 0
    share = detail_share(missing_there)
    detail = fill(enlarged, (missing_there & (share > 0)).float())
    refined = torch.lerp(enlarged, detail, share)
    # Bicubic: the mean of each 2x2 would wash out the borders of holes.
    return F.interpolate(refined, scale_factor=0.5, mode="bicubic").clamp(0, 1)


def fill_large(fill: Fill, photo: Tensor, missing: Tensor) -> Tensor:
    """Fill a window, the inside of large holes at a smaller size, and scratches again at a larger.

    Args:
        fill: The network.
        photo: RGB in [0, 1], float32, shape ``(1, 3, H, W)``.
        missing: True where a pixel is missing, shape ``(1, 1, H, W)``.

    Returns:
        The photo without holes, of the same shape.
    """
    filled = _fill_by_halves(fill, photo.masked_fill(missing, 0), missing)
    scratches = find_scratches(missing)
    if not scratches.any():
        return filled
    refined = _fill_tiles(
        partial(_refine, fill), filled, scratches, SCRATCH_TILE_SIZE, SCRATCH_REACH
    )
    return torch.where(scratches, refined, filled)


def find_scratches(missing: Tensor) -> Tensor:
    """Find holes, and arms of holes, that are at most ``SCRATCH_WIDTH`` pixels wide.

    Args:
        missing: True where a pixel is missing, shape ``(N, 1, H, W)``.

    Returns:
        True where a scratch is, of the same shape.
    """
    margin = SCRATCH_WIDTH // 2  # of a square that no scratch holds
    middles = 1 - dilate_mask((~missing).float(), margin)
    # Squares do not fill the corners of wider holes, which are none all the same.
    wider = dilate_mask(middles, margin + SCRATCH_WIDTH)
    return missing & (wider == 0)


def _fill_by_halves(fill: Fill, photo: Tensor, missing: Tensor) -> Tensor:
    """Fill a window that is black in the holes, the inside of large ones at half its size."""
    height, width = photo.shape[-2:]
    if fits(height, width):
        return fill(photo, missing.float())
    share = detail_share(missing)
    deep = missing & (share < 1)
    guess = photo.clone()
    for box in group_holes(deep):
        window = window_around(box, height, width)
        inside = _fill_coarsely(fill, cut(photo, window), cut(missing, window))
        cut(guess, box).copy_(cut(inside, relative(box, window)))
    guess = torch.where(deep, guess, photo)
    detail = _fill_tiles(fill, guess, missing & (share > 0), TILE_SIZE, REACH)
    return torch.where(missing, torch.lerp(guess, detail, share), photo)


def _fill_coarsely(fill: Fill, photo: Tensor, missing: Tensor) -> Tensor:
    """Fill a window as a whole: at the size it has, or at half of it and enlarged."""
    height, width = photo.shape[-2:]
    if fits(height, width):
        return fill(photo, missing.float())
    coarse = _fill_by_halves(fill, *halve(photo, missing))
    return F.interpolate(coarse, (height, width), mode="bilinear", align_corners=False)


def fits(height: int, width: int) -> bool:
    """Tell whether a photo of this size goes through a network as it is."""
    return max(height, LEAST_SIDE) * max(width, LEAST_SIDE) <= DIRECT_PIXELS


def detail_share(missing: Tensor) -> Tensor:
    """Tell how much a pixel of a hole is to take from the full size.

    It goes with the share of pixels that are known in a square around it: 1 in all of a stroke up
    to 1.5 times ``REACH`` wide, and behind a straight border up to half of ``REACH``; from there it
    falls evenly, to 0 at ``REACH``.

    Args:
        missing: True where a pixel is missing, shape ``(N, 1, H, W)``.

    Returns:
        Shares in [0, 1], float32, of the same shape.
    """
    known, area = (~missing).int(), torch.ones((), dtype=torch.int32, device=missing.device)
    for dim in (2, 3):
        size = known.shape[dim]
        positions = torch.arange(size, device=known.device)
        first, last = (positions - REACH).clamp_min(0), (positions + REACH + 1).clamp_max(size)
        sums = F.pad(known.cumsum(dim, dtype=torch.int32), (1, 0) if dim == 3 else (0, 0, 1, 0))
        known = sums.index_select(dim, last) - sums.index_select(dim, first)
        area = area * (last - first).view((-1, 1) if dim == 2 else (1, -1))
    return (4 * known / area).clamp_max(1)


def halve(photo: Tensor, missing: Tensor) -> tuple[Tensor, Tensor]:
    """Halve height and width; what is known is averaged without what is not.

    Args:
        photo: RGB, float32, shape ``(1, 3, H, W)``.
        missing: True where a pixel is missing, shape ``(1, 1, H, W)``.

    Returns:
        Both at half the size, rounded up. A pixel is missing where all of it was.
    """
    size = tuple(-(-side // 2) for side in photo.shape[-2:])
    known = F.interpolate((~missing).float(), size, mode="area")
    seen = F.interpolate(photo.masked_fill(missing, 0), size, mode="area")
    return seen / known.clamp_min(1e-6), known == 0


def group_holes(missing: Tensor) -> list[Region]:
    """Find rectangles that hold all holes and do not overlap: no hole is parted.

    Holes whose windows together are smaller than apart share a rectangle.

    Args:
        missing: True where a pixel is missing, shape ``(1, 1, H, W)``.

    Returns:
        Rectangles, each as small as its holes allow; none where nothing is missing.
    """
    height, width = missing.shape[-2:]
    cell = max(LEAST_CELL, math.ceil(max(height, width) / GRID_SIZE))
    cells = F.max_pool2d(missing.float(), cell, ceil_mode=True)[0, 0]
    boxes: list[Region] = []
    for row, column in cells.nonzero().tolist():
        top, left = row * cell, column * cell
        box = Region(top, left, min(top + cell, height), min(left + cell, width))
        while others := [other for other in boxes if _belong_together(box, other, height, width)]:
            boxes = [other for other in boxes if other not in others]
            for other in others:
                box = _union(box, other)
        boxes.append(box)
    return [_tighten(box, missing) for box in boxes]


def window_around(box: Region, height: int, width: int) -> Region:
    """Extend a rectangle by the context its holes need, as far as the picture goes.

    Args:
        box: In a picture.
        height: Of the picture, in pixels.
        width: Of the picture, in pixels.
    """
    down, across = max(CONTEXT, box.height // 2), max(CONTEXT, box.width // 2)
    return clipped(_extended(box, down, across), height, width)


def square_around(box: Region, least: int) -> Region:
    """A square in the middle half of which a rectangle lies; it may reach beyond the picture.

    Args:
        box: In a picture.
        least: Pixels a side, a multiple of 4.
    """
    side = max(least, 4 * math.ceil(max(box.height, box.width) / 2))
    top = box.top - (side - box.height) // 2
    left = box.left - (side - box.width) // 2
    return Region(top, left, top + side, left + side)


def clipped(region: Region, height: int, width: int) -> Region:
    """What of a region lies in a picture of ``height`` times ``width`` pixels."""
    return Region(
        max(0, region.top),
        max(0, region.left),
        min(height, region.bottom),
        min(width, region.right),
    )


def relative(region: Region, window: Region) -> Region:
    """A region as seen from the top left of a window."""
    return Region(
        region.top - window.top,
        region.left - window.left,
        region.bottom - window.top,
        region.right - window.left,
    )


def _belong_together(one: Region, other: Region, height: int, width: int) -> bool:
    touch = (
        one.top <= other.bottom
        and other.top <= one.bottom
        and one.left <= other.right
        and other.left <= one.right
    )
    if touch:
        return True
    areas = [
        (window := window_around(box, height, width)).height * window.width
        for box in (one, other, _union(one, other))
    ]
    return areas[2] <= areas[0] + areas[1]


def _extended(box: Region, down: int, across: int) -> Region:
    return Region(box.top - down, box.left - across, box.bottom + down, box.right + across)


def _union(one: Region, other: Region) -> Region:
    return Region(
        min(one.top, other.top),
        min(one.left, other.left),
        max(one.bottom, other.bottom),
        max(one.right, other.right),
    )


def _tighten(box: Region, missing: Tensor) -> Region:
    inside = cut(missing, box)[0, 0]
    rows, columns = inside.any(1).nonzero().flatten(), inside.any(0).nonzero().flatten()
    return Region(
        box.top + int(rows[0]),
        box.left + int(columns[0]),
        box.top + int(rows[-1]) + 1,
        box.left + int(columns[-1]) + 1,
    )


def _fill_tiles(fill: Fill, photo: Tensor, missing: Tensor, tile_size: int, reach: int) -> Tensor:
    """Fill at full size, in tiles that overlap and fade into each other; only the holes count.

    A tile reaches so far that every missing pixel in its core has something known within it.
    """
    height, width = photo.shape[-2:]
    around = _tighten(Region(0, 0, height, width), missing)
    filled, total = torch.zeros_like(photo), torch.zeros_like(photo[:, :1])
    rows = _pieces(around.top, around.bottom, tile_size)
    columns = _pieces(around.left, around.right, tile_size)
    for (top, bottom), (left, right) in product(rows, columns):
        core = Region(top, left, bottom, right)
        if not cut(missing, core).any():
            continue
        tile = clipped(_extended(core, reach, reach), height, width)
        down = _fading(tile.top, tile.bottom, top > around.top, bottom < around.bottom, reach)
        across = _fading(tile.left, tile.right, left > around.left, right < around.right, reach)
        weights = (down[:, None] * across).to(photo.device)
        cut(filled, tile).add_(fill(cut(photo, tile), cut(missing, tile).float()) * weights)
        cut(total, tile).add_(weights)
    return filled / total.clamp_min(1e-6)


def _pieces(start: int, stop: int, longest: int) -> list[tuple[int, int]]:
    """Cut a stretch into pieces of equal length."""
    count = -(-(stop - start) // longest)
    bounds = [start + (stop - start) * index // count for index in range(count + 1)]
    return list(pairwise(bounds))


def _fading(start: int, stop: int, fades_in: bool, fades_out: bool, reach: int) -> Tensor:
    """Weights from start to stop: 1, but rising or falling evenly where tiles overlap."""
    positions = torch.arange(stop - start) + 0.5
    weights = torch.ones(stop - start)
    if fades_in:
        weights = (positions / (2 * reach)).clamp_max(1)
    if fades_out:
        weights = weights * (positions.flip(0) / (2 * reach)).clamp_max(1)
    return weights
