"""Surfaces of generated scenes: noise with the spectra of cloud, grain, hair and leaves."""

from functools import cache

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]

TILE_SIZE = 512  # pixels; a power of two, so that a bit mask wraps coordinates
CLOUD, GRAIN, STREAKS, HAIR, LEAVES, BUMPS = range(6)  # the tiles, by index
TILES_SEED = 20160327  # fixed: scenes differ by where they look into the tiles


@cache
def texture_tiles() -> FloatArray:
    """Make the tiles, once per process.

    Returns:
        Mean 0 and standard deviation 1 each, without seams, shape ``(6, TILE_SIZE, TILE_SIZE)``.
    """
    rng = np.random.default_rng(TILES_SEED)
    fy = np.fft.fftfreq(TILE_SIZE)[:, None] * TILE_SIZE  # cycles per tile
    fx = np.fft.rfftfreq(TILE_SIZE)[None] * TILE_SIZE
    radius = np.hypot(fx, fy)
    radius[0, 0] = 1
    band = np.log(radius / 40) / 0.5
    amplitudes = {
        CLOUD: radius**-1.3,
        GRAIN: radius**-0.4,
        STREAKS: np.hypot(8 * fx, np.abs(fy) + 1) ** -1.2,
        HAIR: np.hypot(fx - 0.5 * fy, 10 * np.abs(fy + 0.5 * fx) + 1) ** -1.0,
        LEAVES: np.exp(-((band - 0.8) ** 2)),
        BUMPS: np.exp(-(band**2)),
    }
    tiles = np.stack([_noise(rng, amplitudes[kind]) for kind in range(len(amplitudes))])
    tiles[LEAVES] = np.tanh(3 * tiles[LEAVES])  # leaves have edges
    tiles -= tiles.mean((1, 2), keepdims=True)
    return (tiles / tiles.std((1, 2), keepdims=True)).astype(np.float32)


@cache
def sensor_noise() -> FloatArray:
    """White noise of standard deviation 1, shape ``(TILE_SIZE, TILE_SIZE, 3)``."""
    rng = np.random.default_rng(TILES_SEED + 1)
    return rng.standard_normal((TILE_SIZE, TILE_SIZE, 3), dtype=np.float32)


def look_up(
    tile: FloatArray, rng: np.random.Generator, height: int, width: int, zoom: float = 1.0
) -> FloatArray:
    """Cut a window out of a tile at a random place, repeating the tile as needed.

    Args:
        tile: Of shape ``(TILE_SIZE, TILE_SIZE, ...)``.
        rng: Decides the place, and whether the tile is mirrored.
        height: Of the window, in pixels.
        width: Of the window, in pixels.
        zoom: Size of a pixel of the tile, in pixels of the window.

    Returns:
        Of shape ``(height, width, ...)``.
    """
    top, left = rng.integers(0, TILE_SIZE, 2)
    rows = (top + (np.arange(height) / zoom).astype(np.intp)) & (TILE_SIZE - 1)
    columns = (left + (np.arange(width) / zoom).astype(np.intp)) & (TILE_SIZE - 1)
    if rng.random() < 0.5:
        columns = columns[::-1]
    return tile.take(rows, axis=0).take(columns, axis=1)


def _noise(rng: np.random.Generator, amplitude: NDArray[np.float64]) -> NDArray[np.float64]:
    phase = rng.uniform(0, 2 * np.pi, amplitude.shape)
    amplitude[0, 0] = 0
    noise = np.fft.irfft2(amplitude * np.exp(1j * phase), s=(TILE_SIZE, TILE_SIZE))
    return noise / noise.std()
