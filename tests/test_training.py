"""Training from config to file: every config composes, and a run leaves what it should."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from omegaconf import DictConfig, OmegaConf
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from impasto import Stylizer
from impasto.training import fit, prepare, train

CONFIGS = Path(__file__).parents[1] / "configs"
GROUPS = ("task", "model", "style", "data", "loss_network", "trainer", "experiment")
CHOICES = [
    f"{group}={path.stem}" for group in GROUPS for path in sorted((CONFIGS / group).glob("*.yaml"))
]

Configure = Callable[[list[str]], DictConfig]


@pytest.mark.parametrize("choice", CHOICES)
def test_every_choice_composes(configure: Configure, choice: str) -> None:
    assert configure([choice]).task._target_


def test_run_leaves_everything_in_its_folder(configure: Configure, tiny: list[str]) -> None:
    folder = train(configure(tiny))
    names = {path.name for path in folder.iterdir()}
    assert {
        "config.yaml",
        "resume.ckpt",
        "network.safetensors",
        "metrics.json",
        "preview.png",
    } <= names
    assert OmegaConf.load(folder / "config.yaml").trainer.max_steps == 8
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["step"] == 8
    stylizer = Stylizer.load(folder / "network.safetensors", device="cpu")
    assert stylizer.header.styles == ["tiny"]
    assert stylizer.header.losses["val/total"] > 0
    assert stylizer(torch.rand(1, 3, 17, 23)).shape == (1, 3, 17, 23)


def test_tensorboard_shows_losses_pictures_and_settings(
    configure: Configure, tiny: list[str]
) -> None:
    folder = train(configure([*tiny, "trainer.max_steps=10"]))
    events = EventAccumulator(str(folder)).Reload()
    tags = events.Tags()
    parts = ("content", "style", "tv", "total")
    wanted = {f"{stage}/{part}" for stage in ("train", "val") for part in parts}
    assert wanted | {"images_per_second", "lr-Adam"} <= set(tags["scalars"])
    assert {"style", "preview"} <= set(tags["images"])
    assert len(events.Images("style")) == 1
    assert [event.step for event in events.Scalars("val/total")] == [3, 7, 9]  # 0-based


def test_training_lowers_the_loss(configure: Configure, tiny: list[str]) -> None:
    short = [*tiny, "task.warmup_steps=0", "task.learning_rate=1e-2"]
    before = json.loads(
        (train(configure([*short, "trainer.max_steps=1"])) / "metrics.json").read_text()
    )
    after = json.loads(
        (train(configure([*short, "trainer.max_steps=60"])) / "metrics.json").read_text()
    )
    assert after["val/total"] < 0.8 * before["val/total"]


def test_same_seed_gives_same_weights_and_another_seed_others(
    configure: Configure, tiny: list[str]
) -> None:
    first, again, other = (
        (train(configure([*tiny, f"seed={seed}"])) / "network.safetensors").read_bytes()
        for seed in (0, 0, 1)
    )
    assert first == again
    assert first != other


def test_hopeless_run_ends_with_a_reason_and_good_weights(
    configure: Configure, tiny: list[str]
) -> None:
    run = prepare(configure([*tiny, "style.strength=inf", "trainer.max_steps=1000"]))
    outcome = fit(run)
    assert outcome.failure is not None
    assert "diverged again after 3 returns" in outcome.failure
    stylizer = Stylizer.load(run.folder / "network.safetensors", device="cpu")
    assert torch.isfinite(stylizer(torch.rand(1, 3, 16, 16))).all()
    assert (run.folder / "resume.ckpt").is_file()


def test_two_runs_in_one_second_have_folders_of_their_own(
    configure: Configure, tiny: list[str]
) -> None:
    assert prepare(configure(tiny)).folder != prepare(configure(tiny)).folder


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("data.path=/nowhere", "/nowhere"),
        ("style.image=/nowhere.jpg", "/nowhere.jpg"),
        ("style.image=???", "style.image must be given"),
        ("style.size=3", "at least 32, got 3"),
        ("+loss.content_layers.relu7_1=1", "relu7_1"),
        ("task.schedule=linear", "linear"),
        ("style.strength=much", "style_weight must be a number of at least 0, got 'much'"),
        ("style.strength=-1", "at least 0, got -1"),
        ("resume=/nowhere", "Nothing to resume: no config.yaml in /nowhere"),
    ],
)
def test_wrong_settings_are_refused_before_anything_is_written(
    configure: Configure, tiny: list[str], tmp_path: Path, override: str, message: str
) -> None:
    with pytest.raises(Exception, match=message):
        prepare(configure([*tiny, override]))
    assert not (tmp_path / "runs").exists()
