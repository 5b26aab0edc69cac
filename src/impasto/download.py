"""Downloads of single files: http and https, within limits of size and time."""

import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path
from urllib.request import Request, urlopen

MAX_BYTES = 64 << 20  # 64 MiB: a painting scanned for print
TIMEOUT = 30.0  # seconds without an answer
DEADLINE = 600.0  # seconds for all of it
CHUNK = 1 << 16  # bytes


def is_url(text: str | Path) -> bool:
    """Whether this is an address to download from and not a path."""
    return isinstance(text, str) and text.lower().startswith(("http://", "https://"))


@contextmanager
def downloaded(url: str, max_bytes: int = MAX_BYTES) -> Iterator[Path]:
    """Download a file for as long as the context lasts.

    Args:
        url: Starting with ``http://`` or ``https://``.
        max_bytes: What is larger is not read to its end, whatever the server says of its size.

    Yields:
        Path of the file.

    Raises:
        ValueError: If the address is no such URL, does not answer, or holds too much.
    """
    if not is_url(url):
        raise ValueError(f"{url} is no address to download from: it must start with http(s)://.")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "download")
        try:
            _fetch(url, path, max_bytes)
        except (OSError, HTTPException, ValueError) as error:  # URLError and timeouts among them
            raise ValueError(
                f"{url} could not be downloaded ({error}): check the address and the connection, "
                f"or save the picture and give its path."
            ) from None
        yield path


def _fetch(url: str, path: Path, max_bytes: int) -> None:
    # Some museums turn away clients without a name.
    request = Request(url, headers={"User-Agent": "impasto"})
    with urlopen(request, timeout=TIMEOUT) as answer, path.open("wb") as file:
        if not is_url(answer.geturl()):
            raise ValueError("it leads to something that is no website")
        size, deadline = 0, time.monotonic() + DEADLINE
        while chunk := answer.read1(CHUNK):  # what there is: a slow server may not fill a chunk
            size += len(chunk)
            if time.monotonic() > deadline:
                raise ValueError(f"it takes longer than {DEADLINE / 60:g} minutes")
            if size > max_bytes:
                raise ValueError(f"it is larger than {max_bytes >> 20} MiB")
            file.write(chunk)
        if answer.length:  # bytes announced and not sent; None if none were
            raise ValueError("the connection broke off")
