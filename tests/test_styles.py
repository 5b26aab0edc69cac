"""Styles: from a picture, from a website, from a style card; anything else is explained."""

from pathlib import Path

import pytest
import torch
from torch import nn

from conftest import Website
from impasto.cards import Painting, StyleCard
from impasto.images import load_image, save_image
from impasto.loss_networks import VGG, Lite
from impasto.losses import StyleTargets, style_targets
from impasto.styles import Style, find_style, make_card

LAYERS = ["relu1_1", "relu2_1"]


def find(
    network: nn.Module, image: str | Path | None, card: Path | None = None, size: int = 32
) -> Style:
    return find_style(network, LAYERS, 2, "mine", image, card, size)


@pytest.fixture
def vgg() -> VGG:
    torch.manual_seed(0)
    return VGG("vgg16", LAYERS, "random")


@pytest.fixture
def card(lite: Lite, painting: Path, tmp_path: Path) -> Path:
    """Card of the painting at 48 and 64 pixels."""
    facts = Painting(title="Noise", page="https://museum.org/noise")
    path = tmp_path / "noise.safetensors"
    make_card(lite, load_image(painting), "noise", [48, 64], LAYERS, 2, facts).save(path)
    return path


def assert_close(found: StyleTargets, wanted: StyleTargets) -> None:
    torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-6)


def test_picture_makes_a_card_for_lite(lite: Lite, painting: Path) -> None:
    style = find(lite, painting)
    assert style.picture.shape == (1, 3, 32, 40)
    assert isinstance(style.card, StyleCard)
    assert (style.card.name, style.card.loss_network) == ("mine", lite.fingerprint)
    assert style.card.preview_image().shape == (1, 3, 32, 40)
    assert_close(style.targets, style_targets(lite, style.picture, LAYERS, 2))
    assert_close(style.card.targets[32], style.targets)


def test_made_style_is_the_saved_one_to_the_bit(lite: Lite, painting: Path, tmp_path: Path) -> None:
    made = find(lite, painting)
    assert made.card is not None
    made.card.save(tmp_path / "mine.safetensors")
    again = find(lite, None, tmp_path / "mine.safetensors")
    torch.testing.assert_close(again.targets, made.targets, rtol=0, atol=0)


def test_picture_makes_no_card_for_other_networks(vgg: VGG, painting: Path) -> None:
    style = find(vgg, painting)
    assert style.card is None
    assert_close(style.targets, style_targets(vgg, style.picture, LAYERS, 2))


def test_card_serves_in_the_place_of_its_picture(lite: Lite, painting: Path, card: Path) -> None:
    style = find(lite, None, card, size=64)
    assert_close(style.targets, find(lite, painting, size=64).targets)
    assert style.picture.shape == (1, 3, 48, 60)
    assert style.card is not None
    assert style.card.painting.title == "Noise"


def test_picture_goes_before_the_card(lite: Lite, painting: Path, card: Path) -> None:
    style = find(lite, painting, card)
    assert style.card is not None
    assert style.card.name == "mine"


def test_card_tells_other_networks_where_the_picture_is(vgg: VGG, card: Path) -> None:
    with pytest.raises(
        ValueError, match=r"lite alone.*https://museum.org/noise: style\.image=PATH"
    ):
        find(vgg, None, card, size=64)


def test_card_is_refused_for_a_size_it_does_not_know(lite: Lite, card: Path) -> None:
    with pytest.raises(ValueError, match=r"knows the sizes 48, 64, got style\.size=32"):
        find(lite, None, card, size=32)


def test_neither_picture_nor_card_is_explained(lite: Lite) -> None:
    with pytest.raises(ValueError, match=r"No style: take one with style=NAME, or .*style\.image="):
        find(lite, None)


def test_picture_that_is_all_length_is_told(lite: Lite, tmp_path: Path) -> None:
    save_image(torch.rand(3, 4, 80), tmp_path / "long.png")
    with pytest.raises(ValueError, match="80 x 4 pixels is too long to learn from"):
        find(lite, tmp_path / "long.png")


@pytest.mark.parametrize("size", [31, 0, -64, 40.5, "large"])
def test_wrong_size_is_told(lite: Lite, painting: Path, size: int) -> None:
    with pytest.raises(ValueError, match=f"style.size is .* at least 32, got {size}"):
        find(lite, painting, size=size)


def test_missing_files_are_named(lite: Lite, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"nowhere\.jpg"):
        find(lite, tmp_path / "nowhere.jpg")
    with pytest.raises(FileNotFoundError, match=r"No style card at .*nowhere\.safetensors"):
        find(lite, None, tmp_path / "nowhere.safetensors")


def test_picture_may_be_a_url(lite: Lite, painting: Path, website: Website) -> None:
    website.pages["/painting.png"] = painting.read_bytes()
    found = find(lite, f"{website.url}/painting.png")
    torch.testing.assert_close(found.picture, find(lite, painting).picture, rtol=0, atol=0)


def test_url_of_no_picture_is_named(lite: Lite, website: Website) -> None:
    website.pages["/page.html"] = b"<html>A museum</html>"
    with pytest.raises(ValueError, match=r"/page\.html"):
        find(lite, f"{website.url}/page.html")
