"""A folder on any storage that fsspec knows: this machine, S3, Google Cloud, HDFS and others."""

import posixpath
import re
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import fsspec
from fsspec.implementations.local import LocalFileSystem

from impasto.files import write_atomically

# There a file shows only when all of it is there, and moving one means to copy it.
OBJECT_STORES = {"abfs", "abfss", "adl", "az", "gcs", "gs", "memory", "oci", "oss", "s3", "s3a"}
LEFTOVER = re.compile(r"\..+\.[0-9a-f]{8}")  # what a writer leaves that was killed
LEFTOVER_SECONDS = 3600  # unchanged for so long, it is nobody's, whatever clock the storage has


@dataclass(frozen=True)
class Store:
    """A folder, and how to get at it from any machine.

    Args:
        url: As the user calls it.
        files: The file system of fsspec.
        root: The folder, as that file system calls it.
    """

    url: str
    files: Any
    root: str

    @classmethod
    def at(cls, url: str) -> Self:
        """Open a folder; nothing is read yet.

        Args:
            url: A path, or an address such as ``s3://bucket/folder``.

        Raises:
            ImportError: If the package for this storage is not installed.
            ValueError: If there is no such storage.
        """
        with plain_errors(url):
            # fsspec's cache would keep a kilobyte for every file that it lists
            files, root = fsspec.core.url_to_fs(url, use_listings_cache=False)
            return cls(url, files, root.rstrip("/"))

    @property
    def is_local(self) -> bool:
        """Whether its files have paths on this machine."""
        return isinstance(self.files, LocalFileSystem)

    def path(self, name: str) -> str:
        """What the file system calls a file of this folder."""
        return f"{self.root}/{name}"

    def walk(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Find all files, but those in hidden folders and behind links to folders.

        Returns:
            Names relative to the folder, in any order, with what fsspec tells of each.

        Raises:
            OSError: If the storage cannot be read.
        """
        with plain_errors(self.url):
            for parent, folders, files in self.files.walk(self.root, detail=True):
                for name in [n for n, about in folders.items() if _is_passed_over(n, about)]:
                    del folders[name]  # in place: fsspec then stays out of it
                inner = parent[len(self.root) :].strip("/")
                for name, about in files.items():
                    yield posixpath.join(inner, name), about

    def sweep(self, name: str, about: dict[str, Any]) -> None:
        """Remove a file that a writer left half written, and nobody is writing any more.

        Args:
            name: As ``walk`` gives it.
            about: As well.
        """
        if not LEFTOVER.fullmatch(posixpath.basename(name)) or "mtime" not in about:
            return
        changed = about["mtime"]
        if isinstance(changed, float) and time.time() - changed > LEFTOVER_SECONDS:
            with suppress(OSError):  # another run is faster
                self.files.rm_file(self.path(name))

    def read(self, name: str) -> bytes:
        """All of a file.

        Raises:
            FileNotFoundError: If there is none.
            OSError: If it cannot be read.
        """
        with plain_errors(f"{self.url}, {name}"):
            return self.files.cat_file(self.path(name))

    def write(self, name: str, content: bytes) -> None:
        """Write a file so that nobody ever sees half of it.

        Args:
            name: Relative to the folder; missing folders are made.
            content: All of the file.

        Raises:
            OSError: If it cannot be written.
        """
        path = self.path(name)
        if self.is_local:
            write_atomically(Path(path), content)
            return
        protocols = self.files.protocol
        protocols = {protocols} if isinstance(protocols, str) else set(protocols)
        with plain_errors(f"{self.url}, {name}"):
            if protocols & OBJECT_STORES:
                self.files.pipe_file(path, content)
                return
            folder, base = posixpath.split(path)
            beside = f"{folder}/.{base[:40]}.{secrets.token_hex(4)}"
            self.files.makedirs(folder, exist_ok=True)
            try:
                self.files.pipe_file(beside, content)
                self.files.mv(beside, path)
            except BaseException:
                with suppress(Exception):  # the first trouble is the one to tell
                    self.files.rm_file(beside)
                raise


@contextmanager
def plain_errors(place: str) -> Iterator[None]:
    """Make an OSError of what the packages for storages raise: classes of their own, of all kinds.

    Args:
        place: What is read or written.
    """
    try:
        yield
    except (ImportError, OSError, ValueError, MemoryError):
        raise
    except Exception as error:
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        raise OSError(
            f"{place} cannot be reached ({reason}): check the address, the network and your access."
        ) from error


def _is_passed_over(name: str, about: dict[str, Any]) -> bool:
    return name.startswith(".") or bool(about.get("islink"))
