"""Writing files so that nobody ever sees half of one."""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file beside its place, then move it there: the file is whole or it is the former one.

    Args:
        path: Where to; missing folders are made.
        content: All of the file.

    Raises:
        OSError: If it cannot be written; then nothing is left behind.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with opened_atomically(path) as file:
        file.write(content)


@contextmanager
def opened_atomically(path: Path, suffix: str = "") -> Iterator[BinaryIO]:
    """Do the same piece by piece, for files that do not fit into memory.

    Args:
        path: Where to, in a folder that is there.
        suffix: At the end of the name that the file has until it is whole, for who wants to find
            what a killed process leaves.

    Raises:
        OSError: If it cannot be written; then nothing is left behind, as after any other error.
    """
    # Not tempfile, whose files only their owner can read; cut, since names end at 255 bytes.
    beside = path.with_name(f".{path.name[:40]}.{secrets.token_hex(4)}{suffix}")
    try:
        with beside.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
