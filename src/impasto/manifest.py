"""What has been painted into a folder, from what and how: one line of JSON for every painting."""

import hashlib
import json
import threading
from collections.abc import Callable
from enum import Enum, auto
from pathlib import Path
from typing import Any

MANIFEST_NAME = ".impasto.jsonl"


class State(Enum):
    """How a painting stands."""

    MISSING = auto()  # there is no file
    DONE = auto()  # painted from this very photo, in this very way
    STALE = auto()  # painted by us, but from a photo that changed since, or otherwise
    FOREIGN = auto()  # not painted by us, or changed since


def file_stamp(path: Path) -> list[int]:
    """Tell one version of a file from another without reading it.

    Args:
        path: Any path.

    Returns:
        Size in bytes and time of the last change in nanoseconds; empty where there is no file.
    """
    try:
        status = path.stat()
    except OSError:
        return []
    return [status.st_size, status.st_mtime_ns]


class Manifest:
    """The record of a folder of paintings, which a later run goes on from.

    A file of JSON lines that only grows; the last line of a painting counts. A line that is torn,
    where a run was killed or a disk was full, counts for nothing.

    Args:
        photos: The folder that is painted.
        paintings: The folder that is painted to.
        recipe: What besides the photo decides how a painting looks: names and plain values.
        stamp: Tells versions of a photo apart, with all that belongs to it, as its mask.

    Raises:
        OSError: If there is a record that cannot be read.
    """

    def __init__(
        self,
        photos: Path,
        paintings: Path,
        recipe: dict[str, Any],
        stamp: Callable[[Path], list[int]] = file_stamp,
    ) -> None:
        self._photos, self._paintings, self._recipe = photos, paintings, recipe
        self._stamp = stamp
        self._path = paintings / MANIFEST_NAME
        self._lock = threading.Lock()
        content = self._path.read_bytes() if self._path.exists() else b""
        self._entries = _entries(content)
        self._separator = b"" if not content or content.endswith(b"\n") else b"\n"

    def state(self, photo: Path, painting: Path) -> State:
        """Tell whether a photo is still to be painted.

        Args:
            photo: In the folder of photos.
            painting: In the folder of paintings.
        """
        painting_stamp = file_stamp(painting)
        if not painting_stamp:
            return State.MISSING
        entry = self._entries.get(self._name(painting), {})
        if entry.get("painting_stamp") != painting_stamp:
            return State.FOREIGN
        now = self._entry(photo, self._stamp(photo), painting)
        return State.DONE if all(entry.get(k) == v for k, v in now.items()) else State.STALE

    def record(self, photo: Path, photo_stamp: list[int], painting: Path) -> None:
        """Add a painting; may be called from any thread.

        Args:
            photo: In the folder of photos.
            photo_stamp: Of the photo, from before it was read.
            painting: In the folder of paintings, finished.

        Raises:
            OSError: If it cannot be written, as on a full disk.
        """
        entry = self._entry(photo, photo_stamp, painting)
        entry["painting_stamp"] = file_stamp(painting)
        line = json.dumps(entry).encode() + b"\n"
        with self._lock, self._path.open("ab") as file:
            separator, self._separator = self._separator, b"\n"  # should the line be torn now
            file.write(separator + line)
            self._separator = b""

    def _entry(self, photo: Path, photo_stamp: list[int], painting: Path) -> dict[str, Any]:
        return {
            "painting": self._name(painting),
            "photo": photo.relative_to(self._photos).as_posix(),
            "photo_stamp": photo_stamp,
            "recipe": self._recipe,
        }

    def _name(self, painting: Path) -> str:
        return painting.relative_to(self._paintings).as_posix()


def fingerprint(path: Path) -> str:
    """Hash what a file holds.

    Args:
        path: A file.

    Returns:
        The first 16 hexadecimal digits of its SHA-256.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]


def _entries(content: bytes) -> dict[str, dict[str, Any]]:
    entries = {}
    for line in content.splitlines():
        try:
            entry = json.loads(line)
            entries[str(entry["painting"])] = dict(entry)
        except (ValueError, TypeError, KeyError, RecursionError):  # torn, or of somebody else
            continue
    return entries
