"""What of a loss network the method of Gatys et al. compares: the classic layers."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch

from impasto.loss_networks import VGG, Lite
from impasto.loss_networks.vgg import layer_names, read_weights
from impasto.losses import StyleTargets

LOSS_NETWORKS = ("lite", "vgg16", "vgg19")
# Gatys et al. 2016, section 3, in the names of activations.
VGG_STYLE_LAYERS = ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1")
VGG_CONTENT_LAYERS = ("relu4_2", "relu3_3", "relu2_2", "relu1_2")  # the first that there is
LITE_STYLE_LAYERS = ("relu1_1", "relu2_1", "relu3_1", "relu3_4")
LITE_CONTENT_LAYER = "relu3_3"
LITE_LEVELS = 2


@dataclass(frozen=True)
class Features:
    """A loss network, in float32, and what of it is compared.

    Args:
        network: Frozen.
        content_layers: Weight by layer name.
        style_layers: Likewise.
        num_levels: Pyramid levels of the style.
    """

    network: Lite | VGG
    content_layers: Mapping[str, float]
    style_layers: Mapping[str, float]
    num_levels: int


def find_features(name: str, weights: str | None = None) -> Features:
    """Load a loss network with the classic layers, as far as its weights reach.

    Where a VGG's deepest blocks are missing, half-size copies of the picture stand in for them: a
    layer sees as much of these as one a block deeper sees of the picture.

    Args:
        name: One of ``LOSS_NETWORKS``.
        weights: As of that network: ``package``, ``hub``, ``random`` or a path; by default what
            asks for nothing on the disk.

    Raises:
        FileNotFoundError: If there are no such weights.
        ValueError: If the name is unknown, or the weights are no such network's.
    """
    if name == "lite":
        network = Lite([*LITE_STYLE_LAYERS, LITE_CONTENT_LAYER], weights or "package")
        style_layers = dict.fromkeys(LITE_STYLE_LAYERS, 1.0)
        return Features(network, {LITE_CONTENT_LAYER: 1.0}, style_layers, LITE_LEVELS)
    if name not in LOSS_NETWORKS:
        raise ValueError(f"loss_network must be one of {', '.join(LOSS_NETWORKS)}, got {name!r}.")
    weights = weights or "hub"
    reached = _reached(name, weights)
    style = [layer for layer in VGG_STYLE_LAYERS if layer in reached]
    content = next((layer for layer in VGG_CONTENT_LAYERS if layer in reached), None)
    if content is None:
        raise ValueError(f"{weights} ends before {VGG_CONTENT_LAYERS[-1]}: take a deeper one.")
    missing = len(VGG_STYLE_LAYERS) - len(style)
    return Features(
        VGG(name, [*style, content], weights),
        {content: 1.0},
        dict.fromkeys(style, 1.0),
        1 + missing,
    )


def _reached(name: str, weights: str) -> list[str]:
    """The layers of a VGG that a file has the weights of."""
    names = layer_names(name)
    if weights in ("hub", "random"):
        return names
    shapes = [tensor.shape for tensor in read_weights(name, weights).values()]
    return names[: sum(len(shape) == 4 for shape in shapes)]


def mixed(parts: list[tuple[StyleTargets, float]]) -> StyleTargets:
    """Average the statistics of several paintings.

    Args:
        parts: Targets of one loss network, layers and number of levels, with weights that add up
            to 1.
    """
    first = parts[0][0]
    return [
        {
            layer: torch.stack([weight * targets[level][layer] for targets, weight in parts]).sum(0)
            for layer in grams
        }
        for level, grams in enumerate(first)
    ]
