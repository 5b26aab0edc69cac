"""VGG-16 and VGG-19 as loss networks: frozen ImageNet features by layer name."""

from collections.abc import Iterable
from pathlib import Path
from pickle import UnpicklingError
from typing import Self

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

# Number of convolutions in each of the five blocks; a max-pooling follows every block.
BLOCKS = {"vgg16": (2, 2, 3, 3, 3), "vgg19": (2, 2, 4, 4, 4)}
CHANNELS = (64, 128, 256, 512, 512)
# torchvision's IMAGENET1K_V1 weights; the end of each name is the start of its SHA-256.
URLS = {
    "vgg16": "https://download.pytorch.org/models/vgg16-397923af.pth",
    "vgg19": "https://download.pytorch.org/models/vgg19-dcbb9e9d.pth",
}
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet, RGB in [0, 1]


class VGG(nn.Module):
    """The convolutions of a VGG, frozen, up to the deepest layer asked for and no further.

    Args:
        name: ``vgg16`` or ``vgg19``.
        layers: Names of the activations to return: ``relu1_1`` ... ``relu5_4``.
        weights: ``hub`` for torchvision's ImageNet weights (downloaded once), ``random`` for tests
            and benchmarks, or the path of a file with torchvision's keys (``features.N.weight``),
            ``.safetensors`` or ``.pth``, which may end at the deepest layer asked for.
        dtype: Precision of the features. Half precision is twice as fast and harmless here, as
            long as losses are computed in float32.

    Raises:
        FileNotFoundError: If ``weights`` is neither ``hub`` nor ``random`` nor a file.
        ValueError: If the network or a layer is unknown, or the file lacks a layer asked for.

    Source:
        Simonyan & Zisserman 2014, https://arxiv.org/abs/1409.1556
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        name: str,
        layers: Iterable[str],
        weights: str | Path = "hub",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__()
        self.layers = tuple(layers)
        names = layer_names(name)
        unknown = [layer for layer in self.layers if layer not in names]
        if unknown or not self.layers:
            raise ValueError(
                f"{name} has no layer {', '.join(unknown) or 'for an empty list'}: "
                f"choose among {', '.join(names)}."
            )
        depth = max(names.index(layer) for layer in self.layers) + 1
        self.names = names[:depth]
        self.convolutions = _convolutions(name, depth)
        if weights != "random":
            self._load(name, weights)
        self.register_buffer("mean", torch.tensor(MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(STD).view(1, 3, 1, 1), persistent=False)
        self.convolutions.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.requires_grad_(False)
        self.compute_in(dtype)

    def forward(self, images: Tensor, layers: Iterable[str] | None = None) -> dict[str, Tensor]:
        """Compute features.

        Args:
            images: RGB in [0, 1], shape ``(N, 3, H, W)``.
            layers: Which of the network's layers to return, all by default.

        Returns:
            By layer name, activations of shape ``(N, C, H', W')``, non-negative, in the network's
            own precision. Every ``relu*_1`` after the first block halves H and W.
        """
        wanted = set(self.layers if layers is None else layers)
        dtype = next(self.convolutions.parameters()).dtype
        features = ((images - self.mean) / self.std).to(dtype)
        found: dict[str, Tensor] = {}
        for name, convolution in zip(self.names, self.convolutions, strict=True):
            if name.endswith("_1") and name != "relu1_1":
                features = F.max_pool2d(features, kernel_size=2)
            features = F.relu(convolution(features), inplace=True)
            if name in wanted:
                found[name] = features
            if len(found) == len(wanted):
                break
        return found

    def compute_in(self, dtype: torch.dtype) -> Self:
        """Compute features in another precision from now on; the input stays float32."""
        self.convolutions.to(dtype)
        return self

    def _load(self, name: str, weights: str | Path) -> None:
        """Fill the convolutions from torchvision's keys, in order."""
        source = read_weights(name, weights)
        for layer, key, convolution in zip(
            self.names, _keys(name), self.convolutions, strict=False
        ):
            try:
                convolution.load_state_dict(
                    {part: source[f"{key}.{part}"] for part in ("weight", "bias")}
                )
            except KeyError:
                raise ValueError(
                    f"{weights} ends before {layer} (no {key}.weight in it): ask for shallower "
                    f"layers or take a whole {name} file."
                ) from None
            except RuntimeError:
                raise ValueError(
                    f"{weights} does not fit {name}: {key} has the shape "
                    f"{tuple(source[f'{key}.weight'].shape)}, "
                    f"{name} has another."
                ) from None


def layer_names(name: str) -> list[str]:
    """Names of all activations of ``vgg16`` or ``vgg19``, from shallow to deep."""
    if name not in BLOCKS:
        raise ValueError(f"No loss network {name!r}: choose among {', '.join(BLOCKS)}.")
    return [
        f"relu{block}_{number}"
        for block, count in enumerate(BLOCKS[name], start=1)
        for number in range(1, count + 1)
    ]


def read_weights(name: str, weights: str | Path) -> dict[str, Tensor]:
    """Read torchvision's state dict of a VGG from the hub or a file, without unpickling code."""
    if weights == "hub":
        return _download(name)
    path = Path(weights).expanduser()
    if not path.is_file():
        raise FileNotFoundError(
            f"No weights at {path}: give the path of a {name} file with torchvision's keys, "
            f"or 'hub' to download them."
        )
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        return torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, UnpicklingError, RuntimeError, EOFError, OSError) as error:
        raise ValueError(f"{path} cannot be read as weights: {error}") from None


def _download(name: str) -> dict[str, Tensor]:
    try:
        return torch.hub.load_state_dict_from_url(
            URLS[name], map_location="cpu", check_hash=True, weights_only=True
        )
    except OSError as error:  # URLError and timeouts are among them
        raise ValueError(
            f"The weights of {name} could not be downloaded ({error}): connect once, or give a "
            f"local file as loss_network.weights=PATH."
        ) from None


def _convolutions(name: str, depth: int) -> nn.ModuleList:
    """The first ``depth`` 3x3 convolutions."""
    convolutions, channels = nn.ModuleList(), 3
    for block, count in enumerate(BLOCKS[name]):
        for _ in range(count):
            if len(convolutions) < depth:
                convolutions.append(nn.Conv2d(channels, CHANNELS[block], kernel_size=3, padding=1))
                channels = CHANNELS[block]
    return convolutions


def _keys(name: str) -> list[str]:
    """Name the convolutions as torchvision does, which numbers ReLUs and poolings too."""
    keys, position = [], 0
    for count in BLOCKS[name]:
        keys += [f"features.{position + 2 * number}" for number in range(count)]
        position += 2 * count + 1
    return keys
