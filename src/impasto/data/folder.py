"""Photos of a folder: some held out, the rest in random crops without end."""

import hashlib
import logging
import os
from collections.abc import Sequence
from pathlib import Path

from impasto.data.crops import CentreCrops, RandomCrops, choose_scales
from impasto.images import list_images

log = logging.getLogger(__name__)


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
        crop_size, scales = choose_scales(image_size, crop_size, min_scale)
        if not 0 < val_fraction < 1 or max_val_images < 1:
            raise ValueError(
                f"val_fraction must be between 0 and 1 and max_val_images at least 1, "
                f"got {val_fraction} and {max_val_images}."
            )
        paths = list_images(Path(path))
        if not paths:
            raise ValueError(
                f"No photos in {path}: a folder with picture files, such as .jpg or .png, "
                f"is needed; subfolders count."
            )
        train, val = split(paths, Path(path), val_fraction)
        self.train = RandomCrops(train, crop_size, scales, seed)
        self.val = CentreCrops(val[:max_val_images], image_size, spares=train)


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
