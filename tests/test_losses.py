"""Losses against numbers worked out by hand, and against numerical gradients."""

import math

import pytest
import torch
from torch import Tensor, nn
from torch.autograd import gradcheck

from impasto.losses import (
    PerceptualLoss,
    content_distance,
    gram_matrix,
    lattice,
    style_distance,
    style_targets,
    total_variation,
)
from impasto.losses.views import random_turn, random_view


class TwoLayers(nn.Module):
    """A loss network with known features: the image itself, and its channel mean, tripled."""

    def forward(self, images: Tensor, layers: object) -> dict[str, Tensor]:
        features = {"same": images, "mean": 3 * images.mean(dim=1, keepdim=True)}
        return {layer: features[layer] for layer in layers}


def test_gram_of_two_channels_by_hand() -> None:
    features = torch.tensor([[[[1.0, 2.0]], [[3.0, -1.0]]]])  # C=2, H=1, W=2
    expected = torch.tensor([[[5.0, 1.0], [1.0, 10.0]]]) / 4  # 1*1+2*2, 1*3-2*1, 3*3+1*1 over C*H*W
    torch.testing.assert_close(gram_matrix(features), expected)


def test_gram_has_the_same_gradient_within_autocast() -> None:
    features = torch.rand(1, 4, 5, 6, generator=torch.Generator().manual_seed(0))
    gradients = []
    for enabled in (False, True):
        leaf = features.clone().requires_grad_()
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            gram_matrix(leaf).square().sum().backward()
        gradients.append(leaf.grad)
    assert torch.equal(*gradients)


def test_gram_forgets_positions() -> None:
    features = torch.rand(1, 5, 4, 6)
    shuffled = features.flatten(2)[..., torch.randperm(24)].view(1, 5, 4, 6)
    torch.testing.assert_close(gram_matrix(features), gram_matrix(shuffled))


def test_gram_of_channels_last_is_the_same() -> None:
    features = torch.rand(2, 5, 4, 6)
    torch.testing.assert_close(
        gram_matrix(features), gram_matrix(features.to(memory_format=torch.channels_last))
    )


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_gram_of_half_precision_features_does_not_overflow(dtype: torch.dtype) -> None:
    features = torch.full((1, 8, 512, 512), 200.0, dtype=dtype)  # the plain sum is 1e10
    gram = gram_matrix(features)
    assert gram.dtype == torch.float32
    torch.testing.assert_close(gram, torch.full((1, 8, 8), 200.0**2 / 8), rtol=2e-3, atol=0)


def test_gram_gradient_equals_that_of_the_plain_product() -> None:
    torch.manual_seed(0)
    features = torch.randn(2, 5, 4, 6, requires_grad=True)
    rows = features.flatten(2)
    weights = torch.randn(2, 5, 5)  # not symmetric
    (plain,) = torch.autograd.grad((rows @ rows.mT / (5 * 4 * 6) * weights).sum(), features)
    (ours,) = torch.autograd.grad((gram_matrix(features) * weights).sum(), features)
    torch.testing.assert_close(ours, plain)


def test_gram_stays_float32_under_autocast() -> None:
    with torch.autocast("cpu", torch.bfloat16):
        assert gram_matrix(torch.rand(1, 3, 4, 4)).dtype == torch.float32


def test_gram_of_three_dimensions_is_refused() -> None:
    with pytest.raises(ValueError, match=r"\(N, C, H, W\), got \(3, 4, 4\)"):
        gram_matrix(torch.rand(3, 4, 4))


def test_style_distance_by_hand() -> None:
    target = torch.tensor([[3.0, 0.0], [0.0, 4.0]])  # squared norm 25
    gram = torch.stack([target, target + 1.0])  # off by 0 and by 4 * 1
    torch.testing.assert_close(style_distance(gram, target), torch.tensor(2.0 / 25))


def test_style_distance_of_black_is_one_at_any_scale() -> None:
    for scale in (1e-6, 1.0, 1e6):
        target = gram_matrix(scale * torch.rand(1, 4, 5, 5))[0]
        distance = style_distance(torch.zeros(2, 4, 4), target)
        torch.testing.assert_close(distance, torch.tensor(1.0))


def test_style_distance_to_black_is_finite() -> None:
    assert style_distance(torch.zeros(1, 2, 2), torch.zeros(2, 2)) == 0


def test_content_distance_by_hand() -> None:
    target = torch.tensor([[[[1.0, 2.0, 2.0]]]])  # mean square 3
    features = torch.tensor([[[[1.0, 2.0, 5.0]]]])  # mean squared difference 3
    torch.testing.assert_close(content_distance(features, target), torch.tensor(1.0))


def test_content_distance_does_not_depend_on_scale() -> None:
    features, target = torch.rand(2, 3, 4, 4), torch.rand(2, 3, 4, 4)
    torch.testing.assert_close(
        content_distance(1000 * features, 1000 * target), content_distance(features, target)
    )


def test_total_variation_by_hand() -> None:
    image = torch.tensor([[[[0.0, 1.0], [0.0, 0.0]]]])  # across: 1, 0; down: 0, 1
    torch.testing.assert_close(total_variation(image), torch.tensor(1.0))


def test_chequerboard_has_the_largest_variation() -> None:
    board = (torch.arange(8)[:, None] + torch.arange(8)) % 2
    torch.testing.assert_close(total_variation(board.float()[None, None]), torch.tensor(2.0))


def test_constant_image_has_no_variation() -> None:
    assert total_variation(torch.full((2, 3, 5, 7), 0.3)) == 0
    assert total_variation(torch.rand(1, 3, 1, 1)) == 0


@pytest.mark.parametrize(
    "function",
    [
        lambda f: gram_matrix(f).sum(),
        lambda f: style_distance(gram_matrix(f), torch.tensor([[2.0, 0.5], [0.5, 1.0]])),
        lambda f: content_distance(f, torch.linspace(0.1, 1, 24).view(2, 2, 2, 3)),
        total_variation,
    ],
)
def test_gradients_match_finite_differences(function) -> None:
    torch.manual_seed(0)
    features = torch.rand(2, 2, 2, 3, requires_grad=True)
    # The losses compute in float32 on purpose, hence the wide step and tolerance.
    with pytest.warns(UserWarning, match="double precision"):
        assert gradcheck(function, (features,), eps=1e-2, atol=1e-2, rtol=2e-2, fast_mode=False)


def _loss(painting: Tensor, num_levels: int = 1, **weights: float) -> PerceptualLoss:
    network, layers = TwoLayers(), {"same": 1.0, "mean": 3.0}
    targets = style_targets(network, painting, layers, num_levels)
    return PerceptualLoss(network, targets, {"mean": 1.0}, layers, **weights)


def test_painting_itself_has_no_style_loss() -> None:
    painting = torch.rand(1, 3, 32, 48)
    parts = _loss(painting, num_levels=2)(painting, painting)
    assert parts["style"] < 1e-10
    assert parts["content"] == 0


def test_perceptual_loss_by_hand() -> None:
    photo, painting = torch.full((2, 3, 32, 32), 0.5), torch.full((1, 3, 32, 32), 1.0)
    painted = torch.full((2, 3, 32, 32), 0.25)
    parts = _loss(painting, content_weight=2.0, style_weight=4.0, tv_weight=8.0)(painted, photo)
    # Features scale with the image: content (0.25 - 0.5)^2 / 0.5^2; Grams with its square,
    # whatever the layer: (0.25^2 - 1)^2 / 1.
    assert parts["content"].item() == pytest.approx(0.25)
    assert parts["style"].item() == pytest.approx((1 - 0.0625) ** 2)
    assert parts["tv"].item() == 0
    assert parts["total"].item() == pytest.approx(2 * 0.25 + 4 * (1 - 0.0625) ** 2)


def test_layer_weights_are_relative() -> None:
    torch.manual_seed(0)
    network, painting = TwoLayers(), torch.rand(1, 3, 32, 32)
    targets = style_targets(network, painting, {"same": 1.0, "mean": 1.0})
    photos = torch.rand(2, 3, 32, 32)

    def style(weights: dict[str, float]) -> float:
        loss = PerceptualLoss(network, targets, {"mean": 1.0}, weights)
        return loss(photos, photos)["style"].item()

    same, mean = style({"same": 1.0}), style({"mean": 1.0})
    assert style({"same": 10.0, "mean": 30.0}) == pytest.approx(0.25 * same + 0.75 * mean)


def test_pyramid_sees_coarse_texture_that_one_level_does_not() -> None:
    board = ((torch.arange(32)[:, None] // 2 + torch.arange(32) // 2) % 2).float()
    fine = ((torch.arange(32)[:, None] + torch.arange(32)) % 2).float()
    board, fine = board.expand(1, 3, 32, 32), fine.expand(1, 3, 32, 32)
    assert _loss(board)(fine, fine)["style"] == pytest.approx(0)  # same colours, same Gram
    assert _loss(board, num_levels=2)(fine, fine)["style"] > 0.01  # halved, fine is plain grey


def test_photo_is_no_path_for_gradients() -> None:
    photos = torch.rand(1, 3, 32, 32, requires_grad=True)
    painted = torch.rand(1, 3, 32, 32, requires_grad=True)
    _loss(torch.rand(1, 3, 32, 32))(painted, photos)["total"].backward()
    assert photos.grad is None
    assert painted.grad is not None


def test_random_views_show_every_side_and_many_sizes() -> None:
    torch.manual_seed(0)
    image = torch.zeros(2, 1, 64, 96)
    image[..., :32, :48] = 1  # which corner is bright tells mirrored from turned
    image[..., :32, 48:] = 0.5
    shapes, sides = set(), set()
    for _ in range(200):
        view = random_view(image)
        assert torch.equal(view[0], view[1])
        height, width = view.shape[2:]
        assert {height % 16, width % 16} == {0}
        shapes.add(tuple(sorted((height, width))))
        corners = view[0, 0, (2, 2, -3, -3), (2, -3, 2, -3)]
        sides.add(tuple((2 * corners).round().tolist()))
    assert min(shapes)[0] == 32
    assert max(shapes) == (64, 96)
    assert len(sides) == 8


def test_random_turn_turns_about_the_middle() -> None:
    rows = torch.linspace(-1, 1, 33)[:, None].expand(33, 65)
    images = torch.stack([rows, torch.zeros(33, 65)])[None]
    angles = set()
    for seed in range(8):
        torch.manual_seed(seed)
        turned = random_turn(images)
        assert turned.shape == images.shape
        assert turned[0, :, 16, 32].abs().max() < 1e-5
        # Around the middle the slope, 1/16 a pixel, has another direction and the same height.
        down, right = (turned[0, 0, 17, 32] * 16).item(), (turned[0, 0, 16, 33] * 16).item()
        assert math.hypot(down, right) == pytest.approx(1, abs=1e-3)
        assert abs(right) <= math.sqrt(0.5) + 1e-3
        angles.add(round(math.atan2(right, down), 2))
    assert len(angles) == 8


def test_random_turn_is_as_exact_within_autocast() -> None:
    images = torch.rand(1, 2, 64, 64, generator=torch.Generator().manual_seed(0))
    torch.manual_seed(0)
    turned = random_turn(images)
    torch.manual_seed(0)
    with torch.autocast("cpu", torch.bfloat16):
        assert (random_turn(images) - turned).abs().max() < 1e-5


def test_random_views_serve_training_only() -> None:
    painting, photo = torch.rand(2, 1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    loss = _loss(painting, random_views=True)
    plain = _loss(painting)(photo, painting)
    torch.manual_seed(0)
    seen = [loss.train()(photo, painting) for _ in range(2)]
    assert seen[0]["content"] != seen[1]["content"]
    assert torch.equal(seen[0]["style"], plain["style"])
    assert torch.equal(loss.eval()(photo, painting)["total"], plain["total"])


def test_missing_target_is_named() -> None:
    targets = style_targets(TwoLayers(), torch.rand(1, 3, 32, 32), {"same": 1.0})
    with pytest.raises(ValueError, match="no target for layer mean at pyramid level 0"):
        PerceptualLoss(TwoLayers(), targets, {"same": 1.0}, {"mean": 1.0})


def test_weights_without_a_sum_are_refused() -> None:
    with pytest.raises(ValueError, match="content_layers needs weights"):
        PerceptualLoss(TwoLayers(), [], {}, {"same": 1.0})


def test_tiny_painting_is_refused() -> None:
    with pytest.raises(ValueError, match="20x20 pixels is too small for 2 pyramid levels"):
        style_targets(TwoLayers(), torch.rand(1, 3, 20, 20), {"same": 1.0}, num_levels=2)


def test_repeated_cell_is_all_lattice() -> None:
    cell = torch.rand(1, 3, 4, 4)
    assert lattice(cell.repeat(2, 1, 16, 24)).item() == pytest.approx(1, abs=0.01)


def test_noise_is_hardly_any_lattice() -> None:
    torch.manual_seed(0)
    # The mean of 64 independent cells has a 64th of their variance.
    assert lattice(torch.rand(4, 3, 128, 96)).item() == pytest.approx(1 / 64, rel=0.1)


def test_lattices_may_differ_between_patches() -> None:
    patches = [torch.rand(1, 3, 4, 4).repeat(1, 1, 8, 8) for _ in range(3)]
    assert lattice(torch.cat(patches, dim=3)).item() == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize("size", [(31, 64), (64, 31), (1, 1)])
def test_picture_smaller_than_a_patch_has_no_lattice(size: tuple[int, int]) -> None:
    assert lattice(torch.rand(1, 3, *size)).item() == 0


def test_flat_picture_has_no_lattice_and_a_finite_gradient() -> None:
    image = torch.full((1, 3, 64, 64), 0.5, requires_grad=True)
    distance = lattice(image)
    distance.backward()
    assert distance.item() == 0
    assert image.grad is not None
    assert image.grad.isfinite().all()
