"""The tables of a contest, in Markdown."""

from collections.abc import Sequence
from typing import Any

from fill_judging import MEASURES
from fill_summary import ALL, BEST, BRUSH, COMPARED, HARMONIC, RATIO

NOT_FILLED = "-"
AGAINST = {
    BEST: "the best of Telea, Navier-Stokes and biharmonic by that measure, which is named",
    HARMONIC: "the harmonic fill",
}


def tables(groups: Sequence[dict[str, Any]], methods: Sequence[str]) -> list[str]:
    """Lines of all tables: for every size one of each measure, and the comparisons.

    Args:
        groups: As ``fill_summary.summarize`` has them.
        methods: Names of all that fill, in order.
    """
    lines = []
    for size in dict.fromkeys(group["size"] for group in groups):
        same = [group for group in groups if group["size"] == size]
        lines += [f"## {size} x {size} pixels", ""]
        for measure in MEASURES:
            lines += [*_measure_table(measure, same, methods), ""]
        if any(group["comparisons"] for group in same):
            lines += [*_comparison_table(same), ""]
    return lines


def label(group: dict[str, Any]) -> str:
    """Name a group: a family, several, or a band of hole area."""
    if group["band"]:
        low, high = group["band"]
        return f"{low} to {high} % missing"
    several = {BRUSH: "brush, all widths", ALL: "all families"}
    return several.get(group["family"], group["family"])


def _measure_table(
    measure: str, groups: Sequence[dict[str, Any]], methods: Sequence[str]
) -> list[str]:
    unit, digits = MEASURES[measure].unit, MEASURES[measure].digits
    lines = [f"### {measure}" + (f", {unit}" if unit else ""), ""]
    lines += _header(["holes", "missing, %", "cases"], methods)
    for group in groups:
        cells = [label(group), f"{group['missing']:.1f}", str(group["cases"])]
        for method in methods:
            figures = group["methods"].get(method)
            cells.append(_cell(figures[measure], f".{digits}f") if figures else NOT_FILLED)
        lines.append(_row(cells))
    return lines


def _comparison_table(groups: Sequence[dict[str, Any]]) -> list[str]:
    titles = []
    for measure, kind in COMPARED.items():
        unit = "" if kind == RATIO else MEASURES[measure].unit
        titles.append(f"{measure}, {kind}" + (f" in {unit}" if unit else ""))
    lines = [
        "### Compared on the same photos",
        "",
        *_header(["method", "against", "holes"], titles),
    ]
    for name in dict.fromkeys(name for group in groups for name in group["comparisons"]):
        having = [group for group in groups if name in group["comparisons"]]
        for rival in dict.fromkeys(r for group in having for r in group["comparisons"][name]):
            for group in having:
                if compared := group["comparisons"][name].get(rival):
                    cells = [
                        _compared_cell(compared[measure], measure, rival) for measure in COMPARED
                    ]
                    lines.append(_row([name, rival, label(group), *cells]))
    return lines


def _compared_cell(figures: dict[str, Any], measure: str, rival: str) -> str:
    digits = 3 if figures["kind"] == RATIO else MEASURES[measure].digits
    sign = "" if figures["kind"] == RATIO else "+"
    cell = _cell(figures, f"{sign}.{digits}f")
    return f"{cell} {figures['rival']}" if rival == BEST else cell


def _cell(figures: dict[str, Any], form: str) -> str:
    mean, low, high = (format(figures[name], form) for name in ("mean", "low", "high"))
    return f"{mean} [{low}, {high}]"


def _header(texts: Sequence[str], numbers: Sequence[str]) -> list[str]:
    return [_row([*texts, *numbers]), "|" + " --- |" * len(texts) + " ---: |" * len(numbers)]


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
