"""The loss of filled pictures: reconstruction, perceptual distance and texture, by named parts."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from impasto.losses.content import content_distance
from impasto.losses.gram import gram_matrix
from impasto.losses.processes import averaged
from impasto.losses.views import random_view
from impasto.losses.weights import checked_weight, normalized


class FillingLoss(nn.Module):
    """How far filled pictures are from the originals, to the pixel and to a loss network.

    Pixels alone are best met by their mean, a blur. Features ask for what is seen in place of it,
    and their Gram matrices for its texture, wherever exactly it lies.

    Args:
        reconstruction: ``reconstruction(filled, images, mask)`` returns named parts and their
            weighted ``total``.
        network: Loss network: ``network(images, layers)`` returns features by layer name.
        layers: Weight by layer name, of both; relative to their sum.
        perceptual_weight: Of the distance of features in the total.
        texture_weight: Of the distance of Gram matrices in the total.
        random_views: Whether features, while training, are those of ``random_view`` of both: else
            holes are filled with lines that suit where the loss network's layers look.

    Raises:
        ValueError: If a weight is negative or no number, or those of the layers do not add up to
            something positive.

    Source:
        Liu et al. 2018, section 3.3, https://arxiv.org/abs/1804.07723; there with L1, here with the
        dimensionless distances of style transfer.
    """

    def __init__(
        self,
        reconstruction: nn.Module,
        network: nn.Module,
        layers: Mapping[str, float],
        perceptual_weight: float = 0.0,
        texture_weight: float = 0.0,
        random_views: bool = False,
    ) -> None:
        super().__init__()
        self.reconstruction = reconstruction
        self.network = network
        self.layers = normalized("layers", layers)
        self.perceptual_weight = checked_weight("perceptual_weight", perceptual_weight)
        self.texture_weight = checked_weight("texture_weight", texture_weight)
        self.random_views = random_views

    def forward(self, filled: Tensor, images: Tensor, masks: Tensor) -> dict[str, Tensor]:
        """Compare what a network made of pictures with what they were.

        Args:
            filled: RGB in [0, 1], shape ``(N, 3, H, W)``, before the known part is put back.
            images: The originals, same shape and range.
            masks: 1 where the picture is missing, 0 elsewhere, shape ``(N, 1, H, W)``.

        Returns:
            Float32 scalars: the parts of the reconstruction; ``perceptual`` and ``texture`` if they
            have weight, of the filled picture with the known part put back; and the weighted sum
            ``total``.
        """
        parts = self.reconstruction(filled, images, masks)
        total = parts["total"]
        if self.perceptual_weight or self.texture_weight:
            parts |= self._compare_features(torch.where(masks > 0.5, filled, images), images)
            total = (
                total
                + self.perceptual_weight * parts["perceptual"]
                + self.texture_weight * parts["texture"]
            )
        return {**parts, "total": total}

    def _compare_features(self, filled: Tensor, images: Tensor) -> dict[str, Tensor]:
        if self.random_views and self.training:
            filled, images = random_view(torch.cat([filled, images])).chunk(2)
        with torch.no_grad():
            wanted = self.network(images, self.layers)
        found = self.network(filled, self.layers)
        perceptual = [
            weight * content_distance(found[layer], wanted[layer])
            for layer, weight in self.layers.items()
        ]
        texture = [
            weight * _texture_distance(gram_matrix(found[layer]), gram_matrix(wanted[layer]))
            for layer, weight in self.layers.items()
        ]
        return {"perceptual": torch.stack(perceptual).sum(), "texture": torch.stack(texture).sum()}


def _texture_distance(grams: Tensor, targets: Tensor) -> Tensor:
    """Like ``style_distance``, but every picture has a target of its own: (N, C, C) each."""
    energy = averaged(targets.square().sum((1, 2)).mean()).clamp_min(
        torch.finfo(torch.float32).tiny
    )
    return (grams - targets).square().sum((1, 2)).mean() / energy
