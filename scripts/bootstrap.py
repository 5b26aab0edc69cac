"""How far a mean may be from that of all photos there are: bootstrap intervals.

Photos are drawn with replacement, and with a photo come all its values: several holes in one photo
are not independent. The same draws serve all columns, so that differences and ratios of two columns
are those of the same photos: paired.
"""

import numpy as np
from numpy.typing import NDArray

NUM_DRAWS = 2000
PERCENTILES = (2.5, 97.5)  # of the draws: 95 % lie between

Array = NDArray[np.float64]


def draw_means(values: Array, photos: NDArray[np.int64], seed: int) -> Array:
    """Means over photos drawn anew.

    Args:
        values: A row for every case, shape ``(n, ...)``.
        photos: Of every case, the number of its photo, shape ``(n,)``.
        seed: Tells the draws; the same for the same number of photos.

    Returns:
        Of every draw, the mean over its cases, shape ``(NUM_DRAWS, ...)``.

    Raises:
        ValueError: If there is no case, or not a photo for each.
    """
    if len(values) == 0 or len(values) != len(photos):
        raise ValueError(
            f"Values of at least one case, and a photo for each, are needed, "
            f"got {len(values)} and {len(photos)}."
        )
    _, places, num_cases = np.unique(photos, return_inverse=True, return_counts=True)
    count = len(num_cases)
    sums = np.zeros((count, values[0].size))
    np.add.at(sums, places, values.reshape(len(values), -1))
    times = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), NUM_DRAWS)
    means = (times @ sums) / (times @ num_cases)[:, None]
    return means.reshape(NUM_DRAWS, *values.shape[1:])


def interval(draws: Array) -> tuple[float, float]:
    """The bounds between which 95 % of draws lie, of shape ``(NUM_DRAWS,)``."""
    low, high = np.percentile(draws, PERCENTILES)
    return float(low), float(high)
