"""Masks of mask files: the family ``irregular``."""

import logging
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from impasto.data.masks import AREAS, MAX_TRIES, MIN_SIDE, BoolArray, check_size, is_within
from impasto.images import list_images
from impasto.masks import load_mask

log = logging.getLogger(__name__)

MAX_KEPT_SIDE = 512  # pixels of a mask file's shorter side that are kept
MAX_DECODED_PIXELS = 50_000_000  # of a mask file: a worker holds some bytes of each
NUM_KEPT = 1024  # mask files in memory, a bit per pixel: 32 MB of 512 x 512


class IrregularMasks:
    """Mask files of a folder, turned and mirrored at random, white where the picture is missing.

    The largest window with the proportions asked for is cut out at a random place and resized to
    the nearest pixel. Windows with less than 5 % or more than 50 % missing are drawn again, and
    files that cannot be read are passed over with a warning.

    Args:
        folder: Of picture files; subfolders count.
        invert: Whether the files are white where the picture is known.
        dilate: Pixels by which what is missing grows, at the size of the file.

    Raises:
        FileNotFoundError: If there is no such folder.
        ValueError: If it holds no pictures or hardly one that can be used, or ``dilate`` is
            negative.
    """

    def __init__(self, folder: str | Path, invert: bool = False, dilate: int = 0) -> None:
        if dilate < 0:
            raise ValueError(f"dilate must be at least 0 pixels, got {dilate}.")
        self.folder = folder
        self.invert = invert
        self.dilate = dilate
        self.paths = list_images(folder)
        self._unreadable: set[Path] = set()
        if not self.paths:
            raise ValueError(f"No masks in {folder}: a folder with picture files is needed.")
        self(MIN_SIDE, MIN_SIDE, np.random.default_rng(0))  # hopeless masks fail here

    def __call__(self, height: int, width: int, rng: np.random.Generator) -> BoolArray:
        """Draw a mask.

        Raises:
            ValueError: If the size is too small, or hardly a file can be used.
        """
        check_size(height, width)
        for _ in range(MAX_TRIES):
            path = self.paths[rng.integers(len(self.paths))]
            turns, place = rng.integers(0, 8), rng.random(2)
            missing = self._read(path)
            if missing is not None:
                missing = _window(_turned(missing, int(turns)), height, width, place)
                if is_within(AREAS, missing):
                    return missing
        raise ValueError(
            f"None of {MAX_TRIES} masks drawn from {self.folder} can be read and has from "
            f"{AREAS[0]:.0%} to {AREAS[1]:.0%} missing: white must be what is missing; invert them "
            f"if it is what is known."
        )

    def _read(self, path: Path) -> BoolArray | None:
        if path in self._unreadable:
            return None
        try:
            bits, height, width = _packed(path, self.invert, self.dilate)
        except (FileNotFoundError, ValueError) as error:
            self._unreadable.add(path)
            log.warning("Passing over a mask: %s", error)
            return None
        return np.unpackbits(bits, count=height * width).reshape(height, width).astype(np.bool_)


@lru_cache(NUM_KEPT)
def _packed(path: Path, invert: bool, dilate: int) -> tuple[NDArray[np.uint8], int, int]:
    """A mask file of at most MAX_KEPT_SIDE, a bit per pixel, and its height and width."""
    mask = load_mask(path, invert=invert, dilate=dilate, max_pixels=MAX_DECODED_PIXELS)
    missing = mask[0, 0].numpy() > 0
    height, width = missing.shape
    shrink = min(1, MAX_KEPT_SIDE / min(height, width))
    height, width = round(height * shrink), round(width * shrink)
    missing = _window(missing, height, width, np.zeros(2))
    return np.packbits(missing), height, width


def _turned(missing: BoolArray, turns: int) -> BoolArray:
    """One of the eight ways to lay a picture down."""
    missing = np.rot90(missing, turns % 4)
    return missing.T if turns >= 4 else missing


def _window(missing: BoolArray, height: int, width: int, place: NDArray[np.float64]) -> BoolArray:
    """Cut out the largest window of these proportions and resize it to the nearest pixel."""
    scale = min(missing.shape[0] / height, missing.shape[1] / width)
    indices = []
    for have, side, at in zip(missing.shape, (height, width), place, strict=True):
        window = max(1, min(have, round(side * scale)))
        start = int(at * (have - window + 1))
        indices.append(start + (2 * np.arange(side) + 1) * window // (2 * side))
    return missing[np.ix_(*indices)]
