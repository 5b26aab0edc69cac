"""Masks to train and to judge inpainting with, in families, each mask from its number alone.

A family is called with height, width and a random generator, and returns a bool array of shape
(height, width), true where the picture is missing; ``draw_mask`` makes it a mask as the rest of the
package knows it. Nothing here depends on the process, the worker or what was drawn before.
"""

import logging
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from torch import Tensor

log = logging.getLogger(__name__)

BoolArray = NDArray[np.bool_]
MaskFamily = Callable[[int, int, np.random.Generator], BoolArray]

STREAM = 20160425  # tells the chance of masks from that of photos; the day of the paper
MIN_SIDE = 16  # pixels; in smaller pictures the shapes below mean nothing
AREAS = (0.05, 0.5)  # least and most of a picture that is missing
REGION_AREAS = (0.2, 0.3)  # the authors' own bounds
BLOCK_AREAS = (0.12, 0.28)  # of the squares together; what overlaps brings it below a quarter
NUM_BLOCKS = (2, 6)
NOISE_CELL = 0.13  # of the shorter side: the authors' noise has a cell per 16.7 of 128 pixels
MAX_TRIES = 100


def draw_mask(family: MaskFamily, height: int, width: int, seed: int, number: int) -> Tensor:
    """Draw a mask that depends on its arguments alone.

    Args:
        family: Such as ``FAMILIES["region"]`` or a ``MaskMix``.
        height: In pixels, at least 16.
        width: In pixels, at least 16.
        seed: Of the run, at least 0.
        number: Of the sample, at least 0.

    Returns:
        1 where the picture is missing and 0 elsewhere, shape ``(1, 1, height, width)``.

    Raises:
        ValueError: If the size is too small, and what the family raises.
    """
    missing = family(height, width, np.random.default_rng((seed, STREAM, number)))
    return torch.from_numpy(missing.astype(np.float32))[None, None]


def centre(
    height: int, width: int, rng: np.random.Generator | None = None, overlap: int = 0
) -> BoolArray:
    """The middle: half the height and half the width, always the same.

    Args:
        height: In pixels, at least 16.
        width: In pixels, at least 16.
        rng: Not used.
        overlap: Pixels at every side of the middle that stay visible, while the network still
            predicts them: 4 in the authors' code, 7 in the paper.

    Raises:
        ValueError: If the size is too small or ``overlap`` leaves nothing missing.
    """
    check_size(height, width)
    if not 0 <= 2 * overlap < min(height, width) // 2:
        raise ValueError(
            f"overlap must be at least 0 and below a quarter of the shorter side, which has "
            f"{min(height, width)} pixels, got {overlap}."
        )
    missing = np.zeros((height, width), np.bool_)
    top, left = (height - height // 2) // 2, (width - width // 2) // 2
    missing[
        top + overlap : top + height // 2 - overlap, left + overlap : left + width // 2 - overlap
    ] = True
    return missing


def blocks(height: int, width: int, rng: np.random.Generator) -> BoolArray:
    """Several squares that may overlap, together up to about a quarter.

    Source:
        The paper's "random block", which its code does not have; number and sizes are ours.
    """

    def draw() -> BoolArray:
        missing = np.zeros((height, width), np.bool_)
        shares = rng.uniform(0.5, 1.5, rng.integers(*NUM_BLOCKS, endpoint=True))
        shares *= rng.uniform(*BLOCK_AREAS) / shares.sum()
        for share in shares:
            side = max(1, min(round(math.sqrt(share * height * width)), height, width))
            top, left = rng.integers(0, (height - side + 1, width - side + 1))
            missing[top : top + side, left : left + side] = True
        return missing

    return _first_within(AREAS, draw, height, width)


def regions(height: int, width: int, rng: np.random.Generator) -> BoolArray:
    """Smooth shapes anywhere, 20 to 30 % of the picture.

    As in the authors' code it is coarse noise, enlarged and cut at a level. There one huge pattern
    has a fixed level and the batch shares a window with the right area; here every mask has its own
    noise, and the level that gives the area.
    """
    cell = NOISE_CELL * min(height, width)
    rows, columns = (math.ceil(side / cell) + 3 for side in (height, width))

    def draw() -> BoolArray:
        # Bytes: Pillow enlarges them in integers, which come out the same on every machine.
        noise = Image.fromarray(rng.integers(0, 256, (rows, columns), np.uint8))
        top, left = rng.uniform(1, 2, 2)
        window = (left, top, left + width / cell, top + height / cell)
        levels = np.asarray(noise.resize((width, height), Image.Resampling.BICUBIC, window))
        at_most = np.cumsum(np.bincount(levels.ravel(), minlength=256))
        return levels <= np.searchsorted(at_most, rng.uniform(*REGION_AREAS) * levels.size)

    return _first_within(REGION_AREAS, draw, height, width)


@dataclass(frozen=True)
class Brush:
    """How strokes look; lengths in pixels of a picture whose shorter side is 256.

    Args:
        widths: Least and most of a stroke.
        lengths: Least and most of a straight piece.
        num_pieces: Least and most in a stroke.
        turn: Largest angle between two pieces, in radians.
    """

    widths: tuple[float, float]
    lengths: tuple[float, float]
    num_pieces: tuple[int, int]
    turn: float


THIN = Brush(widths=(5, 14), lengths=(20, 80), num_pieces=(3, 10), turn=1.2)
MEDIUM = Brush(widths=(16, 36), lengths=(20, 90), num_pieces=(2, 7), turn=1.5)
THICK = Brush(widths=(40, 80), lengths=(20, 80), num_pieces=(1, 4), turn=1.8)
STROKE_AREAS = (0.06, 0.42)  # strokes are added until this much is missing, evenly spread


def strokes(height: int, width: int, rng: np.random.Generator, brush: Brush = MEDIUM) -> BoolArray:
    """Brush strokes that start anywhere and may leave the picture.

    Source:
        In the manner of Yu et al. 2019, https://arxiv.org/abs/1806.03589, and Suvorov et al. 2022,
        https://arxiv.org/abs/2109.07161; sizes are ours. Here strokes are added until an area that
        is drawn first is reached, so that small and large holes are equally frequent.
    """

    def draw() -> BoolArray:
        canvas = Image.new("L", (width, height))
        wanted = rng.uniform(*STROKE_AREAS) * height * width
        missing = np.zeros((height, width), np.bool_)
        while np.count_nonzero(missing) < wanted:
            _stroke(ImageDraw.Draw(canvas), height, width, rng, brush)
            missing = np.asarray(canvas) > 0
        return missing

    return _first_within(AREAS, draw, height, width)


def check_size(height: int, width: int) -> None:
    """Refuse pictures that are too small for masks, with a ValueError."""
    if min(height, width) < MIN_SIDE:
        raise ValueError(
            f"Masks are drawn from {MIN_SIDE} pixels a side up, got {height} x {width}."
        )


def is_within(areas: tuple[float, float], missing: BoolArray) -> bool:
    """Tell whether the share that is missing lies in a range."""
    share = float(np.count_nonzero(missing)) / missing.size
    return areas[0] <= share <= areas[1]


def _first_within(
    areas: tuple[float, float], draw: Callable[[], BoolArray], height: int, width: int
) -> BoolArray:
    """Draw until the area fits, which it soon does; the centre, which fits, keeps this finite."""
    check_size(height, width)
    masks = (draw() for _ in range(MAX_TRIES))
    return next((mask for mask in masks if is_within(areas, mask)), centre(height, width))


def _stroke(
    canvas: ImageDraw.ImageDraw, height: int, width: int, rng: np.random.Generator, brush: Brush
) -> None:
    scale = min(height, width) / 256
    count = rng.integers(*brush.num_pieces, endpoint=True)
    angles = rng.uniform(0, 2 * np.pi) + np.cumsum(rng.uniform(-brush.turn, brush.turn, count))
    lengths = rng.uniform(*brush.lengths, count) * scale
    steps = np.stack([np.cos(angles), np.sin(angles)], axis=1) * lengths[:, None]
    start = rng.random(2) * (width, height)
    # Whole pixels, so that the last bit of a cosine, which machines differ in, does not matter.
    points = np.rint(np.concatenate([start[None], start + np.cumsum(steps, axis=0)])).astype(int)
    diameter = max(1, round(rng.uniform(*brush.widths) * scale))
    canvas.line(points.ravel().tolist(), fill=255, width=diameter)
    if diameter > 2:  # round ends and joints
        corners = points - diameter // 2
        for left, top in corners.tolist():
            canvas.ellipse((left, top, left + diameter - 1, top + diameter - 1), fill=255)


FAMILIES: dict[str, MaskFamily] = {
    "centre": centre,
    "block": blocks,
    "region": regions,
    "brush_thin": partial(strokes, brush=THIN),
    "brush_medium": partial(strokes, brush=MEDIUM),
    "brush_thick": partial(strokes, brush=THICK),
}
