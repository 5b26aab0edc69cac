"""Resuming: a run that was killed ends with the very weights of one that was not."""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import DictConfig, OmegaConf
from safetensors.torch import load_file

from impasto.resumption import steps_done
from impasto.settings import CONFIG_FILE, RESUME_FILE, load_settings
from impasto.training import fit, prepare, train

NUM_STEPS = 24
ROOT = Path(__file__).parents[1]

# Runs train.py's own code with a callback that kills the process, as a power cut would.
KILLER = """
import os, random, signal, sys
import impasto.training as training
from pytorch_lightning.callbacks import Callback

class Kill(Callback):
    def on_before_zero_grad(self, trainer, *_):  # amid a step
        if trainer.fit_loop.epoch_loop.total_batch_idx == int(os.environ["KILL_AT"]):
            os.kill(os.getpid(), signal.SIGKILL)

prepare = training.prepare

def prepare_to_die(cfg):
    run = prepare(cfg)
    run.trainer.callbacks.insert(0, Kill())
    return run

training.prepare = prepare_to_die
sys.argv[0] = "train.py"
import runpy
runpy.run_path("train.py", run_name="__main__")
"""

Configure = Callable[[list[str]], DictConfig]


def run(
    code: list[str], arguments: list[str], **environment: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *code, *arguments],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )


def only_run(folder: Path) -> Path:
    (run_folder,) = (folder / "tiny").iterdir()
    return run_folder


@pytest.mark.slow
@pytest.mark.parametrize("num_workers", [0, 1])
def test_run_killed_at_random_steps_ends_with_identical_weights(
    tiny: list[str], tmp_path: Path, num_workers: int
) -> None:
    options = [*tiny, f"data.num_workers={num_workers}", f"trainer.max_steps={NUM_STEPS}"]
    whole = run(["train.py"], [*options, f"run_folder={tmp_path / 'whole'}"])
    assert whole.returncode == 0, whole.stderr
    # Five kills for one loader, one for the other: each start of a process takes seconds.
    kills = [2] if num_workers else []  # before the first validation: starts over
    kills += sorted(random.Random(num_workers).sample(range(1, NUM_STEPS), 1 if num_workers else 5))
    arguments = [*options, f"run_folder={tmp_path / 'cut'}"]
    for step in kills:
        cut = run(["-c", KILLER], arguments, KILL_AT=str(step))
        assert cut.returncode == -signal.SIGKILL, cut.stderr
        arguments = [f"resume={only_run(tmp_path / 'cut')}"]
    rest = run(["train.py"], arguments)
    assert rest.returncode == 0, rest.stderr

    expected = torch.load(only_run(tmp_path / "whole") / "resume.ckpt", weights_only=True)
    reached = torch.load(only_run(tmp_path / "cut") / "resume.ckpt", weights_only=True)
    assert reached["global_step"] == expected["global_step"] == NUM_STEPS
    for name, weight in expected["state_dict"].items():
        assert torch.equal(reached["state_dict"][name], weight), name
    assert torch.equal(
        reached["optimizer_states"][0]["state"][0]["exp_avg_sq"],
        expected["optimizer_states"][0]["state"][0]["exp_avg_sq"],
    )
    assert reached["lr_schedulers"] == expected["lr_schedulers"]
    best = load_file(only_run(tmp_path / "whole") / "network.safetensors")
    again = load_file(only_run(tmp_path / "cut") / "network.safetensors")
    assert all(torch.equal(again[name], weight) for name, weight in best.items())


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_leaves_a_network_and_a_run_to_go_on_with(
    tiny: list[str], tmp_path: Path, number: signal.Signals
) -> None:
    process = subprocess.Popen(
        [sys.executable, "train.py", *tiny, "trainer.max_steps=100000", "data.num_workers=1"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob("runs/tiny/*/resume.ckpt")) and time.monotonic() < deadline:
        time.sleep(0.1)
    os.killpg(process.pid, number)  # as terminals and job queues do: workers get it too
    output, _ = process.communicate(timeout=60)
    folder = only_run(tmp_path / "runs")
    assert process.returncode == 128 + number, output
    assert "Traceback" not in output
    assert f"Go on: python train.py resume={folder}" in output
    step = torch.load(folder / "resume.ckpt", weights_only=True)["global_step"]
    assert (folder / "network.safetensors").is_file()

    rest = run(["train.py"], [f"resume={folder}", f"trainer.max_steps={step + 3}"])
    assert rest.returncode == 0, rest.stderr
    assert f"{step + 3}/{step + 3}" in rest.stdout  # the progress bar counts the whole run
    assert "Warning" not in rest.stderr
    assert torch.load(folder / "resume.ckpt", weights_only=True)["global_step"] == step + 3


def test_run_of_a_gpu_can_be_gone_on_with_without_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "resume.ckpt"
    monkeypatch.setattr("torch.serialization.location_tag", lambda _: "cuda:0")
    torch.save({"global_step": 7, "state_dict": {"weight": torch.ones(3)}}, path)
    assert steps_done(path) == 7


@pytest.mark.slow
def test_run_goes_on_after_its_picture_is_gone(
    tiny_lite: list[str], painting: Path, tmp_path: Path
) -> None:
    begun = run(["train.py"], tiny_lite)
    assert begun.returncode == 0, begun.stderr
    painting.unlink()
    folder = only_run(tmp_path / "runs")
    rest = run(["train.py"], [f"resume={folder}", "trainer.max_steps=12"])
    assert rest.returncode == 0, rest.stderr
    assert torch.load(folder / "resume.ckpt", weights_only=True)["global_step"] == 12


def test_run_goes_on_with_the_very_targets_it_began_with(
    configure: Configure, tiny_lite: list[str]
) -> None:
    begun = prepare(configure([*tiny_lite, "trainer.max_steps=2"]))
    fit(begun)
    resumed = prepare(configure([f"resume={begun.folder}"]))
    expected = dict(begun.task.loss.named_buffers())
    assert expected
    for name, target in resumed.task.loss.named_buffers():
        assert torch.equal(target, expected[name]), name


def test_checkpoint_holds_no_loss_network(configure: Configure, tiny: list[str]) -> None:
    state = torch.load(train(configure(tiny)) / "resume.ckpt", weights_only=True)["state_dict"]
    assert state
    assert all(name.startswith("network.") for name in state)


@pytest.mark.parametrize("change", ["task.learning_rate=1", "model=johnson", "+data.x=1"])
def test_resumed_run_refuses_other_settings(tmp_path: Path, change: str) -> None:
    (tmp_path / CONFIG_FILE).touch()
    with pytest.raises(ValueError, match="keeps its settings, got"):
        load_settings(tmp_path, [f"resume={tmp_path}", change])


def test_finished_run_keeps_its_results(configure: Configure, tiny: list[str]) -> None:
    folder = train(configure(tiny))
    metrics = (folder / "metrics.json").read_bytes()
    train(configure([f"resume={folder}"]))
    assert (folder / "metrics.json").read_bytes() == metrics
    change_steps(folder, 4)
    with pytest.raises(ValueError, match="8 steps behind it"):
        prepare(configure([f"resume={folder}"]))


def test_run_that_was_made_longer_goes_on_at_its_new_rate(
    configure: Configure, tiny: list[str]
) -> None:
    folder = train(configure([*tiny, "task.warmup_steps=0"]))
    change_steps(folder, 16)
    run = prepare(configure([f"resume={folder}"]))
    rates: list[float] = []
    step = run.task.training_step

    def remember(*batch: Any) -> Any:
        rates.append(run.trainer.optimizers[0].param_groups[0]["lr"])
        return step(*batch)

    run.task.training_step = remember  # type: ignore[method-assign]
    fit(run)
    assert rates[0] == pytest.approx(run.task.learning_rate / 2)  # half way down a cosine


def test_damaged_run_is_told_in_a_line(configure: Configure, tiny: list[str]) -> None:
    folder = train(configure(tiny))
    whole = (folder / RESUME_FILE).read_bytes()
    (folder / RESUME_FILE).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"resume\.ckpt is damaged"):
        prepare(configure([f"resume={folder}"]))
    for half in ("a: [", "seed: 1"):
        (folder / CONFIG_FILE).write_text(half)
        with pytest.raises(ValueError, match=r"config\.yaml is damaged"):
            prepare(configure([f"resume={folder}"]))


def change_steps(folder: Path, steps: int) -> None:
    settings = OmegaConf.load(folder / CONFIG_FILE)
    settings.trainer.max_steps = steps
    OmegaConf.save(settings, folder / CONFIG_FILE)
