"""Keeping freed memory: the next block of the same size costs no fresh pages."""

import platform
import subprocess
import sys

import pytest

CODE = """
import resource, sys, torch
from impasto.memory import keep_freed_memory
if sys.argv[1] == "kept":
    assert keep_freed_memory()
for _ in range(3):
    torch.ones(64 << 20, dtype=torch.uint8)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    torch.ones(64 << 20, dtype=torch.uint8)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="a setting of glibc")
def test_freed_memory_is_used_again_without_page_faults() -> None:
    faults = {}
    for how in ("kept", "returned"):
        command = [sys.executable, "-c", CODE, how]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
        faults[how] = int(done.stdout)
    # Small blocks that come to lie in between can cost a fresh one or two.
    assert faults["returned"] > 0
    assert faults["kept"] <= 0.5 * faults["returned"]
