"""Styles: what a network learns to paint like, from a picture or from a style card."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from impasto.cards import Painting, StyleCard, encode_preview, load_card, rounded
from impasto.download import downloaded, is_url
from impasto.images import image_grid, load_image, resize_short_side, square
from impasto.loss_networks import Lite
from impasto.losses import StyleTargets, style_targets

MAX_PROPORTION = 16  # handscrolls, in pieces; their features take memory by their length
CARDS = Path(__file__).parent / "assets" / "styles"


@dataclass(frozen=True)
class Style:
    """What training needs of a style.

    Args:
        targets: For the perceptual loss.
        picture: To show: the painting, or a card's preview; RGB in [0, 1], shape ``(1, 3, H, W)``.
        card: What was read or made; ``None`` with a loss network other than lite.
    """

    targets: StyleTargets
    picture: Tensor
    card: StyleCard | None


def find_style(
    network: nn.Module,
    layers: Iterable[str],
    num_levels: int,
    name: str,
    image: str | Path | None,
    card: str | Path | None,
    size: int,
) -> Style:
    """Take a style from a picture or, if there is none, from a style card.

    Args:
        network: Loss network, in float32.
        layers: Style layers.
        num_levels: Pyramid levels.
        name: Of the style.
        image: Path or URL of a picture.
        card: Path of a style card.
        size: The painting's shorter side, in pixels: larger means larger strokes.

    Raises:
        FileNotFoundError: If a path leads nowhere.
        ValueError: If there is neither picture nor card, if they cannot be read, or if a card is
            not what ``network``, ``layers``, ``num_levels`` and ``size`` need.
    """
    layers = list(layers)
    if image is not None:
        painting = open_painting(image)
        picture = resize_painting(painting, size)
        if isinstance(network, Lite):
            made = make_card(network, painting, name, [size], layers, num_levels)
            return Style(made.targets[size], picture, made)
        return Style(style_targets(network, picture, layers, num_levels), picture, None)
    if card is None:
        raise ValueError("No style: take one with style=NAME, or a picture with style.image=PATH.")
    read = load_card(Path(card))
    if not isinstance(network, Lite):
        page = f", which can be seen at {read.painting.page}" if read.painting.page else ""
        raise ValueError(
            f"The style card of {name} serves loss_network=lite alone; other loss networks need "
            f"the picture itself{page}: style.image=PATH."
        )
    return Style(read.targets_for(network, size, layers, num_levels), read.preview_image(), read)


def find_cards(names: Sequence[str]) -> list[StyleCard]:
    """Read the style cards of many styles.

    Args:
        names: Of styles of the package, or paths of other cards, ending in ``.safetensors``.

    Raises:
        FileNotFoundError: If a path leads nowhere.
        ValueError: If there is no name, a style is unknown, comes twice, or is no style card.
    """
    paths = [Path(name) if name.endswith(".safetensors") else _card_path(name) for name in names]
    cards = [load_card(path) for path in paths]
    found = [card.name for card in cards]
    if not found or len(set(found)) < len(found):
        raise ValueError(
            f"style.names must be styles, each once, got {', '.join(found) or 'none'}."
        )
    return cards


def stack_targets(
    network: nn.Module,
    cards: Sequence[StyleCard],
    sizes: Sequence[int],
    layers: Iterable[str],
    num_levels: int,
) -> StyleTargets:
    """Put the targets of all styles in all sizes into one, the sizes of a style side by side.

    Args:
        network: The lite loss network, in float32: cards serve no other.
        cards: Of P styles.
        sizes: Of strokes, Q of them, in pixels.
        layers: Style layers.
        num_levels: Pyramid levels.

    Returns:
        By level, then by layer, matrices of shape ``(P * Q, C, C)``.

    Raises:
        ValueError: If a card does not have what is asked for, or ``network`` is another one.
    """
    if not isinstance(network, Lite):
        raise ValueError("Style cards serve loss_network=lite alone, and so does johnson_multi.")
    layers = list(layers)
    targets = [card.targets_for(network, s, layers, num_levels) for card in cards for s in sizes]
    return [
        {layer: torch.stack([levels[level][layer] for levels in targets]) for layer in layers}
        for level in range(num_levels)
    ]


def known_styles() -> list[str]:
    """Names of the styles whose cards are in the package."""
    return sorted(card.stem for card in CARDS.glob("*.safetensors"))


def previews(cards: Sequence[StyleCard], size: int = 128) -> Tensor:
    """Show styles side by side: the middles of their previews, ``size`` pixels a side.

    Returns:
        RGB in [0, 1], shape ``(1, 3, H, W)``.
    """
    return image_grid([square(card.preview_image(), size) for card in cards], columns=4)[None]


def _card_path(name: str) -> Path:
    path = CARDS / f"{name}.safetensors"
    if not path.is_file():
        raise ValueError(
            f"No style {name!r}: there are {', '.join(known_styles())}; or give the path of a "
            f"style card, which scripts/make_style_card.py makes of any picture."
        )
    return path


def make_card(
    network: Lite,
    painting: Tensor,
    name: str,
    sizes: Sequence[int],
    layers: Iterable[str],
    num_levels: int,
    facts: Painting | None = None,
) -> StyleCard:
    """Take the statistics of a picture.

    Args:
        network: The lite loss network, in float32.
        painting: RGB in [0, 1], shape ``(1, 3, H, W)``.
        name: Of the style.
        sizes: The picture's shorter side for each set of statistics, in pixels.
        layers: Style layers.
        num_levels: Pyramid levels.
        facts: About the painting.

    Returns:
        The card; its preview is a small copy of the picture itself.

    Raises:
        ValueError: If a size is not allowed.
    """
    layers = list(layers)
    targets = {
        size: rounded(style_targets(network, resize_painting(painting, size), layers, num_levels))
        for size in sizes
    }
    preview = encode_preview(resize_painting(painting, min(sizes)))
    return StyleCard(name, facts or Painting(), network.fingerprint, targets, preview)


def open_painting(image: str | Path) -> Tensor:
    """Read a picture from a path or an http(s) URL: RGB in [0, 1], shape ``(1, 3, H, W)``.

    Raises:
        FileNotFoundError: If there is no such picture.
        ValueError: If it is no picture, or cannot be downloaded.
    """
    if is_url(image):
        with downloaded(str(image)) as path:
            try:
                return load_image(path)
            except ValueError as error:
                reason = str(error).replace(str(path), "it")
                raise ValueError(f"{image} is no picture to learn from: {reason}") from None
    return load_image(image)


def resize_painting(painting: Tensor, size: int) -> Tensor:
    """Bring a painting to the size in which its strokes are learnt.

    Args:
        painting: RGB in [0, 1], shape ``(1, 3, H, W)``.
        size: Its shorter side afterwards, in pixels. The larger, the larger the strokes in photos
            and the fewer of them.

    Raises:
        ValueError: If ``size`` is below 32, or the painting longer than ``MAX_PROPORTION``.
    """
    if not isinstance(size, int) or size < 32:
        raise ValueError(
            f"style.size is the painting's shorter side in pixels, at least 32, got {size}."
        )
    height, width = painting.shape[-2:]
    if max(height, width) > MAX_PROPORTION * min(height, width):
        raise ValueError(
            f"A picture of {width} x {height} pixels is too long to learn from: at most "
            f"{MAX_PROPORTION} times as long as wide; cut a piece out of it."
        )
    return resize_short_side(painting, size)


def load_painting(image: str | Path, size: int) -> Tensor:
    """Read a picture, see ``open_painting``, and resize it, see ``resize_painting``."""
    return resize_painting(open_painting(image), size)
