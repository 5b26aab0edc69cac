"""Adversarial losses: what a discriminator and the generator that it judges learn from.

All functions take logits, of any shape and the same batch or not: one per picture or one per patch.
A positive logit says "real".
"""

from torch import Tensor
from torch.nn import functional as F


def bce_discriminator_loss(real: Tensor, fake: Tensor) -> Tensor:
    """Cross entropy of real pictures with 1, plus that of generated ones with 0.

    The sum, as in the authors' code; others halve it.

    Args:
        real: Logits of real pictures.
        fake: Logits of generated pictures, detached from the generator.

    Returns:
        A float32 scalar: 2 log 2 for a discriminator that cannot tell, 0 for a perfect one.

    Source:
        Goodfellow et al. 2014, eq. 1, https://arxiv.org/abs/1406.2661
    """
    return F.softplus(-real.float()).mean() + F.softplus(fake.float()).mean()


def bce_generator_loss(fake: Tensor) -> Tensor:
    """Cross entropy of generated pictures with 1.

    Not the formula of the paper, whose gradient vanishes where the discriminator is sure, but what
    its code does and what is called non-saturating.

    Args:
        fake: Logits of generated pictures.

    Returns:
        A float32 scalar: log 2 where the discriminator cannot tell, 0 where it is fooled.

    Source:
        Goodfellow et al. 2014, section 3, https://arxiv.org/abs/1406.2661
    """
    return F.softplus(-fake.float()).mean()


def hinge_discriminator_loss(real: Tensor, fake: Tensor) -> Tensor:
    """How far real pictures stay below a logit of 1 and generated ones above -1.

    Args:
        real: Logits of real pictures.
        fake: Logits of generated pictures, detached from the generator.

    Returns:
        A float32 scalar: 2 for a discriminator that says 0 always, 0 for one sure by a margin.

    Source:
        Lim & Ye 2017, https://arxiv.org/abs/1705.02894
    """
    return F.relu(1 - real.float()).mean() + F.relu(1 + fake.float()).mean()


def hinge_generator_loss(fake: Tensor) -> Tensor:
    """The mean logit of generated pictures, turned round.

    Args:
        fake: Logits of generated pictures.

    Returns:
        A float32 scalar, not bounded: below 0 where the discriminator is fooled.

    Source:
        Lim & Ye 2017, https://arxiv.org/abs/1705.02894
    """
    return -fake.float().mean()


def discriminator_accuracy(real: Tensor, fake: Tensor) -> tuple[Tensor, Tensor]:
    """How often a discriminator is right, for whoever watches over the balance.

    Both near 1 for long: the generator learns nothing from it any more. A logit of 0 is half right.

    Args:
        real: Logits of real pictures.
        fake: Logits of generated pictures.

    Returns:
        Shares in [0, 1] of the real and of the generated logits that are on the right side, float32
        scalars without gradients.
    """
    return _share_positive(real), 1 - _share_positive(fake)


def _share_positive(logits: Tensor) -> Tensor:
    return (logits.detach().float().sign().mean() + 1) / 2
