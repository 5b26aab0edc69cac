"""What an evaluation leaves: a table to read, and all figures for programs."""

import json
from pathlib import Path
from typing import Any

from impasto.files import write_atomically


def publish(
    table: str, figures: dict[str, Any], markdown_path: Path | None, json_path: Path | None
) -> None:
    """Print a table; write it, and all figures, where asked to.

    Args:
        table: Markdown, with a line break at its end.
        figures: By name, as JSON takes them; finite.
        markdown_path: Of a file for the table, or ``None``.
        json_path: Of a file for the figures, or ``None``.
    """
    print(table, end="")
    if markdown_path:
        write_atomically(markdown_path, table.encode())
    if json_path:
        content = json.dumps(figures, indent=2, allow_nan=False) + "\n"
        write_atomically(json_path, content.encode())
