"""Against flicker: the painting rests where the photo does."""

import torch
from torch import Tensor
from torch.nn import functional as F


class Smoother:
    """Hold the painting still where the photo is, against flicker.

    Every pixel is drawn towards the painting before it, the more the less the photo has changed
    there since. The change is that of slightly blurred colours, so that noise does not count; it is
    taken from a reference that follows the photo just as the painting follows the network. Hence
    slow changes add up instead of leaving ghosts. A scene change starts afresh.

    Args:
        smooth: From 0 (off) to below 1: how much of the painting before stays where nothing moves.

    Raises:
        ValueError: If ``smooth`` is out of range.
    """

    # Measured with scripts/measure_flicker.py.
    SIGMA = 6 / 255  # of colour; a change this large lets 1/e of the painting before through
    BLUR = 5  # pixels a side
    SPREAD = 9  # pixels a side: a stroke reaches further than the edge that it follows
    CUT = 0.1  # mean change of a whole frame, in [0, 1], from which it is another scene

    def __init__(self, smooth: float) -> None:
        if not 0 <= smooth < 1:
            raise ValueError(f"smooth must be from 0 to below 1, got {smooth:g}.")
        self.smooth = smooth
        self._before: tuple[Tensor, Tensor] | None = None  # colours of the photo, and the painting

    def __call__(self, photo: Tensor, painted: Tensor) -> Tensor:
        """Smooth the painting of the next frame.

        Args:
            photo: The frame, uint8, shape ``(1, 3, H, W)``.
            painted: Its painting, of the same type and shape.

        Returns:
            The painting, smoothed, of the same type and shape.
        """
        if self.smooth == 0:
            return painted
        colours, strokes = self._blur(photo), painted.float()
        if self._before is not None:
            colours_before, strokes_before = self._before
            change = (colours - colours_before).abs().amax(1, keepdim=True)
            goes_on = change.mean() < self.CUT  # as a tensor: to ask would be to wait for a GPU
            change = F.max_pool2d(change, self.SPREAD, stride=1, padding=self.SPREAD // 2)
            weight = self.smooth * goes_on * (-((change / self.SIGMA) ** 2)).exp_()
            colours = colours.lerp_(colours_before, weight)
            strokes = strokes.lerp_(strokes_before, weight)
        self._before = colours, strokes
        return strokes.round().to(torch.uint8)

    def _blur(self, photo: Tensor) -> Tensor:
        colours = photo.float().div_(255)
        return F.avg_pool2d(colours, self.BLUR, 1, self.BLUR // 2, count_include_pad=False)
