"""The rearranged network: the same paintings as the one that was trained."""

import copy

import pytest
import torch
from torch import Tensor

from impasto.inference.fused import FusedTransformer, _copy_borders
from impasto.networks import TransformerNet

SIZES = [(1, 8, 8), (1, 37, 5), (1, 40, 64), (3, 30, 41), (1, 1, 50), (1, 7, 9)]


@pytest.fixture(scope="module")
def network() -> TransformerNet:
    torch.manual_seed(0)
    network = TransformerNet(width=6, num_blocks=2).eval().requires_grad_(False)
    for weight in network.parameters():
        if weight.ndim == 1:  # norms that scale and shift, and a bias
            weight.copy_(1 + torch.randn_like(weight) / 2)
    return network


@pytest.fixture(scope="module")
def fused(network: TransformerNet) -> FusedTransformer:
    return FusedTransformer(network)


def photos(count: int, height: int, width: int) -> Tensor:
    return torch.rand(count, 3, height, width, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_paints_what_the_network_paints(
    network: TransformerNet, fused: FusedTransformer, size: tuple[int, int, int]
) -> None:
    assert torch.allclose(fused(photos(*size)), network(photos(*size)), atol=1e-5)


def test_flat_photo_is_painted_flat(network: TransformerNet, fused: FusedTransformer) -> None:
    # Its variance is 0, so that a norm would make noise of any difference in rounding.
    flat = torch.full((1, 3, 24, 32), 0.7)
    assert (fused(flat) - network(flat)).abs().max() < 0.02


def test_batch_with_common_code_is_painted_one_by_one(fused: FusedTransformer) -> None:
    # On a GPU a batch goes through at once; here it takes the same way if asked for it.
    together = fused.paint(photos(3, 20, 24), [])
    assert torch.allclose(together, fused(photos(3, 20, 24)), atol=1e-5)


@pytest.mark.parametrize(("mode", "margin"), [("reflect", 4), ("reflect", 1), ("replicate", 1)])
def test_borders_copied_on_a_gpu_are_those_of_pytorch(mode: str, margin: int) -> None:
    image = photos(2, 5, 6)
    copied = _copy_borders(image, margin, mode)
    assert torch.equal(copied, torch.nn.functional.pad(image, (margin,) * 4, mode=mode))
    assert copied.is_contiguous(memory_format=torch.channels_last)


def test_network_is_left_alone(network: TransformerNet) -> None:
    before = copy.deepcopy(network.state_dict())
    fused = FusedTransformer(network, torch.bfloat16)
    fused(photos(1, 16, 16))
    after = network.state_dict()
    assert all(torch.equal(before[key], after[key]) for key in before)
    assert not any(weight.requires_grad for weight in fused.parameters())


def test_half_precision_keeps_the_first_layers_exact(network: TransformerNet) -> None:
    half = FusedTransformer(network, torch.bfloat16)
    kernels = [layer.kernel.dtype for layer in half.layers]
    assert kernels == [torch.float32] * 2 + [torch.bfloat16] * 7
    image = torch.nn.functional.interpolate(photos(1, 9, 9), 96, mode="bilinear")
    painted = half(image)
    assert painted.dtype == torch.float32
    difference = (painted - network(image)).abs()
    assert 0 < difference.mean() < 1 / 255


def test_given_statistics_replace_the_own(fused: FusedTransformer) -> None:
    one, other = photos(2, 24, 32).split(1)
    own = fused.measure(one)
    assert torch.allclose(fused(one, own), fused(one), atol=1e-6)
    assert not torch.allclose(fused(other, own), fused(other), atol=1e-2)


def test_statistics_are_mean_and_variance_before_each_norm(fused: FusedTransformer) -> None:
    image = photos(1, 24, 32)
    statistics = fused.measure(image)
    assert len(statistics) == len(fused.layers)
    for index, layer in enumerate(fused.layers):
        raw = fused.features_before_norm(image, statistics[:index])
        assert raw.shape[2] * fused.scales[index] == 24
        raw = raw.unflatten(1, (layer.num_phases, -1)).double()
        assert torch.allclose(statistics[index].mean, raw.mean((1, 3, 4)).float(), atol=1e-5)
        variance = raw.var((1, 3, 4), correction=0).float()
        assert torch.allclose(statistics[index].variance, variance, rtol=1e-4)


def test_statistics_of_many_positions_are_accurate() -> None:
    # Summed one by one in float32, a million squares would be off by more.
    layer = FusedTransformer(TransformerNet(width=4, num_blocks=1)).layers[0]
    raw = torch.randn(1, 4, 1500, 1500, generator=torch.Generator().manual_seed(0)) + 3
    found = layer.measure(raw.contiguous(memory_format=torch.channels_last))
    assert torch.allclose(found.mean.double(), raw.double().mean((2, 3)), rtol=1e-5)
    variance = raw.double().var((2, 3), correction=0)
    assert torch.allclose(found.variance.double(), variance, rtol=1e-4)


def test_a_pixel_looks_as_far_as_reaches_say(fused: FusedTransformer) -> None:
    image = photos(1, 128, 128)
    statistics = fused.measure(image)
    changed = image.clone()
    changed[..., 64, 64] = 1 - changed[..., 64, 64]
    rows = (fused(changed, statistics) - fused(image, statistics)).abs().amax((0, 1, 3))
    touched = rows.nonzero().flatten()
    farthest = max(64 - int(touched[0]), int(touched[-1]) - 64)
    assert fused.reaches[-1] - 8 <= farthest <= fused.reaches[-1]
