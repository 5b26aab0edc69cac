"""One transformation network for many styles, with a knob for strength and one for strokes."""

import copy
import math
from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor, nn
from torch.func import functional_call

from impasto.networks.instance_norm import InstanceNorm
from impasto.networks.transformer import TransformerNet


class MultiTransformerNet(nn.Module):
    """A ``TransformerNet`` whose instance norms are all that differs from style to style.

    Every style has a row of offsets to the trunk's scales and shifts, and another by which they
    move with the size of the strokes; one more for all moves them with the strength. Mixed styles
    have mixed rows. Of the strength, the painting gets its share, and the photo the rest: at 0 the
    photo comes back as it went in, and between the network is trained to paint what that leaves.

    Args:
        num_styles: How many.
        strokes: The smallest and the largest size of strokes: of the paintings that it learns from,
            their shorter side in pixels.
        width: Channels at full resolution.
        num_blocks: Residual blocks at a quarter of the resolution.

    Raises:
        ValueError: If a number is below 1, or ``strokes`` are not two that rise.

    Source:
        Dumoulin et al. 2017, eq. 5, https://arxiv.org/abs/1610.07629; strokes and strength are
        ours.
    """

    def __init__(
        self,
        num_styles: int,
        strokes: Sequence[int] = (256, 512),
        width: int = 16,
        num_blocks: int = 5,
    ) -> None:
        super().__init__()
        if num_styles < 1:
            raise ValueError(f"MultiTransformerNet needs at least 1 style, got {num_styles}.")
        sizes = tuple(strokes)
        are_whole = all(isinstance(size, int) for size in sizes)
        if not are_whole or len(sizes) != 2 or not 0 < sizes[0] < sizes[1]:
            raise ValueError(f"strokes must be a smaller and a larger size, got {strokes}.")
        self.strokes = (sizes[0], sizes[1])
        self.trunk = TransformerNet(width, num_blocks)
        length = sum(len(self.trunk.get_parameter(name)) for name in _norms(self.trunk))
        self.style_rows = nn.Parameter(torch.zeros(num_styles, length))
        self.stroke_rows = nn.Parameter(torch.zeros(num_styles, length))
        self.strength_row = nn.Parameter(torch.zeros(length))

    def forward(self, images: Tensor, styles: Tensor, stroke: Tensor, strength: Tensor) -> Tensor:
        """Paint photos, each in a style of its own.

        Args:
            images: RGB in [0, 1], shape ``(N, 3, H, W)``, any H and W from 1 up.
            styles: How much of each style, shape ``(N, S)``; rows add up to 1.
            stroke: Size of the strokes, in pixels as ``strokes``, shape ``(N,)``.
            strength: In [0, 1], shape ``(N,)``: 0 for the photo, 1 for the painting.

        Returns:
            Paintings in [0, 1], of the shape of ``images``.
        """
        norms = self.norms(styles, stroke, strength)
        painted = functional_call(self.trunk, norms, (images,))
        return torch.lerp(images, painted.to(images.dtype), strength[:, None, None, None])

    def norms(self, styles: Tensor, stroke: Tensor, strength: Tensor) -> dict[str, Tensor]:
        """Scales and shifts of N photos, ``(N, C)`` each, by name in the trunk."""
        with torch.autocast(styles.device.type, enabled=False):
            smallest, largest = self.strokes
            coarseness = (stroke / smallest).log2() / math.log2(largest / smallest)  # in [0, 1]
            offsets = (
                styles @ self.style_rows
                + coarseness[:, None] * (styles @ self.stroke_rows)
                + (1 - strength[:, None]) * self.strength_row
            )
        norms, first = {}, 0
        for name in _norms(self.trunk):
            weight = self.trunk.get_parameter(name)
            norms[name] = weight + offsets[:, first : first + len(weight)]
            first += len(weight)
        return norms

    def settled(self, styles: Tensor, stroke: float, strength: float) -> TransformerNet:
        """The network for one position of all knobs, without the photo's share: as fast as any.

        Args:
            styles: How much of each style, shape ``(S,)``.
            stroke: Size of the strokes, in pixels.
            strength: In [0, 1].
        """
        norms = self.norms(
            styles[None], *(styles.new_tensor([knob]) for knob in (stroke, strength))
        )
        network = copy.deepcopy(self.trunk)
        network.load_state_dict({name: values[0] for name, values in norms.items()}, strict=False)
        return network

    def with_new_styles(self, number: int) -> "MultiTransformerNet":
        """A copy that has more styles and learns nothing but these; they start as the mean of all.

        Args:
            number: How many, at least 1.
        """
        network = copy.deepcopy(self).requires_grad_(False)
        for name in ("style_rows", "stroke_rows"):
            former = self.get_parameter(name).detach()
            rows = nn.Parameter(torch.cat([former, former.mean(0).expand(number, -1)]))
            rows.register_hook(partial(_without_first, len(former)))
            setattr(network, name, rows)
        return network


def _without_first(number: int, gradient: Tensor) -> Tensor:
    """A gradient of rows of which the first do not learn: Adam leaves them as they are."""
    return torch.cat([torch.zeros_like(gradient[:number]), gradient[number:]])


def _norms(trunk: TransformerNet) -> list[str]:
    """Names of the scales and shifts of all instance norms, in order."""
    return [
        f"{name}.{values}"
        for name, module in trunk.named_modules()
        if isinstance(module, InstanceNorm)
        for values in ("weight", "bias")
    ]
