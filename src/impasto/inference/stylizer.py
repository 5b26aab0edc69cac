"""Paint photos with a trained style network; knows nothing of training."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Self, overload

import torch
from PIL import Image
from torch import Tensor

from impasto.checkpoint import Header, load_checkpoint
from impasto.images import split_alpha, split_picture, to_picture, to_tensor
from impasto.inference.coverage import check_coverage, lay_on, lay_on_picture, to_coverage
from impasto.inference.devices import choose_device, choose_dtype
from impasto.inference.fused import FusedTransformer
from impasto.inference.levels import check_image, require_task, to_floats, to_type
from impasto.inference.palette import COLORS, Survey, keep_chroma, match_colours, move_colours
from impasto.inference.statistics import Statistics
from impasto.inference.tiling import (
    Canvas,
    Region,
    cut,
    exact_statistics,
    paint_tiles,
    sample,
)
from impasto.networks import TransformerNet

Progress = Callable[[float], object]
TASK = "stylization"
TILES = ("auto", "exact", "off")
TILE_SIZE = 640  # pixels a side: with its margins, 0.8 GB at full width
MAX_UNTILED_PIXELS = 4096 * 2160  # at full width a network takes 3 GB for them


class Stylizer:
    """A style network that is ready to paint.

    Args:
        network: As its checkpoint holds it; it is left as it is.
        header: What its checkpoint says of it.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:1`` or ``mps``.
        precision: ``auto``, ``fp32``, ``bf16`` or ``fp16``.
        tile: What to do with more than ``MAX_UNTILED_PIXELS``: ``auto`` paints tiles with the
            statistics of samples; ``exact`` with the picture's own, in eight times the time;
            ``off`` paints all at once, whatever memory that takes.
        colors: Whose colours paintings get: those of the ``painting``; those of the ``photo``, of
            which only the luminance is painted; or those of the painting ``matched`` to the photo's
            in mean and covariance, picture by picture and frame by frame. In tiles, samples stand
            for the whole picture there too, or with ``exact`` all of it is painted once more.

    Raises:
        CheckpointError: If the network was trained for another task.
        ValueError: If ``device``, ``precision``, ``tile`` or ``colors`` is unknown or not to be
            had.
    """

    def __init__(
        self,
        network: TransformerNet,
        header: Header,
        device: str = "auto",
        precision: str = "auto",
        tile: str = "auto",
        colors: str = "painting",
    ) -> None:
        require_task(header, TASK)
        for name, value, allowed in (("tile", tile, TILES), ("colors", colors, COLORS)):
            if value not in allowed:
                raise ValueError(f"{name} must be one of {', '.join(allowed)}, got {value!r}.")
        self.header = header
        self.tile, self.colors = tile, colors
        self.device = choose_device(device)
        self.dtype = choose_dtype(precision, self.device)
        self.network = FusedTransformer(network, self.dtype).to(self.device)

    @classmethod
    def load(
        cls,
        path: str | Path,
        device: str = "auto",
        precision: str = "auto",
        tile: str = "auto",
        colors: str = "painting",
    ) -> Self:
        """Read a checkpoint.

        Args:
            path: A ``.safetensors`` file that training wrote.
            device: ``auto``, ``cpu``, ``cuda``, ``cuda:1`` or ``mps``.
            precision: ``auto``, ``fp32``, ``bf16`` or ``fp16``.
            tile: ``auto``, ``exact`` or ``off``.
            colors: ``painting``, ``photo`` or ``matched``.

        Raises:
            FileNotFoundError: If there is no such file.
            CheckpointError: If it is no checkpoint, is damaged, or is for another task.
            ValueError: If ``device``, ``precision``, ``tile`` or ``colors`` is unknown or not to
                be had.
        """
        network, header = load_checkpoint(Path(path))
        require_task(header, TASK)
        assert isinstance(network, TransformerNet)
        return cls(network, header, device, precision, tile, colors)

    @overload
    def __call__(
        self, image: Tensor, progress: Progress = ..., *, mask: Tensor | None = ...
    ) -> Tensor: ...

    @overload
    def __call__(
        self, image: Image.Image, progress: Progress = ..., *, mask: Image.Image | None = ...
    ) -> Image.Image: ...

    def __call__(
        self,
        image: Tensor | Image.Image,
        progress: Progress = lambda share: None,
        *,
        mask: Tensor | Image.Image | None = None,
    ) -> Tensor | Image.Image:
        """Paint.

        Args:
            image: RGB of shape ``(N, 3, H, W)`` or ``(3, H, W)`` on any device, in [0, 1] of any
                float type, or in [0, 255] as uint8, the levels of a picture or a frame of a video;
                or a picture of any mode, upright as ``open_picture`` gives it.
            progress: Is told, tile by tile, which share of an image that takes tiles is done.
            mask: Where to paint: of a tensor, shares in [0, 1], 1 to be painted, of shape
                ``(N, 1, H, W)``, ``(1, 1, H, W)`` or ``(1, H, W)``; of a picture, another one,
                white to be painted, resized to it as ``to_coverage`` does. The network sees the
                whole photo nevertheless.

        Returns:
            The painting: a tensor of the same shape, type and device; or a picture of the same
            size, with the opacity it had. Where the mask is 0, the photo bit for bit.

        Raises:
            ValueError: If a tensor is of another shape or type, or empty, or the mask does not go
                with the image.
        """
        with torch.inference_mode():
            if isinstance(image, Image.Image):
                return self._paint_masked(image, mask, progress)
            check_image(image)
            images = image if image.ndim == 4 else image[None]
            coverage = None if mask is None else check_coverage(mask, images)
            painted = self._paint_tensor(images, progress)
            if coverage is not None:
                painted = lay_on(images, painted, coverage)
        # A copy made outside inference mode is a tensor like any other, free to be changed.
        return torch.empty_like(image, requires_grad=False).copy_(painted.view(image.shape))

    def _paint_masked(
        self, picture: Image.Image, mask: Tensor | Image.Image | None, progress: Progress
    ) -> Image.Image:
        if mask is None:
            return self._paint_picture(picture, progress)
        if not isinstance(mask, Image.Image):
            raise ValueError(f"The mask of a picture must be one, got {type(mask).__name__}.")
        coverage = to_coverage(mask, picture.size)
        return lay_on_picture(picture, self._paint_picture(picture, progress), coverage)

    def _paint_picture(self, picture: Image.Image, progress: Progress) -> Image.Image:
        if self._fits(picture.height, picture.width):
            rgb, alpha = split_alpha(picture)
            return to_picture(self._paint(rgb.to(self.device), alpha), alpha)
        picture, opacity = split_picture(picture)
        painted = Image.new("RGB", picture.size)

        def read(region: Region) -> Tensor:
            box = (region.left, region.top, region.right, region.bottom)
            return to_tensor(picture.crop(box)).to(self.device)

        def write(region: Region, tile: Tensor) -> None:
            painted.paste(to_picture(tile), (region.left, region.top))

        self.paint_canvas(Canvas(picture.height, picture.width, read, write), progress)
        if opacity is not None:
            painted.putalpha(opacity)
        return painted

    def _paint_tensor(self, images: Tensor, progress: Progress) -> Tensor:
        height, width = images.shape[-2:]
        if self._fits(height, width):
            return to_type(self._paint(to_floats(images, self.device)), images.dtype)
        painted = torch.empty_like(images)
        for image, target in zip(images.split(1), painted.split(1), strict=True):

            def read(region: Region, image: Tensor = image) -> Tensor:
                return to_floats(cut(image, region), self.device)

            def write(region: Region, tile: Tensor, target: Tensor = target) -> None:
                cut(target, region).copy_(to_type(tile, target.dtype))

            self.paint_canvas(Canvas(height, width, read, write), progress)
        return painted

    def _paint(self, photos: Tensor, opacity: Tensor | None = None) -> Tensor:
        """Paint what fits, (N, 3, H, W) floats, with the colours that are wanted."""
        painted: Tensor = self.network(photos)
        if self.colors == "photo":
            return keep_chroma(photos, painted)
        if self.colors == "matched":
            opacity = None if opacity is None else opacity.to(self.device)
            return match_colours(photos, painted, opacity)
        return painted

    def _fits(self, height: int, width: int) -> bool:
        return self.tile == "off" or height * width <= MAX_UNTILED_PIXELS

    @torch.inference_mode()
    def paint_canvas(self, canvas: Canvas, progress: Progress = lambda share: None) -> None:
        """Paint a picture that need not be in memory, tile by tile.

        Args:
            canvas: Is read and written, on this stylizer's device.
            progress: Is told which share of the work is done.
        """
        num_passes = 1
        if self.tile == "exact":
            num_passes += len(self.network.layers) + (self.colors == "matched")
        num_steps = num_passes * len(canvas.tiles(TILE_SIZE))
        for num_done, _ in enumerate(self._steps(canvas), start=1):
            progress(num_done / num_steps)

    def _steps(self, canvas: Canvas) -> Iterator[Region]:
        """Paint a canvas, a tile of a pass over it at a time."""
        statistics: list[Statistics] = []
        if self.tile == "exact":
            yield from exact_statistics(self.network, canvas, statistics, TILE_SIZE)
        else:
            statistics += self.network.measure(sample(canvas))
        target = canvas
        if self.colors == "photo":
            target = replace(
                canvas,
                write=lambda region, tile: canvas.write(
                    region, keep_chroma(canvas.read(region), tile)
                ),
            )
        elif self.colors == "matched":
            survey = Survey()
            yield from self._survey(canvas, statistics, survey)
            colours = survey.colour_map()
            target = replace(
                canvas,
                write=lambda region, tile: canvas.write(region, move_colours(tile, colours)),
            )
        yield from paint_tiles(self.network, target, statistics, TILE_SIZE)

    def _survey(
        self, canvas: Canvas, statistics: list[Statistics], survey: Survey
    ) -> Iterator[Region]:
        """Find how colours are spread: in all of a picture, tile by tile, or in samples of it."""
        if self.tile == "exact":
            measured = replace(
                canvas, write=lambda region, tile: survey.add(canvas.read(region), tile)
            )
            yield from paint_tiles(self.network, measured, statistics, TILE_SIZE)
        else:
            samples = sample(canvas)
            survey.add(samples, self.network(samples, statistics))
