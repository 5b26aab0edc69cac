"""Photos of a folder: some held out, the rest in random crops without end."""

import hashlib
import logging
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from torch.utils.data import Dataset

from impasto.data.batches import Sample
from impasto.data.decoding import read_first
from impasto.images import list_images

log = logging.getLogger(__name__)

ORDER, CROP = range(2)  # streams of chance: the order of an epoch, the crop of a position


class FolderPhotos:
    """All photos in a folder and below, some of them held out for validation.

    Args:
        path: The folder.
        image_size: A photo's shorter side at the scale it is seen at, in pixels; held-out photos
            are squares of this side.
        crop_size: Side of the square crops to train on, in pixels, at the same scale; ``None`` for
            ``image_size``. Small crops make more steps in the same time.
        min_scale: Smallest scale, as a share of the photo's shorter side, up to 1. At 0.75 things
            keep about the size they have in the paper, which takes whole photos, and a crop of a
            COCO photo (480 pixels) is still larger than 256.
        val_fraction: Share of photos held out, between 0 and 1.
        max_val_images: Most held-out photos used; those beyond are not trained on either.
        seed: Of order, crops and mirroring, at least 0.

    Raises:
        FileNotFoundError: If there is no such folder.
        ValueError: If it holds no photos, or a value is out of range.
    """

    def __init__(
        self,
        path: Path | str,
        image_size: int = 256,
        crop_size: int | None = None,
        min_scale: float = 0.75,
        val_fraction: float = 0.05,
        max_val_images: int = 64,
        seed: int = 0,
    ) -> None:
        if image_size < 1 or max_val_images < 1:
            raise ValueError(
                f"image_size and max_val_images must be at least 1, "
                f"got {image_size} and {max_val_images}."
            )
        crop_size = image_size if crop_size is None else crop_size
        if not 1 <= crop_size <= image_size:
            raise ValueError(
                f"crop_size must be from 1 to image_size, which is {image_size}, got {crop_size}."
            )
        if not 0 < min_scale <= 1 or not 0 < val_fraction < 1:
            raise ValueError(
                f"min_scale must be above 0 and up to 1, val_fraction between 0 and 1, "
                f"got {min_scale} and {val_fraction}."
            )
        paths = list_images(Path(path))
        if not paths:
            raise ValueError(
                f"No photos in {path}: a folder with picture files, such as .jpg or .png, "
                f"is needed; subfolders count."
            )
        train, val = split(paths, Path(path), val_fraction)
        share = crop_size / image_size
        self.train = RandomCrops(train, crop_size, (min_scale * share, share), seed)
        self.val = CentreCrops(val[:max_val_images], image_size, spares=train)


class RandomCrops(Dataset[Sample]):
    """Endless crops at random places, of random size, half of them mirrored.

    Args:
        paths: Of photos. Each comes once in every ``len(paths)`` positions, in a new order.
        image_size: Side of a crop, in pixels.
        scales: Smallest and largest side of a crop, as shares of the photo's shorter side.
        seed: Of order, crops and mirroring, at least 0.
    """

    def __init__(
        self, paths: Sequence[Path], image_size: int, scales: tuple[float, float], seed: int
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
        rng = np.random.default_rng((self.seed, CROP, position))
        scale, where, mirrored = rng.uniform(*self.scales), rng.random(2), rng.random() < 0.5

        def choose(width: int, height: int) -> tuple[int, int, int]:
            side = max(1, round(scale * min(width, height)))
            left, top = where * (width - side + 1, height - side + 1)
            return int(left), int(top), side

        # A damaged photo's place is taken by the next one in order: no history needed.
        turns = ((place + step) % len(self.paths) for step in range(len(self.paths)))
        sample = read_first((self.paths[self._order[t]] for t in turns), choose, self.image_size)
        return sample._replace(image=sample.image.flip(2)) if mirrored else sample


class CentreCrops(Dataset[Sample]):
    """The middle of every photo, always the same.

    Args:
        paths: Of photos.
        image_size: Side of a crop, in pixels.
        spares: Photos that stand in where none of ``paths`` can be read.
    """

    def __init__(self, paths: Sequence[Path], image_size: int, spares: Sequence[Path] = ()) -> None:
        self.paths = paths
        self.image_size = image_size
        self.spares = spares

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Sample:
        turns = [*self.paths[index:], *self.paths[:index], *self.spares]
        return read_first(turns, _centre, self.image_size)


def split(
    paths: Sequence[Path], folder: Path, val_fraction: float
) -> tuple[list[Path], list[Path]]:
    """Hold photos out by a hash of their path, so that adding photos never moves another one.

    Where that leaves a side empty, as it does in small folders, the photo of the lowest hash is
    held out, which may be another one once photos are added; a single photo serves on both sides.

    Args:
        paths: Of photos in ``folder`` or below, at least one.
        folder: What the hashed paths are relative to.
        val_fraction: Share of photos to hold out, between 0 and 1.

    Returns:
        Photos to train on, in the order given, and those held out, by rising hash.
    """
    hashes = {path: _hash(path.relative_to(folder)) for path in paths}
    ranked = sorted(paths, key=hashes.__getitem__)
    if len(paths) == 1:
        log.warning("There is one photo only, %s: validation uses it too.", paths[0])
        return list(paths), ranked
    num_val = sum(share < val_fraction for share in hashes.values())
    if num_val in (0, len(paths)):
        num_val = 1
    val = ranked[:num_val]
    held_out = set(val)
    return [path for path in paths if path not in held_out], val


def _hash(relative: Path) -> float:
    """Spread paths evenly from 0 to 1; the same on every system."""
    digest = hashlib.blake2b(os.fsencode(relative.as_posix()), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64


def _centre(width: int, height: int) -> tuple[int, int, int]:
    side = min(width, height)
    return (width - side) // 2, (height - side) // 2, side
