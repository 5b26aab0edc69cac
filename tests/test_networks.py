"""Networks: what size they return, and that they are what the paper says."""

import random

import pytest
import torch

from impasto.networks import TransformerNet
from impasto.networks.instance_norm import InstanceNorm
from impasto.networks.layers import FoldedConv, ReflectConv, UpsampleConv, reflect_to_multiple


def test_output_size_is_input_size_for_200_random_sizes() -> None:
    network = TransformerNet(width=1, num_blocks=1).eval()
    draw = random.Random(0)
    sizes = [(1, 1), (1, 2), (2, 1), (3, 700), (700, 1)]
    sizes += [(draw.randint(1, 700), draw.randint(1, 700)) for _ in range(195)]
    with torch.inference_mode():
        for size in sizes:
            assert network(torch.rand(1, 3, *size)).shape == (1, 3, *size)


def test_weights_are_as_many_as_in_the_paper() -> None:
    # 1,679,235 with instance norm's scale and shift (the count that implementations report).
    assert sum(weight.numel() for weight in TransformerNet().parameters()) == 1_679_235


def test_output_is_an_image() -> None:
    painted = TransformerNet(width=2)(100 * torch.randn(1, 3, 16, 16))
    assert painted.min() >= 0
    assert painted.max() <= 1


def test_images_of_a_batch_do_not_mix() -> None:
    network = TransformerNet(width=2).eval()
    images = torch.rand(3, 3, 20, 24)
    torch.testing.assert_close(network(images)[1:2], network(images[1:2]))


def test_training_and_inference_compute_the_same() -> None:
    network, images = TransformerNet(width=2), torch.rand(1, 3, 20, 24)
    torch.testing.assert_close(network.train()(images), network.eval()(images))


def test_a_size_of_four_is_not_padded() -> None:
    images = torch.rand(1, 3, 16, 20)
    assert reflect_to_multiple(images, 4, 8) is images


def test_padding_mirrors_again_and_again() -> None:
    row = torch.tensor([[[[1.0, 2.0, 3.0]]]])
    padded = reflect_to_multiple(row, 8, 8)
    assert padded[0, 0, 0].tolist() == [1, 2, 3, 2, 1, 2, 3, 2]
    assert padded.shape == (1, 1, 8, 8)


def test_flat_image_has_no_border() -> None:
    convolution = ReflectConv(3, 2, kernel_size=9)
    features = convolution(torch.full((1, 3, 16, 16), 0.7))
    assert features.std(dim=(2, 3)).max() < 1e-5


def test_upsampling_a_flat_image_leaves_no_chequerboard() -> None:
    convolution = UpsampleConv(3, 2)[1][0]
    features = convolution(torch.full((1, 3, 16, 16), 0.7))
    assert features.std(dim=(2, 3)).max() < 1e-5


@pytest.mark.parametrize("arguments", [{"width": 0}, {"num_blocks": 0}])
def test_empty_network_is_refused(arguments: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        TransformerNet(**arguments)


@pytest.mark.parametrize("kernel_size", [1, 5, 9])
def test_folded_convolution_is_the_same_convolution(kernel_size: int) -> None:
    torch.manual_seed(0)
    folded = FoldedConv(6, 3, kernel_size).double()
    plain = ReflectConv(6, 3, kernel_size).double()
    plain.load_state_dict(folded.state_dict())
    features = torch.rand(2, 6, 20, 14, dtype=torch.double)
    results = []
    for convolution in (folded, plain):
        given = features.clone().requires_grad_()
        painted = convolution(given)
        painted.square().sum().backward()
        assert convolution.bias is not None
        results.append((painted, given.grad, convolution.weight.grad, convolution.bias.grad))
    for ours, theirs in zip(*results, strict=True):
        assert torch.allclose(ours, theirs, atol=1e-11)


def test_folded_convolution_takes_kernels_that_fold() -> None:
    with pytest.raises(ValueError, match="kernel_size must be 1, 5, 9 and so on, got 3"):
        FoldedConv(4, 3, 3)


def test_instance_norm_in_half_precision_is_that_of_float32() -> None:
    torch.manual_seed(0)
    norm = InstanceNorm(5)
    torch.nn.init.uniform_(norm.weight)
    torch.nn.init.uniform_(norm.bias)
    features = (3 + 2 * torch.randn(2, 5, 16, 12)).bfloat16()
    upstream = torch.randn(2, 5, 16, 12).bfloat16()
    results = []
    for dtype in (torch.bfloat16, torch.float32):
        norm.zero_grad()
        given = features.to(dtype, memory_format=torch.channels_last).requires_grad_()
        normalized = norm(given)
        assert normalized.dtype == dtype
        normalized.backward(upstream.to(dtype))
        assert norm.weight.grad is not None
        assert norm.bias.grad is not None
        results.append((normalized, given.grad, norm.weight.grad.clone(), norm.bias.grad.clone()))
    for half, full in zip(*results, strict=True):
        assert torch.allclose(half.float(), full, rtol=0.02, atol=0.02)


@pytest.mark.parametrize("value", [0.0, 100.0])
def test_instance_norm_of_flat_features_is_the_shift(value: float) -> None:
    norm = InstanceNorm(2)
    torch.nn.init.constant_(norm.bias, 0.25)
    flat = torch.full((1, 2, 8, 8), value, dtype=torch.bfloat16)
    assert (norm(flat).float() - 0.25).abs().max() < 0.01


def test_flat_features_are_normed_to_finite_ones() -> None:
    norm = InstanceNorm(64)
    for level in (100.0, 300.0, 1000.0, 5000.0, 20000.0):
        features = torch.full((1, 64, 37, 41), level, dtype=torch.bfloat16)
        features[:, ::2] *= 1.3
        assert norm(features).isfinite().all()
