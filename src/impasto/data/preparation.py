"""Making shards of small photos out of any photos, in parallel; what is made is not made again."""

import hashlib
import io
import json
import logging
import multiprocessing
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from impasto.data.arrow import checksum, write_pictures
from impasto.data.batches import Skipped, ignore_interrupts
from impasto.data.decoding import Photo, explain, is_fault_of_the_machine, shrink
from impasto.data.hub import list_rows
from impasto.data.rowgroups import RowGroup
from impasto.data.shards import COLUMN, MANIFEST, SUFFIX
from impasto.files import write_atomically

# Photos: about 100 MB, raw 1 GB, and thirty files of them for a set of COCO's size.
SHARD_SIZE = 4000

_ENTRY = {"fingerprint": str, "photos": int, "bytes": int, "sha256": str, "skipped": list}

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Shrinking:
    """How photos are made small.

    Args:
        short_side: In pixels; smaller photos stay as they are.
        quality: Of JPEG, from 1 to 95; ``None`` for raw pixels, which take about ten times the
            disk and no decoding.
    """

    short_side: int = 256
    quality: int | None = 90

    def __post_init__(self) -> None:
        if self.short_side < 16 or not (self.quality is None or 1 <= self.quality <= 95):
            raise ValueError(
                f"The short side must be at least 16 pixels and the quality from 1 to 95, got "
                f"{self.short_side} and {self.quality}."
            )


@dataclass(frozen=True)
class Plan:
    """A shard to be made.

    Args:
        name: Of the file.
        content: Its photos: paths, or row groups of Parquet files.
        fingerprint: Tells this content, made small in this way, from any other.
    """

    name: str
    content: Sequence[Path] | Sequence[RowGroup]
    fingerprint: str

    @property
    def num_photos(self) -> int:
        """Photos to be in it."""
        return sum(len(item.rows) if isinstance(item, RowGroup) else 1 for item in self.content)


@dataclass(frozen=True)
class Report:
    """What became of a preparation.

    Args:
        made: Shards made now.
        kept: Shards that were there already, and whole.
        num_photos: In all shards.
        num_bytes: Of all shards.
        skipped: Photos that could not be read, over all shards.
    """

    made: int
    kept: int
    num_photos: int
    num_bytes: int
    skipped: list[Skipped]


def plan_paths(
    paths: Sequence[Path], shrinking: Shrinking, shard_size: int = SHARD_SIZE
) -> list[Plan]:
    """Plan shards of picture files.

    Args:
        paths: At least one.
        shrinking: How to make them small.
        shard_size: Photos per shard.
    """
    parts = [paths[start : start + shard_size] for start in range(0, len(paths), shard_size)]
    return [
        Plan(
            f"train-{number:05}{SUFFIX}",
            part,
            _fingerprint(shrinking, (f"{path} {_state(path)}" for path in part)),
        )
        for number, part in enumerate(parts)
    ]


def plan_row_groups(
    split: str, groups: Sequence[RowGroup], shrinking: Shrinking, shard_size: int = SHARD_SIZE
) -> list[Plan]:
    """Plan shards of whole row groups of Parquet files.

    Args:
        split: ``train`` or ``val``.
        groups: At least one.
        shrinking: How to make them small.
        shard_size: Photos per shard, about.
    """
    parts: list[list[RowGroup]] = [[]]
    for group in groups:
        if parts[-1] and sum(len(other.rows) for other in parts[-1]) + len(group.rows) > shard_size:
            parts.append([])
        parts[-1].append(group)
    return [
        Plan(
            f"{split}-{number:05}{SUFFIX}",
            part,
            _fingerprint(shrinking, (f"{group} {group.size} {group.column}" for group in part)),
        )
        for number, part in enumerate(parts)
    ]


def make_shards(
    folder: Path, plans: Sequence[Plan], shrinking: Shrinking, num_workers: int, quiet: bool = False
) -> Report:
    """Make the shards that are not there yet, or not whole.

    Every shard is moved to its place when it is whole, and then listed, with its checksum and what
    was skipped, in ``shards.json``: whoever is interrupted goes on with the shards that miss.
    Shards that are no longer planned are removed.

    Args:
        folder: Where to; it is made if needed.
        plans: All shards that shall be there.
        shrinking: How to make photos small.
        num_workers: Processes; 0 works in this one.
        quiet: Whether to show no progress.

    Raises:
        ConnectionError: If a server cannot be reached any more.
        FileExistsError: If the folder holds other things.
        OSError: If a shard cannot be written.
    """
    listed = _read_manifest(folder)
    planned = {plan.name: plan for plan in plans}
    done = {
        name: entry
        for name, entry in listed.items()
        if name in planned and _is_whole(folder / name, entry, planned[name].fingerprint)
    }
    for path in folder.glob(f"*-*{SUFFIX}"):
        if path.name not in done:
            path.unlink()
    kept, missing = len(done), [plan for plan in plans if plan.name not in done]
    num_photos = sum(plan.num_photos for plan in plans)
    num_missing = sum(plan.num_photos for plan in missing)
    if missing or listed.keys() != done.keys():
        _write_manifest(folder, done, len(plans))
    with tqdm(
        total=num_photos, initial=num_photos - num_missing, unit="photo", disable=quiet
    ) as progress:
        for plan, entry in _work(folder, missing, shrinking, num_workers):
            done[plan.name] = entry
            _write_manifest(folder, done, len(plans))
            progress.update(plan.num_photos)
    num_photos, num_bytes = (
        sum(entry[key] for entry in done.values()) for key in ("photos", "bytes")
    )
    skipped = [Skipped(*file) for entry in done.values() for file in entry["skipped"]]
    return Report(len(missing), kept, num_photos, num_bytes, skipped)


def _work(
    folder: Path, plans: Sequence[Plan], shrinking: Shrinking, num_workers: int
) -> Iterator[tuple[Plan, dict[str, Any]]]:
    """Make shards, in any order."""
    if num_workers == 0:
        yield from ((plan, _make_shard(folder, plan, shrinking)) for plan in plans)
        return
    with ProcessPoolExecutor(
        min(num_workers, len(plans)) or 1, _context(), ignore_interrupts, (0,)
    ) as pool:
        jobs = {pool.submit(_make_shard, folder, plan, shrinking): plan for plan in plans}
        try:
            yield from ((jobs[job], job.result()) for job in as_completed(jobs))
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _context() -> Any:
    """Processes that share no connections and locks with this one, as forked ones would."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])  # imported once for all of them
    return context


def _make_shard(folder: Path, plan: Plan, shrinking: Shrinking) -> dict[str, Any]:
    """Write one shard; returns what the manifest says of it."""
    num_photos = 0
    skipped: dict[Skipped, None] = {}

    def encoded() -> Iterator[tuple[bytes, str]]:
        nonlocal num_photos
        for photo in _photos(plan.content):
            try:
                content = _encode(photo, shrinking)
            except Exception as error:  # hostile files make Pillow raise more than a dozen types
                if is_fault_of_the_machine(error):
                    raise
                skipped[explain(photo, error)] = None
                continue
            num_photos += 1
            # Arrow takes text alone, which the name of a file need not be.
            origin = str(photo).encode(errors="surrogateescape").decode(errors="backslashreplace")
            yield content, origin

    path = folder / plan.name
    digest = write_pictures(path, COLUMN, encoded())
    return {
        "fingerprint": plan.fingerprint,
        "photos": num_photos,
        "bytes": path.stat().st_size,
        "sha256": digest,
        "skipped": list(skipped),
    }


def _photos(content: Sequence[Path] | Sequence[RowGroup]) -> Iterable[Photo]:
    groups = [item for item in content if isinstance(item, RowGroup)]
    return list_rows(groups) if groups else [item for item in content if isinstance(item, Path)]


def _encode(photo: Photo, shrinking: Shrinking) -> bytes:
    picture, as_it_is = shrink(photo, shrinking.short_side)
    if as_it_is and shrinking.quality is not None:
        return bytes(photo.read_bytes())
    file = io.BytesIO()
    if shrinking.quality is None:
        picture.save(file, "PPM")
    else:
        picture.save(file, "JPEG", quality=shrinking.quality)
    return file.getvalue()


def _read_manifest(folder: Path) -> dict[str, Any]:
    try:
        shards = json.loads((folder / MANIFEST).read_text())["shards"]
        if not isinstance(shards, dict) or not all(map(_is_entry, shards.values())):
            raise TypeError("no entries by name")
        return shards
    except FileNotFoundError:
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise FileExistsError(
                f"{folder} holds other things than shards: give an empty folder, or one to be made."
            ) from None
        return {}
    except (ValueError, KeyError, TypeError, RecursionError):
        log.warning("%s is damaged: all shards are made again.", folder / MANIFEST)
        return {}


def _is_entry(entry: Any) -> bool:
    """Whether it says of a shard what ``_make_shard`` does."""
    if not isinstance(entry, dict):
        return False
    if any(not isinstance(entry.get(key), kind) for key, kind in _ENTRY.items()):
        return False
    return all(isinstance(file, list) and len(file) == 2 for file in entry["skipped"])


def _write_manifest(folder: Path, shards: dict[str, Any], planned: int) -> None:
    content = {"planned": planned, "shards": dict(sorted(shards.items()))}
    write_atomically(folder / MANIFEST, json.dumps(content, indent=1).encode())


def _is_whole(path: Path, entry: dict[str, Any], fingerprint: str) -> bool:
    if entry["fingerprint"] != fingerprint or not path.is_file():
        return False
    return path.stat().st_size == entry["bytes"] and checksum(path) == entry["sha256"]


def _state(path: Path) -> str:
    """What changes when a file does."""
    try:
        state = path.stat()
    except OSError:
        return "unreadable"
    return f"{state.st_size} {state.st_mtime_ns}"


def _fingerprint(shrinking: Shrinking, items: Iterable[str]) -> str:
    digest = hashlib.sha256(repr(shrinking).encode())
    for item in items:
        digest.update(item.encode(errors="surrogateescape") + b"\0")
    return digest.hexdigest()
