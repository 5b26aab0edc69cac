"""One network of many styles: what its knobs do, and what stays when it learns another."""

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from impasto.networks import MultiTransformerNet
from impasto.networks.instance_norm import InstanceNorm


@pytest.fixture
def network() -> MultiTransformerNet:
    torch.manual_seed(0)
    network = MultiTransformerNet(3, width=4, num_blocks=1)
    for rows in (network.style_rows, network.stroke_rows, network.strength_row):
        nn.init.normal_(rows, std=0.5)
    return network


def paint(network: MultiTransformerNet, photos: Tensor, *knobs: list) -> Tensor:
    return network(photos, *(torch.tensor(knob, dtype=torch.float) for knob in knobs))


def test_every_photo_has_knobs_of_its_own(network: MultiTransformerNet) -> None:
    photos = torch.rand(3, 3, 13, 18)
    styles, strokes, strengths = torch.eye(3).tolist(), [256, 300, 512], [1, 0.5, 0.2]
    together = paint(network, photos, styles, strokes, strengths)
    for number in range(3):
        alone = paint(
            network,
            photos[number : number + 1],
            [styles[number]],
            [strokes[number]],
            [strengths[number]],
        )
        torch.testing.assert_close(together[number : number + 1], alone)


def test_knobs_matter(network: MultiTransformerNet) -> None:
    photos = torch.rand(1, 3, 16, 16)
    usual = paint(network, photos, [[1, 0, 0]], [256], [1])
    for other in ([[0, 1, 0]], [256], [1]), ([[1, 0, 0]], [512], [1]), ([[1, 0, 0]], [256], [0.9]):
        assert (paint(network, photos, *other) - usual).abs().max() > 1e-3


def test_without_strength_the_photo_comes_back(network: MultiTransformerNet) -> None:
    photos = torch.rand(2, 3, 10, 9)
    assert torch.equal(paint(network, photos, [[1, 0, 0], [0, 0, 1]], [256, 512], [0, 0]), photos)


@pytest.mark.parametrize(("styles", "stroke"), [([0.0, 1.0, 0.0], 256.0), ([0.3, 0.0, 0.7], 400.0)])
def test_settled_network_paints_the_same(
    network: MultiTransformerNet, styles: list[float], stroke: float
) -> None:
    photos = torch.rand(1, 3, 21, 16)
    settled = network.settled(torch.tensor(styles), stroke, 1.0)
    torch.testing.assert_close(settled(photos), paint(network, photos, [styles], [stroke], [1]))
    blended = torch.lerp(photos, network.settled(torch.tensor(styles), stroke, 0.4)(photos), 0.4)
    torch.testing.assert_close(blended, paint(network, photos, [styles], [stroke], [0.4]))


def test_a_new_style_changes_no_other(network: MultiTransformerNet) -> None:
    grown = network.with_new_styles(2)
    assert torch.equal(grown.style_rows[3], network.style_rows.mean(0))
    optimizer = torch.optim.Adam(grown.parameters(), lr=0.1)
    for _ in range(3):
        optimizer.zero_grad()
        shares = F.one_hot(torch.tensor([0, 3, 4]), 5).float()  # even if an old one is asked for
        strokes, strengths = torch.full((3,), 300.0), torch.full((3,), 0.5)
        grown(torch.rand(3, 3, 8, 8), shares, strokes, strengths).sum().backward()
        optimizer.step()
    for name, former in network.state_dict().items():
        assert torch.equal(grown.state_dict()[name][: len(former)], former), name
    assert (grown.style_rows[3:] != network.style_rows.mean(0)).any(1).all()
    assert (grown.stroke_rows[3:] != network.stroke_rows.mean(0)).any(1).all()


@pytest.mark.parametrize(
    "arguments", [{"num_styles": 0}, {"strokes": [512, 256]}, {"strokes": [256]}, {"width": 0}]
)
def test_impossible_arguments_are_refused(arguments: dict) -> None:
    with pytest.raises(ValueError, match=r"at least 1|smaller and a larger"):
        MultiTransformerNet(**{"num_styles": 2, **arguments})


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_norm_of_every_image_has_a_gradient_of_its_own(dtype: torch.dtype) -> None:
    # bfloat16 takes our own backward pass, float32 PyTorch's.
    torch.manual_seed(0)
    norm = InstanceNorm(3)
    scale, shift = torch.randn(2, 2, 3).unbind()
    features, wanted = torch.randn(2, 2, 3, 6, 5).to(dtype).unbind()

    def gradients(chosen: slice) -> list[Tensor]:
        leaves = [values[chosen].clone().requires_grad_() for values in (scale, shift)]
        named = dict(zip(("weight", "bias"), leaves, strict=True))
        found = functional_call(norm, named, (features[chosen].clone(),))
        (found.float() * wanted[chosen].float()).sum().backward()
        return [leaf.grad for leaf in leaves if leaf.grad is not None]

    alone = [gradients(slice(number, number + 1)) for number in range(2)]
    for together, *single in zip(gradients(slice(0, 2)), *alone, strict=True):
        torch.testing.assert_close(together, torch.cat(single), atol=2e-2, rtol=2e-2)


def test_strokes_between_two_sizes_go_by_their_ratio() -> None:
    network = MultiTransformerNet(1, (256, 512), width=2, num_blocks=1)
    torch.nn.init.normal_(network.stroke_rows)
    one = torch.ones(1)
    low, middle, high = (network.norms(one[None], size * one, one) for size in (256, 2**8.5, 512))
    for name, values in middle.items():
        torch.testing.assert_close(values, (low[name] + high[name]) / 2)
