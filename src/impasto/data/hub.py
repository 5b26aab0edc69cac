"""Photos of a data set of the Hugging Face hub, or of any Parquet files."""

import logging
import math
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

from impasto.data.batches import default_num_workers
from impasto.data.crops import CentreCrops, choose_scales, count_held_out
from impasto.data.repository import find_files
from impasto.data.rowgroups import Row, RowGroup, list_row_groups, read_pictures
from impasto.data.stream import StreamedCrops

NUM_VAL_GROUPS = 4  # row groups that held-out photos come from: neighbours are often alike

log = logging.getLogger(__name__)


class HubPhotos:
    """Photos of a data set made of Parquet files, streamed or downloaded.

    Row groups are read where and when they are needed, see ``StreamedCrops``: the sample of a
    position depends on the seed, ``batch_size``, ``num_streams`` and the number of processes that
    train together alone, whether it is streamed or not.

    Args:
        repository: ``owner/name`` on the hub, or a folder of Parquet files.
        column: Of the pictures.
        revision: Commit, branch or tag on the hub; ``None`` for the latest.
        subset: Where the data set has several; ``None`` for the default one.
        train_split: To train on.
        val_split: To validate with; ``None`` holds photos of ``train_split`` out.
        streaming: Whether to read over the network what is needed when it is needed; else all
            files are downloaded first, into the cache of ``huggingface_hub``, and stay there.
        image_size: A photo's shorter side at the scale it is seen at, in pixels; held-out photos
            are squares of this side.
        crop_size: Side of the square crops to train on, in pixels, at the same scale; ``None`` for
            ``image_size``.
        min_scale: Smallest scale, as a share of the photo's shorter side, up to 1.
        val_fraction: Share of photos held out, between 0 and 1.
        max_val_images: Most photos held out.
        buffer_size: Photos that each worker mixes; about so many files are in its memory.
        batch_size: Of the training; streams take turns by batches.
        num_streams: Of each process, see ``StreamedCrops``, best as many as workers; ``None`` for
            one per core up to 8, 0 for one.
        seed: Of order, crops and mirroring, at least 0.

    Raises:
        ConnectionError: If the hub cannot be reached.
        ValueError: If there is no such data set, revision, split or column, it is gated, holds no
            photos, or a value is out of range.
    """

    def __init__(
        self,
        repository: str,
        column: str = "image",
        *,
        revision: str | None = None,
        subset: str | None = None,
        train_split: str = "train",
        val_split: str | None = None,
        streaming: bool = True,
        image_size: int = 256,
        crop_size: int | None = None,
        min_scale: float = 0.75,
        val_fraction: float = 0.05,
        max_val_images: int = 64,
        buffer_size: int = 1000,
        batch_size: int = 4,
        num_streams: int | None = None,
        seed: int = 0,
    ) -> None:
        crop_size, scales = choose_scales(image_size, crop_size, min_scale)
        count_held_out(1, val_fraction, max_val_images)
        splits = [train_split] if val_split is None else [train_split, val_split]
        files = find_files(repository, splits, revision, subset, streaming)
        groups = list_row_groups(files[train_split], column)
        if val_split is None:
            count = count_held_out(_count(groups), val_fraction, max_val_images)
            groups, held_out = hold_out(groups, count)
        else:
            held_out = hold_out(list_row_groups(files[val_split], column), max_val_images)[1]
        self.train = StreamedCrops(
            groups,
            crop_size,
            scales,
            batch_size=batch_size,
            num_streams=max(1, default_num_workers() if num_streams is None else num_streams),
            buffer_size=buffer_size,
            seed=seed,
        )
        self.val = CentreCrops(list_rows(held_out), image_size, list_rows(groups[:1]))


def hold_out(groups: Sequence[RowGroup], count: int) -> tuple[list[RowGroup], list[RowGroup]]:
    """Hold out the first rows of a few row groups, spread evenly.

    Args:
        groups: At least one.
        count: Rows to hold out; 0 leaves one on both sides, and warns.

    Returns:
        What is left, and what is held out: at most ``count`` rows.
    """
    if count < 1:
        log.warning("There is one photo only, %s: validation uses it too.", groups[0])
        return list(groups), list(groups)
    places = np.linspace(0, len(groups), min(NUM_VAL_GROUPS, count), endpoint=False).astype(int)
    chosen = dict.fromkeys(places.tolist())
    share = math.ceil(count / len(chosen))
    left: list[RowGroup] = []
    held_out: list[RowGroup] = []
    for number, group in enumerate(groups):
        taken = min(share, count - _count(held_out)) if number in chosen else 0
        left.append(group._replace(rows=group.rows[taken:]))
        held_out.append(group._replace(rows=group.rows[:taken]))
    return [group for group in left if group.rows], [group for group in held_out if group.rows]


def list_rows(groups: Sequence[RowGroup]) -> list[Row]:
    """List all photos of row groups; one row group at a time is kept in memory."""
    shelf = _Shelf()
    return [
        Row(group, number, partial(shelf.read, group)) for group in groups for number in group.rows
    ]


class _Shelf:
    """Keeps what was read last."""

    def __init__(self) -> None:
        self.kept: tuple[str, Any] = ("", None)

    def __getstate__(self) -> dict[str, Any]:
        return {"kept": ("", None)}

    def read(self, group: RowGroup) -> Any:
        """Pictures of a row group."""
        if self.kept[0] != str(group):
            self.kept = (str(group), read_pictures(group))
        return self.kept[1]


def _count(groups: Sequence[RowGroup]) -> int:
    return sum(len(group.rows) for group in groups)
