"""3x3 convolutions with fewer multiplications: the same results, where they pay."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from impasto.inference import winograd
from impasto.inference.fused import FusedTransformer
from impasto.networks import TransformerNet


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def mirrored(features: Tensor, weight: Tensor) -> Tensor:
    return F.conv2d(F.pad(features, (1,) * 4, mode="reflect").double(), weight.double())


@pytest.mark.parametrize("tiles_at_once", [1, 256])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize(
    "shape", [(1, 8, 16, 16), (2, 7, 6, 37), (1, 4, 9, 6), (3, 3, 31, 50), (1, 5, 130, 7)], ids=str
)
def test_convolves_as_pytorch_does(
    shape: tuple[int, ...],
    memory_format: torch.memory_format,
    tiles_at_once: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(winograd, "TILES_AT_ONCE", tiles_at_once)
    features = random(*shape)
    weight = random(5, shape[1], 3, 3, seed=1)
    kernel = winograd.transform_kernel(weight)
    convolved = winograd.convolve(features.contiguous(memory_format=memory_format), kernel)
    expected = mirrored(features, weight)
    assert convolved.shape == expected.shape
    assert (convolved - expected).abs().max() < 3e-5 * expected.std()


def test_features_are_left_alone() -> None:
    features, kernel = random(1, 4, 8, 8), winograd.transform_kernel(random(4, 4, 3, 3))
    before = features.clone()
    first, second = winograd.convolve(features, kernel), winograd.convolve(features, kernel)
    assert torch.equal(features, before)
    assert torch.equal(first, second)


def test_a_flat_field_stays_flat() -> None:
    # The instance norm behind it would turn ripples of tiles into a pattern.
    weight = random(96, 96, 3, 3) / 30
    convolved = winograd.convolve(
        torch.full((1, 96, 21, 22), 0.7), winograd.transform_kernel(weight)
    )
    assert convolved.var(dim=(2, 3), correction=0).max() < 1e-5 / 1000  # the norm's eps


@pytest.mark.parametrize(
    ("change", "suits"),
    [
        ({}, True),
        ({"channels": 64}, False),
        ({"out_channels": 64}, False),
        ({"side": 40}, False),
        ({"height": 5, "side": 4096}, False),
        ({"stride": 2}, False),
        ({"kernel_size": 5}, False),
        ({"dtype": torch.bfloat16}, False),
        ({"device": "meta"}, False),
    ],
    ids=str,
)
def test_is_taken_where_it_pays(change: dict, suits: bool) -> None:
    case = {"channels": 128, "out_channels": 128, "side": 64, "stride": 1, "kernel_size": 3}
    case |= {"dtype": torch.float32, "device": "cpu"} | change
    place = {"dtype": case["dtype"], "device": case["device"]}
    shape = (1, case["channels"], case.get("height", case["side"]), case["side"])
    weight = torch.empty(case["out_channels"], shape[1], *[case["kernel_size"]] * 2, **place)
    assert winograd.suits(torch.empty(shape, **place), weight, case["stride"]) is suits


@pytest.mark.parametrize("size", [(196, 187), (185, 250)], ids=str)
def test_a_network_with_it_paints_what_it_paints_without(
    size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    network = TransformerNet(width=24, num_blocks=2).eval().requires_grad_(False)
    photo = random(1, 3, *size).sigmoid()
    calls = []
    convolve = winograd.convolve
    monkeypatch.setattr(winograd, "convolve", lambda *args: (calls.append(1), convolve(*args))[1])
    assert torch.allclose(FusedTransformer(network)(photo), network(photo), atol=1e-5)
    assert len(calls) == 4
