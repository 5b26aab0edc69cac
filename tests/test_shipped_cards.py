"""The style cards of the package: one for every style, small, whole, of the package's network."""

from pathlib import Path

import pytest
from omegaconf import OmegaConf

from impasto.cards import load_card
from impasto.loss_networks import Lite
from impasto.training import ASSETS

CONFIGS = Path(__file__).parents[1] / "configs"
NOT_CARDS = {"image", "many"}
STYLES = sorted({path.stem for path in (CONFIGS / "style").glob("*.yaml")} - NOT_CARDS)
SIZES = [256, 384, 512]  # of paintings, in pixels
MAX_BYTES = 150_000


@pytest.fixture(scope="module")
def package_lite() -> Lite:
    return Lite()


def test_every_style_has_a_card_and_every_card_a_style() -> None:
    assert sorted(path.name for path in (ASSETS / "styles").iterdir()) == [
        f"{style}.safetensors" for style in STYLES
    ]


@pytest.mark.parametrize("style", STYLES)
def test_style_names_its_card(style: str) -> None:
    cfg = OmegaConf.load(CONFIGS / "style" / f"{style}.yaml")
    assert cfg.name == style
    assert Path(cfg.card) == ASSETS / "styles" / f"{style}.safetensors"


@pytest.mark.parametrize("style", STYLES)
def test_card_is_small_and_says_what_it_is(style: str) -> None:
    path = ASSETS / "styles" / f"{style}.safetensors"
    card = load_card(path)
    assert path.stat().st_size <= MAX_BYTES
    assert card.name == style
    assert all(vars(card.painting).values()), card.painting
    assert card.painting.page.startswith("https://")
    assert card.preview_image().shape == (1, 3, 224, 224)


@pytest.mark.parametrize("style", STYLES)
def test_card_is_what_the_default_loss_asks_for(style: str, package_lite: Lite) -> None:
    card = load_card(ASSETS / "styles" / f"{style}.safetensors")
    loss = OmegaConf.load(CONFIGS / "loss_network" / "lite.yaml").loss
    assert card.loss_network == package_lite.fingerprint
    assert list(card.targets) == SIZES
    for size in SIZES:
        layers = [str(layer) for layer in loss.style_layers]
        assert len(card.targets_for(package_lite, size, layers, loss.num_levels)) == 2
