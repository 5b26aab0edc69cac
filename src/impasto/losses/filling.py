"""The loss of filled pictures: reconstruction, looks, texture and seam, by named parts."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from impasto.losses.gram import gram_matrix
from impasto.losses.views import random_turn, random_view
from impasto.losses.weights import checked_weight, normalized
from impasto.metrics import seam

FLOOR = 1e-3  # of a relative distance: what is as close as that need not come closer

_COMPARED: dict[str, Callable[[Tensor], Tensor]] = {
    "perceptual": lambda features: features,
    "texture": gram_matrix,
}


class FillingLoss(nn.Module):
    """How far filled pictures are from the originals, to the pixel and to a loss network.

    Pixels alone are best met by their mean, a blur, which shows at the border of the hole most of
    all. Features ask for what is seen in place of it, their Gram matrices for its texture, wherever
    exactly it lies, and the seam for steps at the border as high as the original's.

    All count by their logarithm, picture by picture: a tenth less is worth as much where a hole is
    thin as where it is the middle half.

    Args:
        reconstruction: ``reconstruction(filled, images, mask)`` returns named parts and their
            weighted ``total``.
        network: Loss network: ``network(images, layers)`` returns features by layer name.
        layers: Weight by layer name, of both; relative to their sum.
        perceptual_weight: Of the distance of features in the total.
        texture_weight: Of the distance of Gram matrices in the total.
        seam_weight: Of the squared logarithm of ``seam`` in the total.
        random_views: Whether features, while training, are those of both seen another way, by
            ``random_view`` and ``random_turn``: else holes are filled with lines that suit where
            the loss network's layers look.

    Raises:
        ValueError: If a weight is negative or no number, or those of the layers do not add up to
            something positive.

    Source:
        Liu et al. 2018, section 3.3, https://arxiv.org/abs/1804.07723; there with L1 and a total
        variation, here with squared distances relative to the original's own.
    """

    def __init__(
        self,
        reconstruction: nn.Module,
        network: nn.Module,
        layers: Mapping[str, float],
        perceptual_weight: float = 0.0,
        texture_weight: float = 0.0,
        seam_weight: float = 0.0,
        random_views: bool = False,
    ) -> None:
        super().__init__()
        self.reconstruction = reconstruction
        self.network = network
        self.layers = normalized("layers", layers)
        weights = {
            "perceptual": checked_weight("perceptual_weight", perceptual_weight),
            "texture": checked_weight("texture_weight", texture_weight),
        }
        self.looks = {name: weight for name, weight in weights.items() if weight}
        self.seam_weight = checked_weight("seam_weight", seam_weight)
        # Not compiled: every size, mirroring and turn would be a graph of its own.
        self.view = torch.compiler.disable(_turned_view) if random_views else None

    def forward(self, filled: Tensor, images: Tensor, masks: Tensor) -> dict[str, Tensor]:
        """Compare what a network made of pictures with what they were.

        Args:
            filled: RGB in [0, 1], shape ``(N, 3, H, W)``, before the known part is put back.
            images: The originals, same shape and range.
            masks: 1 where the picture is missing, 0 elsewhere, shape ``(N, 1, H, W)``.

        Returns:
            Float32 scalars: the parts of the reconstruction; those of ``perceptual``, ``texture``
            and ``seam`` that have weight, of the filled picture with the known part put back; and
            the weighted sum ``total``.
        """
        parts = self.reconstruction(filled, images, masks)
        total = parts["total"]
        filled = torch.where(masks > 0.5, filled, images)
        if self.looks:
            parts |= self._compare_features(filled, images, masks)
            total = total + sum(weight * parts[name] for name, weight in self.looks.items())
        if self.seam_weight:
            ratios = seam(filled, images, masks).nan_to_num(1)  # of holes without a border
            parts["seam"] = ratios.log().square().mean()
            total = total + self.seam_weight * parts["seam"]
        return {**parts, "total": total}

    def _compare_features(self, filled: Tensor, images: Tensor, masks: Tensor) -> dict[str, Tensor]:
        if self.view is not None and self.training:
            views = self.view(torch.cat([filled, images, masks.to(images.dtype)], dim=1))
            filled, images, masks = views.split([3, 3, 1], dim=1)
        with torch.no_grad():
            wanted = self.network(images, self.layers)
        found = self.network(filled, self.layers)
        distances: dict[str, list[Tensor]] = {name: [] for name in self.looks}
        for layer, weight in self.layers.items():
            # A position of a layer counts by its share of the hole.
            scale = F.interpolate(masks, wanted[layer].shape[-2:], mode="area").sqrt()
            features, target = found[layer].float() * scale, wanted[layer].float() * scale
            for name, parts in distances.items():
                parts.append(
                    weight * _distances(_COMPARED[name](features), _COMPARED[name](target))
                )
        return {
            name: (torch.stack(parts).sum(0) / FLOOR).log1p().mean()
            for name, parts in distances.items()
        }


def _turned_view(images: Tensor) -> Tensor:
    return random_turn(random_view(images))


def _distances(found: Tensor, wanted: Tensor) -> Tensor:
    """Squared distances, each picture's relative to what is wanted of it, of shape (N,)."""
    dims = tuple(range(1, found.ndim))
    energies = wanted.square().sum(dims).clamp_min(torch.finfo(torch.float32).tiny)
    return (found - wanted).square().sum(dims) / energies
