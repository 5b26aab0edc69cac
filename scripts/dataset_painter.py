"""Paint a part of a data set: what an actor of stylize_dataset.py does. Knows nothing of Ray."""

import errno
import io
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import groupby
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import nn

from dataset_photo import Photo, decode_name, encode, open_bytes, read_rows
from dataset_store import Store
from impasto.checkpoint import Header
from impasto.images import open_picture
from impasto.inference import Stylizer
from impasto.painting import one_line
from impasto.precision import keep_float32

# Names are bytes: what a disk holds need not be text.
WORK = pa.schema(
    {"source": pa.binary(), "group": pa.int32(), "row": pa.int64(), "name": pa.binary()}
)
FAILURE = pa.struct({"photo": pa.string(), "reason": pa.string()})
REPORT = pa.schema({"painted": pa.int64(), "failures": pa.list_(FAILURE), "fault": pa.string()})
FEATURES = b'{"info": {"features": {"name": {"dtype": "string", "_type": "Value"}, '
FEATURES += b'"image": {"_type": "Image"}}}}'  # so that `datasets` shows pictures
PAINTINGS = pa.schema(
    {"name": pa.string(), "image": pa.struct({"bytes": pa.binary(), "path": pa.string()})},
    metadata={"huggingface": FEATURES},
)

# Of one name and no other; any other trouble with writing, as a full disk, ends the run.
BAD_NAME = {errno.EILSEQ, errno.EISDIR, errno.ENAMETOOLONG, errno.ENOTDIR}
MAX_DEATHS = 3  # of who paints a part, before its photos are painted one by one
MAX_DEATHS_OF_ONE = 2  # of who paints a photo, before it is passed over


@dataclass(frozen=True)
class Job:
    """What all actors are told.

    Args:
        photos: Where they are.
        paintings: Where they go.
        format: Of the paintings, a suffix or ``parquet``.
        quality: Of JPEG and WebP, 1 to 100.
        max_pixels: Largest width times height that is painted.
        column: Of Parquet files, the one with pictures.
        device: As ``Stylizer`` takes it.
        precision: As ``Stylizer`` takes it.
        num_threads: That compute, and as many that read and write.
        shard_size: Paintings in a Parquet file, at most.
        knobs: As ``Stylizer`` takes them, by name.
    """

    photos: Store
    paintings: Store
    format: str
    quality: int
    max_pixels: int
    column: str
    device: str
    precision: str
    num_threads: int
    shard_size: int
    knobs: dict[str, Any] = field(default_factory=dict)


class Tally:
    """Counts what was begun and never ended: whoever began it died."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()

    def begin(self, name: str) -> int:
        """Count; returns how often this was begun and not ended, 1 if all is well."""
        self._counts[name] += 1
        return self._counts[name]

    def end(self, name: str) -> None:
        """Forget it."""
        self._counts.pop(name, None)


class Painter:
    """Paints tables of work, one after the other.

    Args:
        network: Of the checkpoint.
        header: Of the checkpoint.
        job: What to do.
        tally: Of all painters, to find out photos that kill who paints them, as faults in decoders
            do, and lack of memory.

    Raises:
        CheckpointError: If the network was trained for another task.
        ValueError: If there is no such device or precision.
    """

    def __init__(
        self,
        network: nn.Module,
        header: Header,
        job: Job,
        tally: "Tally | None" = None,
    ) -> None:
        torch.set_num_threads(job.num_threads)
        keep_float32()
        self.job = job
        self.tally = tally or Tally()
        self.stylizer = Stylizer(network, header, job.device, job.precision, **job.knobs)

    def __call__(self, work: Any) -> Any:
        """Paint.

        Args:
            work: An Arrow table as ``WORK`` says. Rows of a Parquet file are in their order.

        Returns:
            An Arrow table of one row, as ``REPORT`` says: how many are painted and which cannot be,
            and why no more can be written, as on a full disk.
        """
        part = f"part {work.column('name')[0]}"
        is_deadly = self.tally.begin(part) > MAX_DEATHS
        through = self._one_by_one if is_deadly else self._through
        report: dict[str, Any] = {"painted": 0, "failures": [], "fault": None}
        with ThreadPoolExecutor(self.job.num_threads) as pool:
            try:
                self._collect(through(pool, self._photos(work)), report)
            except OSError as error:  # told, not raised: Ray would bury it in tracebacks
                report["fault"] = one_line(str(error))
        self.tally.end(part)
        return pa.Table.from_pylist([report], REPORT)

    def _collect(self, photos: Iterable[Photo], report: dict[str, Any]) -> None:
        shard: list[Photo] = []
        for photo in photos:
            if photo.failure:
                reason = one_line(photo.failure)  # names need not be text, these are
                report["failures"].append({"photo": one_line(str(photo)), "reason": reason})
            elif self.job.format == "parquet":
                shard.append(photo)
            else:
                report["painted"] += 1
            if len(shard) == self.job.shard_size:
                self._write_shard(shard, report)
        self._write_shard(shard, report)

    def _through(self, pool: ThreadPoolExecutor, photos: Iterable[Photo]) -> Iterator[Photo]:
        """Reading, painting and saving at the same time: only painting is on this thread."""
        read = ahead(pool, self._read, photos, 2 * self.job.num_threads)
        return ahead(pool, self._save, map(self._paint, read), 2 * self.job.num_threads)

    def _one_by_one(self, pool: ThreadPoolExecutor, photos: Iterable[Photo]) -> Iterator[Photo]:
        for photo in photos:
            if self.tally.begin(photo.name) > MAX_DEATHS_OF_ONE:
                photo.failure = f"{photo} kills the process that paints it: is it too large?"
            painted = self._save(self._paint(self._read(photo)))
            self.tally.end(photo.name)
            yield painted

    def _photos(self, work: Any) -> Iterator[Photo]:
        rows = zip(*(work.column(name).to_pylist() for name in WORK.names), strict=True)
        for (source, group), part in groupby(rows, key=lambda row: row[:2]):
            names = {row: decode_name(name) for _, _, row, name in part}
            if group is None:
                yield from (Photo(decode_name(source), None, name) for name in names.values())
            else:
                yield from self._rows(decode_name(source), group, names)

    def _rows(self, source: str, group: int, names: dict[int, str]) -> Iterator[Photo]:
        """Photos of a row group, which are read as they are needed."""
        waiting = {row: Photo(source, row, name) for row, name in names.items()}
        try:
            with self.job.photos.files.open(self.job.photos.path(source), "rb") as file:
                for row, content in read_rows(file, group, self.job.column):
                    if photo := waiting.pop(row, None):
                        photo.content = content or b""
                        photo.failure = "" if content else f"{photo} holds no picture."
                        yield photo
        except (pa.ArrowException, OSError, ValueError) as error:
            reason = str(error).splitlines()[0]
            for photo in waiting.values():
                photo.failure = f"{source}, row group {group}, cannot be read ({reason})."
                yield photo

    def _read(self, photo: Photo) -> Photo:
        if photo.failure:
            return photo
        with photo.failing():
            if self.job.photos.is_local and photo.row is None:
                path = Path(self.job.photos.path(photo.source))
                photo.picture = open_picture(path, self.job.max_pixels)
            else:
                content = photo.content or self.job.photos.read(photo.source)
                photo.picture = open_bytes(content, str(photo), self.job.max_pixels)
        photo.content = b""
        return photo

    def _paint(self, photo: Photo) -> Photo:
        if photo.picture is not None:
            with photo.failing():
                photo.picture = self.stylizer(photo.picture)
        return photo

    def _save(self, photo: Photo) -> Photo:
        if photo.picture is None:
            return photo
        if self.job.format == "parquet":
            photo.suffix = ".png" if photo.picture.mode == "RGBA" else ".jpg"
        else:
            photo.suffix = Path(photo.name).suffix.lower()
        with photo.failing():
            photo.content = encode(photo.picture, photo.suffix, self.job.quality)
            photo.picture = None
        if photo.content and self.job.format != "parquet":
            self._write(photo)
        return photo

    def _write(self, photo: Photo) -> None:
        try:
            self.job.paintings.write(photo.name, photo.content)
        except OSError as error:
            if error.errno not in BAD_NAME:
                raise
            photo.failure = f"{photo.name} cannot be saved: {error.strerror}."
        photo.content = b""

    def _write_shard(self, shard: list[Photo], report: dict[str, Any]) -> None:
        """Write a Parquet file, named after what is in it: whoever tries again replaces it."""
        if not shard:
            return
        rows = [
            {
                "name": photo.name,
                "image": {"bytes": photo.content, "path": f"{photo.name}{photo.suffix}"},
            }
            for photo in shard
        ]
        file = io.BytesIO()
        # Pictures are compressed already.
        pq.write_table(pa.Table.from_pylist(rows, PAINTINGS), file, 100, compression="NONE")
        digest = sha256("\0".join(photo.name for photo in shard).encode()).hexdigest()
        self.job.paintings.write(f"painted-{digest[:16]}.parquet", file.getvalue())
        report["painted"] += len(shard)
        shard.clear()


def ahead(
    pool: ThreadPoolExecutor,
    work: Callable[[Photo], Photo],
    photos: Iterable[Photo],
    num_ahead: int,
) -> Iterator[Photo]:
    """Do something to photos in threads, in their order, and not too far ahead.

    Args:
        pool: The threads.
        work: What to do.
        photos: Are asked for when there is room.
        num_ahead: Photos in memory.
    """
    begun = deque["Future[Photo]"]()
    for photo in photos:
        begun.append(pool.submit(work, photo))
        if len(begun) > num_ahead:
            yield begun.popleft().result()
    while begun:
        yield begun.popleft().result()
