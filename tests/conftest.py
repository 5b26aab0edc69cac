"""What several tests need: a painting, photos, and a training small enough for a test."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from impasto.images import save_image

CONFIGS = Path(__file__).parents[1] / "configs"


@pytest.fixture
def painting(tmp_path: Path) -> Path:
    """A picture of 80x64 coloured pixels."""
    path = tmp_path / "painting.png"
    save_image(torch.rand(1, 3, 64, 80, generator=torch.Generator().manual_seed(0)), path)
    return path


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder of 24 pictures, the smoothed noise of which tells them apart."""
    folder = tmp_path / "photos"
    generator = torch.Generator().manual_seed(1)
    for number in range(24):
        coarse = torch.rand(1, 3, 5, 6, generator=generator)
        save_image(
            torch.nn.functional.interpolate(coarse, scale_factor=8), folder / f"{number}.png"
        )
    return folder


@pytest.fixture
def tiny(painting: Path, photos: Path, tmp_path: Path) -> list[str]:
    """Overrides that make a training take a second: a thin network, VGG with random weights."""
    return [
        "style=image",
        f"style.image={painting}",
        "style.name=tiny",
        "style.size=32",
        "data=folder",
        f"data.path={photos}",
        "data.image_size=32",
        "data.batch_size=2",
        "data.num_workers=0",
        "loss_network=vgg16",
        "loss_network.weights=random",
        "loss.content_layers.relu3_3=0",
        "+loss.content_layers.relu1_2=1",
        "loss.style_layers.relu2_2=0",
        "loss.style_layers.relu3_3=0",
        "loss.num_levels=1",
        "model.width=2",
        "model.num_blocks=1",
        "trainer.accelerator=cpu",
        "trainer.precision=32-true",
        "trainer.max_steps=8",
        "trainer.val_check_interval=4",
        "trainer.log_every_n_steps=1",
        f"run_folder={tmp_path / 'runs'}",
    ]


@pytest.fixture
def configure() -> Callable[[list[str]], DictConfig]:
    """Compose a config from overrides, as the command line does."""

    def composed(overrides: list[str]) -> DictConfig:
        with initialize_config_dir(str(CONFIGS), version_base="1.3"):
            return compose("train", overrides)

    return composed
