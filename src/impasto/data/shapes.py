"""Outlines of generated scenes: ellipses, blobs, polygons, rectangles and branches."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import ImageDraw

FloatArray = NDArray[np.float32]

NUM_VERTICES = 28  # of a round outline: corners of a circle as large as the picture stay invisible


@dataclass(frozen=True)
class ShapeMix:
    """Which shapes, how many and how large.

    Args:
        num_shapes: At most 250, since their numbers are drawn into 8 bits.
        smallest: Radius, as a share of the picture's side.
        largest: Radius, as a share of the picture's side.
        angular: Share of shapes with corners, the rest being round.
        upright: Share of the former that are rectangles standing straight, as in buildings.
        clustered: From 0, spread evenly, to 1, crowded around a few places.
        slope: Exponent of the law of radii; 3 makes a scene look alike at every scale.
    """

    num_shapes: int
    smallest: float = 0.012
    largest: float = 0.35
    angular: float = 0.3
    upright: float = 0.2
    clustered: float = 0.3
    slope: float = 2.6


@dataclass(frozen=True)
class Shapes:
    """Many shapes, in the order of painting; lengths and places in shares of the picture's side.

    Args:
        centres: x and y, shape ``(n, 2)``.
        radii: Shape ``(n,)``.
        outlines: x and y of every vertex, shape ``(n, NUM_VERTICES, 2)``.
    """

    centres: FloatArray
    radii: FloatArray
    outlines: FloatArray


def draw_shapes(rng: np.random.Generator, mix: ShapeMix) -> Shapes:
    """Invent shapes: the larger ones tend to lie behind.

    Args:
        rng: Where chance comes from.
        mix: What to choose from.
    """
    radii = _radii(rng, mix)
    radii = radii[np.argsort(-np.log(radii) + rng.normal(0, 0.5, len(radii)))]
    centres = _centres(rng, mix, len(radii))
    outlines = _outlines(rng, mix, len(radii)) * radii[:, None, None] + centres[:, None]
    return Shapes(centres.astype(np.float32), radii.astype(np.float32), outlines.astype(np.float32))


def draw_branches(
    rng: np.random.Generator, canvas: ImageDraw.ImageDraw, size: int, fill: int
) -> None:
    """Draw a plant of thin lines that fork, growing from the lower edge.

    Args:
        rng: Where chance comes from.
        canvas: Where to.
        size: Side of the canvas, in pixels.
        fill: Number to draw with.
    """
    spread = rng.uniform(0.2, 0.6)
    stem = (rng.uniform(0, size), size, rng.normal(0, 0.3), rng.uniform(0.15, 0.4) * size, 0)
    stack = [stem]
    while stack:
        x, y, angle, length, depth = stack.pop()
        end = (x + length * np.sin(angle), y - length * np.cos(angle))
        width = max(2, round(size * 0.02 * 0.6**depth))
        canvas.line((x, y, *end), fill=fill, width=width)
        if depth < 4 and length > 0.02 * size:
            for side in (-1, 1):
                turn = side * rng.uniform(0.3, 1.5) * spread
                stack.append((*end, angle + turn, length * rng.uniform(0.5, 0.85), depth + 1))


def _radii(rng: np.random.Generator, mix: ShapeMix) -> NDArray[np.float64]:
    """Draw from the density r ** -slope by inverting its distribution."""
    power = 1 - mix.slope
    low, high = mix.smallest**power, mix.largest**power
    return (low + rng.random(mix.num_shapes) * (high - low)) ** (1 / power)


def _centres(rng: np.random.Generator, mix: ShapeMix, count: int) -> NDArray[np.float64]:
    centres = rng.uniform(-0.1, 1.1, (count, 2))
    places = rng.uniform(0, 1, (4, 2))
    crowded = rng.random(count) < mix.clustered
    around = places[rng.integers(0, 4, count)] + rng.normal(0, 0.13, (count, 2))
    return np.where(crowded[:, None], around, centres)


def _outlines(rng: np.random.Generator, mix: ShapeMix, count: int) -> NDArray[np.float64]:
    """Outlines around the origin, of radius about 1."""
    turn = np.arange(NUM_VERTICES) * (2 * np.pi / NUM_VERTICES)
    angles = np.broadcast_to(turn, (count, NUM_VERTICES)).copy()
    angular = rng.random(count) < mix.angular
    upright = angular & (rng.random(count) < mix.upright)
    corners = np.where(upright, 4, rng.integers(3, 8, count))[:, None]
    start = rng.uniform(0, 2 * np.pi, (count, 1))
    # Vertices gathered in a few places are corners.
    gathered = np.floor(angles * corners / (2 * np.pi)) * (2 * np.pi) / corners + np.pi / corners
    angles = np.where(angular[:, None], gathered, angles)
    waves = rng.normal(0, 1, (4, count, 1)) * rng.exponential(0.1, count)[:, None]
    phases = rng.uniform(0, 2 * np.pi, (4, count, 1))
    radius = 1 + sum(
        wave * np.cos(order * angles + phase) / (order - 1)
        for order, wave, phase in zip((2, 3, 5, 9), waves, phases, strict=True)
    )
    radius = np.where(upright[:, None], 1, np.maximum(radius, 0.25))
    aspect = np.exp(rng.normal(0, 0.35, (count, 1)))
    x, y = radius * np.cos(angles) * aspect, radius * np.sin(angles) / aspect
    start = np.where(upright[:, None], 0, start)
    rotated = (x * np.cos(start) - y * np.sin(start), x * np.sin(start) + y * np.cos(start))
    return np.stack(rotated, axis=-1)
