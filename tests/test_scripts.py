"""Scripts and commands run as users run them, at the smallest size."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from impasto.images import open_picture

ROOT = Path(__file__).parents[1]


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("data.path=/nowhere", "/nowhere"),
        ("style.image=???", "style.image must be given"),
        ("loss_network.weights=/nowhere.pth", "No weights at /nowhere.pth"),
    ],
)
def test_wrong_setting_is_one_line_and_exit_code_2(
    tiny: list[str], override: str, message: str
) -> None:
    done = run("train.py", *tiny, override)
    assert done.returncode == 2
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_unknown_style_is_answered_with_the_known_ones() -> None:
    done = run("train.py", "style=nonsense")
    assert done.returncode != 0
    assert "starry_night" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_training_benchmark_writes_a_ratio(tmp_path: Path) -> None:
    figures = tmp_path / "figures.json"
    sizes = ["--size=32", "--width=2", "--batch-size=1", "--repeats=2"]
    done = run("scripts/benchmark.py", "training", *sizes, f"--json={figures}")
    assert done.returncode == 0, done.stderr
    ratio = json.loads(figures.read_text())["ratio"]
    assert f"{ratio:.2f} times as fast" in done.stdout


@pytest.mark.slow
def test_texture_has_the_size_asked_for(painting: Path, tmp_path: Path) -> None:
    texture = tmp_path / "texture.png"
    sizes = ["--size=256", "--painting-size=256", "--steps=1"]
    script = "scripts/synthesize_texture.py"
    done = run(script, str(painting), str(texture), "--weights=random", *sizes)
    assert done.returncode == 0, done.stderr
    assert open_picture(texture).size == (256, 256)


@pytest.mark.slow
def test_ablation_prints_a_row_for_every_variant(
    painting: Path, photos: Path, tmp_path: Path
) -> None:
    sizes = ["--steps=1", "--size=64", "--style-size=64", "--num-held-out=2"]
    inputs = [f"--painting={painting}", f"--photos={photos}", "--weights=random"]
    done = run("scripts/ablate.py", *inputs, *sizes, f"--grid={tmp_path / 'grid.png'}")
    assert done.returncode == 0, done.stderr
    rows = [line for line in done.stdout.splitlines() if line.startswith("|")]
    assert len(rows) == 2 + 10
    assert (tmp_path / "grid.png").is_file()
