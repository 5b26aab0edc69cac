"""Weights of the parts of a loss, checked."""

import math
from collections.abc import Mapping


def checked_weight(name: str, weight: float) -> float:
    """Return a weight that can be one.

    Args:
        name: What to call it.
        weight: Of a part in the total.

    Raises:
        ValueError: If it is negative or no number.
    """
    if not isinstance(weight, int | float) or not 0 <= weight < math.inf:
        raise ValueError(f"{name} must be a number of at least 0, got {weight!r}.")
    return weight


def normalized(name: str, weights: Mapping[str, float]) -> dict[str, float]:
    """Divide weights by their sum, and leave out those of 0.

    Args:
        name: What to call them.
        weights: By layer name.

    Raises:
        ValueError: If one is negative or no number, or all are 0.
    """
    total = sum(checked_weight(f"{name}.{layer}", weight) for layer, weight in weights.items())
    if total == 0:
        raise ValueError(f"{name} needs weights that add up to more than 0, got {dict(weights)}.")
    return {layer: weight / total for layer, weight in weights.items() if weight > 0}
