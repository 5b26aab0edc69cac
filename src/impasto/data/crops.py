"""Squares out of many photos: at random without end to train on, from the middle to validate."""

import itertools
from collections.abc import Iterable, Sequence

import numpy as np
from torch.utils.data import Dataset

from impasto.data.batches import Sample
from impasto.data.decoding import Photo, read_first

ORDER, CROP = range(2)  # streams of chance: the order of an epoch, the crop of a position


class RandomCrops(Dataset[Sample]):
    """Endless crops at random places, of random size, half of them mirrored.

    Args:
        paths: The photos. Each comes once in every ``len(paths)`` positions, in a new order.
        image_size: Side of a crop, in pixels.
        scales: Smallest and largest side of a crop, as shares of the photo's shorter side.
        seed: Of order, crops and mirroring, at least 0.
    """

    def __init__(
        self, paths: Sequence[Photo], image_size: int, scales: tuple[float, float], seed: int
    ) -> None:
        self.paths = paths
        self.image_size = image_size
        self.scales = scales
        self.seed = seed
        self._epoch = -1
        self._order = np.empty(0, np.intp)

    def __getitem__(self, position: int) -> Sample:
        epoch, place = divmod(position, len(self.paths))
        if epoch != self._epoch:
            rng = np.random.default_rng((self.seed, ORDER, epoch))
            self._order = rng.permutation(len(self.paths))
            self._epoch = epoch
        # A damaged photo's place is taken by the next one in order: no history needed.
        turns = ((place + step) % len(self.paths) for step in range(len(self.paths)))
        photos = (self.paths[self._order[turn]] for turn in turns)
        return crop_randomly(photos, self.image_size, self.scales, (self.seed, CROP, position))


class CentreCrops(Dataset[Sample]):
    """The middle of every photo, always the same.

    Args:
        paths: The photos.
        image_size: Side of a crop, in pixels.
        spares: Photos that stand in where none of ``paths`` can be read.
    """

    def __init__(
        self, paths: Sequence[Photo], image_size: int, spares: Sequence[Photo] = ()
    ) -> None:
        self.paths = paths
        self.image_size = image_size
        self.spares = spares

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Sample:
        count = len(self.paths)
        turns = (self.paths[(index + step) % count] for step in range(count))
        return read_first(itertools.chain(turns, self.spares), _centre, self.image_size)


def crop_randomly(
    photos: Iterable[Photo], image_size: int, scales: tuple[float, float], seed: tuple[int, ...]
) -> Sample:
    """Cut a random square out of the first photo that can be read; mirror it every other time.

    Args:
        photos: At least one.
        image_size: Side of the result, in pixels.
        scales: Smallest and largest side of the square, as shares of the photo's shorter side.
        seed: Numbers, each at least 0, that decide where the square lies.

    Raises:
        ValueError: If none of the photos can be read.
    """
    rng = np.random.default_rng(seed)
    scale, where, mirrored = rng.uniform(*scales), rng.random(2), rng.random() < 0.5

    def choose(width: int, height: int) -> tuple[int, int, int]:
        side = max(1, round(scale * min(width, height)))
        left, top = where * (width - side + 1, height - side + 1)
        return int(left), int(top), side

    sample = read_first(photos, choose, image_size)
    return sample._replace(image=sample.image.flip(2)) if mirrored else sample


def choose_scales(
    image_size: int, crop_size: int | None, min_scale: float
) -> tuple[int, tuple[float, float]]:
    """Say how crops are cut, by what the sources of photos are told.

    Args:
        image_size: A photo's shorter side at the scale it is seen at, in pixels.
        crop_size: Side of a crop at the same scale, in pixels; ``None`` for ``image_size``.
        min_scale: Smallest scale, as a share of the photo's shorter side, up to 1.

    Returns:
        Side of a crop in pixels, and the smallest and largest share of a photo's shorter side it
        takes.

    Raises:
        ValueError: If a value is out of range.
    """
    if image_size < 1:
        raise ValueError(f"image_size must be at least 1, got {image_size}.")
    crop_size = image_size if crop_size is None else crop_size
    if not 1 <= crop_size <= image_size:
        raise ValueError(
            f"crop_size must be from 1 to image_size, which is {image_size}, got {crop_size}."
        )
    if not 0 < min_scale <= 1:
        raise ValueError(f"min_scale must be above 0 and up to 1, got {min_scale}.")
    share = crop_size / image_size
    return crop_size, (min_scale * share, share)


def count_held_out(num_photos: int, val_fraction: float, max_val_images: int) -> int:
    """Photos to hold out of so many: at least one, and one at least is left to train on.

    Args:
        num_photos: At least 1; of a single one none is held out.
        val_fraction: Share to hold out, between 0 and 1.
        max_val_images: Most photos to hold out.

    Raises:
        ValueError: If a value is out of range.
    """
    if not 0 < val_fraction < 1 or max_val_images < 1:
        raise ValueError(
            f"val_fraction must be between 0 and 1 and max_val_images at least 1, "
            f"got {val_fraction} and {max_val_images}."
        )
    return min(max_val_images, max(1, int(num_photos * val_fraction)), num_photos - 1)


def _centre(width: int, height: int) -> tuple[int, int, int]:
    side = min(width, height)
    return (width - side) // 2, (height - side) // 2, side
