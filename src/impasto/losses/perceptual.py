"""The perceptual loss: content, style, total variation and lattice, by named parts."""

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from impasto.losses.content import content_distance
from impasto.losses.gram import gram_matrix, style_distances
from impasto.losses.lattice import lattice
from impasto.losses.total_variation import total_variation
from impasto.losses.views import random_view
from impasto.losses.weights import checked_weight, normalized

# By pyramid level, then by layer: Gram matrices of shape (C, C), or (P, C, C) of P paintings.
StyleTargets = list[dict[str, Tensor]]


class PerceptualLoss(nn.Module):
    """How far painted images are from their photos in content and from a painting in style.

    All parts are dimensionless, so the weights mean about the same for every painting, image size
    and loss network (see ``style_distance``, ``content_distance``, ``total_variation``,
    ``lattice``).

    Args:
        network: Loss network: ``network(images, layers)`` returns features by layer name.
        targets: What ``style_targets`` made of the painting, with the same network. Their number
            of levels is the number of pyramid levels compared.
        content_layers: Weight by layer name. Weights are relative: they are divided by their sum.
        style_layers: Likewise; the same layers at every pyramid level.
        content_weight: Of the content part in the total.
        style_weight: Of the style part in the total.
        tv_weight: Of the total variation in the total.
        lattice_weight: Of the lattice in the total.
        random_views: Whether to compare content, while training, on copies too that are mirrored,
            turned and shrunk at random. Networks learn to paint what a small loss network takes for
            the photo and others do not; in every view they hardly can.

    Raises:
        ValueError: If a style layer has no target, a weight is negative or no number, or those of
            a part do not add up to something positive.

    Source:
        Johnson et al. 2016, section 3, https://arxiv.org/abs/1603.08155
    """

    def __init__(
        self,
        network: nn.Module,
        targets: StyleTargets,
        content_layers: Mapping[str, float],
        style_layers: Mapping[str, float],
        content_weight: float = 1.0,
        style_weight: float = 1.0,
        tv_weight: float = 0.0,
        lattice_weight: float = 0.0,
        random_views: bool = False,
    ) -> None:
        super().__init__()
        self.network = network
        self.num_levels = len(targets)
        # Not compiled: every size, mirroring and turn would be a graph of its own.
        self.view = torch.compiler.disable(random_view) if random_views else None
        self.content_layers = normalized("content_layers", content_layers)
        self.style_layers = normalized("style_layers", style_layers)
        self.content_weight = checked_weight("content_weight", content_weight)
        self.style_weight = checked_weight("style_weight", style_weight)
        self.tv_weight = checked_weight("tv_weight", tv_weight)
        self.lattice_weight = checked_weight("lattice_weight", lattice_weight)
        for level, grams in enumerate(targets):
            for layer in self.style_layers:
                if layer not in grams:
                    raise ValueError(
                        f"The style has no target for layer {layer} at pyramid level {level}; "
                        f"it has {', '.join(grams) or 'none'}."
                    )
                self.register_buffer(_buffer(level, layer), grams[layer].float(), persistent=False)

    def forward(
        self,
        painted: Tensor,
        photos: Tensor,
        paintings: Tensor | None = None,
        strengths: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """Compare paintings with their photos and the style.

        Args:
            painted: RGB in [0, 1], shape ``(N, 3, H, W)``.
            photos: What was painted, same shape and range.
            paintings: Of P paintings, the number of the one that each photo is to look like,
                shape ``(N,)``; ``None`` where there is but one.
            strengths: How much style counts, photo by photo, shape ``(N,)``; 1 by default.

        Returns:
            Float32 scalars ``content``, ``style``, ``tv``, ``lattice``, and their weighted sum
            ``total``.
        """
        features = self.network(painted, {**self.content_layers, **self.style_layers})
        content = self._content(painted, photos, features)
        if self.view is not None and self.training:
            painted_view, photos_view = self.view(torch.cat([painted, photos])).chunk(2)
            content = (content + self._content(painted_view, photos_view)) / 2
        parts = {
            "content": content,
            "style": self._style(painted, features, paintings, strengths),
            "tv": total_variation(painted),
            "lattice": lattice(painted),
        }
        total = (
            self.content_weight * parts["content"]
            + self.style_weight * parts["style"]
            + self.tv_weight * parts["tv"]
            + self.lattice_weight * parts["lattice"]
        )
        return {**parts, "total": total}

    def _content(
        self, painted: Tensor, photos: Tensor, features: dict[str, Tensor] | None = None
    ) -> Tensor:
        """Weighted content distance; of the painted, features may be computed already."""
        with torch.no_grad():
            wanted = self.network(photos, self.content_layers)
        found = features or self.network(painted, self.content_layers)
        return torch.stack(
            [
                weight * content_distance(found[layer], wanted[layer])
                for layer, weight in self.content_layers.items()
            ]
        ).sum()

    def _style(
        self,
        painted: Tensor,
        features: dict[str, Tensor],
        paintings: Tensor | None,
        strengths: Tensor | None,
    ) -> Tensor:
        """Mean over pyramid levels of the weighted style distances; level 0 is already computed."""
        distances = []
        for level in range(self.num_levels):
            if level > 0:
                painted = halve(painted)
                features = self.network(painted, self.style_layers)
            for layer, weight in self.style_layers.items():
                targets = self.get_buffer(_buffer(level, layer))
                targets = targets if paintings is None else targets[paintings]
                distances.append(weight * style_distances(gram_matrix(features[layer]), targets))
        by_photo = torch.stack(distances).sum(0) / self.num_levels
        return (by_photo if strengths is None else strengths * by_photo).mean()


@torch.no_grad()
def style_targets(
    network: nn.Module, painting: Tensor, layers: Iterable[str], num_levels: int = 1
) -> StyleTargets:
    """Compute what of a painting enters the style loss: the Gram matrices of its features.

    Args:
        network: Loss network.
        painting: RGB in [0, 1], shape ``(1, 3, H, W)``. Its size sets the size of the strokes: the
            larger the painting, the larger they come out in the photos.
        layers: Layer names.
        num_levels: Pyramid levels: 1 for the painting alone, 2 for a half-size copy too, which
            brings in strokes twice as coarse.

    Returns:
        By level, then by layer name, float32 matrices of shape ``(C, C)``.

    Raises:
        ValueError: If ``num_levels`` is below 1, or the painting is smaller than 16 pixels at the
            coarsest level.
    """
    if num_levels < 1:
        raise ValueError(f"A pyramid has at least 1 level, got {num_levels}.")
    if min(painting.shape[-2:]) < 16 << (num_levels - 1):
        raise ValueError(
            f"A painting of {painting.shape[-1]}x{painting.shape[-2]} pixels is too small for "
            f"{num_levels} pyramid levels: at least {16 << (num_levels - 1)} a side are needed."
        )
    targets, layers = [], list(layers)
    for _ in range(num_levels):
        features = network(painting, layers)
        targets.append({layer: gram_matrix(features[layer])[0] for layer in layers})
        painting = halve(painting)
    return targets


def halve(images: Tensor) -> Tensor:
    """Halve height and width by averaging 2x2 pixels; an odd last row or column is dropped."""
    return F.avg_pool2d(images, kernel_size=2)


def _buffer(level: int, layer: str) -> str:
    return f"target_{level}_{layer}"
