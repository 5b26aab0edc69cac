"""Paint photos with a trained style network; knows nothing of training."""

from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Self, TypeVar, overload

import torch
from PIL import Image
from torch import Tensor, nn

from impasto.checkpoint import CheckpointError, Header, load_checkpoint
from impasto.images import split_alpha, split_picture, to_picture
from impasto.inference.canvases import picture_canvas, tensor_canvas
from impasto.inference.coverage import (
    check_coverage,
    lay_on,
    lay_on_picture,
    to_coverage,
    unpainted,
)
from impasto.inference.devices import choose_device, choose_dtype
from impasto.inference.ensemble import Ensemble
from impasto.inference.knobs import Knobs
from impasto.inference.levels import (
    check_image,
    opaque_levels,
    require_task,
    to_floats,
    to_type,
)
from impasto.inference.painter import Painter
from impasto.inference.regions import Layout, picture_layout, tensor_layout
from impasto.inference.tiling import Canvas
from impasto.networks import MultiTransformerNet, TransformerNet

Progress = Callable[[float], object]
Photo = TypeVar("Photo", Tensor, Image.Image)
TASK = "stylization"
TILES = ("auto", "exact", "off")
TILE_SIZE = 640  # pixels a side: with its margins, 0.8 GB at full width
MAX_UNTILED_PIXELS = 4096 * 2160  # at full width a network takes 3 GB for them


class Stylizer:
    """A style network that is ready to paint.

    Args:
        network: A ``TransformerNet`` or ``MultiTransformerNet``, as its checkpoint holds it; it is
            left as it is.
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
        style: One of the network's styles, or a mix such as ``starry_night:0.7,the_scream:0.3``,
            where a style without a weight counts 1; the first one by default. For ``regions``, one
            of these for each, with slashes between, or ``photo`` to leave it unpainted.
        strength: How much is painted, in [0, 1]: at 0 the photo comes back bit for bit. Networks of
            many styles are trained for all of it; of one of a single style photo and painting are
            mixed, where strokes become transparent rather than fewer.
        stroke: Size of the strokes of networks of many styles, in pixels of the shorter side of the
            painting that they were learnt from; the smallest by default.

    Raises:
        CheckpointError: If the network was trained for another task.
        ValueError: If an argument is not allowed, or not to be had on this device or of this
            network.
    """

    def __init__(
        self,
        network: nn.Module,
        header: Header,
        device: str = "auto",
        precision: str = "auto",
        tile: str = "auto",
        colors: str = "painting",
        style: str | None = None,
        strength: float = 1.0,
        stroke: float | None = None,
    ) -> None:
        require_task(header, TASK)
        if not isinstance(network, (TransformerNet, MultiTransformerNet)):
            raise CheckpointError(f"{type(network).__name__} is no network that paints.")
        if tile not in TILES:
            raise ValueError(f"tile must be one of {', '.join(TILES)}, got {tile!r}.")
        self.header, self.tile = header, tile
        self.knobs = Knobs(style, strength, stroke, colors)
        self.device = choose_device(device)
        self.dtype = choose_dtype(precision, self.device)
        self._trained, self._precision = network, precision
        self._ensemble = Ensemble(network, header.styles, self.knobs, self.device, self.dtype)
        self.network = self._ensemble.painters[0].network

    @classmethod
    def load(
        cls,
        path: str | Path,
        device: str = "auto",
        precision: str = "auto",
        tile: str = "auto",
        colors: str = "painting",
        style: str | None = None,
        strength: float = 1.0,
        stroke: float | None = None,
    ) -> Self:
        """Read a checkpoint.

        Args:
            path: A ``.safetensors`` file that training wrote.
            device: ``auto``, ``cpu``, ``cuda``, ``cuda:1`` or ``mps``.
            precision: ``auto``, ``fp32``, ``bf16`` or ``fp16``.
            tile: ``auto``, ``exact`` or ``off``.
            colors: ``painting``, ``photo`` or ``matched``.
            style: A style, a mix, or one of these for every region, see the class.
            strength: In [0, 1].
            stroke: In pixels.

        Raises:
            FileNotFoundError: If there is no such file.
            CheckpointError: If it is no checkpoint, is damaged, or is for another task.
            ValueError: If an argument is not allowed, or not to be had on this device or of this
                network.
        """
        network, header = load_checkpoint(Path(path))
        knobs = {"colors": colors, "style": style, "strength": strength, "stroke": stroke}
        return cls(network, header, device, precision, tile, **knobs)  # type: ignore[arg-type]

    def with_knobs(self, **knobs: Any) -> Self:
        """A stylizer of the same network that paints otherwise; the file is not read again.

        Args:
            knobs: ``style``, ``strength``, ``stroke`` or ``colors``; the others stay.

        Raises:
            TypeError: If there is no such knob.
            ValueError: If a value is not allowed.
        """
        turned = asdict(replace(self.knobs, **knobs))
        place = (str(self.device), self._precision, self.tile)
        return type(self)(self._trained, self.header, *place, **turned)

    @property
    def num_regions(self) -> int:
        """How many regions ``style`` names; with one, no ``regions`` are needed."""
        return len(self._ensemble.order)

    @overload
    def __call__(
        self,
        image: Tensor,
        progress: Progress = ...,
        *,
        mask: Tensor | None = ...,
        regions: Tensor | None = ...,
        protect: Tensor | None = ...,
    ) -> Tensor: ...

    @overload
    def __call__(
        self,
        image: Image.Image,
        progress: Progress = ...,
        *,
        mask: Image.Image | None = ...,
        regions: Image.Image | None = ...,
        protect: Image.Image | None = ...,
    ) -> Image.Image: ...

    def __call__(
        self,
        image: Any,
        progress: Progress = lambda share: None,
        *,
        mask: Any = None,
        regions: Any = None,
        protect: Any = None,
    ) -> Any:
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
            regions: Which of the regions that ``style`` names a pixel is in: of a tensor, integers
                from 0 on, of the same shapes; of a picture, another one, whose grey levels are the
                regions from dark to light, resized to it without new levels. Paintings pass into
                each other softly.
            protect: Where to keep more of the photo, as of faces: like ``mask``, 1 or white for
                ``PROTECTED`` of the strength; of a picture it is blurred a little.

        Returns:
            The painting: a tensor of the same shape, type and device; or a picture of the same
            size, with the opacity it had. Where the mask is 0, the photo bit for bit.

        Raises:
            ValueError: If a tensor is of another shape or type, or empty, or ``mask``, ``regions``
                or ``protect`` do not go with it or with ``style``.
        """
        with torch.inference_mode():
            if isinstance(image, Image.Image):
                _require_pictures(mask=mask, regions=regions, protect=protect)
                layout = self.layout(image.size, regions, protect)
                painted = self.lay_out(image, layout, progress)
                if mask is None:
                    return painted
                return lay_on_picture(image, painted, to_coverage(mask, image.size))
            check_image(image)
            images = image if image.ndim == 4 else image[None]
            coverage = None if mask is None else check_coverage(mask, images)
            self._require_regions(regions)
            layouts = tensor_layout(images, regions, self._ensemble.order, protect)
            paintings = self.lay_out(images, layouts, progress)
            if coverage is not None:
                paintings = lay_on(images, paintings, coverage)
        # A copy made outside inference mode is a tensor like any other, free to be changed.
        return torch.empty_like(image, requires_grad=False).copy_(paintings.view(image.shape))

    def layout(
        self,
        size: tuple[int, int],
        regions: Image.Image | None = None,
        protect: Image.Image | None = None,
    ) -> Layout[Image.Image]:
        """Arrange what ``lay_out`` paints, once for many pictures of a size, as frames are.

        Args:
            size: Their width and height, in pixels.
            regions: As calling takes it.
            protect: Likewise.

        Raises:
            ValueError: If ``regions`` does not go with ``style``.
        """
        self._require_regions(regions)
        return picture_layout(size, regions, self._ensemble.order, protect)

    @torch.inference_mode()
    def lay_out(
        self, image: Photo, layout: Layout[Photo], progress: Progress = lambda share: None
    ) -> Photo:
        """Paint by a layout; else it is like calling, but for ``image``, which is not checked.

        Args:
            image: A picture, or a tensor of shape ``(N, 3, H, W)``.
            layout: Of this stylizer, for images of this size.
            progress: See calling.
        """
        return self._ensemble.compose(image, layout, self._paint, progress)

    @torch.inference_mode()
    def paint_canvas(self, canvas: Canvas, progress: Progress = lambda share: None) -> None:
        """Paint a picture that need not be in memory, tile by tile.

        Args:
            canvas: Is read and written, on this stylizer's device.
            progress: Is told which share of the work is done.

        Raises:
            ValueError: If ``style`` names several regions, which are laid out in memory.
        """
        self._require_regions(None)
        self._paint_tiles(self._ensemble.painters[0], canvas, progress)

    def _require_regions(self, regions: object) -> None:
        """Several styles need regions; what regions need, they are asked themselves."""
        if regions is None and self.num_regions > 1:
            raise ValueError(
                f"style={self.knobs.style} names {self.num_regions} regions: regions= is missing, "
                f"which tells where they are."
            )

    def _paint(
        self, painter: Painter, image: Tensor | Image.Image, progress: Progress
    ) -> Tensor | Image.Image:
        """Let one painter paint all of an image."""
        if isinstance(image, Image.Image):
            return self._paint_picture(painter, image, progress)
        return self._paint_tensor(painter, image, progress)

    def _paint_picture(
        self, painter: Painter, picture: Image.Image, progress: Progress
    ) -> Image.Image:
        if painter.strength == 0:
            return unpainted(picture)
        if self.fits(picture.height, picture.width):
            levels = None if self.device.type == "cpu" else opaque_levels(picture)
            if levels is not None:
                return to_picture(painter(to_floats(levels, self.device)))
            rgb, alpha = split_alpha(picture)
            return to_picture(painter(rgb.to(self.device), alpha), alpha)
        picture, opacity = split_picture(picture)
        painted = Image.new("RGB", picture.size)
        canvas = picture_canvas(picture, painted, self.device)
        self._paint_tiles(painter, canvas, progress)
        if opacity is not None:
            painted.putalpha(opacity)
        return painted

    def _paint_tensor(self, painter: Painter, images: Tensor, progress: Progress) -> Tensor:
        if painter.strength == 0:
            return images.clone()
        height, width = images.shape[-2:]
        if self.fits(height, width):
            return to_type(painter(to_floats(images, self.device)), images.dtype)
        painted = torch.empty_like(images)
        for image, target in zip(images.split(1), painted.split(1), strict=True):
            self._paint_tiles(painter, tensor_canvas(image, target, self.device), progress)
        return painted

    def _paint_tiles(self, painter: Painter, canvas: Canvas, progress: Progress) -> None:
        is_exact = self.tile == "exact"
        num_steps = painter.num_passes(is_exact) * len(canvas.tiles(TILE_SIZE))
        steps = painter.steps(canvas, is_exact, TILE_SIZE)
        for num_done, _ in enumerate(steps, start=1):
            progress(num_done / num_steps)

    def fits(self, height: int, width: int) -> bool:
        """Whether a picture of so many pixels is painted at once, not in tiles."""
        return self.tile == "off" or height * width <= MAX_UNTILED_PIXELS


def _require_pictures(**given: object) -> None:
    for name, value in given.items():
        if not isinstance(value, Image.Image | None):
            raise ValueError(f"{name}= of a picture must be one, got {type(value).__name__}.")
