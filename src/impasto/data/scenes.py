"""Scenes that are photos of nothing: dead leaves, lit, textured and out of focus.

The dead-leaves model (Matheron 1968; Lee, Mumford & Huang 2001) covers a picture with shapes whose
sizes follow a power law, which gives occlusion, edges and flat areas the statistics of photos. Here
it gets what painting photos also takes: ground and sky, light and shadow, texture, depth of field.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from impasto.data.lighting import light_on, shade_between
from impasto.data.shapes import ShapeMix, Shapes, draw_branches, draw_shapes
from impasto.data.textures import (
    CLOUD,
    GRAIN,
    LEAVES,
    STREAKS,
    TILE_SIZE,
    look_up,
    sensor_noise,
    texture_tiles,
)

FloatArray = NDArray[np.float32]

# Rows: luminance, blue against yellow, red against green, in logarithms of RGB. In this order the
# spread of natural images falls, and they do not correlate (Ruderman, Cronin & Chiao 1998).
OPPONENT = np.array([[1, 1, 1], [1, 1, -2], [1, -1, 0]]) / np.sqrt([[3], [6], [2]])


@dataclass(frozen=True)
class Kind:
    """A kind of scene.

    Args:
        share: How often it is chosen, against the others.
        near: Shapes in focus.
        far: Shapes behind them.
        horizon: Chance of sky and ground behind all.
        blur: Largest blur of what is far, as a share of the picture's side.
        texture: How strong surfaces are textured, 0 to 1.
        branches: Most plants.
    """

    share: float
    near: ShapeMix
    far: ShapeMix | None = None
    horizon: float = 0.3
    blur: float = 0.0
    texture: float = 0.5
    branches: int = 0


KINDS = (
    Kind(  # landscape
        share=3,
        near=ShapeMix(120, largest=0.2, clustered=0.8),
        far=ShapeMix(40, smallest=0.02),
        horizon=1.0,
        blur=0.01,
        texture=0.8,
        branches=3,
    ),
    Kind(share=3, near=ShapeMix(240, smallest=0.015, slope=2.3)),  # clutter
    Kind(  # portrait: few large round shapes before a blurred background
        share=3,
        near=ShapeMix(14, 0.03, 0.4, angular=0.1, clustered=0.6, slope=1.5),
        far=ShapeMix(60, smallest=0.03),
        horizon=0.2,
        blur=0.04,
        texture=0.3,
    ),
    Kind(  # town and rooms
        share=2,
        near=ShapeMix(130, angular=0.9, upright=0.8, slope=2.4),
        horizon=0.4,
        texture=0.4,
        branches=1,
    ),
    Kind(share=1, near=ShapeMix(70, largest=0.5, slope=2.2), horizon=0.0, texture=1.2),  # materials
    Kind(  # calm
        share=1,
        near=ShapeMix(5, smallest=0.05, slope=2.0),
        far=ShapeMix(5, smallest=0.1),
        horizon=0.7,
        blur=0.02,
        texture=0.2,
        branches=1,
    ),
)
SHARES = np.array([kind.share for kind in KINDS]) / sum(kind.share for kind in KINDS)


def paint_scene(rng: np.random.Generator, size: int) -> NDArray[np.uint8]:
    """Paint a scene.

    Args:
        rng: Where chance comes from; the same state paints the same scene.
        size: Side, in pixels.

    Returns:
        RGB, 0 to 255, shape ``(size, size, 3)``.
    """
    kind = KINDS[rng.choice(len(KINDS), p=SHARES)]
    colours = _palette(rng)
    sun = rng.normal(0, 1, 2)
    scene = _backdrop(rng, size if kind.far is None else -(-size // 2), colours, kind)
    if kind.far is not None:  # what is out of focus need not be painted at full size
        far = replace(kind, near=kind.far, branches=0)
        scene = _paint_layer(rng, scene, colours[:5], sun, far)
        scene = _defocus(scene, size, kind.blur * rng.uniform(0.05, 1))
    scene = _paint_layer(rng, scene, colours[3:], sun, kind)
    return _develop(rng, scene)


def _palette(rng: np.random.Generator) -> FloatArray:
    """Nine colours that go together: mostly muted, some vivid, shape (9, 3), about 0 to 1."""
    luminance = rng.normal(0, rng.uniform(0.5, 1.2), 9)
    vividness = rng.lognormal(-0.2, 0.5) * np.where(rng.random(9) < 0.12, 2.5, 1)
    yellow = rng.normal(0.12, 0.15) + rng.laplace(0, 0.2, 9) * vividness
    # Yellow leans to leaf green, brown or red; blue keeps off violet, which nature has little of.
    lean = np.where(yellow > 0, rng.uniform(-0.5, 1.1, 9), rng.normal(0.45, 0.2, 9))
    red = yellow * lean + rng.laplace(0, 0.04, 9) * vividness
    logarithms = np.stack([luminance, yellow, red], axis=1) @ OPPONENT
    return np.exp(logarithms - 1.0).clip(0.01, 1).astype(np.float32)


def _backdrop(rng: np.random.Generator, size: int, colours: FloatArray, kind: Kind) -> FloatArray:
    """Sky above ground, or a wall: what is seen where nothing else is, shape (size, size, 3)."""
    first, second, third, fourth = colours[rng.permutation(len(colours))[:4]]
    down = np.linspace(0, 1, size, dtype=np.float32)[:, None, None]
    along = np.linspace(-1, 1, size, dtype=np.float32)[None, :, None] * rng.normal(0, 0.3)
    cloud = look_up(texture_tiles()[CLOUD], rng, size, size, zoom=size / 256)[..., None]
    wall = first + (second - first) * (down + along).clip(0, 1)
    wall = wall * (1 + 0.25 * kind.texture * rng.random() * cloud)
    if rng.random() >= kind.horizon:
        return wall
    horizon = int(size * rng.uniform(0.15, 0.85))
    wall[:horizon] *= 1.5  # the sky is the brightest thing
    ground = third + (fourth - third) * down[: size - horizon] * rng.random()
    wall[horizon:] = ground * _relief(rng, size - horizon, size)[..., None]
    return wall


def _relief(rng: np.random.Generator, height: int, size: int) -> FloatArray:
    """Brightness of a textured plain that recedes to the horizon, about 1, shape (height, size)."""
    distance = 1 / (np.arange(1, height + 1, dtype=np.float32) / size + 0.02)
    tile = texture_tiles()[rng.choice([GRAIN, STREAKS, LEAVES, CLOUD])]
    rows = (distance * rng.uniform(20, 60)).astype(np.intp) & (TILE_SIZE - 1)
    across = (np.arange(size) - size // 2) * (256 / size)
    columns = (across * distance[:, None] * 0.5).astype(np.intp) & (TILE_SIZE - 1)
    fading = (4 / distance).clip(0, 1)[:, None]  # far texture is finer than a pixel
    relief = 1 + np.float32(rng.uniform(0.05, 0.35)) * fading * tile[rows[:, None], columns]
    return relief.astype(np.float32)


def _paint_layer(
    rng: np.random.Generator,
    behind: FloatArray,
    colours: FloatArray,
    sun: NDArray[np.float64],
    kind: Kind,
) -> FloatArray:
    """Lay shapes over a picture, shape (size, size, 3) in and out."""
    size = len(behind)
    shapes = draw_shapes(rng, kind.near)
    count = len(shapes.radii) + kind.branches
    numbers = _draw_numbers(rng, shapes, kind, size)
    own = colours[rng.integers(0, len(colours), count)]
    own = own * np.exp(rng.normal(0, 0.2, (count, 1)) + rng.normal(0, 0.04, (count, 3)))
    covered = numbers.copy()
    covered.putpalette(bytes(3) + (own * 255).clip(0, 255).astype(np.uint8).tobytes())
    flat = np.asarray(covered.convert("RGB").reduce(2), dtype=np.float32) / 255
    free = np.asarray(numbers.point([255] + [0] * 255).reduce(2), dtype=np.float32) / 255
    at_pixel = np.ascontiguousarray(np.asarray(numbers)[::2, ::2])
    light = light_on(rng, shapes, at_pixel.astype(np.intp), count + 1, sun, kind.texture)
    shade = shade_between(rng, at_pixel, sun)
    layer = (flat * light[..., None] + behind * free[..., None]) * shade[..., None]
    return layer.astype(np.float32, copy=False)


def _draw_numbers(rng: np.random.Generator, shapes: Shapes, kind: Kind, size: int) -> Image.Image:
    """Which shape is seen where, counted from 1, at twice the size for smooth edges."""
    numbers = Image.new("L", (2 * size, 2 * size))
    canvas = ImageDraw.Draw(numbers)
    outlines = (shapes.outlines * (2 * size)).reshape(len(shapes.radii), -1)
    for number, outline in enumerate(outlines.tolist(), start=1):
        canvas.polygon(outline, fill=number)
    for plant in range(rng.integers(0, kind.branches + 1)):
        draw_branches(rng, canvas, 2 * size, len(outlines) + 1 + plant)
    return numbers


def _defocus(scene: FloatArray, size: int, blur: float) -> FloatArray:
    """Blur, by a share of the side, and enlarge to the given side."""
    levels = Image.fromarray((scene * 127.5).clip(0, 255).astype(np.uint8))  # 2 is the brightest
    levels = levels.filter(ImageFilter.GaussianBlur(blur * len(scene)))
    return np.asarray(levels.resize((size, size), Image.Resampling.BICUBIC), np.float32) / 127.5


def _develop(rng: np.random.Generator, scene: FloatArray) -> NDArray[np.uint8]:
    """Light unevenly, expose and quantise: dark, bright, soft and hard, with a little noise."""
    size = len(scene)
    across = np.linspace(-1, 1, size, dtype=np.float32)
    falloff_x, falloff_y = np.exp(rng.normal(0, 0.25, (2, 1)).astype(np.float32) * across)
    scene = scene.clip(0) * (falloff_y[:, None] * falloff_x)[..., None]
    mean = scene.mean() + np.float32(1e-3)
    scene = np.float32(rng.beta(5, 6)) * (scene / mean) ** np.float32(rng.uniform(0.9, 1.5))
    noise = look_up(sensor_noise(), rng, size, size)
    scene += np.float32(rng.exponential(0.008)) * noise
    return (scene * 255).clip(0, 255).astype(np.uint8)
