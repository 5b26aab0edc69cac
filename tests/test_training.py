"""Training from config to file: every config composes, and a run leaves what it should."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from omegaconf import DictConfig, OmegaConf
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from impasto import Stylizer, settings
from impasto.cards import load_card
from impasto.settings import settle
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


def test_run_from_a_picture_leaves_its_style_card(
    configure: Configure, tiny: list[str], tiny_lite: list[str]
) -> None:
    card = load_card(train(configure(tiny_lite)) / "style.safetensors")
    assert card.name == "tiny"
    assert list(card.targets) == [32]
    assert not (train(configure(tiny)) / "style.safetensors").exists()  # VGG has no cards


def test_style_card_trains_as_its_picture_does(configure: Configure, tiny_lite: list[str]) -> None:
    first = train(configure(tiny_lite))
    card = f"style.card={first / 'style.safetensors'}"
    second = train(configure([*tiny_lite, "style.image=null", card]))
    losses, again = (
        json.loads((folder / "metrics.json").read_text()) for folder in (first, second)
    )
    assert again == pytest.approx(losses, rel=1e-3)
    assert (second / "style.safetensors").is_file()


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["style.image=null"], r"No style: .*style=NAME, .*style\.image=PATH"),
        (["style.image=null", "style.card=/nowhere.safetensors"], "No style card at /nowhere"),
        (["style.size=31"], "at least 32, got 31"),
        (["loss_network.weights=/nowhere.safetensors"], "No weights of the lite loss network"),
        (["loss.num_levels=3"], "at least 64 for 3 pyramid levels, got 32"),
        (["+loss.style_layers.relu1_2=1"], "has no layer relu1_2"),
    ],
)
def test_wrong_styles_for_lite_are_refused_before_anything_is_written(
    configure: Configure, tiny_lite: list[str], tmp_path: Path, overrides: list[str], message: str
) -> None:
    with pytest.raises(Exception, match=message):
        prepare(configure([*tiny_lite, *overrides]))
    assert not (tmp_path / "runs").exists()


def test_tensorboard_shows_losses_pictures_and_settings(
    configure: Configure, tiny: list[str]
) -> None:
    folder = train(configure([*tiny, "trainer.max_steps=10"]))
    events = EventAccumulator(str(folder)).Reload()
    tags = events.Tags()
    parts = ("content", "style", "tv", "total")
    wanted = {f"{stage}/{part}" for stage in ("train", "val") for part in parts}
    assert wanted | {"images_per_second", "lr-Adam"} <= set(tags["scalars"])
    assert {f"final/{part}" for part in parts} <= set(tags["scalars"])
    assert "_hparams_/session_start_info" in events.summary_metadata
    assert {"style", "preview"} <= set(tags["images"])
    assert [event.step for event in events.Images("preview")] == [3, 7, 9]
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
    run = prepare(configure([*tiny, "trainer.max_steps=1000"]))
    paint_and_compare = run.task.paint_and_compare

    def diverge(
        noisy: torch.Tensor, photos: torch.Tensor, knobs: None
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        painted, parts = paint_and_compare(noisy, photos, knobs)
        return painted, {"total": parts["total"] * float("nan")}

    run.task.paint_and_compare = diverge
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
        ("style.strength=inf", "at least 0, got inf"),
        ("style.size=big", "big"),
        ("loss.style_layers.relu1_2=high", "high"),
        ("data.image_size=8", "at least 16 for 1 pyramid levels, got 8"),
        ("trainer.max_steps=-1", "at least 1, got -1"),
        (
            "trainer.max_steps=2.5",
            "must be a whole number of at least 1, got 2.5",
        ),
        ("trainer.max_steps=null", "trainer.max_steps must be a whole number"),
        ("data.batch_size=2.0", "data.batch_size must be a whole number"),
        ("loss.num_levels=0", "loss.num_levels must be a whole number of at least 1, got 0"),
        ("seed=null", "seed must be a whole number"),
        ("trainer.val_check_interval=0", "a share of the run above 0 and up to 1.0, got 0"),
        ("+trainer.accumulate_grad_batches=2", "give a larger data.batch_size"),
        ("task.warmup_steps=-5", "warmup_steps must be at least 0, got -5"),
        ("model._target_=impasto.networks.ContextEncoderPlus", "is no network for Stylization"),
        ("+style.names=[udnie]", "all other models take one style"),
        ("trainer.precision=16-mixed", "must be auto, 32-true or bf16-mixed, got 16-mixed"),
        ("trainer.accelerator=tpu", "torch_xla"),
        ("model._target_=torch.nn.Identity", "must be one of TransformerNet, .*got Identity"),
        ("resume=/nowhere", "Nothing to resume: no config.yaml in /nowhere"),
    ],
)
def test_wrong_settings_are_refused_before_anything_is_written(
    configure: Configure, tiny: list[str], tmp_path: Path, override: str, message: str
) -> None:
    with pytest.raises(Exception, match=message):
        prepare(configure([*tiny, override]))
    assert not (tmp_path / "runs").exists()


def test_folder_of_damaged_photos_is_refused_before_anything_is_written(
    configure: Configure, tiny: list[str], tmp_path: Path
) -> None:
    damaged = tmp_path / "damaged"
    damaged.mkdir()
    (damaged / "a.jpg").write_text("no photo")
    with pytest.raises(ValueError, match="None of the 1 pictures can be read"):
        prepare(configure([*tiny, f"data.path={damaged}"]))
    assert not (tmp_path / "runs").exists()


def test_style_may_be_named_by_a_number(configure: Configure, tiny: list[str]) -> None:
    folder = train(configure([*tiny, "style.name=1889"]))
    assert folder.parent.name == "1889"
    assert Stylizer.load(folder / "network.safetensors", device="cpu").header.styles == ["1889"]


def test_machine_with_many_cores_gets_no_advice(
    configure: Configure, tiny: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lightning_fabric.utilities.data._num_cpus_available", lambda: 16)
    train(configure(tiny))  # warnings are errors


def test_paper_is_stated_as_it_is(configure: Configure) -> None:
    cfg = configure(["experiment=johnson2016"])
    assert (cfg.trainer.max_steps, cfg.data.batch_size, cfg.data.image_size) == (40_000, 4, 256)
    assert (cfg.task.learning_rate, cfg.task.schedule, cfg.task.warmup_steps) == (
        1e-3,
        "constant",
        0,
    )
    assert (cfg.model.width, cfg.model.num_blocks, cfg.loss_network.name) == (32, 5, "vgg16")
    assert {name for name, weight in cfg.loss.content_layers.items() if weight} == {"relu2_2"}
    assert set(cfg.loss.style_layers) == {"relu1_2", "relu2_2", "relu3_3", "relu4_3"}
    assert cfg.trainer.gradient_clip_val is None
    assert cfg.data.source._target_ == "impasto.data.FolderPhotos"


@pytest.mark.parametrize(
    ("accelerator", "cuda", "mps", "asked"),
    [
        ("auto", True, False, "cuda"),
        ("gpu", True, False, "cuda"),
        ("auto", False, True, "mps"),
        ("auto", False, False, "cpu"),
        ("cpu", True, False, "cpu"),
    ],
)
def test_precision_is_that_of_the_device_lightning_takes(
    monkeypatch: pytest.MonkeyPatch, accelerator: str, cuda: bool, mps: bool, asked: str
) -> None:
    devices: list[str] = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    monkeypatch.setattr(settings, "half_dtype", devices.append)
    trainer = OmegaConf.create({"precision": "auto", "accelerator": accelerator})
    assert settings.choose_precision(trainer) == "32-true"
    assert devices == [asked]


def test_address_of_a_painting_is_no_path(configure: Configure) -> None:
    cfg = configure(["style.image=https://example.org/a.jpg", "style.name=a"])
    settle(cfg)
    assert cfg.style.image == "https://example.org/a.jpg"


def test_home_is_known(
    configure: Configure, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    cfg = configure(["style.image='~/a.jpg'", "style.name=a"])
    settle(cfg)
    assert cfg.style.image == str(tmp_path / "a.jpg")


def test_paths_of_cards_hold_anywhere(
    configure: Configure, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    cfg = configure(["model=johnson_multi", "style.names=[starry_night,mine.safetensors]"])
    settle(cfg)
    assert list(cfg.style.names) == ["starry_night", str(tmp_path / "mine.safetensors")]


def test_folder_as_a_repository_holds_anywhere(
    configure: Configure, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "parquet").mkdir()
    cfg = configure(["style=starry_night", "data=hub", "data.repository=parquet"])
    settle(cfg)
    assert cfg.data.repository == str(tmp_path / "parquet")


def test_the_crop_counts_for_the_pyramid(configure: Configure) -> None:
    with pytest.raises(ValueError, match="must be at least 32 for 2 pyramid levels, got 16"):
        settle(configure(["style=starry_night", "data.crop_size=16"]))
