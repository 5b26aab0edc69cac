"""Style cards: what of a painting enters training, in a file of some tens of kilobytes."""

import io
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from impasto.container import CheckpointError, read_container, write_container
from impasto.images import to_picture, to_tensor
from impasto.loss_networks import Lite
from impasto.loss_networks.lite import COMPONENTS
from impasto.losses import StyleTargets

FORMAT_VERSION = 1
MAX_BYTES = 1 << 20  # 1 MiB: seven times what a card has
PREVIEW_QUALITY = 85
MAX_PREVIEW_SIZE = 1024  # pixels a side


@dataclass(frozen=True)
class Painting:
    """Facts about a painting.

    Args:
        title: As its collection gives it.
        artist: Who painted it.
        year: When, as in ``1889`` or ``about 1831``.
        collection: Where it hangs.
        page: Where it can be seen, a URL.
    """

    title: str = ""
    artist: str = ""
    year: str = ""
    collection: str = ""
    page: str = ""


@dataclass(frozen=True)
class StyleCard:
    """All of a painting that enters training: statistics of its features, and what it is.

    Args:
        name: Of the style, as in ``style=starry_night``.
        painting: Facts.
        loss_network: ``Lite.fingerprint`` of the network whose features these are.
        targets: By the painting's shorter side in pixels: what ``style_targets`` returns.
        preview: What the style looks like, as the bytes of a JPEG. Of the package's cards it is
            synthesised from the statistics; nothing else of the painting is in them.

    Source:
        That a painting matters to training by its Gram matrices alone: Johnson et al. 2016, eq. 4.
    """

    name: str
    painting: Painting
    loss_network: str
    targets: Mapping[int, StyleTargets]
    preview: bytes

    def targets_for(
        self, network: Lite, size: int, layers: Iterable[str], num_levels: int
    ) -> StyleTargets:
        """Pick what a perceptual loss with these settings compares with.

        Args:
            network: The loss network.
            size: The painting's shorter side, in pixels: one of the card's.
            layers: Style layers.
            num_levels: Pyramid levels, up to the card's.

        Raises:
            ValueError: If the card is of another network, or lacks the size, a layer or a level.
        """
        if network.fingerprint != self.loss_network:
            raise ValueError(
                f"The style card of {self.name} was made with other weights of the lite loss "
                f"network: make it again with scripts/make_style_card.py."
            )
        if size not in self.targets:
            raise ValueError(
                f"The style card of {self.name} knows the sizes "
                f"{', '.join(map(str, sorted(self.targets)))}, got style.size={size}: choose one "
                f"of these, or give the picture itself, style.image=PATH."
            )
        levels = self.targets[size]
        layers, wanted = list(layers), levels[:num_levels]
        missing = [layer for grams in wanted for layer in layers if layer not in grams]
        if missing or num_levels > len(levels):
            complete = [layer for layer in levels[0] if all(layer in grams for grams in levels)]
            raise ValueError(
                f"The style card of {self.name} has {len(levels)} pyramid levels of "
                f"{', '.join(complete) or 'no layer'}; asked for are {num_levels} of "
                f"{', '.join(layers)}. Give the picture itself, style.image=PATH."
            )
        if not all(grams[layer].any() for grams in wanted for layer in layers):
            raise ValueError(
                f"The style card of {self.name} has statistics that are all zero, and nothing can "
                f"be compared with those: make it again with scripts/make_style_card.py."
            )
        return wanted

    def preview_image(self) -> Tensor:
        """Decode the preview: RGB in [0, 1], shape ``(1, 3, H, W)``; grey if it is damaged."""
        try:
            with (
                warnings.catch_warnings(action="ignore", category=Image.DecompressionBombWarning),
                Image.open(io.BytesIO(self.preview), formats=("JPEG",)) as picture,
            ):
                if max(picture.size) <= MAX_PREVIEW_SIZE:
                    return to_tensor(picture.convert("RGB"))
        except (OSError, SyntaxError, Image.DecompressionBombError):
            pass  # a card may come from anyone, and trains as well without
        return torch.full((1, 3, 16, 16), 0.5)

    def save(self, path: Path) -> None:
        """Write the card, atomically, in half precision: matrices of unit scale lose nothing."""
        tensors = {
            f"{size}/{level}/{layer}": _pack(gram)
            for size, levels in self.targets.items()
            for level, grams in enumerate(levels)
            for layer, gram in grams.items()
        }
        tensors["preview"] = torch.from_numpy(np.frombuffer(self.preview, np.uint8).copy())
        header = {
            "kind": "style card",
            "format_version": FORMAT_VERSION,
            "name": self.name,
            "painting": asdict(self.painting),
            "loss_network": self.loss_network,
        }
        write_container(path, tensors, header)


def load_card(path: Path) -> StyleCard:
    """Read a style card.

    Args:
        path: A file that ``StyleCard.save`` wrote; it may come from anyone.

    Raises:
        FileNotFoundError: If there is no such file.
        CheckpointError: If it is no style card, or a damaged one.
    """
    header, tensors = read_container(path, "style card", MAX_BYTES, FORMAT_VERSION)
    if header.get("kind") != "style card":
        raise CheckpointError(f"{path} is no style card: choose one with style=NAME.")
    try:
        preview = tensors.pop("preview").numpy().tobytes()
        targets: dict[int, StyleTargets] = {}
        for key in sorted(tensors):  # levels of a size come in order
            size, level, layer = key.split("/")
            levels = targets.setdefault(int(size), [])
            if int(level) == len(levels):
                levels.append({})
            levels[int(level)][layer] = _unpack(tensors[key], COMPONENTS[layer])
        facts = {field.name: str(header["painting"][field.name]) for field in fields(Painting)}
        return StyleCard(
            str(header["name"]), Painting(**facts), str(header["loss_network"]), targets, preview
        )
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise CheckpointError(f"{path} is a damaged style card: {error}.") from None


def encode_preview(image: Tensor, quality: int = PREVIEW_QUALITY) -> bytes:
    """JPEG bytes of RGB in [0, 1], shape ``(1, 3, H, W)``."""
    encoded = io.BytesIO()
    to_picture(image).save(encoded, "JPEG", quality=quality, optimize=True)
    return encoded.getvalue()


def rounded(targets: StyleTargets) -> StyleTargets:
    """Round to what a card's file keeps, so that a run that goes on has the very same targets."""
    return [{layer: gram.half().float() for layer, gram in grams.items()} for grams in targets]


def _pack(gram: Tensor) -> Tensor:
    """Symmetric (C, C) to its upper triangle in half precision, shape (C * (C + 1) / 2,)."""
    rows, columns = torch.triu_indices(len(gram), len(gram))
    return gram[rows, columns].half()


def _unpack(triangle: Tensor, channels: int) -> Tensor:
    """Undo ``_pack``; ValueError for what is no such triangle of finite numbers."""
    if triangle.shape != (channels * (channels + 1) // 2,):
        raise ValueError(f"{tuple(triangle.shape)} is no triangle of {channels} rows")
    if triangle.dtype != torch.half or not triangle.isfinite().all():
        raise ValueError("statistics that are no finite numbers of half precision")
    rows, columns = torch.triu_indices(channels, channels)
    gram = torch.zeros(channels, channels)
    gram[rows, columns] = triangle.float()
    gram[columns, rows] = triangle.float()
    return gram
