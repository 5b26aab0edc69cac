"""A safetensors file with a readable JSON header: checkpoints and style cards are such files."""

import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from impasto.files import write_atomically

HEADER_KEY = "impasto"  # safetensors metadata maps strings to strings: one key, one JSON text


class CheckpointError(ValueError):
    """A file to use that is none of ours, is damaged, or is of another kind than asked for."""


def write_container(path: Path, tensors: dict[str, Tensor], header: dict[str, Any]) -> None:
    """Write tensors and a header, atomically: the file is whole or it is the former one.

    Args:
        path: Where to, ending in ``.safetensors``.
        tensors: On the CPU and contiguous, by name.
        header: Anything JSON can say, with a ``format_version``.
    """
    write_atomically(path, save(tensors, {HEADER_KEY: json.dumps(header)}))


def read_container(
    path: Path, kind: str, max_bytes: int, format_version: int
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Read a header and tensors from a file that may come from anyone.

    Args:
        path: A file that ``write_container`` wrote.
        kind: What the file should be, in words: ``checkpoint``.
        max_bytes: Larger files are refused unread.
        format_version: The newest that the caller understands.

    Returns:
        The header, whose fields are still to be checked, and the tensors by name.

    Raises:
        FileNotFoundError: If there is no such file.
        CheckpointError: If the file is too large, damaged, without a header, or too new.
    """
    if not path.is_file():
        raise FileNotFoundError(f"No {kind} at {path}: a file ending in .safetensors is needed.")
    if path.stat().st_size > max_bytes:
        raise CheckpointError(f"{path} is larger than {max_bytes >> 10} KiB: not a {kind}.")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise CheckpointError(f"{path} is no safetensors file, or is damaged: {error}.") from None
    if HEADER_KEY not in metadata:
        raise CheckpointError(
            f"{path} holds tensors but no impasto header: it is no {kind} of impasto."
        )
    return _parse(path, metadata[HEADER_KEY], format_version), tensors


def _parse(path: Path, text: str, format_version: int) -> dict[str, Any]:
    try:
        header = json.loads(text)
        version = header["format_version"]
        too_new = version > format_version
    except (TypeError, KeyError, ValueError, RecursionError):  # no JSON, or no number Python reads
        raise CheckpointError(f"{path} has a damaged header: {text[:80]!r}.") from None
    if too_new:
        raise CheckpointError(
            f"{path} has format version {version}, this impasto reads up to {format_version}: "
            f"upgrade impasto."
        )
    return header
