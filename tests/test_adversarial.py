"""Adversarial losses against numbers worked out by hand, and what their gradients push."""

import math

import pytest
import torch
from torch.autograd import gradcheck

from impasto.losses import (
    bce_discriminator_loss,
    bce_generator_loss,
    discriminator_accuracy,
    hinge_discriminator_loss,
    hinge_generator_loss,
)

LOSSES = [
    bce_discriminator_loss,
    hinge_discriminator_loss,
    lambda real, fake: bce_generator_loss(fake),
    lambda real, fake: hinge_generator_loss(fake),
]


def test_cross_entropies_by_hand() -> None:
    real = torch.tensor([math.log(3), 0.0])  # probabilities of 3/4 and 1/2 for real
    fake = torch.tensor([-math.log(4)])  # 1/5
    expected = -(math.log(3 / 4) + math.log(1 / 2)) / 2 - math.log(4 / 5)
    assert bce_discriminator_loss(real, fake).item() == pytest.approx(expected)
    assert bce_generator_loss(fake).item() == pytest.approx(math.log(5))


def test_cross_entropies_are_those_of_probabilities() -> None:
    torch.manual_seed(0)
    real, fake = torch.randn(4, 1, 3, 3), torch.randn(4, 1, 3, 3)
    bce = torch.nn.functional.binary_cross_entropy
    expected = bce(real.sigmoid(), torch.ones_like(real)) + bce(
        fake.sigmoid(), torch.zeros_like(fake)
    )
    torch.testing.assert_close(bce_discriminator_loss(real, fake), expected)


def test_hinges_by_hand() -> None:
    real, fake = torch.tensor([2.0, 0.5, -1.0]), torch.tensor([-3.0, 0.5])
    loss = hinge_discriminator_loss(real, fake).item()
    assert loss == pytest.approx((0 + 0.5 + 2) / 3 + (0 + 1.5) / 2)
    assert hinge_generator_loss(fake).item() == pytest.approx(1.25)


def test_discriminator_that_cannot_tell() -> None:
    undecided = torch.zeros(2, 1, 4, 4)
    loss = bce_discriminator_loss(undecided, undecided).item()
    assert loss == pytest.approx(2 * math.log(2))
    assert hinge_discriminator_loss(undecided, undecided).item() == 2
    assert discriminator_accuracy(undecided, undecided) == (0.5, 0.5)


def test_sure_discriminator_leaves_the_generator_a_gradient() -> None:
    fake = torch.full((4,), -50.0, requires_grad=True)
    bce_generator_loss(fake).backward()
    torch.testing.assert_close(fake.grad, torch.full((4,), -0.25))


def test_extreme_logits_are_finite() -> None:
    logits = torch.tensor([-1e4, 1e4])
    for loss in LOSSES:
        assert loss(logits, logits).isfinite()


@pytest.mark.parametrize("loss", LOSSES)
def test_losses_of_half_precision_are_float32(loss) -> None:
    logits = torch.randn(2, 1, 300, 300, dtype=torch.float16)
    assert loss(logits, logits).dtype == torch.float32
    torch.testing.assert_close(loss(logits, logits), loss(logits.float(), logits.float()))


def test_accuracy_by_hand() -> None:
    real, fake = torch.tensor([[1.0, 2.0], [-1.0, 3.0]]), torch.tensor([-1.0, 4.0])
    assert discriminator_accuracy(real, fake) == (0.75, 0.5)
    assert discriminator_accuracy(-fake, fake) == (0.5, 0.5)


def test_accuracy_has_no_gradient() -> None:
    logits = torch.randn(3, requires_grad=True)
    assert not any(share.requires_grad for share in discriminator_accuracy(logits, logits))


@pytest.mark.parametrize("loss", LOSSES)
def test_gradients_match_finite_differences(loss) -> None:
    # Away from the hinges' corners, at 1 and -1.
    real = torch.tensor([-0.5, 0.3, 1.5], requires_grad=True)
    fake = torch.tensor([-1.5, -0.4, 0.8], requires_grad=True)
    # The losses compute in float32 on purpose, hence the wide step and tolerance.
    with pytest.warns(UserWarning, match="double precision"):
        assert gradcheck(loss, (real, fake), eps=1e-2, atol=1e-2, rtol=2e-2, fast_mode=False)
