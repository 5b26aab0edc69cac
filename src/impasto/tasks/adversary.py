"""The adversary of a network that fills holes: a discriminator, its loss and its times."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from impasto.losses import (
    bce_discriminator_loss,
    bce_generator_loss,
    discriminator_accuracy,
    hinge_discriminator_loss,
    hinge_generator_loss,
)


class _Game(NamedTuple):
    """What either side descends."""

    discriminator: Callable[[Tensor, Tensor], Tensor]
    generator: Callable[[Tensor], Tensor]


GAMES = {
    "hinge": _Game(hinge_discriminator_loss, hinge_generator_loss),
    "bce": _Game(bce_discriminator_loss, bce_generator_loss),
}


class Adversary(nn.Module):
    """A discriminator and how the generator is made to listen to it.

    Args:
        discriminator: ``discriminator(images, masks)`` returns logits, above 0 for photos; and
            ``sees_holes_only`` tells whether the known part is to be the photo's.
        game: ``hinge`` or ``bce``.
        weight: Of the generator's adversarial loss, against 1 for its other losses.
        learning_rate: Of the discriminator's Adam, at its highest.
        start: Step at which the discriminator begins to learn: before it, fills are so easily told
            from photos that there is nothing to learn from it.
        warmup_steps: Steps from there over which the weight rises from 0: a discriminator that
            knows nothing yet would lead astray.

    Raises:
        ValueError: If ``game`` is not known, or a number is out of range.
    """

    def __init__(
        self,
        discriminator: nn.Module,
        game: str = "hinge",
        weight: float = 0.01,
        learning_rate: float = 2e-4,
        start: int = 0,
        warmup_steps: int = 0,
    ) -> None:
        super().__init__()
        if game not in GAMES:
            raise ValueError(f"game must be {' or '.join(GAMES)}, got {game!r}.")
        if weight < 0 or learning_rate <= 0 or start < 0 or warmup_steps < 0:
            raise ValueError(
                f"weight, start and warmup_steps must be at least 0, learning_rate above 0; got "
                f"{weight}, {start}, {warmup_steps} and {learning_rate}."
            )
        self.discriminator = discriminator
        self.game = GAMES[game]
        self.weight = weight
        self.learning_rate = learning_rate
        self.start = start
        self.warmup_steps = warmup_steps

    def weight_at(self, step: int) -> float:
        """Of the generator's adversarial loss at a step, counted from 0."""
        return self.weight * min(1.0, max(0, step - self.start) / max(1, self.warmup_steps))

    def shown(self, photos: Tensor, filled: Tensor, masks: Tensor) -> Tensor:
        """What of fills the discriminator is to see; with what is known put back, where it asks.

        Args:
            photos: RGB in [0, 1], shape ``(N, 3, H, W)``.
            filled: As the network gave them: some paint what is known, too.
            masks: 1 where a pixel was missing, shape ``(N, 1, H, W)``.
        """
        if self.discriminator.sees_holes_only:
            return torch.where(masks > 0.5, filled, photos)
        return filled

    def judge(self, images: Tensor, filled: Tensor, masks: Tensor) -> tuple[Tensor, Tensor]:
        """Tell photos from fills.

        Args:
            images: Photos, RGB in [0, 1], shape ``(N, 3, H, W)``.
            filled: The same, filled; no gradient flows through them.
            masks: 1 where a pixel was missing, shape ``(N, 1, H, W)``.

        Returns:
            The discriminator's loss; and how often it is right, of photos and of fills, the lower
            of both, in [0, 1].
        """
        real = self.discriminator(images, masks)
        fake = self.discriminator(filled.detach(), masks)
        accuracy = torch.minimum(*discriminator_accuracy(real, fake))
        return self.game.discriminator(real, fake), accuracy

    def deceive(self, filled: Tensor, masks: Tensor) -> Tensor:
        """The generator's loss; the discriminator's weights get no gradient from it."""
        self.discriminator.requires_grad_(False)
        loss = self.game.generator(self.discriminator(filled, masks))
        self.discriminator.requires_grad_(True)
        return loss
