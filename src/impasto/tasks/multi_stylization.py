"""Training many styles: one network learns many paintings, sizes of strokes and strengths."""

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from impasto.losses import PerceptualLoss
from impasto.networks import MultiTransformerNet
from impasto.tasks.stylization import Stylization


class Knobs(NamedTuple):
    """How N photos are to be painted, shape ``(N,)`` each."""

    styles: Tensor  # which of the styles that are learnt
    sizes: Tensor  # which of the sizes of strokes
    strengths: Tensor  # in [0, 1]


class MultiStylization(Stylization):
    """A network of many styles, trained on all of them in turn.

    The photos of a step have styles of their own, none of them twice before all others have come,
    so that none starves. Half of the photos get strokes of the first size, half of them full
    strength; the others any size, and any strength. By that, style counts in a photo's loss.

    Args:
        network: What is trained.
        loss: With one target for every style that is learnt and every size of strokes, the sizes
            of a style one after the other.
        rows: The network's row of every style that is learnt.
        stroke_sizes: In pixels, the usual one first.
        options: See ``Stylization``.
    """

    rows: Tensor
    stroke_sizes: Tensor

    def __init__(
        self,
        network: MultiTransformerNet,
        loss: PerceptualLoss,
        rows: list[int],
        stroke_sizes: list[int],
        **options: Any,
    ) -> None:
        super().__init__(network, loss, **options)
        self.num_styles, self.num_rows = len(rows), len(network.style_rows)
        self.register_buffer("rows", torch.tensor(rows), persistent=False)
        self.register_buffer("stroke_sizes", torch.tensor(stroke_sizes), persistent=False)

    def forward(self, photos: Tensor, knobs: Knobs) -> Tensor:
        """Paint photos by their knobs: RGB in [0, 1], ``(N, 3, H, W)``, in and out, float32."""
        shares = F.one_hot(self.rows[knobs.styles], self.num_rows).float()
        strokes = self.stroke_sizes[knobs.sizes].float()
        return self.network(photos, shares, strokes, knobs.strengths).float()

    def compare(self, painted: Tensor, photos: Tensor, knobs: Knobs) -> dict[str, Tensor]:
        """Compare every photo with the painting that its knobs ask for."""
        paintings = knobs.styles * len(self.stroke_sizes) + knobs.sizes
        return self.loss(painted, photos, paintings, knobs.strengths)

    def draw_knobs(self, count: int) -> Knobs:
        """Draw knobs for a training step, with PyTorch's global generator."""
        rounds = -(-count // self.num_styles)
        styles = torch.cat([torch.randperm(self.num_styles) for _ in range(rounds)])[:count]
        sizes = torch.randint(len(self.stroke_sizes), (count,)) * torch.randint(2, (count,))
        strengths = torch.where(torch.rand(count) < 0.5, 1.0, torch.rand(count))
        return Knobs(*(knob.to(self.device) for knob in (styles, sizes, strengths)))

    def deal_knobs(self, first: int, count: int) -> Knobs:
        """Deal the styles to held-out photos in turn, with usual strokes in full strength."""
        styles = torch.arange(first, first + count, device=self.device) % self.num_styles
        return Knobs(styles, torch.zeros_like(styles), torch.ones_like(styles).float())
