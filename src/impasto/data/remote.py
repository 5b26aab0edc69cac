"""Files on a server, read piece by piece."""

import io
import logging
import time
from collections.abc import Mapping

TIMEOUT = 10  # seconds without a byte
WAITS = (1, 2, 4, 8, 16, 30, 60, 60)  # seconds between attempts: a server restarts in minutes
BUSY = (408, 425, 429, 500, 502, 503, 504)  # a later attempt may succeed
TAIL = 64 * 1024  # bytes; at the end of a file lies what Parquet readers ask for first

log = logging.getLogger(__name__)


class RemoteFile(io.RawIOBase):
    """A file on a server that can serve parts of files, opened for reading.

    Args:
        url: Of the file.
        size: In bytes, if it is known; else the end of the file is read to know it, and kept.
        waits: Seconds to wait between attempts where the server is busy or cannot be reached.

    Raises:
        ConnectionError: If it cannot be reached, after the last attempt.
        OSError: If it does not give the file.
    """

    def __init__(
        self, url: str, size: int | None = None, waits: tuple[float, ...] | None = None
    ) -> None:
        self.url = url
        self.waits = WAITS if waits is None else waits
        self._place = 0
        self._tail = b""
        if size is None:
            self._tail, size = self._fetch(f"bytes=-{TAIL}")
        self._size = size

    def readable(self) -> bool:
        """Yes."""
        return True

    def seekable(self) -> bool:
        """Yes."""
        return True

    def tell(self) -> int:
        """Bytes before the place to read from."""
        return self._place

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move the place to read from."""
        self._place = offset + (0, self._place, self._size)[whence]
        return self._place

    def size(self) -> int:
        """Length of the file, in bytes."""
        return self._size

    def read(self, size: int = -1) -> bytes:
        """Read so many bytes, or all that are left."""
        start = self._place
        stop = self._size if size < 0 else min(start + size, self._size)
        self._place = max(start, stop)
        if stop <= start:
            return b""
        tail_start = self._size - len(self._tail)
        if start >= tail_start:
            return self._tail[start - tail_start : stop - tail_start]
        return self._fetch(f"bytes={start}-{stop - 1}")[0]

    def _fetch(self, part: str) -> tuple[bytes, int]:
        """A part, and the size of the whole file."""
        for wait in (*self.waits, None):
            try:
                return _request(self.url, part)
            except BusyError as error:
                if wait is None:
                    raise ConnectionError(
                        f"{self.url} cannot be read, {error}, after {len(self.waits) + 1} "
                        f"attempts: check the network, and go on later."
                    ) from error
                log.warning("Reading %s again in %g s: %s.", self.url, wait, error)
                time.sleep(wait)
        raise AssertionError


class BusyError(Exception):
    """A later attempt may succeed."""


def _request(url: str, part: str) -> tuple[bytes, int]:
    from huggingface_hub import constants, get_session
    from huggingface_hub.utils import build_hf_headers

    # The user's token is for the hub alone: a data set may name files of anybody.
    is_hub = url.startswith(f"{constants.ENDPOINT}/")
    headers = {**build_hf_headers(token=None if is_hub else False), "Range": part}
    try:
        response = get_session().get(url, headers=headers, timeout=TIMEOUT)
    except Exception as error:  # of the library that huggingface_hub fetches with, whichever it is
        raise BusyError(f"{type(error).__name__}: {error}") from error
    if response.status_code in BUSY:
        raise BusyError(f"the server answers {response.status_code}")
    if response.status_code not in (200, 206):
        raise OSError(f"The server answers {response.status_code}")
    return response.content, _total(response.headers, len(response.content), response.status_code)


def _total(headers: Mapping[str, str], received: int, status: int) -> int:
    total = headers.get("Content-Range", "").rpartition("/")[2]
    if status == 206 and total.isdigit():
        return int(total)
    raise OSError("The server does not serve parts of files")
