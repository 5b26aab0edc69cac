"""Fill holes in photos with a trained network; knows nothing of training."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Self, overload

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from torch.nn import functional as F

from impasto.checkpoint import CheckpointError, Header, load_checkpoint
from impasto.container import HEADER_KEY
from impasto.images import split_picture, to_tensor
from impasto.inference.devices import choose_device, choose_dtype
from impasto.inference.holes import (
    DIRECT_PIXELS,
    LEAST_SIDE,
    clipped,
    fill_large,
    fill_small,
    fits,
    group_holes,
    relative,
    square_around,
    window_around,
)
from impasto.inference.levels import check_image, require_task, to_floats, to_type
from impasto.inference.tiling import Region, cut
from impasto.masks import to_mask
from impasto.networks import FILLERS, prefill

Progress = Callable[[float], object]
TASK = "inpainting"
PLAIN_MODES = ("L", "LA", "RGB", "RGBA")  # filled as they are; others that Pillow has become RGB


class Inpainter:
    """An inpainting network that is ready to fill.

    Photos of up to ``DIRECT_PIXELS`` are filled as ``fill_small`` says, larger ones as
    ``fill_large``. Networks for one size only are shown a window around each group of holes,
    resized; those that fill the middle only, one with the holes in its middle half.

    Args:
        network: As its checkpoint holds it; it is moved to the device.
        header: What its checkpoint says of it.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:1`` or ``mps``.
        precision: ``auto``, ``fp32``, ``bf16`` or ``fp16``.

    Raises:
        CheckpointError: If the network was trained for another task.
        ValueError: If ``device`` or ``precision`` is unknown or not to be had.
    """

    def __init__(
        self, network: nn.Module, header: Header, device: str = "auto", precision: str = "auto"
    ) -> None:
        require_task(header, TASK)
        if not isinstance(network, FILLERS):
            raise CheckpointError(f"{type(network).__name__} is no network that fills holes.")
        self.header = header
        self.device = choose_device(device)
        # In bfloat16 at most 3 of 255 levels different, where processors have it in half the time.
        self.dtype = choose_dtype(precision, self.device)
        self.size, self.centre_only = network.size, network.centre_only
        self.network = network.to(self.device).eval().requires_grad_(False)

    @classmethod
    def load(cls, path: str | Path, device: str = "auto", precision: str = "auto") -> Self:
        """Read a checkpoint.

        Args:
            path: A ``.safetensors`` file that training wrote.
            device: ``auto``, ``cpu``, ``cuda``, ``cuda:1`` or ``mps``.
            precision: ``auto``, ``fp32``, ``bf16`` or ``fp16``.

        Raises:
            FileNotFoundError: If there is no such file.
            CheckpointError: If it is no checkpoint, is damaged, or is for another task.
            ValueError: If ``device`` or ``precision`` is unknown or not to be had.
        """
        return cls(*load_checkpoint(Path(path)), device, precision)

    @staticmethod
    def takes(path: str | Path) -> bool:
        """Tell whether a file is a checkpoint for inpainting, from its header.

        Args:
            path: Any file; of one that cannot be read, loading it tells why.
        """
        try:
            with safe_open(path, framework="pt") as file:
                return bool(json.loads(file.metadata()[HEADER_KEY])["task"] == TASK)
        except (SafetensorError, OSError, ValueError, TypeError, KeyError, RecursionError):
            return False

    @overload
    def __call__(self, image: Tensor, mask: Tensor, progress: Progress = ...) -> Tensor: ...

    @overload
    def __call__(
        self, image: Image.Image, mask: Image.Image | Tensor, progress: Progress = ...
    ) -> Image.Image: ...

    def __call__(
        self,
        image: Tensor | Image.Image,
        mask: Tensor | Image.Image,
        progress: Progress = lambda share: None,
    ) -> Tensor | Image.Image:
        """Fill what is missing; every other pixel comes back bit for bit.

        Args:
            image: RGB of shape ``(N, 3, H, W)`` or ``(3, H, W)`` on any device, in [0, 1] of any
                float type, or in [0, 255] as uint8; or a picture, upright as ``open_picture`` gives
                it. What it holds in the hole does not matter.
            mask: 1 where a pixel is missing, of shape ``(N, 1, H, W)``, ``(1, 1, H, W)`` or
                ``(1, H, W)`` and any type; for a picture also another one, light where it is
                missing and resized to it, as ``to_mask`` reads it.
            progress: Is told which share of a picture that is filled in parts is done.

        Returns:
            The image without holes: a tensor of the same shape, type and device; or a picture of
            the same size, colour profile and opacity, but that a hole which is transparent all over
            becomes opaque. Pictures of mode L, LA, RGB, RGBA and I;16 keep their mode, those of
            mode I with 16 bits become I;16, others RGB or RGBA. Where nothing is missing, a copy.

        Raises:
            ValueError: If shapes or types are others, or all of an image is missing.
        """
        with torch.inference_mode():
            if isinstance(image, Image.Image):
                return self._fill_picture(image, mask, progress)
            check_image(image)
            images = image if image.ndim == 4 else image[None]
            missing = _missing(mask, len(images), *images.shape[-2:])
            filled = self._fill_images(images, missing, progress)
        # A copy made outside inference mode is a tensor like any other, free to be changed.
        return torch.empty_like(image, requires_grad=False).copy_(filled.view(image.shape))

    def _fill_picture(
        self, picture: Image.Image, mask: Tensor | Image.Image, progress: Progress
    ) -> Image.Image:
        missing = _missing(mask, 1, picture.height, picture.width)
        if not missing.any():
            return picture.copy()
        hole = missing[0, 0].numpy()
        filled = self._fill_levels(picture, missing, hole, progress)
        if profile := picture.info.get("icc_profile"):
            filled.info["icc_profile"] = profile
        return filled

    def _fill_levels(
        self,
        picture: Image.Image,
        missing: Tensor,
        hole: NDArray[np.bool_],
        progress: Progress,
    ) -> Image.Image:
        if _is_deep(picture):
            levels = np.array(picture).astype(np.uint16)
            grey = self._fill_images(to_tensor(picture), missing, progress)[0].mean(0)
            levels[hole] = (grey * 65535).round().cpu().numpy().astype(levels.dtype)[hole]
            return Image.fromarray(levels)
        picture = _plain(picture)
        levels = np.array(picture)  # (H, W) or (H, W, C)
        rgb = torch.from_numpy(np.array(split_picture(picture)[0])).permute(2, 0, 1)[None]
        filled = self._fill_images(rgb, missing, progress)[0].permute(1, 2, 0)
        colour = Image.fromarray(filled.contiguous().numpy())
        if picture.mode in ("L", "LA"):
            colours = levels[..., None] if picture.mode == "L" else levels[..., :1]
            colours[hole, 0] = np.asarray(colour.convert("L"))[hole]
        else:
            levels[hole, :3] = np.asarray(colour)[hole]
        if picture.mode in ("LA", "RGBA") and not levels[hole, -1].any():
            levels[hole, -1] = 255  # or nobody would see what it was filled with
        return Image.fromarray(levels)

    def _fill_images(self, images: Tensor, missing: Tensor, progress: Progress) -> Tensor:
        """Images, (N, 3, H, W), and where they are missing, (N, 1, H, W) on the CPU."""
        filled = images.clone()
        height, width = images.shape[-2:]
        if not missing.any():
            return filled
        if self.size is None and fits(height, width):
            count = max(1, DIRECT_PIXELS // (max(height, LEAST_SIDE) * max(width, LEAST_SIDE)))
            parts = (images.split(count), missing.split(count), filled.split(count))
            for part, holes, target in zip(*parts, strict=True):
                photos = to_floats(part, self.device)
                _fill_in(target, fill_small(self._run, photos, holes.to(self.device)), holes)
            return filled
        for image, holes, target in zip(images, missing, filled, strict=True):
            boxes = group_holes(holes[None])
            for index, box in enumerate(boxes):
                patch = self._fill_box(image[None], holes[None], box)
                _fill_in(cut(target[None], box), patch, cut(holes[None], box))
                progress((index + 1) / len(boxes))
        return filled

    def _fill_box(self, image: Tensor, missing: Tensor, box: Region) -> Tensor:
        """What fills a rectangle of one image, seen in its window: float32, (1, 3, H, W)."""
        window = window_around(box, *image.shape[-2:])
        if self.size is None:
            photo = to_floats(cut(image, window), self.device)
            fill = fill_small if fits(window.height, window.width) else fill_large
            filled = fill(self._run, photo, cut(missing, window).to(self.device))
        elif self.centre_only:
            window = square_around(box, self.size)
            filled = self._fill_resized(image, missing, _only(box, missing), window, self.size)
        else:
            filled = self._fill_resized(image, missing, missing, window, self.size)
        return cut(filled, relative(box, window))

    def _fill_resized(
        self, image: Tensor, missing: Tensor, wanted: Tensor, window: Region, size: int
    ) -> Tensor:
        """What a network of one size makes of a window, which may reach beyond the image.

        Of all that is missing it is told of what is wanted of it; the rest is filled smoothly.
        """
        height, width = image.shape[-2:]
        inner = clipped(window, height, width)
        seen, holes = to_floats(cut(image, inner), self.device), cut(wanted, inner)
        # All of them, or what holes hold would bleed.
        photo = prefill(seen, cut(missing, inner).to(self.device).float())
        edges = (
            inner.left - window.left,
            window.right - inner.right,
            inner.top - window.top,
            window.bottom - inner.bottom,
        )
        photo, holes = F.pad(photo, edges, mode="replicate"), F.pad(holes.float(), edges)
        photo = F.interpolate(photo, (size, size), mode="bilinear", antialias=True)
        filled = self._run(photo, F.adaptive_max_pool2d(holes, size))
        sides = (window.height, window.width)
        return F.interpolate(filled, sides, mode="bilinear", antialias=True)

    def _run(self, photos: Tensor, masks: Tensor) -> Tensor:
        is_half = self.dtype != torch.float32
        with torch.autocast(self.device.type, self.dtype, enabled=is_half):
            return self.network(photos, masks.to(self.device)).float()


def _fill_in(target: Tensor, patch: Tensor, missing: Tensor) -> None:
    """Write a patch where the target is missing, in the target's type."""
    patch = to_type(patch, target.dtype).to(target.device)
    target.copy_(torch.where(missing.to(target.device), patch, target))


def _missing(mask: Tensor | Image.Image, count: int, height: int, width: int) -> Tensor:
    """Where images are missing, (N, 1, H, W) on the CPU; something of each is known."""
    if isinstance(mask, Image.Image):
        mask = to_mask(mask, (height, width))
    if not isinstance(mask, Tensor):
        raise ValueError(f"A mask is a tensor or a PIL picture, got {type(mask).__name__}.")
    shape = tuple(mask.shape)
    if mask.ndim == 3:
        mask = mask[None]
    if mask.ndim != 4 or mask.shape[1:] != (1, height, width) or len(mask) not in (1, count):
        raise ValueError(
            f"A mask must be of shape ({count}, 1, {height}, {width}) or (1, {height}, {width}) "
            f"for these images, got {shape}."
        )
    missing = (mask > 0.5).cpu().expand(count, -1, -1, -1)
    if bool(missing.flatten(1).all(1).any()):
        raise ValueError(
            f"The mask marks all {height} x {width} pixels of an image as missing, and nothing is "
            f"left to go by: 1 is missing, 0 is known; invert the mask if it says the opposite."
        )
    return missing


def _only(box: Region, missing: Tensor) -> Tensor:
    """The holes in a rectangle, as if there were no others."""
    alone = torch.zeros_like(missing)
    cut(alone, box).copy_(cut(missing, box))
    return alone


def _is_deep(picture: Image.Image) -> bool:
    """Whether a picture is grey with 16 bits: some files of these Pillow opens as mode I."""
    if picture.mode == "I":
        levels = np.asarray(picture)
        return bool(levels.min() >= 0 and 255 < levels.max() <= 65535)
    return picture.mode.startswith("I;16")


def _plain(picture: Image.Image) -> Image.Image:
    """A picture of one of PLAIN_MODES, without loss where there is none."""
    if picture.mode in ("F", "I"):
        raise ValueError(
            f"A picture of mode {picture.mode} (32 bits) cannot be filled: convert it to 8 or 16 "
            f"bits first, or give a tensor."
        )
    if picture.mode == "La":
        return picture.convert("LA")
    if picture.has_transparency_data:
        return picture if picture.mode in PLAIN_MODES[1::2] else picture.convert("RGBA")
    if picture.mode == "1":
        return picture.convert("L")
    return picture if picture.mode in PLAIN_MODES else picture.convert("RGB")
