"""Tiles: together the painting of the whole, with its statistics or those of a small copy."""

import pytest
import torch
from PIL import Image
from torch import Tensor

from impasto.checkpoint import Header
from impasto.images import to_picture, to_tensor
from impasto.inference import Stylizer, stylizer
from impasto.inference.fused import FusedTransformer
from impasto.inference.tiling import Canvas, Region, exact_statistics, paint_tiles, sample
from impasto.networks import TransformerNet

HEADER = Header("stylization", "TransformerNet", {"width": 4, "num_blocks": 2}, ["night"])
SIZES = [(203, 130), (64, 64), (3, 150), (130, 129), (65, 1)]


@pytest.fixture(scope="module")
def network() -> TransformerNet:
    torch.manual_seed(0)
    return TransformerNet(width=4, num_blocks=2)


@pytest.fixture
def small_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is large anywhere else is large here from 50 x 50 pixels on."""
    monkeypatch.setattr(stylizer, "MAX_UNTILED_PIXELS", 2500)
    monkeypatch.setattr(stylizer, "TILE_SIZE", 32)


def photo(height: int, width: int) -> Tensor:
    coarse = torch.rand(1, 3, 9, 9, generator=torch.Generator().manual_seed(1))
    return torch.nn.functional.interpolate(coarse, (height, width), mode="bicubic").clamp(0, 1)


def canvas_of(image: Tensor, painted: Tensor) -> Canvas:
    def cut(images: Tensor, region: Region) -> Tensor:
        return images[..., region.top : region.bottom, region.left : region.right]

    return Canvas(
        *image.shape[-2:],
        read=lambda region: cut(image, region),
        write=lambda region, tile: cut(painted, region).copy_(tile),
    )


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_tiles_are_the_painting_of_the_whole(
    network: TransformerNet, size: tuple[int, int]
) -> None:
    fused = FusedTransformer(network)
    image = photo(*size)
    painted = torch.zeros_like(image)
    statistics = fused.measure(image)
    tiles = list(paint_tiles(fused, canvas_of(image, painted), statistics, tile_size=64))
    assert sum(tile.height * tile.width for tile in tiles) == size[0] * size[1]
    assert torch.allclose(painted, fused(image), atol=1e-5)


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_exact_statistics_are_those_of_the_whole(
    network: TransformerNet, size: tuple[int, int]
) -> None:
    fused = FusedTransformer(network)
    image = photo(*size)
    found: list = []
    list(exact_statistics(fused, canvas_of(image, image), found, tile_size=64))
    for one, other in zip(found, fused.measure(image), strict=True):
        assert torch.allclose(one.mean, other.mean, atol=1e-4)
        assert torch.allclose(one.variance, other.variance, rtol=1e-3)


@pytest.mark.parametrize(
    ("size", "count", "expected"),
    [((1280, 640), 8, 8), ((100, 3000), 100, 31), ((40, 30), 9, 1), ((96, 193), 9, 2)],
)
def test_samples_are_spread_over_the_picture(
    size: tuple[int, int], count: int, expected: int
) -> None:
    height, width = size
    rows = torch.arange(height).float()[:, None].expand(height, width)
    columns = torch.arange(width).float()[None].expand(height, width)
    places = torch.stack([rows, columns, rows])[None]
    samples = sample(canvas_of(places, places), count)
    assert samples.shape == (expected, 3, min(96, height), min(96, width))
    means = samples.mean((0, 2, 3))
    assert abs(means[0] - (height - 1) / 2) <= 1
    assert abs(means[1] - (width - 1) / 2) <= 1
    assert len({tuple(place) for place in samples[:, :2, 0, 0].tolist()}) == expected


@pytest.mark.parametrize("size", [(300_000, 1), (1, 300_000)])
def test_long_pictures_give_no_more_samples_than_others(size: tuple[int, int]) -> None:
    image = torch.zeros(1, 3, *size)
    assert len(sample(canvas_of(image, image), 80)) == 80


def test_statistics_of_samples_are_close_to_those_of_the_whole(network: TransformerNet) -> None:
    fused = FusedTransformer(network)
    image = photo(384, 384) + torch.rand(1, 3, 384, 384) / 10
    sampled = fused(image, fused.measure(sample(canvas_of(image, image), 16)))  # all of it
    assert (sampled - fused(image)).abs().mean() < 2 / 255


def test_images_measured_together_are_one(network: TransformerNet) -> None:
    fused = FusedTransformer(network)
    image = photo(32, 40)
    together = fused.measure(torch.cat([image, image]))
    for one, other in zip(together, fused.measure(image), strict=True):
        assert torch.allclose(one.mean, other.mean, atol=1e-5)
        assert torch.allclose(one.variance, other.variance, rtol=1e-4)


@pytest.mark.usefixtures("small_tiles")
@pytest.mark.parametrize("kind", ["floats", "levels", "picture"])
def test_large_is_painted_exactly_as_at_once(network: TransformerNet, kind: str) -> None:
    image = photo(70, 90)
    given = {"floats": image, "levels": (image * 255).byte(), "picture": to_picture(image)}[kind]
    whole = Stylizer(network, HEADER, "cpu", "fp32", tile="off")(given)
    tiled = Stylizer(network, HEADER, "cpu", "fp32", tile="exact")(given)
    levels = [
        x if x.dtype == torch.uint8 else x * 255
        for x in (to_tensor(x) if isinstance(x, Image.Image) else x for x in (whole, tiled))
    ]
    assert (levels[0].float() - levels[1].float()).abs().max() <= 1.01
    sampled = Stylizer(network, HEADER, "cpu", "fp32", tile="auto")(given)
    assert type(sampled) is type(whole)


@pytest.mark.usefixtures("small_tiles")
def test_large_batch_is_painted_image_by_image(network: TransformerNet) -> None:
    painter = Stylizer(network, HEADER, "cpu", "fp32")
    images = torch.cat([photo(70, 90), photo(70, 90).flip(3)])
    painted = painter(images)
    assert torch.allclose(painted[:1], painter(images[:1]), atol=1e-5)
    assert torch.allclose(painted[1:], painter(images[1:]), atol=1e-5)


@pytest.mark.usefixtures("small_tiles")
def test_large_picture_keeps_its_opacity(network: TransformerNet) -> None:
    picture = to_picture(photo(70, 90)).convert("RGBA")
    opacity = Image.linear_gradient("L").resize(picture.size)
    picture.putalpha(opacity)
    painted = Stylizer(network, HEADER, "cpu")(picture)
    assert painted.mode == "RGBA"
    assert painted.getchannel("A").tobytes() == opacity.tobytes()


@pytest.mark.usefixtures("small_tiles")
@pytest.mark.parametrize("tile", ["auto", "exact"])
def test_progress_grows_to_one(network: TransformerNet, tile: str) -> None:
    image = photo(70, 90)
    painter = Stylizer(network, HEADER, "cpu", tile=tile)
    shares: list[float] = []
    painter(image, shares.append)
    assert shares == sorted(shares)
    assert shares[-1] == 1
    assert len(shares) >= 9


def test_unknown_way_to_tile_is_refused(network: TransformerNet) -> None:
    with pytest.raises(ValueError, match="tile must be one of auto, exact, off, got 'on'"):
        Stylizer(network, HEADER, tile="on")


@pytest.mark.usefixtures("small_tiles")
@pytest.mark.parametrize("colors", ["photo", "matched"])
@pytest.mark.parametrize("kind", ["levels", "picture"])
def test_colours_of_tiles_are_those_of_the_whole(
    network: TransformerNet, colors: str, kind: str
) -> None:
    image = photo(70, 90)
    given = (image * 255).byte() if kind == "levels" else to_picture(image)
    whole = Stylizer(network, HEADER, "cpu", "fp32", "off", colors)(given)
    shares: list[float] = []
    tiled = Stylizer(network, HEADER, "cpu", "fp32", "exact", colors)(given, shares.append)
    levels = [x if isinstance(x, Tensor) else to_tensor(x) * 255 for x in (whole, tiled)]
    assert (levels[0].float() - levels[1].float()).abs().max() <= 1.01
    assert shares == sorted(shares)
    assert shares[-1] == 1


@pytest.mark.usefixtures("small_tiles")
def test_samples_match_colours_nearly(network: TransformerNet) -> None:
    image = photo(288, 288) / 2 + 0.25  # nothing leaves [0, 1]
    painted = Stylizer(network, HEADER, "cpu", "fp32", "auto", "matched")(image)
    assert torch.allclose(painted.mean((2, 3)), image.mean((2, 3)), atol=0.02)
    assert torch.allclose(painted.std((2, 3)), image.std((2, 3)), rtol=0.1)
