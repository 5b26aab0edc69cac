"""Networks that fill holes, and those that judge them."""

import random

import pytest
import torch
from torch import Tensor, nn

from impasto.networks import (
    ChannelwiseContextEncoder,
    ChannelwiseLinear,
    ContextDiscriminator,
    ContextEncoder,
    ContextEncoderPlus,
    PatchDiscriminator,
    prefill,
)
from impasto.networks.context_encoder import centre
from impasto.networks.context_encoder_plus import (
    GatedConv,
    GlobalContext,
    Refinement,
    _resize_bilinearly,
    _resize_by_area,
)


def photos_and_masks(*size: int, count: int = 2) -> tuple[Tensor, Tensor]:
    torch.manual_seed(0)
    return torch.rand(count, 3, *size), (torch.rand(count, 1, *size) < 0.4).float()


def centre_masks(count: int = 2) -> Tensor:
    masks = torch.zeros(count, 1, 128, 128)
    centre(masks).fill_(1)
    return masks


def count_convolutions(network: nn.Module) -> int:
    kinds = (nn.Conv2d, nn.ConvTranspose2d)
    return sum(part.weight.numel() for part in network.modules() if isinstance(part, kinds))


def trained_a_little(network: nn.Module) -> nn.Module:
    """Stands in for training: corrections are no longer zero."""
    torch.manual_seed(1)
    nn.init.normal_(network.to_correction.weight, std=0.1)
    return network


@pytest.fixture(scope="module")
def encoder() -> ContextEncoder:
    return ContextEncoder().eval()


@pytest.fixture(scope="module")
def channelwise() -> ChannelwiseContextEncoder:
    return ChannelwiseContextEncoder().eval()


def test_context_encoder_has_the_weights_of_the_authors(encoder: ContextEncoder) -> None:
    assert count_convolutions(encoder) == 71_112_704
    norms = [part for part in encoder.modules() if isinstance(part, nn.BatchNorm2d)]
    scales = sum(norm.weight.numel() + norm.bias.numel() for norm in norms)
    assert sum(weight.numel() for weight in encoder.parameters()) == 71_112_704 + scales


def test_weights_start_as_the_authors_do(encoder: ContextEncoder) -> None:
    wide = encoder.bottleneck[0].weight
    assert wide.std().item() == pytest.approx(0.02, rel=0.01)
    scales = encoder.bottleneck[1].weight
    assert scales.mean().item() == pytest.approx(1, abs=0.01)
    assert scales.std().item() == pytest.approx(0.02, rel=0.1)


def test_context_encoder_paints_the_middle_and_nothing_else(encoder: ContextEncoder) -> None:
    photos, masks = torch.rand(2, 3, 128, 128), centre_masks()
    with torch.inference_mode():
        filled = encoder(photos, masks)
        overlapping = masks.clone()
        overlapping[..., :36, :] = 0  # four known rows in the middle: painted all the same
        repainted = encoder(photos, overlapping)[..., 32:36, 32:96]
    assert not torch.isclose(repainted, photos[..., 32:36, 32:96]).all()
    outside = (masks == 0).expand_as(photos)
    assert torch.equal(filled[outside], photos[outside])
    assert not torch.isclose(centre(filled), centre(photos)).all()
    assert filled.min() >= 0
    assert filled.max() <= 1


def test_networks_do_not_see_what_is_missing(
    encoder: ContextEncoder, channelwise: ChannelwiseContextEncoder
) -> None:
    photos, masks = torch.rand(1, 3, 128, 128), centre_masks(1)
    other = photos.masked_fill(masks > 0, 0.1)
    plus = trained_a_little(ContextEncoderPlus(width=2))
    with torch.inference_mode():
        for network in (encoder, channelwise, plus):
            assert torch.equal(network(photos, masks), network(other, masks))


def test_channelwise_encoder_paints_all_of_the_photo(
    channelwise: ChannelwiseContextEncoder,
) -> None:
    photos, masks = photos_and_masks(128, 128)
    with torch.inference_mode():
        filled = channelwise(photos, masks)
    assert filled.shape == photos.shape
    assert (filled != photos).float().mean() > 0.99
    assert count_convolutions(channelwise) == 5_904_384
    assert channelwise.bottleneck[0].weight.numel() == 512 * 16**2


@pytest.mark.parametrize("size", [(64, 64), (128, 256)])
def test_fixed_networks_refuse_other_sizes(
    size: tuple[int, int], encoder: ContextEncoder, channelwise: ChannelwiseContextEncoder
) -> None:
    photos, masks = photos_and_masks(*size)
    for network in (encoder, channelwise, ContextDiscriminator()):
        with pytest.raises(ValueError, match=f"128 x 128 pixels only, got {size[0]} x {size[1]}"):
            network(photos, masks)


def test_a_hole_beyond_the_middle_is_refused(encoder: ContextEncoder) -> None:
    masks = centre_masks(1)
    masks[..., 20, 20:23] = 1
    with pytest.raises(ValueError, match="64 x 64 pixels only, and 3 missing ones lie elsewhere"):
        encoder(torch.rand(1, 3, 128, 128), masks)


def test_every_network_says_what_it_takes() -> None:
    taken = {
        network: (network.size, network.centre_only)
        for network in (ContextEncoder, ChannelwiseContextEncoder, ContextEncoderPlus)
    }
    assert list(taken.values()) == [(128, True), (128, False), (None, False)]


def test_channels_of_a_channelwise_layer_do_not_mix() -> None:
    torch.manual_seed(0)
    layer = ChannelwiseLinear(5, 12)
    features = torch.rand(2, 5, 3, 4)
    changed = features.clone()
    changed[:, 2, 1, 1] += 1
    difference = (layer(changed) - layer(features)).abs()
    assert difference[:, [0, 1, 3, 4]].max() == 0
    assert difference[:, 2].min() > 0  # but all positions of the channel hear of it


def test_channelwise_layer_is_a_matrix_for_every_channel() -> None:
    torch.manual_seed(0)
    layer = ChannelwiseLinear(3, 4).double()
    nn.init.normal_(layer.bias)
    features = torch.rand(2, 3, 2, 2, dtype=torch.double, requires_grad=True)
    for image in range(2):
        for channel in range(3):
            row = features[image, channel].flatten()
            wanted = layer.weight[channel] @ row + layer.bias[channel]
            torch.testing.assert_close(layer(features)[image, channel].flatten(), wanted)
    assert torch.autograd.gradcheck(layer, (features,))


def test_channelwise_layer_of_another_size_is_refused() -> None:
    with pytest.raises(ValueError, match=r"takes 3 channels of 4 positions, got .*3, 2, 3"):
        ChannelwiseLinear(3, 4)(torch.rand(1, 3, 2, 3))
    with pytest.raises(ValueError, match="at least 1 channel and 1 position"):
        ChannelwiseLinear(0, 4)


def test_plus_has_at_most_14_million_weights() -> None:
    assert sum(weight.numel() for weight in ContextEncoderPlus().parameters()) == 13_898_492


def test_untrained_plus_is_the_smooth_fill_bit_for_bit() -> None:
    photos, masks = photos_and_masks(40, 52)
    assert torch.equal(ContextEncoderPlus(width=2)(photos, masks), prefill(photos, masks))


def test_plus_changes_holes_only_at_any_size() -> None:
    network = trained_a_little(ContextEncoderPlus(width=1)).eval()
    draw = random.Random(0)
    sizes = [(1, 1), (1, 2), (2, 1), (3, 300), (300, 1), (16, 16), (17, 15)]
    sizes += [(draw.randint(1, 200), draw.randint(1, 200)) for _ in range(20)]
    with torch.inference_mode():
        for size in sizes:
            photos, masks = photos_and_masks(*size)
            filled = network(photos, masks)
            known = (masks == 0).expand_as(photos)
            assert filled.shape == photos.shape
            assert torch.equal(filled[known], photos[known])
            assert filled.min() >= 0
            assert filled.max() <= 1


def test_trained_plus_corrects_the_fill() -> None:
    photos, masks = photos_and_masks(32, 32)
    filled = trained_a_little(ContextEncoderPlus(width=2))(photos, masks)
    assert (filled - prefill(photos, masks)).abs().max() > 0.01


def test_all_or_nothing_missing_is_filled() -> None:
    network, photos = trained_a_little(ContextEncoderPlus(width=2)), torch.rand(1, 3, 24, 24)
    assert torch.equal(network(photos, torch.zeros(1, 1, 24, 24)), photos)
    assert network(photos, torch.ones(1, 1, 24, 24)).isfinite().all()


def test_photos_of_a_batch_do_not_mix() -> None:
    network = trained_a_little(ContextEncoderPlus(width=2))
    photos, masks = photos_and_masks(32, 40, count=3)
    torch.testing.assert_close(network(photos, masks)[1:2], network(photos[1:2], masks[1:2]))


def test_autocast_keeps_known_pixels() -> None:
    photos, masks = photos_and_masks(32, 32)
    network = trained_a_little(ContextEncoderPlus(width=2))
    with torch.autocast("cpu", torch.bfloat16):
        filled = network(photos, masks)
    known = (masks == 0).expand_as(photos)
    assert filled.dtype == torch.float32
    assert torch.equal(filled[known], photos[known])
    torch.testing.assert_close(filled, network(photos, masks), atol=0.05, rtol=0)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_gradients_reach_all_weights_after_a_step(layout: torch.memory_format) -> None:
    torch.manual_seed(0)
    network = ContextEncoderPlus(width=2).to(memory_format=layout)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    photos, masks = photos_and_masks(48, 48)
    for _ in range(2):  # the first step moves the last layer only, which starts at zero
        optimizer.zero_grad()
        (network(photos, masks) - photos).square().mean().backward()
        optimizer.step()
    for name, weight in network.named_parameters():
        assert weight.grad is not None
        assert weight.grad.abs().max() > 0, name


def test_gradients_reach_all_weights_of_the_first_networks(
    channelwise: ChannelwiseContextEncoder,
) -> None:
    photos, masks = photos_and_masks(128, 128)
    for network in (channelwise, ContextDiscriminator(), ContextDiscriminator(whole=True)):
        network.zero_grad()
        network(photos, masks).square().mean().backward()
        for name, weight in network.named_parameters():
            assert weight.grad is not None
            assert weight.grad.abs().max() > 0, name


def test_gates_keep_the_size_of_features() -> None:
    torch.manual_seed(0)
    features = torch.randn(2, 40, 32, 32)
    for _ in range(15):
        features = GatedConv(40, 40)(features)
    assert 0.3 < features.square().mean() < 3


def test_refinement_is_nothing_before_training_and_learns() -> None:
    features, refinement = torch.rand(1, 4, 8, 8), Refinement(4)
    refined = refinement(features)
    assert torch.equal(refined, features)
    refined.square().mean().backward()
    gradient = refinement.layer.convolution.weight.grad
    assert gradient is not None
    assert gradient[:4].abs().min() > 0


def test_global_context_lets_far_corners_talk() -> None:
    torch.manual_seed(0)
    context = GlobalContext(4)
    features = torch.rand(1, 4, 11, 19)
    changed = features.clone()
    changed[..., 0, 0] += 1
    assert (context(changed) - context(features))[..., -1, -1].abs().min() > 1e-4


@pytest.mark.parametrize("size", [(8, 8), (16, 24), (3, 1), (11, 19)])
def test_area_resize_keeps_the_mean(size: tuple[int, int]) -> None:
    features = torch.rand(2, 3, *size)
    resized = _resize_by_area(features, 8)
    torch.testing.assert_close(resized.mean((2, 3)), features.mean((2, 3)))
    if size == (8, 8):
        assert torch.equal(resized, features)


@pytest.mark.parametrize(("whole", "count"), [(False, 2_763_776), (True, 2_763_776 + 65_536)])
def test_discriminators_have_the_weights_of_the_authors(whole: bool, count: int) -> None:
    network = ContextDiscriminator(whole)
    assert count_convolutions(network) == count
    logits = network(torch.rand(2, 3, 128, 128), centre_masks())
    assert logits.shape == (2, 1, 1, 1)


def test_first_discriminator_sees_the_middle_only() -> None:
    images, masks = torch.rand(2, 3, 128, 128), centre_masks()
    changed = torch.where(masks > 0, images, 0.5)
    for whole in (False, True):
        network = ContextDiscriminator(whole).eval()
        assert torch.equal(network(images, masks), network(changed, masks)) != whole


@pytest.mark.parametrize("size", [(1, 1), (64, 64), (70, 33)])
def test_patch_discriminator_judges_every_patch(size: tuple[int, int]) -> None:
    network = PatchDiscriminator(width=4)
    rows, columns = ((side + 31) // 32 for side in size)
    assert network(*photos_and_masks(*size)).shape == (2, 16, rows, columns)


def test_patch_discriminator_sees_the_mask_and_has_no_batch_norm() -> None:
    network = PatchDiscriminator(width=4).eval()
    images, masks = photos_and_masks(64, 64)
    assert not torch.equal(network(images, masks), network(images, 1 - masks))
    torch.testing.assert_close(network(images, masks)[:1], network(images[:1], masks[:1]))
    assert not any(isinstance(part, nn.BatchNorm2d) for part in network.modules())


def test_patch_discriminator_keeps_its_spectral_norm_at_one() -> None:
    torch.manual_seed(0)
    network = PatchDiscriminator(width=4).train()
    with torch.no_grad():
        for part in network.layers[::2]:
            nn.init.normal_(part.parametrizations.weight.original, std=3)
        for _ in range(100):
            network(*photos_and_masks(32, 32))
        for part in network.layers[::2]:
            largest = torch.linalg.matrix_norm(part.weight.flatten(1), ord=2)
            assert largest.item() == pytest.approx(1, abs=0.1)


def test_patch_discriminator_has_the_weights_it_should() -> None:
    assert sum(weight.numel() for weight in PatchDiscriminator().parameters()) == 4_308_160


@pytest.mark.parametrize("network", [ContextEncoderPlus, PatchDiscriminator])
def test_empty_networks_are_refused(network: type[nn.Module]) -> None:
    with pytest.raises(ValueError, match="width of at least 1, got 0"):
        network(width=0)


@pytest.mark.parametrize("size", [(1, 2), (5, 8), (16, 9), (33, 64)], ids=str)
def test_products_that_are_compiled_resize_bilinearly(size: tuple[int, int]) -> None:
    cells = torch.rand(2, 3, 8, 8)
    expected = nn.functional.interpolate(cells, size, mode="bilinear")
    torch.testing.assert_close(_resize_bilinearly(cells, *size), expected)
