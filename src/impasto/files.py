"""Writing files so that nobody ever sees half of one."""

import os
import secrets
from pathlib import Path


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file beside its place, then move it there: the file is whole or it is the former one.

    Args:
        path: Where to; missing folders are made.
        content: All of the file.

    Raises:
        OSError: If it cannot be written; then nothing is left behind.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # Not tempfile, whose files only their owner can read; cut, since names end at 255 bytes.
    beside = path.with_name(f".{path.name[:40]}.{secrets.token_hex(4)}")
    try:
        with beside.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
