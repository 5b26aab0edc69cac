"""The watchdog: a broken step is skipped, a broken run goes back and slows down."""

import copy
import logging
import math
import statistics
from collections import deque
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from torch import Tensor
from torch.optim import Optimizer

log = logging.getLogger(__name__)


class Watchdog(Callback):
    """Guards against losses that are not finite or explode.

    A bad step is skipped: the weights stay, the count is logged as ``train/skipped_steps``. When
    ``patience`` of the last ``4 * patience`` steps were bad, network and optimiser return to the
    last good state, which is the one last saved to resume from, at half the learning rate. After
    ``max_rollbacks`` of these the run ends, and says so in ``failure``.

    The limits are wide: a loss of a healthy run varies by a factor of 3 from batch to batch.

    Args:
        patience: Bad steps that are merely skipped, less one.
        max_rollbacks: Returns before giving up.
        explosion: A loss this many times the median of the last ``window`` good ones is bad.
        window: Steps to take the median of; no loss counts as exploded before that many.
    """

    def __init__(
        self,
        patience: int = 5,
        max_rollbacks: int = 3,
        explosion: float = 20.0,
        window: int = 50,
    ) -> None:
        self.patience = patience
        self.max_rollbacks = max_rollbacks
        self.explosion = explosion
        self.losses: deque[float] = deque(maxlen=window)  # the last good ones
        self.were_bad: deque[bool] = deque(maxlen=4 * patience)  # the last steps
        self.num_skipped = 0
        self.num_rollbacks = 0
        self.failure: str | None = None
        self.loss = torch.tensor(math.nan)
        self.good_state: dict[str, Any] = {}

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Remember the state that training starts or resumes from, if it is good."""
        if not self.good_state:
            self._remember(trainer, pl_module)

    def on_before_backward(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, loss: Tensor
    ) -> None:
        """Take note of the loss, without waiting for it."""
        self.loss = loss.detach()

    def on_before_optimizer_step(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, optimizer: Optimizer
    ) -> None:
        """Skip a bad step: Adam leaves alone what has no gradient."""
        weights = [weight for group in optimizer.param_groups for weight in group["params"]]
        gradients = [weight.grad for weight in weights if weight.grad is not None]
        norm = torch.nn.utils.get_total_norm(gradients)
        values = torch.stack([self.loss.float(), norm.float()])
        # One wait for the device a step, not two; all processes see the same, and do the same.
        loss, size = trainer.strategy.reduce(values, reduce_op="mean").tolist()
        pl_module.log("train/gradient_norm", size)
        bad = not math.isfinite(size) or self._is_bad(loss)
        self.were_bad.append(bad)
        if not bad:
            self.losses.append(loss)
            return
        optimizer.zero_grad(set_to_none=True)
        self.num_skipped += 1
        pl_module.log("train/skipped_steps", float(self.num_skipped))
        if self.num_skipped == 1:
            log.warning("Skipping step %d: its loss is %g.", trainer.global_step, loss)

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Return to the last good state when skipping does not help."""
        if sum(self.were_bad) < self.patience:
            return
        self.were_bad.clear()
        if self.num_rollbacks == self.max_rollbacks:
            self._restore(trainer, pl_module, rate=1.0)
            self.failure = (
                f"Training diverged again after {self.max_rollbacks} returns to a good state "
                f"(loss {self.loss:g} at step {trainer.global_step}). Everything is saved. Start "
                f"a new run with a lower task.learning_rate."
            )
            trainer.should_stop = True
            return
        self.num_rollbacks += 1
        self._restore(trainer, pl_module, rate=0.5)
        log.warning(
            "Loss %g at step %d, %d steps were skipped of late: back to the last good state, at "
            "half the learning rate (%d of %d times).",
            self.loss,
            trainer.global_step,
            self.patience,
            self.num_rollbacks,
            self.max_rollbacks,
        )

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """What is saved to resume from is the good state to return to."""
        if not any(self.were_bad) and self.failure is None:
            self._remember(trainer, pl_module)

    def state_dict(self) -> dict[str, Any]:
        """Everything that later decisions depend on."""
        return {
            "losses": list(self.losses),
            "were_bad": list(self.were_bad),
            "num_skipped": self.num_skipped,
            "num_rollbacks": self.num_rollbacks,
            # Else it is the very state that is saved beside this.
            "good_state": self.good_state if any(self.were_bad) else {},
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on as if never stopped."""
        self.losses.extend(state_dict["losses"])
        self.were_bad.extend(state_dict["were_bad"])
        self.num_skipped = state_dict["num_skipped"]
        self.num_rollbacks = state_dict["num_rollbacks"]
        self.good_state = state_dict["good_state"]

    def _is_bad(self, loss: float) -> bool:
        if not math.isfinite(loss):
            return True
        if len(self.losses) < (self.losses.maxlen or 0):
            return False
        usual = statistics.median(self.losses)  # below 0 where an adversary is deceived well
        return loss > usual + (self.explosion - 1) * abs(usual)

    def _remember(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.good_state = copy.deepcopy(
            {
                "weights": {
                    name: weight
                    for name, weight in pl_module.state_dict().items()
                    if not name.startswith("loss.")  # frozen, and many times larger
                },
                "optimizers": [optimizer.state_dict() for optimizer in trainer.optimizers],
            }
        )

    def _restore(self, trainer: pl.Trainer, pl_module: pl.LightningModule, rate: float) -> None:
        """Put the good state back; schedules go on, at ``rate`` times their former height."""
        pl_module.load_state_dict(self.good_state["weights"], strict=False)
        for optimizer, state, config in zip(
            trainer.optimizers,
            self.good_state["optimizers"],
            trainer.lr_scheduler_configs,
            strict=True,
        ):
            optimizer.load_state_dict(copy.deepcopy(state))
            scheduler = config.scheduler
            scheduler.base_lrs = [base * rate for base in scheduler.base_lrs]
            for group, last in zip(optimizer.param_groups, scheduler.get_last_lr(), strict=True):
                group["lr"] = last * rate


class DiscriminatorWatch(Callback):
    """Notices a discriminator that is dead: right all the time, or of one opinion on everything.

    Either way the network learns nothing from it. Training goes on, since its other losses lead
    on; ``train/discriminator_dead`` is logged, and the first time a warning says what helps.

    Args:
        window: Steps to look at.
        sure: Share of right verdicts, on photos and fills alike, from which it has won.
    """

    def __init__(self, window: int = 200, sure: float = 0.98) -> None:
        self.window = window
        self.sure = sure
        self.accuracies: list[Tensor] = []
        self.was_dead = False

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Look at a window of verdicts at a time, without waiting for the device at each."""
        if not outputs or "accuracy" not in outputs:
            return
        self.accuracies.append(outputs["accuracy"])
        if len(self.accuracies) < self.window:
            return
        accuracy = torch.stack(self.accuracies).mean().item()
        self.accuracies = []
        wins, is_blind = accuracy >= self.sure, accuracy <= 1 - self.sure
        pl_module.log("train/discriminator_dead", float(wins or is_blind))
        if (wins or is_blind) and not self.was_dead:
            log.warning(
                "Step %d: the discriminator %s, so nothing is learnt from it. In a new run, %s.",
                trainer.global_step,
                f"is right {accuracy:.0%} of the time" if wins else "takes all for the same",
                "lower task.adversary.learning_rate, or raise task.adversary.start"
                if wins
                else "raise task.adversary.learning_rate, or lower task.adversary.weight",
            )
        self.was_dead = wins or is_blind
