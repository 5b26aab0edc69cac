"""How a stylizer is asked to paint, and the network for that."""

from dataclasses import dataclass

from impasto.inference.mixing import Shares
from impasto.inference.palette import COLORS
from impasto.networks import MultiTransformerNet, TransformerNet


@dataclass(frozen=True)
class Knobs:
    """One position of all knobs.

    Args:
        style: Which style, mix of styles, or of regions one of these for each; see
            ``parse_styles``. ``None`` for the first that a network has.
        strength: In [0, 1]: 0 for the photo, 1 for the painting.
        stroke: Size of the strokes, in pixels of the shorter side of the painting that was learnt
            from; ``None`` for the smallest that a network has.
        colors: Whose colours paintings get, one of ``COLORS``.

    Raises:
        ValueError: If ``strength`` or ``colors`` is out of range.
    """

    style: str | None = None
    strength: float = 1.0
    stroke: float | None = None
    colors: str = "painting"

    def __post_init__(self) -> None:
        if self.colors not in COLORS:
            raise ValueError(f"colors must be one of {', '.join(COLORS)}, got {self.colors!r}.")
        if not 0 <= self.strength <= 1:
            raise ValueError(
                f"strength must be from 0, the photo, to 1, the painting, got {self.strength:g}."
            )


def settle(
    network: TransformerNet | MultiTransformerNet,
    shares: Shares,
    strength: float,
    stroke: float | None,
) -> TransformerNet:
    """Find the network that paints at one position of the knobs, without the photo's share.

    Args:
        network: Is left as it is; one of a single style paints always the same.
        shares: Of the network's styles.
        strength: In [0, 1].
        stroke: In pixels, or ``None`` for the smallest.

    Raises:
        ValueError: If ``stroke`` is asked of a network of a single style, or out of range.
    """
    if isinstance(network, TransformerNet):
        if stroke is not None:
            raise ValueError(
                f"This network has strokes of one size, and stroke={stroke:g} was asked for: "
                f"networks that were trained with model=johnson_multi have them in many."
            )
        return network
    smallest, largest = network.strokes
    if stroke is not None and not smallest <= stroke <= largest:
        raise ValueError(
            f"stroke must be from {smallest} to {largest} pixels for this network, got {stroke:g}."
        )
    return network.settled(network.style_rows.new_tensor(shares), stroke or smallest, strength)
