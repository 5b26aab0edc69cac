"""Knobs of a stylizer: mixes, strength, strokes, regions and protection, at once and in tiles."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from impasto.checkpoint import CheckpointError, Header, save_checkpoint
from impasto.images import to_picture, to_tensor
from impasto.inference import Stylizer, stylizer
from impasto.inference.ensemble import PROTECTED
from impasto.inference.regions import number_levels, picture_layout
from impasto.networks import MultiTransformerNet, TransformerNet

NAMES = ["night", "scream", "wave"]
ARGUMENTS = {"num_styles": 3, "strokes": [256, 512], "width": 4, "num_blocks": 1}
HEADER = Header("stylization", "MultiTransformerNet", ARGUMENTS, NAMES)
ONE_HEADER = Header("stylization", "TransformerNet", {"width": 4, "num_blocks": 1}, ["night"])
Turn = Callable[..., Stylizer]


@pytest.fixture(scope="module")
def network() -> MultiTransformerNet:
    torch.manual_seed(0)
    network = MultiTransformerNet(**ARGUMENTS)
    for rows in (network.style_rows, network.stroke_rows, network.strength_row):
        torch.nn.init.normal_(rows, std=0.3)
    return network.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def turned(network: MultiTransformerNet) -> Turn:
    """The network of three styles, at some position of the knobs."""
    first = Stylizer(network, HEADER, "cpu", "fp32")
    return lambda **knobs: first.with_knobs(**knobs)


@pytest.fixture(scope="module")
def turned_single() -> Turn:
    """A network of one style, likewise."""
    torch.manual_seed(1)
    single = TransformerNet(width=4, num_blocks=1).eval().requires_grad_(False)
    first = Stylizer(single, ONE_HEADER, "cpu", "fp32")
    return lambda **knobs: first.with_knobs(**knobs)


@pytest.fixture
def small_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stylizer, "MAX_UNTILED_PIXELS", 2500)
    monkeypatch.setattr(stylizer, "TILE_SIZE", 32)


def photo(height: int = 24, width: int = 40, count: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(count, 3, 5, 7, generator=generator)
    smooth = F.interpolate(coarse, (height, width), mode="bilinear")
    return 0.7 * smooth + 0.3 * torch.rand(count, 3, height, width, generator=generator)


def halves(height: int, width: int) -> Tensor:
    """Region 0 at the left, region 1 at the right."""
    return (torch.arange(width) >= width // 2).int().expand(1, 1, height, width)


def label_picture(height: int, width: int, levels: tuple[int, ...] = (10, 200)) -> Image.Image:
    columns = np.array(levels, np.uint8)[np.arange(width) * len(levels) // width]
    return Image.fromarray(np.tile(columns, (height, 1)))


def test_network_is_the_trained_one_at_that_position(
    network: MultiTransformerNet, turned: Turn
) -> None:
    images = photo(count=2)
    shares, ones = torch.tensor([[0.75, 0, 0.25]]).expand(2, -1), torch.ones(2)
    expected = network(images, shares, 300 * ones, 0.6 * ones)
    painted = turned(style="night:3,wave", stroke=300, strength=0.6)(images)
    assert torch.allclose(painted, expected, atol=1e-5)


def test_first_style_in_smallest_strokes_is_the_default(turned: Turn) -> None:
    images = photo()
    assert torch.equal(turned()(images), turned(style="night", stroke=256, strength=1)(images))
    others = [turned(**knob)(images) for knob in ({"style": "wave"}, {"stroke": 512})]
    assert all((other - turned()(images)).abs().mean() > 0.001 for other in others)


def test_mix_of_one_is_the_style_itself(turned: Turn) -> None:
    images = photo()
    assert torch.equal(turned(style="wave:0.3")(images), turned(style="wave")(images))


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float16, torch.float32, torch.float64])
@pytest.mark.parametrize("colors", ["painting", "matched"])
def test_no_strength_is_the_photo_bit_for_bit(
    turned: Turn, dtype: torch.dtype, colors: str
) -> None:
    images = photo().double()
    images = (images * 255).to(dtype) if dtype == torch.uint8 else images.to(dtype)
    painted = turned(strength=0, colors=colors)(images)
    assert torch.equal(painted, images)
    assert painted.data_ptr() != images.data_ptr()


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "P", "CMYK"])
def test_no_strength_is_the_picture_in_its_paintings_mode(turned: Turn, mode: str) -> None:
    rng = np.random.default_rng(0)
    picture = Image.fromarray(rng.integers(0, 256, (13, 21, 4)).astype(np.uint8)).convert(mode)
    painted = turned(strength=0)(picture)
    assert painted.mode == turned()(picture).mode
    assert painted.tobytes() == picture.convert(painted.mode).tobytes()


@pytest.mark.parametrize("colors", ["painting", "photo", "matched"])
def test_strength_mixes_photo_and_painting_of_a_single_style(
    turned_single: Turn, colors: str
) -> None:
    images = photo()
    whole, half = (turned_single(strength=s, colors=colors)(images) for s in (1, 0.5))
    assert torch.allclose(half, (images + whole) / 2, atol=1e-6)


@pytest.mark.usefixtures("small_tiles")
@pytest.mark.parametrize("strength", [0, 0.4, 1])
@pytest.mark.parametrize("colors", ["painting", "photo", "matched"])
def test_strength_in_tiles_is_that_of_the_whole(
    network: MultiTransformerNet, strength: float, colors: str
) -> None:
    picture = to_picture(photo(70, 90))
    picture.putalpha(200)
    whole, tiled, sampled = (
        Stylizer(network, HEADER, "cpu", "fp32", tile, colors, strength=strength)(picture)
        for tile in ("off", "exact", "auto")
    )
    off = np.asarray(whole).astype(int) - np.asarray(tiled)
    assert np.abs(off).max() <= (strength > 0)
    assert np.abs(np.asarray(whole).astype(int) - np.asarray(sampled)).mean() < 10 * strength + 1e-9


@pytest.mark.parametrize(
    ("knobs", "message"),
    [
        ({"style": "day"}, r"No style 'day' in this checkpoint: it has night, scream, wave"),
        ({"strength": 1.5}, r"strength must be from 0, the photo, to 1, the painting, got 1\.5"),
        ({"strength": float("nan")}, r"strength must be from 0.*got nan"),
        ({"stroke": 255}, r"stroke must be from 256 to 512 pixels for this network, got 255"),
        ({"stroke": 513.0}, r"stroke must be from 256 to 512 pixels.*got 513"),
        ({"stroke": float("nan")}, r"stroke must be .*got nan"),
        ({"colors": "mine"}, r"colors must be one of .*got 'mine'"),
    ],
)
def test_knobs_out_of_range_name_the_allowed(
    turned: Turn, knobs: dict[str, object], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        turned(**knobs)


def test_network_of_one_style_takes_its_name_alone(turned_single: Turn) -> None:
    images = photo()
    assert torch.equal(turned_single(style="night:5")(images), turned_single()(images))
    with pytest.raises(ValueError, match="No style 'wave' in this checkpoint: it has night"):
        turned_single(style="wave")
    with pytest.raises(ValueError, match=r"stroke=300 was asked for: .*model=johnson_multi"):
        turned_single(stroke=300)


def test_knobs_are_turned_one_by_one(turned: Turn) -> None:
    images = photo()
    both = turned(style="wave").with_knobs(strength=0.5).with_knobs(colors="photo")
    assert torch.equal(both(images), turned(style="wave", strength=0.5, colors="photo")(images))
    assert torch.equal(both.with_knobs()(images), both(images))
    with pytest.raises(TypeError, match="tile"):
        both.with_knobs(tile="off")


def test_checkpoint_is_loaded_with_knobs(network: MultiTransformerNet, tmp_path: Path) -> None:
    path = tmp_path / "paintings.safetensors"
    save_checkpoint(path, network, HEADER)
    images = photo()
    knobs = {"style": "scream", "strength": 0.5, "stroke": 512}
    loaded = Stylizer.load(path, "cpu", "fp32", **knobs)
    assert torch.equal(loaded(images), Stylizer(network, HEADER, "cpu", "fp32", **knobs)(images))
    with pytest.raises(CheckpointError, match="Identity is no network that paints"):
        Stylizer(torch.nn.Identity(), HEADER)  # type: ignore[arg-type]


def test_regions_have_their_own_style_far_from_borders(turned: Turn) -> None:
    images = photo(96, 128, count=2)
    both = turned(style="scream/wave")(images, regions=halves(96, 128))
    left, right = (turned(style=name)(images) for name in ("scream", "wave"))
    assert torch.equal(both[..., :50], left[..., :50])
    assert torch.equal(both[..., 78:], right[..., 78:])
    between = both[..., 60:68]
    low, high = torch.minimum(left, right)[..., 60:68], torch.maximum(left, right)[..., 60:68]
    assert (between >= low - 1e-6).all()
    assert (between <= high + 1e-6).all()


def test_regions_of_pictures_are_those_of_tensors(turned: Turn) -> None:
    picture = to_picture(photo(48, 64))
    stylizer = turned(style="scream/wave")
    labels = label_picture(24, 32)  # half as large
    from_tensor = stylizer(to_tensor(picture), regions=halves(48, 64))
    off = np.asarray(stylizer(picture, regions=labels)).astype(int) - to_picture(from_tensor)
    assert np.abs(off).max() <= 1


def test_region_called_photo_stays_as_it_is(turned: Turn) -> None:
    picture = Image.merge("RGBA", [*to_picture(photo(48, 96)).split(), label_picture(48, 96)])
    mixed = turned(style="photo/wave/photo")(picture, regions=label_picture(48, 96, (0, 1, 2)))
    whole = turned(style="wave")(picture)
    for column in (*range(20), *range(76, 96)):
        box = (column, 0, column + 1, 48)
        assert mixed.crop(box).tobytes() == picture.crop(box).tobytes()
    assert mixed.crop((44, 0, 52, 48)).tobytes() == whole.crop((44, 0, 52, 48)).tobytes()


def test_same_style_twice_is_painted_once_and_has_no_border(turned: Turn) -> None:
    images = photo(48, 64)
    twice = turned(style="wave/wave:2")
    assert torch.equal(twice(images, regions=halves(48, 64)), turned(style="wave")(images))


def test_many_regions_are_a_mean_whose_weights_add_up(turned: Turn) -> None:
    images = torch.full((1, 3, 96, 96), 0.5)
    labels = (torch.arange(96) // 24).expand(1, 1, 96, 96)
    same = turned(style="wave/wave:1,night:1e-9/wave:1,night:2e-9/wave:1,night:3e-9")
    assert torch.allclose(
        same(images, regions=labels), turned(style="wave")(images), atol=1e-5
    )  # four paintings that are the same


def test_borders_are_no_steeper_than_the_styles(turned: Turn) -> None:
    images = photo(384, 384)
    both = turned(style="scream/wave")(images, regions=halves(384, 384))

    def steepness(painted: Tensor) -> float:
        return painted[..., 156:228].diff(dim=3).abs().mean().item()

    pure = max(steepness(turned(style=name)(images)) for name in ("scream", "wave"))
    assert steepness(both) <= 1.05 * pure


def test_labels_of_every_image_are_its_own(turned: Turn) -> None:
    images, labels = photo(48, 64, count=2), halves(48, 64)
    stylizer = turned(style="scream/wave")
    both = stylizer(images, regions=torch.cat([labels, 1 - labels]))
    for index, own in enumerate((labels, 1 - labels)):
        assert torch.equal(both[index], stylizer(images[index], regions=own[0]))


@pytest.mark.parametrize(
    ("regions", "message"),
    [
        (None, r"style=night/wave names 2 regions: regions= is missing"),
        (torch.zeros(1, 4, 6), r"must hold integers, from 0 on, got torch\.float32"),
        (torch.full((1, 4, 6), 2), r"labels are from 0 to 1, got 2 to 2"),
        (torch.full((1, 4, 6), -1), r"labels are from 0 to 1, got -1 to -1"),
        (torch.zeros(1, 6, 4).int(), r"regions= must be of shape \(1, 1, 4, 6\)"),
        (np.zeros((1, 4, 6)), r"regions= of a tensor must be a tensor, got ndarray"),
    ],
)
def test_what_is_no_region_is_refused(turned: Turn, regions: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        turned(style="night/wave")(torch.rand(1, 3, 4, 6), regions=regions)


def test_grey_levels_must_be_as_many_as_regions(turned: Turn) -> None:
    picture = to_picture(photo(8, 12))
    with pytest.raises(ValueError, match=r"names 2 regions, .* has 3 grey levels: 0, 90, 255\.$"):
        turned(style="night/wave")(picture, regions=label_picture(8, 12, (0, 90, 255)))
    with pytest.raises(
        ValueError, match=r"2 regions.* 256 grey levels: 0, .*7, \.\.\., 255\. JPEG"
    ):
        turned(style="night/wave")(picture, regions=Image.linear_gradient("L"))
    with pytest.raises(ValueError, match=r"names 1 region, .* has 2 grey levels"):
        turned(style="night")(picture, regions=label_picture(8, 12))
    with pytest.raises(ValueError, match=r"regions= of a picture must be one, got Tensor"):
        turned(style="night/wave")(picture, regions=halves(8, 12))


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "I;16"])
def test_labels_are_read_from_any_mode(mode: str) -> None:
    labels = label_picture(3, 4, (0, 255)).convert(mode)
    assert np.asarray(number_levels(labels, 2)).tolist() == [[0, 0, 1, 1]] * 3


def test_protection_is_less_strength_and_softly_bounded(turned: Turn) -> None:
    picture = to_picture(photo(96, 128))
    protect = label_picture(96, 128, (0, 255))
    guarded, whole, weak = (
        np.asarray(painted).astype(int)
        for painted in (
            turned(strength=0.8)(picture, protect=protect),
            turned(strength=0.8)(picture),
            turned(strength=0.8 * PROTECTED)(picture),
        )
    )
    assert (guarded[:, :50] == whole[:, :50]).all()
    assert (guarded[:, 78:] == weak[:, 78:]).all()
    assert (guarded[:, 62:66] != whole[:, 62:66]).any()
    assert (guarded[:, 62:66] != weak[:, 62:66]).any()


def test_protection_of_a_single_style_keeps_more_of_the_photo(turned_single: Turn) -> None:
    images = photo(24, 40)
    guarded = turned_single(strength=0.8)(images, protect=halves(24, 40).float()[0])
    assert torch.equal(guarded[..., :20], turned_single(strength=0.8)(images)[..., :20])
    expected = turned_single(strength=0.8 * PROTECTED)(images)[..., 20:]
    assert torch.allclose(guarded[..., 20:], expected, atol=1e-6)
    with pytest.raises(ValueError, match=r"protect= must be from 0 to 1, got values from 2 to 2"):
        turned_single()(images, protect=torch.full((1, 24, 40), 2.0))


def test_regions_protection_and_mask_go_together(turned: Turn) -> None:
    picture = to_picture(photo(96, 128))
    stylizer = turned(style="scream/photo")
    labels, protect = label_picture(96, 128), label_picture(96, 128, (255, 0))
    mask = Image.new("L", picture.size)
    mask.paste(255, (0, 48, 128, 96))
    mixed = np.asarray(stylizer(picture, regions=labels, protect=protect, mask=mask))
    weak = np.asarray(turned(style="scream", strength=PROTECTED)(picture))
    assert (mixed[48:, :50] == weak[48:, :50]).all()
    assert (mixed[:, 78:] == np.asarray(picture)[:, 78:]).all()
    assert (mixed[:48] == np.asarray(picture)[:48]).all()


@pytest.mark.usefixtures("small_tiles")
def test_regions_in_tiles_tell_their_progress(network: MultiTransformerNet) -> None:
    images = photo(70, 90)
    shares: list[float] = []
    stylizer = Stylizer(network, HEADER, "cpu", "fp32", "exact", style="scream/photo/wave")
    labels = (torch.arange(90) // 30).expand(1, 1, 70, 90)
    protect = torch.ones(1, 70, 90)
    tiled = stylizer(images, shares.append, regions=labels, protect=protect)
    assert shares == sorted(shares)
    assert shares[-1] == 1
    whole = Stylizer(network, HEADER, "cpu", "fp32", "off", style="scream/photo/wave")
    assert torch.allclose(tiled, whole(images, regions=labels, protect=protect), atol=1e-4)


def test_labels_are_resized_without_new_levels() -> None:
    labels = Image.new("L", (4, 4))
    labels.paste(200, (2, 0, 4, 4))
    labels.putpixel((0, 3), 100)
    layout = picture_layout((64, 64), labels, [0, 1, 2], None)
    middle = np.array(layout.regions[0])[:16]  # where dark meets light, far from the grey corner
    assert middle.max() == 0


def test_labels_of_sixteen_bits_keep_neighbouring_levels_apart() -> None:
    deep = Image.fromarray(np.array([[1, 2]], np.uint16))
    assert np.asarray(number_levels(deep, 2)).tolist() == [[0, 1]]
