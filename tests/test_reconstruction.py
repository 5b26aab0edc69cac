"""Reconstruction losses against numbers worked out by hand, and against numerical gradients."""

import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck

from impasto.losses import ReconstructionLoss, border_ring, centre_distance, masked_mean


def row(*values: float) -> Tensor:
    """One picture, one channel, one row."""
    return torch.tensor([[[list(values)]]])


def test_masked_mean_by_hand() -> None:
    values = torch.cat([row(1, 2, 3, 6), row(1, 2, 3, 6)]).repeat(1, 2, 1, 1)
    values[:, 1] *= 10  # both channels count
    mask = torch.cat([row(0, 1, 0, 1), row(0, 0, 0, 0)])
    torch.testing.assert_close(masked_mean(values, mask), torch.tensor([22.0, 0.0]))


def test_ring_lies_on_both_sides_and_not_at_the_picture_edge() -> None:
    mask = row(1, 1, 1, 1, 0, 0, 0, 0)
    assert torch.equal(border_ring(mask, 1), row(0, 0, 0, 1, 1, 0, 0, 0))
    assert torch.equal(border_ring(mask, 3), row(0, 1, 1, 1, 1, 1, 1, 0))
    assert torch.equal(border_ring(mask, 9), torch.ones(1, 1, 1, 8))


def test_ring_of_the_paper_hole_has_the_pixels_counted_by_hand() -> None:
    mask = torch.zeros(1, 1, 128, 128)
    mask[..., 32:96, 32:96] = 1
    ring = border_ring(mask, 4)
    assert (ring * mask).sum() == 64**2 - 56**2
    assert (ring * (1 - mask)).sum() == 72**2 - 64**2


@pytest.mark.parametrize("level", [0.0, 1.0])
def test_mask_without_a_border_has_no_ring(level: float) -> None:
    assert not border_ring(torch.full((2, 1, 9, 7), level), 4).any()


def test_ring_of_no_width_is_empty() -> None:
    assert not border_ring(row(0, 1, 1, 0), 0).any()


@pytest.mark.parametrize(
    ("distance", "hole", "known", "ring"), [("l1", 0.3, 0.15, 0.4), ("l2", 0.1, 0.045, 0.2)]
)
def test_parts_by_hand(distance: str, hole: float, known: float, ring: float) -> None:
    images, mask = row(0, 0, 0, 0, 0), row(0, 0, 1, 1, 1)
    filled = row(0.0, 0.3, 0.5, 0.1, 0.3).repeat(1, 3, 1, 1)
    # L2: hole (.25 + .01 + .09) / 3, known .09 / 2, ring (.09 + .25) / 2
    if distance == "l2":
        hole, ring = 0.35 / 3, 0.17
    parts = ReconstructionLoss(distance, 2.0, 3.0, 5.0, ring_width=1)(filled, images, mask)
    assert parts["hole"].item() == pytest.approx(hole)
    assert parts["known"].item() == pytest.approx(known)
    assert parts["ring"].item() == pytest.approx(ring)
    assert parts["total"].item() == pytest.approx(2 * hole + 3 * known + 5 * ring)


def test_pictures_count_alike_however_large_their_holes() -> None:
    mask = torch.cat([row(0, 0, 0, 1), row(1, 1, 1, 0)])
    filled = torch.cat([row(0, 0, 0, 1), row(0, 0, 0, 0)])
    parts = ReconstructionLoss()(filled, torch.zeros(2, 1, 1, 4), mask)
    assert parts["hole"].item() == 0.5


@pytest.mark.parametrize("level", [0.0, 1.0])
def test_empty_parts_are_zero_with_finite_gradients(level: float) -> None:
    filled = torch.rand(2, 3, 8, 8, requires_grad=True)
    mask = torch.full((2, 1, 8, 8), level)
    parts = ReconstructionLoss()(filled, torch.rand(2, 3, 8, 8), mask)
    assert parts["ring"].item() == 0
    assert parts["known" if level else "hole"].item() == 0
    parts["total"].backward()
    assert filled.grad is not None
    assert filled.grad.isfinite().all()


def test_original_has_no_loss() -> None:
    images = torch.rand(2, 3, 16, 16)
    mask = (torch.rand(2, 1, 16, 16) < 0.3).float()
    assert ReconstructionLoss()(images, images, mask)["total"] == 0


def test_losses_stay_float32_under_autocast() -> None:
    images, mask = torch.rand(1, 3, 16, 16), torch.ones(1, 1, 16, 16)
    with torch.autocast("cpu", torch.bfloat16):
        parts = ReconstructionLoss()(images.bfloat16(), images, mask)
        centre = centre_distance(images.bfloat16(), images)
    assert {part.dtype for part in (*parts.values(), centre)} == {torch.float32}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"distance": "l3"}, "must be one of l1, l2, log_l2, got 'l3'"),
        ({"ring_weight": -1.0}, "ring_weight must be a number of at least 0, got -1.0"),
        ({"hole_weight": float("nan")}, "hole_weight must be a number"),
        ({"ring_width": -1}, "a whole number of pixels, at least 0, got -1"),
        ({"ring_width": 1.5}, "a whole number of pixels, at least 0, got 1.5"),
    ],
)
def test_values_out_of_range_are_refused(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ReconstructionLoss(**arguments)


def test_centre_distance_by_hand() -> None:
    patch, target = torch.zeros(1, 1, 4, 4), torch.zeros(1, 1, 4, 4)
    patch[..., 0, 0] = 0.5  # on the ring of 1 pixel
    patch[..., 1, 2] = 0.5  # inside
    assert centre_distance(patch, target, overlap=1).item() == pytest.approx(11 * 0.25 / 16)
    assert centre_distance(patch, target, overlap=0).item() == pytest.approx(2 * 0.25 / 16)


def test_centre_distance_of_the_paper_weighs_960_of_4096_pixels() -> None:
    ones, zeros = torch.ones(2, 3, 64, 64), torch.zeros(2, 3, 64, 64)
    weighted = (10 * 960 + 3136) / 4096
    assert centre_distance(ones, zeros).item() == pytest.approx(weighted)


@pytest.mark.parametrize("overlap", [-1, 4])
def test_overlap_without_a_middle_is_refused(overlap: int) -> None:
    with pytest.raises(ValueError, match=f"leave a middle of 8 x 9 pixels, got {overlap}"):
        centre_distance(torch.rand(1, 3, 8, 9), torch.rand(1, 3, 8, 9), overlap)


def test_patches_and_targets_of_different_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match="must be of one shape"):
        centre_distance(torch.rand(1, 3, 8, 8), torch.rand(1, 3, 1, 1), 1)


@pytest.mark.parametrize(
    "function",
    [
        lambda f: ReconstructionLoss("l1")(f, torch.full_like(f, -1), _half(f))["total"],
        lambda f: ReconstructionLoss("l2", ring_width=1)(f, torch.ones_like(f), _half(f))["total"],
        lambda f: centre_distance(f, torch.ones_like(f), overlap=1),
    ],
)
def test_gradients_match_finite_differences(function) -> None:
    torch.manual_seed(0)
    filled = torch.rand(2, 2, 3, 4, requires_grad=True)
    # The losses compute in float32 on purpose, hence the wide step and tolerance.
    with pytest.warns(UserWarning, match="double precision"):
        assert gradcheck(function, (filled,), eps=1e-2, atol=1e-2, rtol=2e-2, fast_mode=False)


def _half(images: Tensor) -> Tensor:
    mask = images.new_zeros(len(images), 1, *images.shape[2:])
    mask[..., 2:] = 1
    return mask.detach()
