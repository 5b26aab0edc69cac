"""Sum up a contest: means, how sure they are, and by how much one is better than another."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bootstrap import Array, draw_means, interval
from fill_contest import Outcome
from fill_judging import MEASURES

Figures = dict[str, Any]
"""By name, as JSON takes them."""

ALL = "all"  # families
BRUSH = "brush"  # strokes of all widths
NUM_BANDS = 10
CLASSICS = ("telea", "navier_stokes", "biharmonic")
BEST, HARMONIC = "best", "harmonic"
RATIO, DIFFERENCE = "ratio", "difference"
COMPARED = {
    "hole_psnr": DIFFERENCE,
    "hole_ssim": DIFFERENCE,
    "full_ssim": DIFFERENCE,
    "hole_perceptual": RATIO,
}
NAMES = list(MEASURES)
DIGITS = 6  # after the point, of what is kept


@dataclass(frozen=True)
class Group:
    """Cases that are summed up together.

    Args:
        size: Of the photos, in pixels.
        family: Of masks, ``BRUSH`` or ``ALL``.
        band: Number of the 10 % of the picture that are missing, 0 for the first; ``None`` for all.
        photos: Of every case, the number of its photo, shape ``(n,)``.
        shares: How much of it is missing, 0 to 1, shape ``(n,)``.
        figures: By entrant, shape ``(n, M)``; of those only who filled every case.
    """

    size: int
    family: str
    band: int | None
    photos: NDArray[np.int64]
    shares: Array
    figures: dict[str, Array]


def group(outcomes: Sequence[Outcome]) -> list[Group]:
    """By size: every family, strokes of all widths, all families, and every band of hole area."""
    groups = []
    for size in dict.fromkeys(outcome.size for outcome in outcomes):
        same = [outcome for outcome in outcomes if outcome.size == size]
        groups += [_united([outcome], outcome.family) for outcome in same]
        strokes = [outcome for outcome in same if outcome.family.startswith(f"{BRUSH}_")]
        if len(strokes) > 1:
            groups += [_united(strokes, BRUSH)]
        everything = _united(same, ALL)
        bands = band_of(everything.shares)
        groups += [everything]
        groups += [_band(everything, band) for band in sorted(set(bands.tolist()))]
    return groups


def band_of(shares: Array) -> NDArray[np.int64]:
    """Numbers of the tenths of a picture that are missing; what is on the edge is in the upper."""
    # A tenth is no number in binary: three of them must not be less than 0.3.
    return np.floor(shares * NUM_BANDS + 1e-9).astype(np.int64).clip(0, NUM_BANDS - 1)


def _united(outcomes: Sequence[Outcome], family: str) -> Group:
    everywhere = [
        name for name in outcomes[0].figures if all(name in other.figures for other in outcomes)
    ]
    return Group(
        outcomes[0].size,
        family,
        None,
        np.concatenate([outcome.numbers for outcome in outcomes]),
        np.concatenate([outcome.shares for outcome in outcomes]),
        {
            name: np.concatenate([outcome.figures[name] for outcome in outcomes])
            for name in everywhere
        },
    )


def _band(everything: Group, band: int) -> Group:
    chosen = band_of(everything.shares) == band
    figures = {name: values[chosen] for name, values in everything.figures.items()}
    photos, shares = everything.photos[chosen], everything.shares[chosen]
    return Group(everything.size, everything.family, band, photos, shares, figures)


def summarize(
    cases: Group, contestants: Sequence[str], rivals: Sequence[str], seed: int
) -> Figures:
    """Sum up a group.

    Args:
        cases: At least one.
        contestants: Names of who is compared with others, if they filled all of these holes.
        rivals: With whom, besides the best of the classics and the harmonic fill.
        seed: Of the bootstrap.
    """
    values = np.stack(list(cases.figures.values()), axis=1)  # (n, entrants, M)
    sums = Sums(list(cases.figures), values.mean(0), draw_means(values, cases.photos, seed))
    return {
        "size": cases.size,
        "family": cases.family,
        "band": None if cases.band is None else [10 * cases.band, 10 * cases.band + 10],
        "photos": len(np.unique(cases.photos)),
        "cases": len(cases.photos),
        "missing": _rounded(100 * cases.shares.mean()),
        "methods": {name: sums.of(name) for name in sums.names},
        "comparisons": {
            name: {
                rival: sums.compare(name, rival)
                for rival in (BEST, HARMONIC, *rivals)
                if rival != name and rival in (BEST, *sums.names)
            }
            for name in contestants
            if name in sums.names
        },
    }


@dataclass(frozen=True)
class Sums:
    """Means of one group, and what they might have been.

    Args:
        names: Of E entrants.
        means: Shape ``(E, M)``.
        draws: Of the bootstrap, shape ``(B, E, M)``.
    """

    names: list[str]
    means: Array
    draws: Array

    def of(self, name: str) -> Figures:
        """Means of one entrant, and between what bounds they may be."""
        row = self.names.index(name)
        return {
            measure: _bounded(self.means[row, column], self.draws[:, row, column])
            for column, measure in enumerate(NAMES)
        }

    def compare(self, name: str, rival: str) -> Figures:
        """How much better or worse one is than another, on the same photos."""
        compared = {}
        for measure, kind in COMPARED.items():
            other = self.best(measure) if rival == BEST else rival
            column = NAMES.index(measure)
            means = [self.means[self.names.index(one), column] for one in (name, other)]
            draws = [self.draws[:, self.names.index(one), column] for one in (name, other)]
            combine = np.divide if kind == RATIO else np.subtract
            figures = _bounded(combine(*means), combine(*draws))
            neutral = 1 if kind == RATIO else 0
            sure = not figures["low"] <= neutral <= figures["high"]
            compared[measure] = {"rival": other, "kind": kind, **figures, "sure": sure}
        return compared

    def best(self, measure: str) -> str:
        """The best of the classics by the mean of one measure."""
        sign = 1 if MEASURES[measure].more_is_better else -1
        column = NAMES.index(measure)
        return max(CLASSICS, key=lambda name: sign * self.means[self.names.index(name), column])


def _bounded(mean: float, draws: Array) -> Figures:
    low, high = interval(draws)
    return {"mean": _rounded(mean), "low": _rounded(low), "high": _rounded(high)}


def _rounded(number: float) -> float:
    return round(float(number), DIGITS)
