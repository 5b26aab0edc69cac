"""A judge of filled holes: how close to the original they are, picture by picture."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from impasto.loss_networks import VGG, Lite
from impasto.metrics import MAX_PSNR, l1, l2, psnr, seam, ssim

LAYERS = ("relu1_1", "relu2_1", "relu3_1", "relu3_4")
LITE = "lite"


@dataclass(frozen=True)
class Measure:
    """A number per picture.

    Args:
        unit: Empty for a number without.
        meaning: In words.
        more_is_better: Whether it is; ``None`` if there is an ideal between.
        digits: After the point, where it is printed.
    """

    unit: str
    meaning: str
    more_is_better: bool | None
    digits: int


def _measures(where: str) -> dict[str, Measure]:
    place = {"hole": "in the hole", "full": "over the whole picture"}[where]
    return {
        f"{where}_psnr": Measure(
            "dB", f"peak signal-to-noise ratio {place}, at most {MAX_PSNR:.1f}", True, 2
        ),
        f"{where}_ssim": Measure(
            "", f"structural similarity {place}, window 11, sigma 1.5: 1 for equal", True, 4
        ),
        f"{where}_perceptual": Measure(
            "",
            f"squared distance of a loss network's features from the original's {place}, relative "
            f"to the original's, mean over {', '.join(LAYERS)}: 0 for equal, 1 for features of "
            f"zeros",
            False,
            4,
        ),
        f"{where}_l1": Measure("%", f"mean absolute error {place}, of white", False, 2),
        f"{where}_l2": Measure("%", f"mean squared error {place}, of white", False, 2),
    }


SEAM = Measure(
    "",
    "steps across the hole's border, relative to the original's: 1 where it shows as little, "
    "less where it is washed out",
    None,
    3,
)
MEASURES = {**_measures("hole"), "seam": SEAM, **_measures("full")}


class FillJudge:
    """Compares filled pictures with originals, in float32.

    Args:
        network: The loss network that sees how alike they look.
    """

    def __init__(self, network: nn.Module) -> None:
        self.network = network

    @torch.no_grad()
    def features(self, images: Tensor) -> dict[str, Tensor]:
        """What the loss network sees in pictures in [0, 1], shape ``(N, 3, H, W)``."""
        found = self.network(images, LAYERS)
        return {layer: found[layer] for layer in LAYERS}

    @torch.no_grad()
    def __call__(
        self, filled: Tensor, images: Tensor, masks: Tensor, targets: Mapping[str, Tensor]
    ) -> Tensor:
        """Measure.

        Args:
            filled: In [0, 1], shape ``(N, 3, H, W)``, with the known part put back.
            images: The originals, same shape.
            masks: 1 where the originals were missing, shape ``(N, 1, H, W)``.
            targets: ``features(images)``.

        Returns:
            A column for each of ``MEASURES``, float64, shape ``(N, len(MEASURES))``, on the CPU.
        """
        hole, full = relative_distances(self.features(filled), targets, masks)
        columns = {"seam": seam(filled, images, masks)}
        for where, mask, distance in (("hole", masks, hole), ("full", None, full)):
            columns |= {
                f"{where}_l1": 100 * l1(filled, images, mask),
                f"{where}_l2": 100 * l2(filled, images, mask),
                f"{where}_psnr": psnr(filled, images, mask).clamp_max(MAX_PSNR),
                f"{where}_ssim": ssim(filled, images, mask),
                f"{where}_perceptual": distance,
            }
        return torch.stack([columns[name] for name in MEASURES], dim=1).double().cpu()


def relative_distances(
    features: Mapping[str, Tensor], targets: Mapping[str, Tensor], masks: Tensor
) -> tuple[Tensor, Tensor]:
    """Squared distances of features, relative to the targets' own squares in the same places.

    Args:
        features: By layer, of shape ``(N, C, H', W')``.
        targets: Same.
        masks: Shape ``(N, 1, H, W)``; a position of a layer counts by its share of the hole.

    Returns:
        Means over layers, in the hole and everywhere, of shape ``(N,)`` each.
    """
    hole, full = [], []
    for layer, target in targets.items():
        error = (features[layer] - target).square().sum(1, keepdim=True)
        energy = target.square().sum(1, keepdim=True)
        share = F.interpolate(masks, error.shape[-2:], mode="area")
        hole.append(_ratio(error * share, energy * share))
        full.append(_ratio(error, energy))
    return torch.stack(hole).mean(0), torch.stack(full).mean(0)


def _ratio(errors: Tensor, energies: Tensor) -> Tensor:
    tiny = torch.finfo(torch.float32).tiny
    return errors.sum((1, 2, 3)) / energies.sum((1, 2, 3)).clamp_min(tiny)


def load_loss_network(teacher: str) -> nn.Module:
    """Load the lite loss network, or VGG-19 with weights ``hub``, ``random`` or of a path."""
    return Lite(LAYERS) if teacher == LITE else VGG("vgg19", LAYERS, teacher)
