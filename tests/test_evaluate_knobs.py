"""Whether knobs do what they say is told by a command, of networks that have them."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from evaluate_knobs import measure_border, steepness
from impasto import Stylizer
from impasto.checkpoint import Header, save_checkpoint
from impasto.networks import MultiTransformerNet, TransformerNet

SCRIPT = Path(__file__).parents[1] / "scripts" / "evaluate.py"
ARGUMENTS = {"num_styles": 2, "strokes": [256, 512], "width": 4, "num_blocks": 1}


@pytest.fixture
def many() -> tuple[MultiTransformerNet, Header]:
    torch.manual_seed(0)
    network = MultiTransformerNet(**ARGUMENTS)
    for rows in (network.style_rows, network.stroke_rows):
        nn.init.normal_(rows, std=0.5)
    return network, Header("stylization", "MultiTransformerNet", ARGUMENTS, ["udnie", "dots"])


def evaluate(checkpoint: Path, photos: Path, *extras: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPT), "knobs", str(checkpoint), f"--photos={photos}"]
    command += ["--num-photos=2", "--size=32", *extras]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


def test_command_turns_all_knobs_of_all_styles(
    many: tuple[MultiTransformerNet, Header], photos: Path, tmp_path: Path
) -> None:
    save_checkpoint(tmp_path / "many.safetensors", *many)
    done = evaluate(tmp_path / "many.safetensors", photos, f"--json={tmp_path / 'figures.json'}")
    assert done.returncode == 0, done.stderr
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert list(figures) == ["udnie", "dots"]
    strength = figures["udnie"]["strength"]
    assert len(strength["distances"]) == 11
    assert strength["distances"][0] == 0
    assert strength["psnr_at_0"] == 99
    assert figures["udnie"]["strokes"]["ratio"] > 0
    assert "strokes" not in figures["dots"]  # of which there is no card
    assert [row.split(" | ")[0] for row in done.stdout.splitlines() if row.startswith("| ")] == [
        "| style",
        "| ---",
        "| udnie",
        "| dots",
    ]


def test_network_of_one_style_has_nothing_to_turn(photos: Path, tmp_path: Path) -> None:
    arguments = {"width": 2, "num_blocks": 1}
    header = Header("stylization", "TransformerNet", arguments, ["dots"])
    save_checkpoint(tmp_path / "one.safetensors", TransformerNet(**arguments), header)
    done = evaluate(tmp_path / "one.safetensors", photos)
    assert done.returncode == 2
    assert "has one style: its knobs are not trained" in done.stderr


def test_steepness_is_of_the_middle() -> None:
    image = torch.zeros(1, 3, 4, 64)
    image[..., 10:] = 1.0  # away from it
    assert steepness(image) == 0
    image[..., 32:] = 0.0
    assert steepness(image) == pytest.approx(1 / 15)


def test_border_is_no_steeper_than_its_sides(many: tuple[MultiTransformerNet, Header]) -> None:
    stylizer = Stylizer(*many, "cpu", "fp32")
    photos = torch.rand(1, 3, 96, 96)
    assert measure_border(stylizer, photos, "udnie", "dots") < 1.05
    assert measure_border(stylizer, photos, "udnie", "udnie") == pytest.approx(1, abs=1e-3)
