"""The command train.py: how it ends."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.slow
def test_sweep_goes_on_after_a_training_that_cannot_be(tiny: list[str], tmp_path: Path) -> None:
    options = [option for option in tiny if not option.startswith("model.width")]
    sweep = f"hydra.sweep.dir={tmp_path / 'sweep'}"
    done = subprocess.run(
        [sys.executable, "train.py", "-m", *options, "model.width=0,2", sweep],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 1, done.stderr
    assert "width" in done.stderr
    assert done.stdout.count("Try it: ") == 1
    assert len(list(tmp_path.glob("runs/tiny/*/network.safetensors"))) == 1


def test_training_that_cannot_be_is_told_in_a_line(tiny: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "train.py", *tiny, "model.width=0"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert "width" in done.stderr
