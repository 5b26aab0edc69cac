"""Row groups of Parquet files: what can be read at once, about a hundred photos."""

import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

from impasto.data.decoding import UnreadableError, is_fault_of_the_machine
from impasto.data.remote import RemoteFile

QUICK_WAITS = (0.5, 1.0, 2.0)  # seconds between attempts where somebody waits for training to begin
NUM_CONNECTIONS = 16  # footers asked for at once

log = logging.getLogger(__name__)


class RowGroup(NamedTuple):
    """Rows of a Parquet file that lie together.

    Args:
        file: Path or URL.
        size: Of the file, in bytes.
        footer: Of the file; tells where its row groups lie.
        column: Holds the pictures.
        number: Of the row group in its file.
        rows: Those to use.
    """

    file: str
    size: int
    footer: Any
    column: str
    number: int
    rows: range

    def __str__(self) -> str:
        return f"{self.file}, row group {self.number}"


class Row(NamedTuple):
    """A photo in a row group, read when it is needed.

    Args:
        group: The row group.
        number: Of the row in its row group.
        pictures: Gives what ``read_pictures`` does of the row group.
    """

    group: RowGroup
    number: int
    pictures: Callable[[], Any]

    def __str__(self) -> str:
        return f"{self.group}, row {self.number}"

    def read_bytes(self) -> bytes:
        """The picture file.

        Raises:
            ValueError: If there is none.
        """
        content = self.pictures()[self.number].as_py()
        if content is None:
            raise ValueError("no picture")
        return content


def list_row_groups(files: Sequence[str], column: str) -> list[RowGroup]:
    """Find out what Parquet files hold, without reading it.

    Args:
        files: Paths and URLs. Those that are damaged are reported and passed over.
        column: Of pictures: structures with ``bytes``, as ``datasets`` writes them, or bytes.

    Raises:
        ConnectionError: If a server cannot be reached.
        ValueError: If there is no such column, it holds no pictures, or no file can be read.
    """
    with ThreadPoolExecutor(NUM_CONNECTIONS) as pool:
        footers = list(pool.map(_read_footer, files))
    groups: list[RowGroup] = []
    for file, found in zip(files, footers, strict=True):
        if found is None:
            continue
        footer, size = found
        _picture_leaf(footer, column)
        for number in range(footer.num_row_groups):
            rows = range(footer.row_group(number).num_rows)
            if rows:
                groups.append(RowGroup(file, size, footer, column, number, rows))
    if not groups:
        raise ValueError(f"None of the {len(files)} files, such as {files[0]}, holds photos.")
    return groups


def read_pictures(group: RowGroup) -> Any:
    """Read all picture files of a row group.

    Returns:
        A chunked Arrow array of bytes, one per row of the row group.

    Raises:
        ConnectionError: If the server cannot be reached, even after minutes.
        UnreadableError: If the file is damaged here.
    """
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    try:
        with _open(group.file, group.size) as file:
            parquet = pq.ParquetFile(
                file, metadata=group.footer, pre_buffer=True, page_checksum_verification=True
            )
            table = parquet.read_row_group(
                group.number, [_picture_leaf(group.footer, group.column)], use_threads=False
            )
            pictures = table.column(0)
            if pa.types.is_struct(pictures.type):
                pictures = pc.struct_field(pictures, "bytes")
            pictures.validate(full=True)
    except (pa.ArrowException, OSError, ValueError) as error:
        if is_fault_of_the_machine(error):
            raise
        raise UnreadableError(str(group), str(error).splitlines()[0]) from error
    return pictures


def _read_footer(file: str) -> tuple[Any, int] | None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with _open(file, None) as opened:
            return pq.read_metadata(opened), opened.seek(0, 2)
    except (pa.ArrowException, OSError) as error:
        if is_fault_of_the_machine(error):
            raise
        log.warning("Skipping %s, which cannot be read (%s).", file, str(error).splitlines()[0])
        return None


def _open(file: str, size: int | None) -> Any:
    if file.startswith(("http://", "https://")):
        return RemoteFile(file, size, QUICK_WAITS if size is None else None)
    return Path(file).open("rb")


def _picture_leaf(footer: Any, column: str) -> str:
    """Name of what holds the bytes, as Parquet counts columns."""
    import pyarrow as pa

    schema = footer.schema.to_arrow_schema()
    leaves = {field.name: _leaf(field) for field in schema}
    if leaves.get(column):
        return leaves[column]
    pictures = [name for name, leaf in leaves.items() if leaf]
    holds = f"holds {schema.field(column).type}" if column in leaves else "is missing"
    raise ValueError(
        f"data.column must name a column of pictures, got {column}, which {holds}: "
        f"there {'is' if len(pictures) == 1 else 'are'} {', '.join(pictures) or 'none'}"
        f"{'' if pictures else ' among ' + ', '.join(pa.schema(schema).names)}."
    )


def _leaf(field: Any) -> str:
    import pyarrow as pa

    if pa.types.is_struct(field.type) and "bytes" in [part.name for part in field.type]:
        return f"{field.name}.bytes"
    is_bytes = pa.types.is_binary(field.type) or pa.types.is_large_binary(field.type)
    return field.name if is_bytes else ""
