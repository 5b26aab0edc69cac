"""What tests of exports have in common: sizes, photos, and the command as users run it."""

import sys

import pytest
import torch
from torch import Tensor

import export_onnx as command

SIZES = [(1, 1, 1), (1, 1, 500), (1, 8, 8), (1, 9, 4), (1, 37, 53), (3, 20, 24), (1, 64, 61)]


def photos_of(size: tuple[int, int, int]) -> Tensor:
    batch, height, width = size
    return torch.rand(batch, 3, height, width, generator=torch.Generator().manual_seed(1))


def export(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    """Run the command; return its exit code."""
    monkeypatch.setattr(sys, "argv", ["export_onnx.py", *map(str, arguments)])
    try:
        command.main()
    except SystemExit as exit_:
        return int(exit_.code or 0)
    return 0
