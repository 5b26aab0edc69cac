"""The painters that one picture takes: of every region, and weaker ones of what is protected."""

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from impasto.inference.coverage import lay_on, lay_on_picture
from impasto.inference.fused import FusedTransformer
from impasto.inference.knobs import Knobs, settle
from impasto.inference.mixing import Shares, parse_styles
from impasto.inference.painter import Painter
from impasto.inference.regions import Layout
from impasto.networks import MultiTransformerNet, TransformerNet

# Of the strength elsewhere, chosen by looking at faces: at 0.5 skin and teeth take the painting's
# colours; at 0.2 a face looks like a photo that was pasted in.
PROTECTED = 0.35

Progress = Callable[[float], object]


class Ensemble:
    """Painters for all that ``style`` names, and how their paintings become one.

    Args:
        network: As its checkpoint holds it; it is left as it is.
        names: Of its styles.
        knobs: How it is to paint.
        device: To paint on.
        dtype: To compute in.

    Attributes:
        order: For every region, which of ``painters`` paints it.
        painters: One for every style, mix, or ``photo``; regions of the same share it.

    Raises:
        ValueError: If a knob is not to be had of this network.
    """

    def __init__(
        self,
        network: TransformerNet | MultiTransformerNet,
        names: Sequence[str],
        knobs: Knobs,
        device: torch.device,
        dtype: torch.dtype,
    ) -> None:
        self._network, self._knobs, self._place = network, knobs, (device, dtype)
        entries = parse_styles(knobs.style, names)
        self._styles = list(dict.fromkeys(entries))
        self.order = [self._styles.index(entry) for entry in entries]
        self.painters = [self._painter(shares, knobs.strength) for shares in self._styles]

    def compose(
        self,
        image: Any,
        layout: Layout[Any],
        paint: Callable[[Painter, Any, Progress], Any],
        progress: Progress,
    ) -> Any:
        """Paint an image with all painters, and lay the paintings on each other.

        Args:
            image: A picture, or a tensor of shape ``(N, 3, H, W)``.
            layout: Of its kind and size.
            paint: Lets a painter paint the image.
            progress: Is told which share of the work is done.

        Returns:
            Like ``image``.
        """
        lay: Callable[..., Any] = lay_on_picture if isinstance(image, Image.Image) else lay_on
        groups = [self.painters]
        if layout.protect is not None:
            groups.append(self._weak_painters)
        working = [painter for group in groups for painter in group if painter.strength > 0]

        def painting(painter: Painter) -> Any:
            before = working.index(painter) if painter in working else 0
            return paint(painter, image, lambda part: progress((before + part) / len(working)))

        wholes = []
        for group in groups:
            wholes.append(painting(group[0]))
            for painter, coverage in zip(group[1:], layout.regions, strict=True):
                wholes[-1] = lay(wholes[-1], painting(painter), coverage)
        if layout.protect is None:
            return wholes[0]
        coverage = _scaled(layout.protect, 1 if self._is_trained_for_strength else 1 - PROTECTED)
        return lay(*wholes, coverage)

    @cached_property
    def _weak_painters(self) -> list[Painter]:
        """Of what is protected; of a single style that is the photo, laid on the painting."""
        strength = PROTECTED * self._knobs.strength if self._is_trained_for_strength else 0.0
        return [self._painter(shares, strength) for shares in self._styles]

    @property
    def _is_trained_for_strength(self) -> bool:
        return isinstance(self._network, MultiTransformerNet)

    def _painter(self, shares: Shares, strength: float) -> Painter:
        strength = strength if any(shares) else 0.0
        device, dtype = self._place
        settled = settle(self._network, shares, strength, self._knobs.stroke)
        return Painter(FusedTransformer(settled, dtype).to(device), self._knobs.colors, strength)


def _scaled(coverage: Any, share: float) -> Any:
    if isinstance(coverage, Tensor):
        return coverage * share
    return coverage.point([round(share * level) for level in range(256)])
