"""A judge of style networks: VGG-19, or what stands in for it, comparing pictures one by one."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from tqdm import tqdm

from impasto.losses import content_distance, gram_matrix, style_distance, style_targets
from impasto.losses.perceptual import halve

STYLE_LAYERS = dict.fromkeys(("relu1_1", "relu2_1", "relu3_1", "relu3_4"), 1.0)
CONTENT_LAYER = "relu3_3"
NUM_LEVELS = 2  # full and half size
BATCH_SIZE = 4

Painter = Callable[[Tensor], Tensor]
"""Maps photos in [0, 1], shape ``(N, 3, H, W)``, to the same painted."""


class Judge:
    """A loss network that has looked at P paintings.

    Args:
        network: VGG-19, or what stands in for it; it computes in float32.
        paintings: RGB in [0, 1], each of shape ``(1, 3, H, W)``, on the network's device.
    """

    def __init__(self, network: nn.Module, paintings: Sequence[Tensor]) -> None:
        self.network = network
        self.targets = [
            style_targets(network, painting, STYLE_LAYERS, NUM_LEVELS) for painting in paintings
        ]

    @torch.no_grad()
    def __call__(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Compare images with every painting, one by one.

        Args:
            images: RGB in [0, 1], shape ``(N, 3, H, W)``.

        Returns:
            Style distances, shape ``(P, N)``, the mean over levels and layers; and the features
            that show the content, shape ``(N, C, H', W')``.
        """
        features = self.network(images, [*STYLE_LAYERS, CONTENT_LAYER])
        content = features[CONTENT_LAYER]
        distances = []  # by level and layer, (P, N) each
        for level in range(NUM_LEVELS):
            if level > 0:
                images = halve(images)
                features = self.network(images, STYLE_LAYERS)
            for layer in STYLE_LAYERS:
                grams = gram_matrix(features[layer])[:, None]
                goals = [target[level][layer] for target in self.targets]
                distances.append(torch.stack([_style_distances(grams, goal) for goal in goals]))
        return torch.stack(distances).mean(0), content


# Per image, where the loss takes the mean: every N is a batch of one to them.
_style_distances = torch.vmap(style_distance, in_dims=(0, None))
_content_distances = torch.vmap(content_distance)


@dataclass(frozen=True)
class Marks:
    """What J judges of P paintings say of N photos, as they are or painted, in float64."""

    style: Tensor  # distances, (J, P, N)
    content: Tensor  # distances from the photos, (N,), says the first judge


def measure(judges: Sequence[Judge], painters: Sequence[Painter], photos: Tensor) -> list[Marks]:
    """Have photos painted and judged, a few at a time: nothing large is kept.

    Args:
        judges: The first of them judges content too.
        painters: Style networks.
        photos: RGB in [0, 1], shape ``(N, 3, S, S)``, on any device.

    Returns:
        Of the photos as they are, then of every painter.
    """
    device = next(judges[0].network.parameters()).device
    styles: list[list[Tensor]] = [[] for _ in range(1 + len(painters))]
    contents: list[list[Tensor]] = [[] for _ in styles]
    with tqdm(total=len(styles) * len(photos), unit="picture", desc="judging") as progress:
        for batch in photos.split(BATCH_SIZE):
            batch = batch.to(device)
            wanted = batch.new_empty(0)
            for number in range(len(styles)):
                pictures = painters[number - 1](batch) if number else batch
                verdicts = [judge(pictures) for judge in judges]
                features = verdicts[0][1]
                wanted = wanted if number else features  # the photos come first
                styles[number].append(torch.stack([style for style, _ in verdicts]).cpu())
                contents[number].append(
                    _content_distances(features[:, None], wanted[:, None]).cpu()
                )
                progress.update(len(batch))
    return [
        Marks(torch.cat(style, dim=2).double(), torch.cat(content).double())
        for style, content in zip(styles, contents, strict=True)
    ]


def spearman(first: Tensor, second: Tensor) -> float:
    """Correlate the ranks of two lists of numbers, shape ``(N,)``, N from 2 up: -1 to 1.

    Equal numbers rank in their order, rather than alike: distances of pictures hardly ever tie.
    """
    ranks = [values.argsort(stable=True).argsort().double() for values in (first, second)]
    return torch.corrcoef(torch.stack(ranks))[0, 1].item()
