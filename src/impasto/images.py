"""Pictures as tensors: float32 RGB in [0, 1], shape (N, 3, H, W), and back."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from impasto.pictures import (
    DEFAULT_MAX_PIXELS,
    DEFAULT_QUALITY,
    IMAGE_SUFFIXES,
    SAVED_SUFFIXES,
    list_images,
    open_picture,
    save_picture,
)

__all__ = [
    "DEFAULT_MAX_PIXELS",
    "DEFAULT_QUALITY",
    "IMAGE_SUFFIXES",
    "SAVED_SUFFIXES",
    "image_grid",
    "list_images",
    "load_image",
    "open_picture",
    "resize_short_side",
    "save_image",
    "save_picture",
    "split_alpha",
    "split_picture",
    "to_picture",
    "to_tensor",
]

MID_GREY = 0.5
SMALL_SIZE = 256  # pixels a side, enough to take a mean from


def load_image(path: str | Path, max_pixels: int = DEFAULT_MAX_PIXELS) -> Tensor:
    """Read a picture file, upright and in sRGB; see ``open_picture``.

    Args:
        path: A picture file.
        max_pixels: Largest width times height accepted.

    Returns:
        RGB in [0, 1], shape ``(1, 3, H, W)``.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is no picture, is damaged, or has more than ``max_pixels``.
    """
    return to_tensor(open_picture(path, max_pixels))


def save_image(image: Tensor, path: str | Path, quality: int = DEFAULT_QUALITY) -> None:
    """Write one image in the format of the path's suffix, atomically; see ``save_picture``.

    Args:
        image: RGB in [0, 1], shape ``(1, 3, H, W)`` or ``(3, H, W)``.
        path: Where to; missing folders are made.
        quality: Of JPEG, WebP and AVIF, 1 to 100.

    Raises:
        ValueError: If the shape, the suffix or ``quality`` is not allowed.
        OSError: If the file cannot be written.
    """
    save_picture(to_picture(image), path, quality)


def to_tensor(picture: Image.Image) -> Tensor:
    """Turn a picture of any mode into RGB; what its transparency hides becomes the mean colour.

    Args:
        picture: Of any mode. 16-bit grey keeps its precision. Floats (mode F) are taken as [0, 1],
            or as [0, 255], which is what Pillow's own conversions give, where any exceeds 2.

    Returns:
        RGB in [0, 1], shape ``(1, 3, H, W)``.
    """
    return split_alpha(picture)[0]


def split_alpha(picture: Image.Image) -> tuple[Tensor, Tensor | None]:
    """Take a picture apart into colour and opacity.

    What lies under an opacity of exactly 0 is arbitrary (often black) and would bleed into the
    painting: it is replaced by the mean of the visible colours, or mid-grey where nothing is
    visible. Colours under any higher opacity are seen, and stay.

    Args:
        picture: Of any mode.

    Returns:
        RGB in [0, 1], shape ``(1, 3, H, W)``, and opacity in [0, 1], shape ``(1, 1, H, W)``;
        ``None`` for the latter where the whole picture is opaque.
    """
    if picture.mode in ("F", "I") or picture.mode.startswith("I;16"):
        return _split_deep(picture)
    if not picture.has_transparency_data:
        return _from_bytes(picture.convert("RGB")), None
    if picture.mode == "La":  # Pillow converts it to nothing else
        picture = picture.convert("LA")
    rgba = _from_bytes(picture.convert("RGBA"))
    rgb, alpha = rgba[:, :3].contiguous(), rgba[:, 3:].contiguous()
    if bool((alpha == 1).all()):
        return rgb, None
    return _cover_hidden(rgb, alpha), alpha


def split_picture(picture: Image.Image) -> tuple[Image.Image, Image.Image | None]:
    """Like ``split_alpha``, for pictures that are too large for floats.

    Args:
        picture: Of any mode.

    Returns:
        A picture of mode RGB, and its opacity as one of mode L, or ``None``.
    """
    if picture.mode in ("F", "I") or picture.mode.startswith("I;16"):
        picture = to_picture(*split_alpha(picture))
    if not picture.has_transparency_data:
        return picture if picture.mode == "RGB" else picture.convert("RGB"), None
    picture = picture.convert("LA" if picture.mode == "La" else "RGBA").convert("RGBA")
    rgb, alpha = picture.convert("RGB"), picture.getchannel("A")
    darkest = min(alpha.getextrema())
    if darkest == 255:
        return rgb, None
    if darkest == 0:
        small = _from_bytes(picture.resize((SMALL_SIZE, SMALL_SIZE), Image.Resampling.BOX))
        mean = _visible_mean(small[:, :3], small[:, 3:]).flatten() * 255
        rgb.paste(tuple(mean.round().int().tolist()), mask=alpha.point([255] + [0] * 255))
    return rgb, alpha


def to_picture(image: Tensor, alpha: Tensor | None = None) -> Image.Image:
    """Turn one image into a picture of 8 bits, rounded, with values outside [0, 1] clamped.

    Args:
        image: RGB in [0, 1], shape ``(1, 3, H, W)`` or ``(3, H, W)``, any float type and device.
        alpha: Opacity in [0, 1], shape ``(1, 1, H, W)`` or ``(1, H, W)``.

    Returns:
        A picture of mode RGB, or RGBA where ``alpha`` is given.

    Raises:
        ValueError: If the shapes are not these, or ``image`` holds integers.
    """
    channels = [_single(image, 3, "image")]
    if alpha is not None:
        channels.append(_single(alpha, 1, "alpha").to(channels[0].device))
        if alpha.shape[-2:] != image.shape[-2:]:
            raise ValueError(
                f"image and alpha must be of one size, got {tuple(image.shape[-2:])} "
                f"and {tuple(alpha.shape[-2:])} (height, width)."
            )
    levels = torch.cat([(c.clamp(0, 1) * 255).round().to(torch.uint8) for c in channels])
    return Image.fromarray(levels.permute(1, 2, 0).contiguous().cpu().numpy())


def resize_short_side(image: Tensor, size: int) -> Tensor:
    """Resize so that the shorter side has ``size`` pixels, without aliasing, in proportion.

    Args:
        image: Of shape ``(N, C, H, W)``, any range.
        size: Pixels of the shorter side, at least 1.

    Returns:
        Of shape ``(N, C, H', W')``; the very same tensor where nothing changes.

    Raises:
        ValueError: If ``size`` is below 1.
    """
    if size < 1:
        raise ValueError(f"size must be at least 1 pixel, got {size}.")
    height, width = image.shape[-2:]
    scale = size / min(height, width)
    target = (max(1, round(height * scale)), max(1, round(width * scale)))
    if target == (height, width):
        return image
    return F.interpolate(image, target, mode="bilinear", align_corners=False, antialias=True)


def square(image: Tensor, size: int) -> Tensor:
    """Cut out the middle of an image, after resizing it so that this is as much as can be.

    Args:
        image: Of shape ``(N, C, H, W)``, any range.
        size: Pixels a side, at least 1.

    Returns:
        Of shape ``(N, C, size, size)``.

    Raises:
        ValueError: If ``size`` is below 1.
    """
    image = resize_short_side(image, size)
    top, left = ((side - size) // 2 for side in image.shape[-2:])
    return image[..., top : top + size, left : left + size]


def image_grid(
    batches: Sequence[Tensor], columns: int | None = None, padding: int = 4, background: float = 1.0
) -> Tensor:
    """Lay images out in rows, to look at them together.

    Args:
        batches: Images in [0, 1], each of shape ``(N, 3, H, W)``, all of one H and W. They fill the
            grid one after the other.
        columns: Images in a row; by default as many as the first batch has, so that every batch is
            a row of its own.
        padding: Pixels between images and around them.
        background: Grey level of padding and empty places, in [0, 1].

    Returns:
        One image in [0, 1], shape ``(3, H', W')``.
    """
    images = torch.cat(list(batches))
    columns = columns or len(batches[0])
    rows = -(-len(images) // columns)
    height, width = (size + padding for size in images.shape[-2:])
    grid = images.new_full((3, rows * height + padding, columns * width + padding), background)
    for index, image in enumerate(images):
        top = index // columns * height + padding
        left = index % columns * width + padding
        grid[:, top : top + image.shape[1], left : left + image.shape[2]] = image
    return grid


def _from_bytes(picture: Image.Image) -> Tensor:
    levels = torch.from_numpy(np.array(picture))  # (H, W, C), 0 to 255
    planes = levels.permute(2, 0, 1)[None]
    return planes.to(torch.float32, memory_format=torch.contiguous_format).div_(255)


def _split_deep(picture: Image.Image) -> tuple[Tensor, Tensor | None]:
    """``split_alpha`` of modes that Pillow would clip at 255."""
    levels = np.array(picture)
    rgb = _deep_grey(levels, picture.mode).expand(-1, 3, -1, -1).contiguous()
    hidden = picture.info.get("transparency")  # the one level of a PNG that is not seen
    if not isinstance(hidden, int) or not (levels == hidden).any():
        return rgb, None
    alpha = torch.from_numpy((levels != hidden).astype(np.float32))[None, None]
    return _cover_hidden(rgb, alpha), alpha


def _deep_grey(levels: np.ndarray, mode: str) -> Tensor:
    """Grey in [0, 1], shape (1, 1, H, W)."""
    grey = torch.from_numpy(levels.astype(np.float32))[None, None]
    if mode == "F":
        grey = grey.nan_to_num(0, 1, 0)
        return (grey / 255 if grey.max() > 2 else grey).clamp(0, 1)
    if grey.max() > 65535:  # mode I holds files of 16 bits, and those of 32, which have no sign
        grey = torch.from_numpy(levels.view(np.uint32).astype(np.float32))[None, None]
        return grey / (2**32 - 1)
    return (grey / 65535).clamp(0, 1)


def _cover_hidden(rgb: Tensor, alpha: Tensor) -> Tensor:
    return torch.where(alpha > 0, rgb, _visible_mean(rgb, alpha))


def _visible_mean(rgb: Tensor, alpha: Tensor) -> Tensor:
    """The mean colour of what can be seen, (1, 3, 1, 1)."""
    weight = alpha.sum()
    if weight == 0:
        return rgb.new_full((1, 3, 1, 1), MID_GREY)
    return (rgb * alpha).sum((2, 3), keepdim=True) / weight


def _single(image: Tensor, num_channels: int, name: str) -> Tensor:
    shape = tuple(image.shape)
    planes = image[0] if image.ndim == 4 and len(image) == 1 else image
    if planes.ndim != 3 or planes.shape[0] != num_channels or planes.numel() == 0:
        raise ValueError(
            f"{name} must be of shape (1, {num_channels}, H, W) or ({num_channels}, H, W), "
            f"got {shape}."
        )
    if not image.is_floating_point():
        raise ValueError(f"{name} must hold floats in [0, 1], got {image.dtype}: divide by 255.")
    return planes.detach().float()
