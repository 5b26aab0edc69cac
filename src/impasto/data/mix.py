"""Masks of several families, at random."""

import math
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import numpy as np

from impasto.data.irregular import IrregularMasks
from impasto.data.masks import FAMILIES, BoolArray, MaskFamily, centre

IRREGULAR = "irregular"  # the one family more that a folder of mask files gives

DEFAULT_WEIGHTS = {
    "centre": 0.2,
    "block": 0.2,
    "region": 0.15,
    "brush_thin": 0.15,
    "brush_medium": 0.15,
    "brush_thick": 0.15,
}


class MaskMix:
    """A family that draws from several others.

    Args:
        weights: By family, how often; they are divided by their sum. Keys are those of ``FAMILIES``
            and ``irregular``; ``None`` for ``DEFAULT_WEIGHTS``, and ``irregular`` as often as
            ``centre`` where there is a ``folder``.
        folder: Of mask files, for ``irregular``.
        invert: Whether these files are white where the picture is known.
        dilate: Pixels by which what is missing in them grows.
        overlap: Pixels around ``centre`` that stay visible, see there.

    Raises:
        FileNotFoundError: If there is no such folder.
        ValueError: If a family is not known, a weight is negative, all are 0, or ``irregular`` has
            no ``folder``.
    """

    def __init__(
        self,
        weights: Mapping[str, float] | None = None,
        folder: str | Path | None = None,
        invert: bool = False,
        dilate: int = 0,
        overlap: int = 0,
    ) -> None:
        known: dict[str, MaskFamily] = {**FAMILIES, "centre": partial(centre, overlap=overlap)}
        if weights is None:
            weights = {**DEFAULT_WEIGHTS, **({IRREGULAR: 0.2} if folder is not None else {})}
        if folder is not None:
            known[IRREGULAR] = IrregularMasks(folder, invert, dilate)
        elif weights.get(IRREGULAR):
            raise ValueError(f"Masks of the family {IRREGULAR} come from files: give a folder.")
        if unknown := weights.keys() - known.keys() - {IRREGULAR}:
            raise ValueError(
                f"Unknown families of masks, got {', '.join(sorted(unknown))}, "
                f"allowed are {', '.join([*FAMILIES, IRREGULAR])}."
            )
        if not all(
            isinstance(weight, int | float) and 0 <= weight < math.inf
            for weight in weights.values()
        ) or not any(weights.values()):
            raise ValueError(
                f"Weights of masks must be at least 0 and not all 0, got {dict(weights)}."
            )
        drawn = {known[name]: float(weight) for name, weight in weights.items() if weight}
        self.families: list[MaskFamily] = list(drawn)
        self._bounds = np.cumsum(list(drawn.values()))

    def __call__(self, height: int, width: int, rng: np.random.Generator) -> BoolArray:
        """Choose a family, and draw from it."""
        place = rng.random() * self._bounds[-1]
        return self.families[np.searchsorted(self._bounds, place, side="right")](height, width, rng)
