"""Where a photo is painted, and how much: masks with soft edges, 0 the photo, 1 the painting."""

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from impasto.images import split_alpha, split_picture, to_picture
from impasto.masks import HALF, dilate_mask


def to_coverage(
    picture: Image.Image,
    size: tuple[int, int] | None = None,
    invert: bool = False,
    dilate: int = 0,
) -> Image.Image:
    """Turn a picture of any mode into shares: black keeps the photo, white is painted.

    Of a picture with pixels that are transparent, opacity alone counts, as with ``to_mask``.

    Args:
        picture: Of any mode.
        size: Width and height of the result, in pixels, resized smoothly and without regard to
            proportions; ``None`` keeps the picture's.
        invert: Whether black is painted instead.
        dilate: Pixels by which what is light grows, at the size of the result.

    Returns:
        A picture of mode L.

    Raises:
        ValueError: If ``dilate`` is negative.
    """
    shares, opacity = picture, None
    if picture.mode != "L" or picture.has_transparency_data:
        colour, opacity = split_picture(picture)
        shares = colour.convert("L")
    if opacity is not None and np.asarray(opacity).min() < HALF:  # else a shade below opaque
        shares = opacity
    if invert:
        shares = shares.point([255 - level for level in range(256)])
    if size is not None and shares.size != size:
        # Bilinear never overshoots: what is black around stays black.
        shares = shares.resize(size, Image.Resampling.BILINEAR)
    if dilate == 0:
        return shares
    grown = dilate_mask(torch.from_numpy(np.array(shares))[None, None].float(), dilate)
    return Image.fromarray(grown[0, 0].to(torch.uint8).numpy())


def lay_on(photo: Tensor, painted: Tensor, coverage: Tensor) -> Tensor:
    """Mix photos and their paintings.

    Args:
        photo: Of shape ``(N, 3, H, W)``, any float type, or levels as uint8.
        painted: Of the same shape and type.
        coverage: In [0, 1], any float type, shape ``(N, 1, H, W)`` or ``(1, 1, H, W)``.

    Returns:
        Like ``photo`` in shape, type and device: its values where ``coverage`` is 0, the painting's
        where it is 1, bit for bit.
    """
    dtype = photo.dtype if photo.dtype == torch.float64 else torch.float32
    painted, coverage = (values.to(photo.device, dtype) for values in (painted, coverage))
    mixed = torch.lerp(photo.to(dtype), painted, coverage)
    return mixed.to(photo.dtype) if photo.is_floating_point() else mixed.round_().to(photo.dtype)


def lay_on_picture(photo: Image.Image, painted: Image.Image, coverage: Image.Image) -> Image.Image:
    """Mix a picture and its painting.

    Args:
        photo: Of any mode.
        painted: Of mode RGB or RGBA, and of the same size.
        coverage: Of mode L and of the same size.

    Returns:
        Of the painting's mode: the photo's pixels where ``coverage`` is 0, the painting's where it
        is 255, bit for bit; a photo of more than 8 bits is rounded.
    """
    if photo.mode in ("F", "I") or photo.mode.startswith("I;16"):
        photo = to_picture(*split_alpha(photo))
    if photo.mode == "La":  # Pillow converts it to nothing else
        photo = photo.convert("LA")
    return Image.composite(painted, photo.convert(painted.mode), coverage)


def unpainted(picture: Image.Image) -> Image.Image:
    """Bring a picture to the mode that its painting has, and leave its pixels as they are.

    Args:
        picture: Of any mode; one of more than 8 bits is rounded.

    Returns:
        A picture of mode RGB, or RGBA where it is not opaque.
    """
    colour, opacity = split_picture(picture)
    if opacity is not None:
        colour.putalpha(opacity)
    return lay_on_picture(picture, colour, Image.new("L", picture.size))


def check_coverage(mask: object, images: Tensor, name: str = "mask") -> Tensor:
    """Take what a caller gives for tensors.

    Args:
        mask: Shares in [0, 1] of any float type, or booleans; shape ``(N, 1, H, W)``,
            ``(1, 1, H, W)`` or ``(1, H, W)``.
        images: Of shape ``(N, C, H, W)``.
        name: Of the argument, for messages.

    Returns:
        Floats, shape ``(N, 1, H, W)`` or ``(1, 1, H, W)``.

    Raises:
        ValueError: If it is anything else.
    """
    shares = check_maps(mask, images, name)
    if shares.dtype == torch.bool:
        return shares.float()
    if not shares.is_floating_point():
        raise ValueError(f"{name}= must hold floats in [0, 1], got {shares.dtype}: divide by 255.")
    if not ((shares >= 0) & (shares <= 1)).all():
        low, high = float(shares.min()), float(shares.max())
        raise ValueError(f"{name}= must be from 0 to 1, got values from {low:g} to {high:g}.")
    return shares


def check_maps(maps: object, images: Tensor, name: str) -> Tensor:
    """Take one channel for every image, or one for all.

    Args:
        maps: Of any type, shape ``(N, 1, H, W)``, ``(1, 1, H, W)`` or ``(1, H, W)``.
        images: Of shape ``(N, C, H, W)``.
        name: Of the argument, for messages.

    Returns:
        The same, shape ``(N, 1, H, W)`` or ``(1, 1, H, W)``.

    Raises:
        ValueError: If it is anything else.
    """
    if not isinstance(maps, Tensor):
        raise ValueError(f"{name}= of a tensor must be a tensor, got {type(maps).__name__}.")
    count, _, height, width = images.shape
    planes = maps[None] if maps.ndim == 3 else maps
    if planes.ndim != 4 or planes.shape[1:] != (1, height, width) or len(planes) not in (1, count):
        raise ValueError(
            f"{name}= must be of shape ({count}, 1, {height}, {width}) or (1, {height}, {width}) "
            f"for these images, got {tuple(maps.shape)}."
        )
    return planes
