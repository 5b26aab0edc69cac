"""One photo of a data set: a file, or a row of a Parquet file; read it, encode its painting."""

import errno
import io
import struct
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from impasto.images import open_picture
from impasto.painting import explain_failure
from impasto.pictures import save_arguments

ROWS_AT_ONCE = 16  # of a Parquet file that are in memory
FAULTS_OF_THE_MACHINE = {errno.EDQUOT, errno.EMFILE, errno.ENFILE, errno.ENOSPC}


@dataclass
class Photo:
    """One photo on its way.

    Args:
        source: Its file, in the folder of photos.
        row: Where that is a Parquet file, counted from its start.
        name: Of the painting.
        content: The bytes of the picture file, where they are known: first the photo's, then the
            painting's.
        picture: The same, decoded.
        suffix: Of the painting's format.
        failure: Why there is no painting.
    """

    source: str
    row: int | None
    name: str
    content: bytes = b""
    picture: Image.Image | None = None
    suffix: str = ""
    failure: str = ""

    def __str__(self) -> str:
        return self.source if self.row is None else f"{self.source}, row {self.row}"

    @contextmanager
    def failing(self) -> Iterator[None]:
        """Take down what is wrong with this photo, and with no other."""
        try:
            yield
        except (ValueError, OSError, RuntimeError, MemoryError) as error:
            if isinstance(error, OSError) and error.errno in FAULTS_OF_THE_MACHINE:
                raise
            if isinstance(error, OSError):
                self.failure = f"{self} cannot be read ({error})."
            else:
                self.failure = f"{self}: {explain_failure(str(self), error)}"
            self.picture, self.content = None, b""


def open_bytes(content: bytes, label: str, max_pixels: int) -> Image.Image:
    """Open a picture file that is in memory; see ``open_picture``.

    Args:
        content: All of the file.
        label: What it is called.
        max_pixels: Largest width times height.

    Raises:
        ValueError: If it is no picture, is damaged, or has more than ``max_pixels``.
    """
    with tempfile.NamedTemporaryFile() as file:
        file.write(content)
        file.flush()
        try:
            return open_picture(file.name, max_pixels)
        except ValueError as error:
            raise ValueError(str(error).replace(file.name, label)) from None


def encode(picture: Image.Image, suffix: str, quality: int) -> bytes:
    """Make a picture file in memory.

    Args:
        picture: RGB or RGBA; JPEG has it laid on white.
        suffix: Says which format.
        quality: Of JPEG and WebP, 1 to 100.

    Raises:
        ValueError: If the picture is too large for the format.
    """
    format_name = Image.registered_extensions()[suffix]
    if picture.mode == "RGBA" and format_name == "JPEG":
        white = Image.new("RGBA", picture.size, "white")
        picture = Image.alpha_composite(white, picture).convert("RGB")
    file = io.BytesIO()
    try:
        picture.save(file, format_name, **save_arguments(format_name, quality))
    except (OSError, ValueError, struct.error) as error:
        raise ValueError(
            f"{format_name} does not take {picture.width} x {picture.height} pixels ({error}): "
            f"PNG does."
        ) from None
    return file.getvalue()


def picture_leaf(schema: Any, column: str) -> str:
    """Find what holds the bytes, as Parquet counts columns.

    Args:
        schema: An Arrow schema.
        column: Of bytes, or of structures with ``bytes``, as ``datasets`` writes them.

    Raises:
        ValueError: If there is no such column.
    """
    kind = schema.field(column).type if column in schema.names else pa.null()
    if pa.types.is_struct(kind) and "bytes" in [part.name for part in kind]:
        return f"{column}.bytes"
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        return column
    raise ValueError(
        f"--column must name a column of pictures, bytes or {{bytes, path}}, got {column}: "
        f"the columns are {', '.join(f'{field.name} ({field.type})' for field in schema)}."
    )


def read_rows(file: Any, group: int, column: str) -> Iterator[tuple[int, bytes | None]]:
    """Read a row group, a few rows at a time.

    Args:
        file: A Parquet file, opened.
        group: Number of the row group.
        column: Holds the pictures.

    Returns:
        Rows of the file, counted from its start, and picture files.
    """
    # Without pre_buffer, and with a buffer, no more than that is in memory.
    parquet = pq.ParquetFile(file, pre_buffer=False, buffer_size=2**20)
    leaf = picture_leaf(parquet.schema_arrow, column)
    number = sum(parquet.metadata.row_group(before).num_rows for before in range(group))
    for batch in parquet.iter_batches(ROWS_AT_ONCE, [group], [leaf], use_threads=False):
        for value in batch.column(0).to_pylist():
            yield number, value["bytes"] if isinstance(value, dict) else value
            number += 1


def encode_name(name: str) -> bytes:
    """As bytes, also where it is no text."""
    return name.encode(errors="surrogateescape")


def decode_name(name: bytes) -> str:
    """Undo ``encode_name``."""
    return name.decode(errors="surrogateescape")
