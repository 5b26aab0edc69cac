"""Training to fill holes: a network, what it is compared with, and perhaps an adversary."""

import copy
import logging
from collections.abc import Callable
from typing import Any

import torch
from pytorch_lightning.utilities.types import OptimizerLRScheduler, OptimizerLRSchedulerConfig
from torch import Tensor, nn
from torch.optim import Adam
from torch.optim.lr_scheduler import LambdaLR

from impasto.compilation import compiled
from impasto.losses import FillingLoss
from impasto.metrics import MAX_PSNR, psnr, ssim
from impasto.networks import prefill
from impasto.tasks.adversary import Adversary
from impasto.tasks.task import Task

log = logging.getLogger(__name__)

Batch = tuple[Tensor, Tensor]
"""Photos, RGB in [0, 1], (N, 3, H, W), and masks, 1 where a pixel is missing, (N, 1, H, W)."""


class Inpainting(Task):
    """A network that fills holes, its loss, its adversary, and how both are optimised.

    Two networks learn in turn, so their steps are made by hand; ``trainer.max_steps`` counts
    batches all the same. What is kept to use is the running average of the network's weights.

    Args:
        network: ``network(photos, masks)`` returns photos without holes, see ``ContextEncoder``.
        loss: What to minimise.
        adversary: A discriminator to deceive; ``None`` for none.
        learning_rate: Of Adam, at its highest.
        betas: Of both networks' Adam.
        warmup_steps: Steps over which the rate rises.
        schedule: ``cosine`` or ``constant``, see ``rate_at``; the latter is the paper's.
        ema_decay: Share of the average that stays at a step; 0 for no average.
        gradient_clip: Largest norm of the gradients of either network, above 0; ``None`` for any.
        compile: Whether to compile the network: faster on a GPU after a minute of waiting.

    Raises:
        ValueError: If the schedule is unknown, or a number is out of range.
    """

    automatic_optimization = False

    def __init__(
        self,
        network: nn.Module,
        loss: FillingLoss,
        adversary: Adversary | None = None,
        learning_rate: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.99),
        warmup_steps: int = 0,
        schedule: str = "cosine",
        ema_decay: float = 0.999,
        gradient_clip: float | None = 1.0,
        compile: bool = False,
    ) -> None:
        super().__init__(network, loss, learning_rate, warmup_steps, schedule)
        if not 0 <= ema_decay < 1:
            raise ValueError(f"ema_decay must be from 0 to below 1, got {ema_decay}.")
        if len(betas) != 2 or not all(0 <= beta < 1 for beta in betas):
            raise ValueError(f"betas must be two numbers from 0 to below 1, got {betas}.")
        if gradient_clip is not None and not gradient_clip > 0:
            raise ValueError(
                f"gradient_clip must be above 0, or null for none, got {gradient_clip}."
            )
        self.adversary = adversary
        self.betas = betas
        self.ema_decay = ema_decay
        self.gradient_clip = gradient_clip
        self.average = copy.deepcopy(network).requires_grad_(False) if ema_decay else None
        self.fill = compiled(self._fill) if compile else self._fill

    @property
    def released(self) -> nn.Module:
        """The network to use: the average, if there is one."""
        return self.network if self.average is None else self.average

    def forward(self, photos: Tensor, masks: Tensor) -> Tensor:
        """Fill photos with the network to use, shapes as in ``Batch``; float32."""
        return self.released(photos, masks).float()

    def training_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor] | None:
        """Make a step of the discriminator, if its time has come, and one of the network."""
        photos, masks = batch
        filled = self.fill(photos, masks)
        parts = self.loss(filled, photos, masks)
        total, outcome = parts["total"], None
        if self.adversary and self.global_step >= self.adversary.start:
            shown = self.adversary.shown(photos, filled, masks)
            loss, accuracy = self._train_discriminator(self.adversary, photos, shown, masks)
            deception = self.adversary.deceive(shown, masks)
            total = total + self.adversary.weight_at(self.global_step) * deception
            parts |= {"discriminator": loss, "accuracy": accuracy, "adversarial": deception}
            outcome = {"accuracy": accuracy}
        self.log_dict({f"train/{name}": part.detach() for name, part in parts.items()})
        self._train_network(total)
        return outcome

    def validation_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        """Log the loss on held-out photos, and PSNR and SSIM of the hole.

        ``val/gain`` is by how many dB the fill is better than a smooth one.

        Returns:
            What to look at, all of the photos' shape: ``masked``, smoothly filled (``smooth``),
            ``filled``, ``original``.
        """
        photos, masks = batch
        filled = self(photos, masks)
        parts = self.loss(filled, photos, masks)
        filled = torch.where(masks > 0.5, filled, photos)
        smooth = prefill(photos, masks)
        reached, without = (
            psnr(pictures, photos, masks).clamp_max(MAX_PSNR).mean()
            for pictures in (filled, smooth)
        )
        parts["psnr"] = reached
        parts["ssim"] = ssim(filled, photos, masks).mean()
        parts["gain"] = reached - without
        held_out = {f"val/{name}": part for name, part in parts.items()}
        self.log_dict(held_out, batch_size=len(photos), sync_dist=True)  # of all processes
        masked = photos.masked_fill(masks > 0.5, 1)
        return {"masked": masked, "smooth": smooth, "filled": filled, "original": photos}

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Adam over the network, and over the discriminator; rates are set at every step."""
        optimizer = Adam(self.network.parameters(), self.learning_rate, self.betas)
        optimizers = [_scheduled("network", optimizer, self.rate)]
        if self.adversary:
            weights, start = self.adversary.discriminator.parameters(), self.adversary.start
            optimizer = Adam(weights, self.adversary.learning_rate, self.betas)
            rate = lambda step: self.rate(start + step)  # noqa: E731 - of its own steps
            optimizers.append(_scheduled("discriminator", optimizer, rate))
        return tuple(optimizers)

    def on_train_start(self) -> None:
        """Go on at the rates that the settings ask for now; warn of a late adversary."""
        super().on_train_start()
        if self.adversary is None:
            return
        full = self.adversary.start + self.adversary.warmup_steps
        if full >= self.trainer.max_steps:
            log.warning(
                "The adversary begins at step %d and has all of its weight at step %d, and the run "
                "ends at %d: lower task.adversary.start or task.adversary.warmup_steps.",
                self.adversary.start,
                full,
                self.trainer.max_steps,
            )

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Clip gradients, after the callbacks have seen them as they are."""
        self._clip(self.network)

    def _fill(self, photos: Tensor, masks: Tensor) -> Tensor:
        return self.network(photos, masks).float()

    def _train_discriminator(
        self, adversary: Adversary, photos: Tensor, filled: Tensor, masks: Tensor
    ) -> tuple[Tensor, Tensor]:
        loss, accuracy = adversary.judge(photos, filled, masks)
        optimizer = self.trainer.optimizers[1]  # Lightning's own would count a step of training
        optimizer.zero_grad()
        self.manual_backward(loss)
        if not self._clip(adversary.discriminator).isfinite():
            optimizer.zero_grad()  # Adam leaves alone what has no gradient
        optimizer.step()
        optimizer.zero_grad()
        self._schedulers()[1].step()
        return loss, accuracy

    def _train_network(self, total: Tensor) -> None:
        optimizers = self.optimizers()
        optimizer = optimizers[0] if isinstance(optimizers, list) else optimizers
        optimizer.zero_grad()
        self.manual_backward(total)
        optimizer.step()
        self._schedulers()[0].step()
        self._update_average()

    def _schedulers(self) -> list[Any]:
        schedulers = self.lr_schedulers()
        return schedulers if isinstance(schedulers, list) else [schedulers]

    def _clip(self, network: nn.Module) -> Tensor:
        limit = float("inf") if self.gradient_clip is None else self.gradient_clip
        return nn.utils.clip_grad_norm_(network.parameters(), limit)

    @torch.no_grad()
    def _update_average(self) -> None:
        if self.average is None:
            return
        # Early on, the average of few steps: the first weights are not worth remembering.
        decay = min(self.ema_decay, self.global_step / (self.global_step + 10))
        torch._foreach_lerp_(
            list(self.average.parameters()), list(self.network.parameters()), 1 - decay
        )
        for kept, current in zip(self.average.buffers(), self.network.buffers(), strict=True):
            kept.copy_(current)


def _scheduled(
    name: str, optimizer: Adam, rate: Callable[[int], float]
) -> OptimizerLRSchedulerConfig:
    scheduler = {"scheduler": LambdaLR(optimizer, rate), "interval": "step", "name": f"lr-{name}"}
    return {"optimizer": optimizer, "lr_scheduler": scheduler}  # type: ignore[typeddict-item]
