"""Several processes that train together: disjoint data, and the weights that one alone reaches."""

import os
import re
import subprocess
import sys
from itertools import chain
from pathlib import Path

import pytest
import torch

from impasto.data.batches import PositionSampler

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("num_processes", [1, 2, 3])
def test_processes_share_the_positions_that_one_would_see(num_processes: int) -> None:
    shares = [
        list(PositionSampler(4, 2, lambda: 1, rank, num_processes)) for rank in range(num_processes)
    ]
    batches = [share[first : first + 2] for first in range(0, 6, 2) for share in shares]
    assert [*chain(*batches)] == list(PositionSampler(4, 2 * num_processes, lambda: 1))


def weights_of(folder: Path) -> dict[str, torch.Tensor]:
    (checkpoint,) = folder.glob("*/*/resume.ckpt")
    return torch.load(checkpoint, weights_only=True)["state_dict"]


def run(options: list[str], folder: Path) -> None:
    done = subprocess.run(
        [sys.executable, "train.py", *options, f"run_folder={folder}"],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count("Try it: ") == 1


TOGETHER = ["trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2", "data.batch_size=2"]
ALONE = ["trainer.accelerator=cpu", "data.batch_size=4"]
STEPS = [
    "trainer.precision=32-true",
    "trainer.max_steps=20",
    "trainer.val_check_interval=10",
    "data.num_workers=0",
    "model.width=2",
    # Chance is drawn by every process for itself.
    "loss.random_views=false",
]
STYLIZATION = [
    "model.num_blocks=1",
    "data.image_size=32",
    "data.crop_size=null",
    "style=starry_night",
    "task.input_noise=0",
    "loss.lattice_weight=0",  # a ratio over a process's batch
    "task.learning_rate=2e-4",
]
# Instance norm takes away what these add: their gradients are rounding, which Adam blows up.
WITHOUT_EFFECT = (r"network\.(encoder|decoder)\.\d.*\.0\.bias$", r"\.body\.(0\.0|1)\.bias$")
INPAINTING = [
    "task=inpainting",
    "data.image_size=32",
    "loss.texture_weight=0.1",
    "adversary=patch",
    "task.adversary.discriminator.width=2",
    "task.adversary.start=4",
]


def is_without_effect(name: str) -> bool:
    return any(re.search(pattern, name) for pattern in WITHOUT_EFFECT)


@pytest.mark.slow
@pytest.mark.parametrize("task", [STYLIZATION, INPAINTING], ids=["stylization", "inpainting"])
def test_two_processes_reach_the_weights_of_one(tmp_path: Path, task: list[str]) -> None:
    run([*TOGETHER, *STEPS, *task], tmp_path / "together")
    run([*ALONE, *STEPS, *task], tmp_path / "alone")
    together, alone = weights_of(tmp_path / "together"), weights_of(tmp_path / "alone")
    assert together.keys() == alone.keys()
    for name, weight in alone.items():
        if weight.is_floating_point() and not is_without_effect(name):
            torch.testing.assert_close(together[name], weight, atol=1e-5, rtol=0, msg=name)
