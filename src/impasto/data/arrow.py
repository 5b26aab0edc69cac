"""Pictures in Arrow files, mapped into memory: any of them at the speed of the disk."""

import hashlib
import json
import logging
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, overload

import numpy as np
from numpy.typing import NDArray

from impasto.files import opened_atomically

ROWS_PER_BATCH = 100  # readers check one batch after the other
BYTES_PER_BATCH = 2**25  # or a few more; a writer's memory. 100 small JPEGs are 3 MB

log = logging.getLogger(__name__)


class ArrowPhoto(NamedTuple):
    """A photo in an Arrow file.

    Args:
        path: Of the file.
        number: Of the row in it.
        content: The picture file, an Arrow scalar.
    """

    path: Path
    number: int
    content: Any

    def __str__(self) -> str:
        return f"{self.path}, row {self.number}"

    def read_bytes(self) -> memoryview:
        """The picture file, where it lies: what is looked at of it is read.

        Raises:
            ValueError: If there is none.
        """
        content = self.content.as_buffer()
        if content is None:
            raise ValueError("no picture")
        return memoryview(content).cast("B")


class ArrowPhotos(Sequence[ArrowPhoto]):
    """All photos in some Arrow files, or some of them.

    Args:
        paths: Of files in Arrow's streaming format, as ``datasets`` keeps them. Damaged ones are
            reported and passed over.
        column: Holds the pictures: structures with ``bytes``, as ``datasets`` writes them.
    """

    def __init__(self, paths: Iterable[Path], column: str) -> None:
        self.paths = list(paths)
        self.column = column
        self._open()
        self.numbers: NDArray[np.intp] = np.arange(self._starts[-1])

    def __len__(self) -> int:
        return len(self.numbers)

    @overload
    def __getitem__(self, index: int) -> ArrowPhoto: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[ArrowPhoto]: ...
    def __getitem__(self, index: int | slice) -> ArrowPhoto | Sequence[ArrowPhoto]:
        if isinstance(index, slice):
            return [self[number] for number in range(*index.indices(len(self)))]
        row = int(self.numbers[index])
        batch = int(np.searchsorted(self._starts, row, side="right")) - 1
        path, first = self._places[batch]
        row -= int(self._starts[batch])
        return ArrowPhoto(path, first + row, self._batches[batch][row])

    def __getstate__(self) -> dict[str, Any]:
        # Memory maps would be copied; another process opens the files itself.
        return {"paths": self.paths, "column": self.column, "numbers": self.numbers}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._open()

    def hold_out(self, count: int) -> tuple["ArrowPhotos", "ArrowPhotos"]:
        """Split off photos, spread evenly, for neighbours are often alike.

        Args:
            count: How many; at most all.

        Returns:
            The others, and those held out.
        """
        held_out = np.linspace(0, len(self), count, endpoint=False).astype(np.intp)
        others = np.setdiff1d(np.arange(len(self)), held_out)
        return self._select(others), self._select(held_out)

    def _select(self, indices: NDArray[np.intp]) -> "ArrowPhotos":
        selection = object.__new__(ArrowPhotos)
        vars(selection).update(vars(self) | {"numbers": self.numbers[indices]})
        return selection

    def _open(self) -> None:
        self._batches: list[Any] = []
        self._places: list[tuple[Path, int]] = []  # by batch: file, first row in it
        for path in self.paths:
            first = 0
            for batch in _read_batches(path, self.column):
                self._batches.append(batch)
                self._places.append((path, first))
                first += len(batch)
        lengths = np.array([len(batch) for batch in self._batches], np.intp)
        self._starts = np.concatenate([[0], np.cumsum(lengths)]).astype(np.intp)


def write_pictures(path: Path, column: str, pictures: Iterable[tuple[bytes, str]]) -> str:
    """Write an Arrow file as ``datasets`` keeps them: it opens it too.

    Args:
        path: Where to, in a folder that is there.
        column: To hold the pictures.
        pictures: Picture files, and where they come from; a batch of them is in memory at a time.

    Returns:
        The file's SHA-256, see ``checksum``.

    Raises:
        OSError: If it cannot be written; then nothing is left behind.
    """
    # The suffix is that of shards, so that what a killed process leaves is removed as they are.
    with opened_atomically(path, path.suffix) as file:
        _write_stream(file, column, pictures)
    return checksum(path)


def checksum(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _write_stream(file: BinaryIO, column: str, pictures: Iterable[tuple[bytes, str]]) -> None:
    import pyarrow as pa

    features = {"info": {"features": {column: {"_type": "Image"}}}}  # `datasets` shows pictures
    kind = pa.struct({"bytes": pa.binary(), "path": pa.string()})
    schema = pa.schema({column: kind}, metadata={"huggingface": json.dumps(features)})
    with pa.ipc.new_stream(file, schema) as stream:
        for rows in _in_batches(pictures):
            stream.write_batch(pa.record_batch([pa.array(rows, kind)], schema=schema))


def _in_batches(pictures: Iterable[tuple[bytes, str]]) -> Iterator[list[dict[str, Any]]]:
    rows: list[dict[str, Any]] = []
    num_bytes = 0
    for content, origin in pictures:
        rows.append({"bytes": content, "path": origin})
        num_bytes += len(content)
        if len(rows) == ROWS_PER_BATCH or num_bytes >= BYTES_PER_BATCH:
            yield rows
            rows, num_bytes = [], 0
    if rows:
        yield rows


def _read_batches(path: Path, column: str) -> list[Any]:
    """Arrays of bytes that lie in a file, or none if it is damaged."""
    import pyarrow as pa

    try:
        with pa.ipc.open_stream(pa.memory_map(str(path))) as stream:
            batches = [batch.column(column).field("bytes") for batch in stream]
        for batch in batches:
            batch.validate(full=True)  # or a wrong length could end the process
    except (pa.ArrowException, OSError, KeyError) as error:
        log.warning(
            "Skipping %s, which cannot be read (%s); make it again.",
            path,
            str(error).splitlines()[0],
        )
        return []
    return [batch for batch in batches if len(batch)]
