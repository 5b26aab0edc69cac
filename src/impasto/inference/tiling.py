"""Paint pictures of any size in tiles, with one set of instance-norm statistics for all of them.

A tile is painted together with as much of the picture around it as its pixels look at, which is cut
off again: tiles fit as if the picture had been painted in one. What they must share are the
statistics of the instance norms, which decide about colour and contrast.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from impasto.inference.fused import FusedTransformer
from impasto.inference.statistics import Statistics, pool
from impasto.networks.transformer import STRIDE

SAMPLE_SIZE = 96  # pixels a side
NUM_SAMPLES = 80


@dataclass(frozen=True)
class Region:
    """A rectangle of a picture, in pixels; ``bottom`` and ``right`` lie outside."""

    top: int
    left: int
    bottom: int
    right: int

    @property
    def height(self) -> int:
        """In pixels."""
        return self.bottom - self.top

    @property
    def width(self) -> int:
        """In pixels."""
        return self.right - self.left


@dataclass(frozen=True)
class Canvas:
    """A picture that is read and painted in regions, and so need not be in memory.

    Args:
        height: In pixels.
        width: In pixels.
        read: Gives a region, RGB in [0, 1], float32, shape ``(1, 3, H, W)``.
        write: Takes a painted region, likewise; regions come row by row, from the left.
    """

    height: int
    width: int
    read: Callable[[Region], Tensor]
    write: Callable[[Region, Tensor], None]

    def tiles(self, tile_size: int) -> list[Region]:
        """Cut it into squares; at the bottom and at the right they may be smaller."""
        return [
            Region(top, left, min(top + tile_size, self.height), min(left + tile_size, self.width))
            for top in range(0, self.height, tile_size)
            for left in range(0, self.width, tile_size)
        ]

    def around(self, region: Region, margin: int) -> Region:
        """Extend a region by ``margin`` pixels on all sides, as far as the picture goes."""
        return Region(
            max(0, region.top - margin),
            max(0, region.left - margin),
            min(self.height, region.bottom + margin),
            min(self.width, region.right + margin),
        )


def cut(images: Tensor, region: Region) -> Tensor:
    """A region of ``(N, C, H, W)`` images, as a view."""
    return images[..., region.top : region.bottom, region.left : region.right]


def paint_tiles(
    network: FusedTransformer,
    canvas: Canvas,
    statistics: list[Statistics],
    tile_size: int,
) -> Iterator[Region]:
    """Paint a canvas.

    Args:
        network: Paints.
        canvas: Is read and written.
        statistics: Of all norms, for all tiles.
        tile_size: Pixels a side, a multiple of 4.

    Yields:
        Each tile, once it is written.
    """
    for region in canvas.tiles(tile_size):
        around = canvas.around(region, _margin(network.reaches[-1]))
        painted = network(canvas.read(around), statistics)
        top, left = region.top - around.top, region.left - around.left
        canvas.write(region, painted[..., top : top + region.height, left : left + region.width])
        yield region


def sample(canvas: Canvas, count: int = NUM_SAMPLES) -> Tensor:
    """Cut small samples out of a picture, spread evenly over it.

    Their statistics stand for those of the whole better than those of a copy reduced to as many
    pixels, for a network answers to what is fine and what is coarse differently.

    Args:
        canvas: Is read.
        count: About how many; fewer where there is no room for them.

    Returns:
        Of shape ``(N, 3, 96, 96)``; where the picture is smaller, so are they.
    """
    height, width = min(SAMPLE_SIZE, canvas.height), min(SAMPLE_SIZE, canvas.width)
    rows = round(math.sqrt(count * canvas.height / canvas.width))
    rows = min(max(1, rows), count, canvas.height // height)
    columns = min(max(1, count // rows), canvas.width // width)
    samples = []
    for row in range(rows):
        top = int((row + 0.5) * canvas.height / rows - height / 2)
        for column in range(columns):
            left = int((column + 0.5) * canvas.width / columns - width / 2)
            samples.append(canvas.read(Region(top, left, top + height, left + width)))
    return torch.cat(samples)


def exact_statistics(
    network: FusedTransformer,
    canvas: Canvas,
    statistics: list[Statistics],
    tile_size: int,
) -> Iterator[Region]:
    """Find the statistics that the whole picture has, tile by tile and one norm after the other.

    Each norm takes a pass over the picture, up to its layer: together some seven times the work of
    painting it.

    Args:
        network: Paints.
        canvas: Is read.
        statistics: An empty list, to which those of every norm are added.
        tile_size: Pixels a side, a multiple of 4.

    Yields:
        Each tile of each pass, once it is measured.
    """
    for index, layer in enumerate(network.layers):
        scale, margin = network.scales[index], _margin(network.reaches[index])
        parts: list[Statistics] = []
        counts = []
        for region in canvas.tiles(tile_size):
            around = canvas.around(region, margin)
            raw = network.features_before_norm(canvas.read(around), statistics)
            top, left = (region.top - around.top) // scale, (region.left - around.left) // scale
            # The last tiles include what the picture is extended by to fit the network.
            bottom = None if region.bottom == canvas.height else top + region.height // scale
            right = None if region.right == canvas.width else left + region.width // scale
            inner = raw[..., top:bottom, left:right]
            parts.append(layer.measure(inner.contiguous(memory_format=torch.channels_last)))
            counts.append([inner.shape[2] * inner.shape[3]])
            yield region
        means, variances = (torch.cat(values) for values in zip(*parts, strict=True))
        statistics.append(pool(means, variances, torch.tensor(counts, device=means.device)))


def _margin(reach: int) -> int:
    """A margin that leaves tiles where the network's strides put its positions."""
    return -(-reach // STRIDE) * STRIDE
