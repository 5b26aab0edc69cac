"""One network at one position of the knobs, and how it paints what is at hand, or in tiles."""

from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor

from impasto.inference.fused import FusedTransformer
from impasto.inference.palette import Survey, keep_chroma, match_colours, move_colours
from impasto.inference.replay import Replay
from impasto.inference.statistics import Statistics
from impasto.inference.tiling import Canvas, Region, exact_statistics, paint_tiles, sample


class Painter:
    """Paints with one network, in the colours and the strength that are wanted.

    Args:
        network: On its device.
        colors: One of ``COLORS``.
        strength: The painting's share in what comes out, in [0, 1]; the rest is the photo's.
    """

    def __init__(self, network: FusedTransformer, colors: str, strength: float) -> None:
        self.network, self.colors, self.strength = network, colors, strength
        self._paint = Replay(network) if network.to_image.kernel.is_cuda else network

    def __call__(self, photos: Tensor, opacity: Tensor | None = None) -> Tensor:
        """Paint what fits into memory.

        Args:
            photos: RGB in [0, 1], float32, shape ``(N, 3, H, W)``, on the network's device.
            opacity: In [0, 1], shape ``(N, 1, H, W)``: what cannot be seen does not count for
                colours.

        Returns:
            Of the same shape, in [0, 1].
        """
        painted: Tensor = self._paint(photos)
        if self.colors == "matched":
            opacity = None if opacity is None else opacity.to(photos.device)
            painted = match_colours(photos, painted, opacity)
        return self._finish(photos, painted)

    def num_passes(self, exact: bool) -> int:
        """How often ``steps`` goes over a canvas."""
        if self.strength == 0 or not exact:
            return 1
        return 1 + len(self.network.layers) + (self.colors == "matched")

    def steps(self, canvas: Canvas, exact: bool, tile_size: int) -> Iterator[Region]:
        """Paint a canvas.

        Args:
            canvas: Is read and written, on the network's device.
            exact: Whether to find the statistics that all of it has, not those of samples.
            tile_size: Pixels a side, a multiple of 4.

        Yields:
            A tile of a pass over it at a time.
        """
        if self.strength == 0:
            yield from _copy(canvas, tile_size)
            return
        statistics: list[Statistics] = []
        if exact:
            yield from exact_statistics(self.network, canvas, statistics, tile_size)
        else:
            statistics += self.network.measure(sample(canvas))
        survey = Survey()
        if self.colors == "matched":
            yield from self._survey(canvas, statistics, survey, exact, tile_size)
        colours = survey.colour_map() if self.colors == "matched" else None

        def write(region: Region, tile: Tensor) -> None:
            painted = tile if colours is None else move_colours(tile, colours)
            canvas.write(region, self._finish(canvas.read(region), painted))

        yield from paint_tiles(self.network, replace(canvas, write=write), statistics, tile_size)

    def _survey(
        self,
        canvas: Canvas,
        statistics: list[Statistics],
        survey: Survey,
        exact: bool,
        tile_size: int,
    ) -> Iterator[Region]:
        """Find how colours are spread: in all of a picture, tile by tile, or in samples of it."""
        if exact:
            measured = replace(
                canvas, write=lambda region, tile: survey.add(canvas.read(region), tile)
            )
            yield from paint_tiles(self.network, measured, statistics, tile_size)
        else:
            samples = sample(canvas)
            survey.add(samples, self.network(samples, statistics))

    def _finish(self, photos: Tensor, painted: Tensor) -> Tensor:
        if self.colors == "photo":
            painted = keep_chroma(photos, painted)
        return painted if self.strength == 1 else torch.lerp(photos, painted, self.strength)


def _copy(canvas: Canvas, tile_size: int) -> Iterator[Region]:
    for region in canvas.tiles(tile_size):
        canvas.write(region, canvas.read(region))
        yield region
