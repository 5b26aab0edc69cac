"""What style= asks for: names, mixes and regions become shares; anything else is told."""

import pytest

from impasto.inference.mixing import parse_styles

NAMES = ["night", "scream", "a,b:2/c"]


@pytest.mark.parametrize(
    ("text", "shares"),
    [
        (None, [(1, 0, 0)]),
        ("scream", [(0, 1, 0)]),
        ("scream:0.2", [(0, 1, 0)]),
        ("night,scream", [(0.5, 0.5, 0)]),
        ("night:3,scream", [(0.75, 0.25, 0)]),
        ("night:0.7,scream:0.1,night:0.2", [(0.9, 0.1, 0)]),
        ("night/scream:0.5,night:0.5/photo", [(1, 0, 0), (0.5, 0.5, 0), (0, 0, 0)]),
        ("photo", [(0, 0, 0)]),
        ("a,b:2/c", [(0, 0, 1)]),  # a style may be called anything
    ],
)
def test_shares_are_those_asked_for(text: str | None, shares: list[tuple[float, ...]]) -> None:
    assert parse_styles(text, NAMES) == [pytest.approx(entry) for entry in shares]


@pytest.mark.parametrize("weight", ["1", "0.1", "3", "1e-300", "7e300"])
def test_one_style_is_all_of_it_whatever_its_weight(weight: str) -> None:
    assert parse_styles(f"night:{weight}", NAMES) == [(1.0, 0.0, 0.0)]


def test_network_without_names_has_one_style() -> None:
    assert parse_styles(None, []) == [(1.0,)]
    assert parse_styles("photo", []) == [(0.0,)]
    with pytest.raises(ValueError, match="No style 'night' in this checkpoint: its one style has"):
        parse_styles("night", [])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("day", r"No style 'day' in this checkpoint: it has night, scream"),
        ("day:0.5,night", r"No style 'day' in this checkpoint"),
        ("night,", r"No style '' in this checkpoint"),
        ("night/", r"No style '' in this checkpoint"),
        ("night:0.5,photo:0.5", r"No style 'photo' in this checkpoint"),
        ("night:0", r"Weights of styles are numbers above 0, as in night:0\.7, got 'night:0'"),
        ("night:-1,scream:2", r"got 'night:-1'"),
        ("night:nan", r"got 'night:nan'"),
        ("night:much", r"got 'night:much'"),
        ("night:", r"got 'night:'"),
        ("night:inf", r"The weights of style=night:inf are too large"),
        ("night:1e308,scream:1e308", r"are too large to be added up"),
        ("/".join(["night"] * 257), r"style names up to 256 regions, got 257"),
    ],
)
def test_anything_else_is_told(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_styles(text, NAMES)
