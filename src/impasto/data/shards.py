"""Photos of prepared shards: small, few large files, all of them at hand at any time."""

import json
import logging
from pathlib import Path

from impasto.data.arrow import ArrowPhotos
from impasto.data.crops import CentreCrops, RandomCrops, choose_scales, count_held_out

COLUMN = "image"
MANIFEST = "shards.json"
SUFFIX = ".arrow"

log = logging.getLogger(__name__)


class PreparedPhotos:
    """Photos of shards that ``scripts/prepare_data.py`` wrote, as JPEG or raw: each tells itself.

    Args:
        path: The folder.
        image_size: A photo's shorter side at the scale it is seen at, in pixels; held-out photos
            are squares of this side.
        crop_size: Side of the square crops to train on, in pixels, at the same scale; ``None`` for
            ``image_size``.
        min_scale: Smallest scale, as a share of the photo's shorter side, up to 1. At 1 pixels of
            shards whose short side is ``image_size`` are taken as they are; shards for smaller
            scales are best made larger by as much.
        val_fraction: Share of photos held out where the shards have no split to validate with,
            between 0 and 1.
        max_val_images: Most photos to validate with.
        seed: Of order, crops and mirroring, at least 0.

    Raises:
        FileNotFoundError: If there is no such folder, or it holds no shards.
        ValueError: If they hold no photos, or a value is out of range.
    """

    def __init__(
        self,
        path: Path | str,
        image_size: int = 256,
        crop_size: int | None = None,
        min_scale: float = 1.0,
        val_fraction: float = 0.05,
        max_val_images: int = 64,
        seed: int = 0,
    ) -> None:
        crop_size, scales = choose_scales(image_size, crop_size, min_scale)
        train, val = (open_shards(Path(path), split) for split in ("train", "val"))
        count = count_held_out(max(1, len(train)), val_fraction, max_val_images)
        if not train:
            raise ValueError(f"The shards in {path} hold no photos to train on: make them again.")
        if val:
            held_out = val.hold_out(min(max_val_images, len(val)))[1]
        elif count:
            train, held_out = train.hold_out(count)
        else:
            log.warning("There is one photo only, %s: validation uses it too.", train[0])
            held_out = train
        self.train = RandomCrops(train, crop_size, scales, seed)
        self.val = CentreCrops(held_out, image_size, spares=train)


def open_shards(folder: Path, split: str) -> ArrowPhotos:
    """Open all shards of a split.

    Args:
        folder: Where ``scripts/prepare_data.py`` wrote to.
        split: ``train`` or ``val``.

    Raises:
        FileNotFoundError: If there is no such folder, or it holds no shards at all.
        ValueError: If ``pyarrow`` is not installed, or the list of shards is damaged.
    """
    try:
        content = json.loads((folder / MANIFEST).read_text())
        planned, shards = content["planned"], content["shards"]
        if not isinstance(planned, int) or not isinstance(shards, dict):
            raise TypeError("no number and no shards by name")
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"No shards in {folder}: make some, python scripts/prepare_data.py {folder} "
            f"data=folder data.path=..."
        ) from error
    except (ValueError, KeyError, TypeError, RecursionError):
        raise ValueError(
            f"{folder / MANIFEST} is damaged: scripts/prepare_data.py, run again, makes it anew."
        ) from None
    if planned > len(shards) and split == "train":
        log.warning(
            "Of %d shards %d are in %s: scripts/prepare_data.py, run again, makes the others.",
            planned,
            len(shards),
            folder,
        )
    names = sorted(name for name in shards if name.startswith(f"{split}-"))
    return ArrowPhotos([folder / name for name in names], COLUMN)
