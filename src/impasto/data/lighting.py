"""Light on the shapes of a generated scene: roundness, texture, stripes and soft shadows."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from impasto.data.shapes import Shapes
from impasto.data.textures import look_up, texture_tiles

FloatArray = NDArray[np.float32]


def light_on(
    rng: np.random.Generator,
    shapes: Shapes,
    at_pixel: NDArray[np.intp],
    count: int,
    sun: NDArray[np.float64],
    texture: float,
) -> FloatArray:
    """Light every surface at every pixel: roundness, texture and pattern.

    Args:
        rng: Where chance comes from.
        shapes: The shapes.
        at_pixel: Number of the shape seen at each pixel, from 1; 0 is none. Shape ``(S, S)``.
        count: Of numbers, with 0, shapes and what else is drawn.
        sun: Direction that light comes from, and how much of it, x and y.
        texture: How strong surfaces are textured, from 0.

    Returns:
        Brightness, about 1, shape ``(S, S)``.
    """
    size = len(at_pixel)
    x = np.linspace(-0.5, 0.5, size, dtype=np.float32)
    y = x[:, None]
    constant, slope_x, slope_y, square = (
        row.take(at_pixel) for row in _roundness(rng, shapes, count, sun)
    )
    light = constant + slope_x * x + slope_y * y - square * (x * x + y * y)
    light = light.clip(0.35, 1.8)
    rough = texture * rng.exponential(0.12, count) * (rng.random(count) < 0.7)
    first, second = texture_tiles()[rng.permutation(6)[:2]]
    window, other = (look_up(tile, rng, size, size, size / 256) for tile in (first, second))
    window = np.where((rng.random(count) < 0.5).take(at_pixel), window, other)
    light *= 1 + rough.astype(np.float32).take(at_pixel) * window
    light *= _stripes(rng, at_pixel, count, texture)
    return light.clip(0.05, 2)


def shade_between(
    rng: np.random.Generator, at_pixel: NDArray[np.uint8], sun: NDArray[np.float64]
) -> FloatArray:
    """Cast soft shadows where what is near lies higher, by its number.

    Args:
        rng: Where chance comes from.
        at_pixel: Number of the shape seen at each pixel, shape ``(S, S)``.
        sun: Direction that light comes from, x and y.

    Returns:
        From 0.4, in the deepest shadow, to 1, shape ``(S, S)``.

    Source:
        Luft, Colditz & Deussen 2006, Image Enhancement by Unsharp Masking the Depth Buffer.
    """
    size = len(at_pixel)
    shift = np.round(-sun * 0.012 * size).astype(int)
    height = Image.fromarray(np.roll(at_pixel, (shift[1], shift[0]), (0, 1)))
    around = height.filter(ImageFilter.BoxBlur(size * rng.uniform(0.008, 0.03)))
    rise = np.asarray(around, np.float32) - at_pixel
    return 1 - np.float32(rng.uniform(0.1, 0.6)) * (rise / 50).clip(0, 1)


def _roundness(
    rng: np.random.Generator, shapes: Shapes, count: int, sun: NDArray[np.float64]
) -> FloatArray:
    """Light on every shape as a polynomial of the place in the picture, shape (4, count).

    With u and v the place within the shape, it is ``1 + tilt . (u, v) - bulge * (u * u + v * v)``.
    """
    centres, slopes = np.full((count, 2), 0.5), np.zeros(count)
    centres[1 : len(shapes.radii) + 1] = shapes.centres
    slopes[1 : len(shapes.radii) + 1] = 1 / shapes.radii
    centres -= 0.5
    bulge = np.where(rng.random(count) < 0.35, 0.02, rng.uniform(0.04, 0.25, count))
    tilt = rng.normal(0, 0.08, (count, 2)) + 0.8 * bulge[:, None] * sun
    linear = tilt * slopes[:, None] + 2 * (bulge * slopes**2)[:, None] * centres
    constant = 1 - (tilt * slopes[:, None] * centres).sum(1)
    constant -= bulge * slopes**2 * (centres**2).sum(1)
    return np.stack([constant, *linear.T, bulge * slopes**2]).astype(np.float32)


def _stripes(
    rng: np.random.Generator, at_pixel: NDArray[np.intp], count: int, texture: float
) -> FloatArray:
    """Stripes on some of the shapes, in any direction but most often straight, about 1."""
    size = len(at_pixel)
    pattern = np.ones((size, size), np.float32)
    strength = texture * rng.uniform(0, 0.4, count)
    strength[rng.random(count) > 0.12] = 0
    angle = rng.uniform(0, np.pi, count)
    angle = np.where(rng.random(count) < 0.4, np.round(angle / (np.pi / 2)) * np.pi / 2, angle)
    wave = 2 * np.pi / (rng.uniform(3.5, 20, count) * size / 256)
    rows, columns = np.nonzero((strength > 0).take(at_pixel))
    own = at_pixel[rows, columns]
    phase = wave[own] * (np.cos(angle)[own] * columns + np.sin(angle)[own] * rows)
    pattern[rows, columns] += strength[own] * np.tanh(3 * np.sin(phase))
    return pattern
