"""What all trainings have in common."""

from typing import Any

import pytorch_lightning as pl
from torch import nn

from impasto.networks import channels_last
from impasto.schedule import rate_at, refresh


class Task(pl.LightningModule):
    """A network that learns, a loss whose own network does not, and how fast it learns.

    Args:
        network: What is trained.
        loss: What to minimise.
        learning_rate: Of the network's Adam, at its highest.
        warmup_steps: Steps over which the rate rises.
        schedule: ``cosine`` or ``constant``, see ``rate_at``; the latter is the papers'.

    Raises:
        ValueError: If the schedule is unknown, the rate is not above 0, or ``warmup_steps`` is
            negative.
    """

    # The loss network is not saved: it is frozen, and many times larger than what is trained.
    strict_loading = False

    def __init__(
        self,
        network: nn.Module,
        loss: nn.Module,
        learning_rate: float,
        warmup_steps: int,
        schedule: str,
    ) -> None:
        super().__init__()
        rate_at(0, 1, warmup_steps, schedule)  # an unknown schedule fails here, not in training
        if not learning_rate > 0:
            raise ValueError(f"learning_rate must be above 0, got {learning_rate}.")
        self.network = channels_last(network)
        self.loss = loss
        self.learning_rate = learning_rate
        self.warmup_steps = warmup_steps
        self.schedule = schedule

    @property
    def released(self) -> nn.Module:
        """The network to use."""
        return self.network

    def rate(self, step: int) -> float:
        """Tell the learning rate at a step, as a share of its highest."""
        return rate_at(step, self.trainer.max_steps, self.warmup_steps, self.schedule)

    def on_train_start(self) -> None:
        """Go on at the rates that the settings ask for now."""
        for scheduler in self.trainer.lr_scheduler_configs:
            refresh(scheduler.scheduler)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Leave the loss network out."""
        checkpoint["state_dict"] = {
            name: weight
            for name, weight in checkpoint["state_dict"].items()
            if not name.startswith("loss.")
        }
