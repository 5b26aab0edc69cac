"""What ``style=`` asks for: a style, a mix of several, and of regions one of these for each."""

import math
from collections.abc import Sequence

PHOTO = "photo"  # stands for a region that is not painted
MAX_REGIONS = 256  # as many as a picture of 8 bits has grey levels
# How much of each style a network paints, in its order; they add up to 1, or are all 0: the photo.
Shares = tuple[float, ...]


def parse_styles(text: str | None, names: Sequence[str]) -> list[Shares]:
    """Read what every region is painted in.

    Args:
        text: As ``starry_night/the_scream:0.5,udnie:0.5/photo``, an entry for every region with
            slashes between; of a picture without regions a single one. ``None`` asks for the first
            style.
        names: Of the styles that there are, in the network's order.

    Returns:
        Shares for every entry; those of ``photo`` are all 0.

    Raises:
        ValueError: If a style is unknown, a weight is no number above 0, or there are more than
            ``MAX_REGIONS`` entries.
    """
    if text is None:
        return [tuple(float(number == 0) for number in range(max(1, len(names))))]
    entries = [text] if text in names else text.split("/")
    if len(entries) > MAX_REGIONS:
        raise ValueError(f"style names up to {MAX_REGIONS} regions, got {len(entries)}.")
    return [_parse_mix(entry, names) for entry in entries]


def _parse_mix(entry: str, names: Sequence[str]) -> Shares:
    weights = dict.fromkeys(names, 0.0)
    if entry == PHOTO:
        return tuple(weights.values()) or (0.0,)
    for part in [entry] if entry in names else entry.split(","):
        name, weight = _parse_part(part, names)
        weights[name] += weight
    total = sum(weights.values())
    if not math.isfinite(total):
        raise ValueError(f"The weights of style={entry} are too large to be added up.")
    return tuple(weight / total for weight in weights.values())


def _parse_part(part: str, names: Sequence[str]) -> tuple[str, float]:
    """A style and its weight, which is 1 where none is given."""
    if part in names:
        return part, 1.0
    name, colon, text = part.rpartition(":")
    if not colon or name not in names:
        known = f"it has {', '.join(names)}" if names else "its one style has no name"
        raise ValueError(f"No style {(name if colon else part)!r} in this checkpoint: {known}.")
    try:
        weight = float(text)
    except ValueError:
        weight = math.nan
    if not weight > 0:
        raise ValueError(f"Weights of styles are numbers above 0, as in {name}:0.7, got {part!r}.")
    return name, weight
