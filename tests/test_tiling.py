"""Tiles: together the painting of the whole, with its statistics or those of a small copy."""

import pytest
import torch
from PIL import Image
from torch import Tensor

from impasto.checkpoint import Header
from impasto.images import to_picture, to_tensor
from impasto.inference import Stylizer, stylizer
from impasto.inference.fused import FusedTransformer
from impasto.inference.tiling import Canvas, Region, exact_statistics, paint_tiles, reduced_copy
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


def test_reduced_copy_is_the_mean_of_blocks() -> None:
    image = photo(90, 41)
    found = reduced_copy(canvas_of(image, image), 32, max_pixels=410)
    expected = torch.nn.functional.avg_pool2d(image, 3, ceil_mode=True)
    assert torch.allclose(found, expected, atol=1e-6)


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
    reduced = Stylizer(network, HEADER, "cpu", "fp32", tile="auto")(given)
    assert type(reduced) is type(whole)


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
