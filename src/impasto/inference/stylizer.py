"""Paint photos with a trained style network; knows nothing of training."""

from collections.abc import Callable
from pathlib import Path
from typing import Self, overload

import torch
from PIL import Image
from torch import Tensor

from impasto.checkpoint import Header, load_checkpoint
from impasto.images import split_alpha, split_picture, to_picture, to_tensor
from impasto.inference.devices import choose_device, choose_dtype
from impasto.inference.fused import FusedTransformer
from impasto.inference.levels import check_image, require_task, to_floats, to_type
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

    Raises:
        CheckpointError: If the network was trained for another task.
        ValueError: If ``device``, ``precision`` or ``tile`` is unknown or not to be had.
    """

    def __init__(
        self,
        network: TransformerNet,
        header: Header,
        device: str = "auto",
        precision: str = "auto",
        tile: str = "auto",
    ) -> None:
        require_task(header, TASK)
        if tile not in TILES:
            raise ValueError(f"tile must be one of {', '.join(TILES)}, got {tile!r}.")
        self.header = header
        self.tile = tile
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
    ) -> Self:
        """Read a checkpoint.

        Args:
            path: A ``.safetensors`` file that training wrote.
            device: ``auto``, ``cpu``, ``cuda``, ``cuda:1`` or ``mps``.
            precision: ``auto``, ``fp32``, ``bf16`` or ``fp16``.
            tile: ``auto``, ``exact`` or ``off``.

        Raises:
            FileNotFoundError: If there is no such file.
            CheckpointError: If it is no checkpoint, is damaged, or is for another task.
            ValueError: If ``device``, ``precision`` or ``tile`` is unknown or not to be had.
        """
        network, header = load_checkpoint(Path(path))
        require_task(header, TASK)
        assert isinstance(network, TransformerNet)
        return cls(network, header, device, precision, tile)

    @overload
    def __call__(self, image: Tensor, progress: Progress = ...) -> Tensor: ...

    @overload
    def __call__(self, image: Image.Image, progress: Progress = ...) -> Image.Image: ...

    def __call__(
        self, image: Tensor | Image.Image, progress: Progress = lambda share: None
    ) -> Tensor | Image.Image:
        """Paint.

        Args:
            image: RGB of shape ``(N, 3, H, W)`` or ``(3, H, W)`` on any device, in [0, 1] of any
                float type, or in [0, 255] as uint8, the levels of a picture or a frame of a video;
                or a picture of any mode, upright as ``open_picture`` gives it.
            progress: Is told, tile by tile, which share of an image that takes tiles is done.

        Returns:
            The painting: a tensor of the same shape, type and device; or a picture of the same
            size, with the opacity it had.

        Raises:
            ValueError: If a tensor is of another shape or type, or empty.
        """
        with torch.inference_mode():
            if isinstance(image, Image.Image):
                return self._paint_picture(image, progress)
            check_image(image)
            painted = self._paint_tensor(image if image.ndim == 4 else image[None], progress)
        # A copy made outside inference mode is a tensor like any other, free to be changed.
        return torch.empty_like(image, requires_grad=False).copy_(painted.view(image.shape))

    def _paint_picture(self, picture: Image.Image, progress: Progress) -> Image.Image:
        if self._fits(picture.height, picture.width):
            rgb, alpha = split_alpha(picture)
            return to_picture(self.network(rgb.to(self.device)), alpha)
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
            return to_type(self.network(to_floats(images, self.device)), images.dtype)
        painted = torch.empty_like(images)
        for image, target in zip(images.split(1), painted.split(1), strict=True):

            def read(region: Region, image: Tensor = image) -> Tensor:
                return to_floats(cut(image, region), self.device)

            def write(region: Region, tile: Tensor, target: Tensor = target) -> None:
                cut(target, region).copy_(to_type(tile, target.dtype))

            self.paint_canvas(Canvas(height, width, read, write), progress)
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
        num_tiles = len(canvas.tiles(TILE_SIZE))
        statistics: list[Statistics] = []
        num_done, num_steps = 0, num_tiles
        if self.tile == "exact":
            num_steps += num_tiles * len(self.network.layers)
            for _ in exact_statistics(self.network, canvas, statistics, TILE_SIZE):
                num_done += 1
                progress(num_done / num_steps)
        else:
            statistics += self.network.measure(sample(canvas))
        for _ in paint_tiles(self.network, canvas, statistics, TILE_SIZE):
            num_done += 1
            progress(num_done / num_steps)
