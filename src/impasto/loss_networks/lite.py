"""The lite loss network: VGG-19's features at a fraction of the cost, from the package itself."""

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Literal, Self

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

# Each stands in for VGG-19's layer of that name. It returns not that layer's channels but their
# principal components, as many as hold its Gram matrices to a few percent: the distance of two
# Gram matrices is the same in every orthonormal basis.
COMPONENTS = {"relu1_1": 16, "relu2_1": 64, "relu3_1": 96, "relu3_3": 64, "relu3_4": 64}
WIDTHS = (24, 48, 96)  # channels of the trunk at full, half and quarter size
WEIGHTS = Path(__file__).parents[1] / "assets" / "lite.safetensors"


class Lite(nn.Module):
    """A small convolutional network, distilled from VGG-19 and frozen.

    Args:
        layers: Names of the features to return, a key of ``COMPONENTS`` each; all by default.
        weights: ``package`` for those that came with it, ``random`` to distil or test with, or the
            path of a file that ``scripts/distill_loss_network.py`` wrote.
        dtype: Precision of the features; losses are computed in float32 anyway.
        padding_mode: How convolutions see beyond an image's border. ``replicate`` for losses: with
            ``zeros``, which VGG was trained with, networks learn to paint a frame. Distillation
            takes ``zeros``, since the teacher does.

    Raises:
        FileNotFoundError: If ``weights`` is neither ``package`` nor ``random`` nor a file.
        ValueError: If a layer is unknown, or the file does not hold this network.
    """

    def __init__(
        self,
        layers: Iterable[str] = tuple(COMPONENTS),
        weights: str | Path = "package",
        dtype: torch.dtype = torch.float32,
        padding_mode: Literal["replicate", "zeros"] = "replicate",
    ) -> None:
        super().__init__()
        self.layers = tuple(layers)
        unknown = [layer for layer in self.layers if layer not in COMPONENTS]
        if unknown or not self.layers:
            raise ValueError(
                f"The lite loss network has no layer {', '.join(unknown) or 'for an empty list'}: "
                f"choose among {', '.join(COMPONENTS)}."
            )
        full, half, quarter = WIDTHS
        shapes = {  # input channels, output channels, stride
            "relu1_1": [(3, full, 1)],
            "relu2_1": [(full, half, 2), (half, half, 1)],
            "relu3_1": [(half, quarter, 2), (quarter, quarter, 1)],
            "relu3_3": [(quarter, quarter, 1), (quarter, quarter, 1)],
            "relu3_4": [(quarter, quarter, 1)],
        }
        self.stages = nn.ModuleDict(
            {layer: _stage(convolutions, padding_mode) for layer, convolutions in shapes.items()}
        )
        self.heads = nn.ModuleDict(
            {
                layer: nn.Conv2d(convolutions[-1][1], COMPONENTS[layer], kernel_size=1)
                for layer, convolutions in shapes.items()
            }
        )
        if weights != "random":
            self._load(WEIGHTS if weights == "package" else Path(weights).expanduser())
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.requires_grad_(False)
        self.fingerprint = _fingerprint(self)  # of these weights, whatever the precision later on
        self.compute_in(dtype)

    def forward(self, images: Tensor, layers: Iterable[str] | None = None) -> dict[str, Tensor]:
        """Compute features.

        Args:
            images: RGB in [0, 1], shape ``(N, 3, H, W)``.
            layers: Which of the network's layers to return, all by default.

        Returns:
            By layer name, features of shape ``(N, C, H', W')``, of either sign, in the network's
            own precision. H and W are halved, rounded up, at relu2_1 and at relu3_1.
        """
        wanted = set(self.layers if layers is None else layers)
        features = (4 * images - 2).to(next(self.parameters()).dtype)
        found: dict[str, Tensor] = {}
        for layer, stage in self.stages.items():
            features = stage(features)
            if layer in wanted:
                found[layer] = self.heads[layer](features)
            if len(found) == len(wanted):
                break
        return found

    def compute_in(self, dtype: torch.dtype) -> Self:
        """Compute features in another precision from now on; the input stays float32."""
        return self.to(dtype)

    def _load(self, path: Path) -> None:
        if not path.is_file():
            raise FileNotFoundError(
                f"No weights of the lite loss network at {path}: leave out "
                f"loss_network.weights for those of the package."
            )
        try:
            self.load_state_dict(load_file(path))
        except (SafetensorError, RuntimeError, OSError) as error:
            reason = str(error).splitlines()[0]
            raise ValueError(f"{path} does not hold the lite loss network: {reason}") from None


def _fingerprint(network: nn.Module) -> str:
    """Tell these weights from all others: statistics are worth nothing with other features."""
    digest = hashlib.sha256()
    for name, weight in sorted(network.state_dict().items()):
        digest.update(name.encode())
        digest.update(weight.half().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


def _stage(
    shapes: list[tuple[int, int, int]], padding_mode: Literal["replicate", "zeros"]
) -> nn.Sequential:
    """3x3 convolutions, each with a ReLU, by input channels, output channels and stride."""
    stage = nn.Sequential()
    for inputs, outputs, stride in shapes:
        stage.append(nn.Conv2d(inputs, outputs, 3, stride, padding=1, padding_mode=padding_mode))
        stage.append(nn.ReLU(inplace=True))
    return stage
