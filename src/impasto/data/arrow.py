"""Pictures in Arrow files, mapped into memory: any of them at the speed of the disk."""

import logging
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, overload

import numpy as np
from numpy.typing import NDArray

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

    def read_bytes(self) -> bytes:
        """The picture file.

        Raises:
            ValueError: If there is none.
        """
        content = self.content.as_py()
        if content is None:
            raise ValueError("no picture")
        return content


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
