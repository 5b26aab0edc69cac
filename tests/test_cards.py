"""Style cards: a card trains as its picture does, and hostile files are refused."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from impasto import cards
from impasto.cards import MAX_PREVIEW_SIZE, Painting, StyleCard, encode_preview, load_card
from impasto.checkpoint import Header, load_checkpoint, save_checkpoint
from impasto.container import HEADER_KEY, CheckpointError
from impasto.images import load_image
from impasto.loss_networks import Lite
from impasto.losses import PerceptualLoss
from impasto.networks import TransformerNet
from impasto.styles import make_card

LAYERS = ["relu1_1", "relu2_1", "relu3_1", "relu3_4"]
FACTS = Painting("Noise", "Nobody", "about 1831", "Musée d'Orsay", "https://museum.org/noise")
GREY = torch.full((1, 3, 16, 16), 0.5)


@pytest.fixture
def card(lite: Lite, painting: Path) -> StyleCard:
    return make_card(lite, load_image(painting), "noise", [32, 64], LAYERS, 2, FACTS)


@pytest.fixture
def path(card: StyleCard, tmp_path: Path) -> Path:
    """Where a sound card lies."""
    path = tmp_path / "noise.safetensors"
    card.save(path)
    return path


def header_of(path: Path) -> dict[str, Any]:
    with safe_open(path, framework="pt") as file:
        return json.loads(file.metadata()[HEADER_KEY])


def rewrite(
    path: Path, header: object = None, tensors: dict[str, Tensor | None] | None = None
) -> None:
    """Put another header, and other tensors or none by their name, into a card."""
    text = header if isinstance(header, str) else json.dumps(header or header_of(path))
    kept = {**load_file(path), **(tensors or {})}
    save_file({name: t for name, t in kept.items() if t is not None}, path, {HEADER_KEY: text})


def refused(path: Path, message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        load_card(path)


def test_card_survives_its_file(card: StyleCard, path: Path) -> None:
    loaded = load_card(path)
    assert (loaded.name, loaded.painting) == ("noise", FACTS)
    assert loaded.loss_network == card.loss_network
    assert loaded.preview == card.preview
    assert list(loaded.targets) == [32, 64]
    for size, levels in card.targets.items():
        assert [sorted(grams) for grams in loaded.targets[size]] == [sorted(LAYERS)] * 2
        torch.testing.assert_close(loaded.targets[size], levels, rtol=1e-3, atol=1e-6)


def test_file_is_small(path: Path) -> None:
    assert path.stat().st_size < 2 * 2 * 2 * 8952 + 10_000  # sizes, levels, bytes, triangles


@pytest.mark.parametrize("seed", range(4))
def test_card_trains_as_its_picture_does(painting: Path, path: Path, seed: int) -> None:
    torch.manual_seed(seed)
    network, layers = Lite(weights="random"), dict.fromkeys(LAYERS, 1.0)
    card = make_card(network, load_image(painting), "noise", [64], LAYERS, 2)
    card.save(path)
    losses = [
        PerceptualLoss(network, targets, {"relu3_3": 1.0}, layers)
        for targets in (card.targets[64], load_card(path).targets_for(network, 64, LAYERS, 2))
    ]
    photos = torch.rand(2, 3, 48, 64)
    with torch.no_grad():
        for painted in (photos, TransformerNet(width=2, num_blocks=1)(photos), photos.sqrt()):
            with_picture, with_card = (loss(painted, photos) for loss in losses)
            torch.testing.assert_close(with_card, with_picture, rtol=1e-3, atol=0)


def test_card_serves_fewer_layers_and_levels(lite: Lite, card: StyleCard) -> None:
    (grams,) = card.targets_for(lite, 32, ["relu2_1"], 1)
    assert torch.equal(grams["relu2_1"], card.targets[32][0]["relu2_1"])


def test_card_of_other_weights_is_refused(card: StyleCard) -> None:
    with pytest.raises(ValueError, match=r"of noise was made with other weights .*make_style_card"):
        card.targets_for(Lite(weights="random"), 32, LAYERS, 2)


def test_card_must_have_all_layers_at_all_levels(lite: Lite, card: StyleCard) -> None:
    first, second = card.targets[32]
    gap = {name: gram for name, gram in second.items() if name != "relu2_1"}
    has = ", ".join(name for name in first if name != "relu2_1")
    with pytest.raises(ValueError, match=f"has 2 pyramid levels of {has}; asked for"):
        replace(card, targets={32: [first, gap]}).targets_for(lite, 32, LAYERS, 2)
    nothing = {**second, "relu2_1": torch.zeros_like(second["relu2_1"])}
    with pytest.raises(ValueError, match="statistics that are all zero"):
        replace(card, targets={32: [first, nothing]}).targets_for(lite, 32, LAYERS, 2)


@pytest.mark.parametrize(
    ("size", "layers", "num_levels", "message"),
    [
        (48, LAYERS, 2, r"knows the sizes 32, 64, got style\.size=48"),
        (32, [*LAYERS, "relu3_3"], 2, "asked for are 2 of relu1_1, .*relu3_3"),
        (32, LAYERS, 3, "has 2 pyramid levels of .* asked for are 3"),
    ],
)
def test_what_a_card_lacks_is_told(
    lite: Lite, card: StyleCard, size: int, layers: list[str], num_levels: int, message: str
) -> None:
    with pytest.raises(ValueError, match=rf"{message}.*style\.image=PATH"):
        card.targets_for(lite, size, layers, num_levels)


def test_preview_shows_the_picture(card: StyleCard) -> None:
    assert card.preview_image().shape == (1, 3, 32, 40)


def jpeg_that_claims(side: int) -> bytes:
    """A JPEG of 16 pixels a side that says it had more."""
    jpeg = bytearray(encode_preview(GREY))
    start = jpeg.index(b"\xff\xc0") + 5  # of height and width in the frame header
    jpeg[start : start + 4] = 2 * side.to_bytes(2, "big")
    return bytes(jpeg)


@pytest.mark.parametrize(
    "preview",
    [
        b"",
        b"no picture",
        b"\x89PNG\r\n\x1a\n",
        encode_preview(torch.rand(1, 3, 64, 64))[:-300],
        encode_preview(torch.rand(1, 3, 8, MAX_PREVIEW_SIZE + 1)),
        jpeg_that_claims(10_000),
        jpeg_that_claims(60_000),
    ],
    ids=["nothing", "text", "png", "truncated", "too wide", "bomb", "larger bomb"],
)
def test_damaged_preview_is_grey(card: StyleCard, path: Path, preview: bytes) -> None:
    replace(card, preview=preview).save(path)
    assert torch.equal(load_card(path).preview_image(), GREY)


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"No style card at .*nowhere"):
        load_card(tmp_path / "nowhere.safetensors")


def test_truncated_file_is_refused(path: Path) -> None:
    content = path.read_bytes()
    for length in range(0, len(content), len(content) // 40):
        path.write_bytes(content[:length])
        refused(path, "no safetensors file, or is damaged")


def test_huge_file_is_refused_unread(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cards, "MAX_BYTES", 10_000)
    refused(path, "is larger than 9 KiB: not a style card")


def test_network_is_no_card_and_card_is_no_network(path: Path, tmp_path: Path) -> None:
    arguments = {"width": 2, "num_blocks": 1}
    network, header = TransformerNet(**arguments), Header("a", "TransformerNet", arguments)
    save_checkpoint(tmp_path / "network.safetensors", network, header)
    refused(tmp_path / "network.safetensors", "is no style card")
    with pytest.raises(CheckpointError, match="is a 'style card' and holds no network"):
        load_checkpoint(path)


@pytest.mark.parametrize(
    "header",
    [
        "[]",
        "3",
        '"text"',
        "null",
        "no json",
        "[" * 100_000,
        '{"kind": "style card"}',
        '{"kind": "style card", "format_version": "1"}',
        '{"kind": "style card", "format_version": null}',
        '{"kind": "style card", "format_version": 99}',
        '{"kind": "style card", "format_version": 1}',
        f'{{"kind": "style card", "format_version": {"1" * 5000}}}',
    ],
    ids=lambda header: header[:50],
)
def test_hostile_headers_are_refused(path: Path, header: str) -> None:
    rewrite(path, header)
    refused(path, "damaged|upgrade impasto")


@pytest.mark.parametrize("field", ["kind", "name", "painting", "loss_network"])
def test_header_without_a_field_is_refused(path: Path, field: str) -> None:
    header = header_of(path)
    del header[field]
    rewrite(path, header)
    refused(path, "is no style card|is a damaged style card")


@pytest.mark.parametrize("facts", [None, [], 3, "text", {}, {"title": "Noise"}])
def test_wrong_facts_are_refused(path: Path, facts: object) -> None:
    rewrite(path, {**header_of(path), "painting": facts})
    refused(path, "is a damaged style card")


@pytest.mark.parametrize(
    "triangle",
    [
        torch.full((136,), torch.nan),
        torch.full((136,), torch.inf),
        torch.full((136,), 1e300, dtype=torch.float64),
        torch.ones(136, dtype=torch.int64),
        torch.ones(136).to(torch.float8_e4m3fn),
        torch.ones(135),
        torch.ones(1, 136),
        torch.tensor(1.0),
    ],
    ids=["nan", "inf", "beyond float32", "int", "float8", "no triangle", "2-d", "0-d"],
)
def test_damaged_statistics_are_refused(path: Path, triangle: Tensor) -> None:
    rewrite(path, tensors={"32/0/relu1_1": triangle})
    refused(path, "is a damaged style card")


@pytest.mark.parametrize("num_channels", [0, 1, 15])
def test_statistics_of_another_width_are_refused(lite: Lite, path: Path, num_channels: int) -> None:
    triangle = torch.ones(num_channels * (num_channels + 1) // 2)
    rewrite(path, tensors={"32/0/relu1_1": triangle})
    with pytest.raises(ValueError, match="style card"):
        load_card(path).targets_for(lite, 32, LAYERS, 2)


@pytest.mark.parametrize(
    "key", ["a", "32/relu1_1", "a/b/c", "32/9/relu1_1", "32/-1/relu1_1", "48/1/relu1_1", "32/0/a/b"]
)
def test_misnamed_statistics_are_refused(path: Path, key: str) -> None:
    rewrite(path, tensors={key: torch.ones(136)})
    refused(path, "is a damaged style card")


def test_hole_in_the_pyramid_is_refused(path: Path) -> None:
    rewrite(path, tensors={f"32/0/{layer}": None for layer in LAYERS})
    refused(path, "is a damaged style card")


@pytest.mark.parametrize("preview", [None, torch.ones(4).to(torch.bfloat16)])
def test_card_without_bytes_of_a_preview_is_refused(path: Path, preview: Tensor | None) -> None:
    rewrite(path, tensors={"preview": preview})
    refused(path, "is a damaged style card")
