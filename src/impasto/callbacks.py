"""What happens beside the optimisation: pictures, speed, the file to use, orderly stops."""

import logging
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback, TQDMProgressBar
from pytorch_lightning.callbacks.progress.tqdm_progress import Tqdm
from pytorch_lightning.loggers import TensorBoardLogger
from torch import Tensor, nn

from impasto.checkpoint import Header, save_checkpoint
from impasto.images import image_grid, save_image

SPEED = "images_per_second"
log = logging.getLogger(__name__)


def _board(trainer: pl.Trainer) -> Any:
    assert isinstance(trainer.logger, TensorBoardLogger)
    return trainer.logger.experiment  # of other processes than the first: does nothing


class Previews(Callback):
    """Shows a grid of held-out photos, and what became of them, at every validation.

    In TensorBoard as ``preview``, and in the run's folder as ``preview.png``. Validation steps
    return its rows, by name: tensors of shape ``(N, 3, S, S)``.

    Args:
        folder: The run's.
        style: The painting, shape ``(1, 3, H, W)``, shown once as ``style``; ``None`` for none.
        num_photos: How many of the first held-out photos.
    """

    def __init__(self, folder: Path, style: Tensor | None = None, num_photos: int = 4) -> None:
        self.folder = folder
        self.style = style
        self.num_photos = num_photos
        self.batches: list[list[Tensor]] = []  # by batch, then by row

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Show the style."""
        if self.style is not None and trainer.global_step == 0:
            _board(trainer).add_image("style", self.style[0], 0)

    def on_validation_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Keep what became of the first photos."""
        missing = self.num_photos - sum(len(rows[0]) for rows in self.batches)
        if missing > 0:
            self.batches.append([row[:missing].cpu() for row in outputs.values()])

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Show the grid, at the step at which Lightning logs the validation's losses."""
        grid = image_grid([torch.cat(row) for row in zip(*self.batches, strict=True)])
        self.batches = []
        if not trainer.is_global_zero:
            return
        save_image(grid[None], self.folder / "preview.png")
        _board(trainer).add_image("preview", grid, trainer.global_step - 1)


class Export(Callback):
    """Keeps ``network.safetensors``: the network with the lowest validation loss so far, in fp16.

    Once an adversary has its say it is the latest network: what sharpens is no part of that loss.

    Args:
        path: Of the file.
        header: What is known of the network before training.
    """

    def __init__(self, path: Path, header: Header) -> None:
        self.path = path
        self.header = header
        self.best = float("inf")

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write the file if no former validation was as good, or none can tell."""
        losses = {
            name: round(float(value), 6)
            for name, value in trainer.callback_metrics.items()
            if name.startswith("val/")
        }
        adversary = getattr(pl_module, "adversary", None)
        has_adversary = adversary is not None and trainer.global_step > adversary.start
        if has_adversary or losses["val/total"] < self.best:
            self.best = min(self.best, losses["val/total"])
            self._write(trainer, pl_module, losses)

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Have the last step validated: Lightning does so for a stop that was asked for."""
        if trainer.global_step == trainer.max_steps:
            trainer.should_stop = True

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Leave a network even if no validation ever gave a finite loss."""
        if self.best == float("inf"):
            self._write(trainer, pl_module, {})

    def state_dict(self) -> dict[str, float]:
        """The best loss so far."""
        return {"best": self.best}

    def load_state_dict(self, state_dict: dict[str, float]) -> None:
        """Go on from the best loss so far."""
        self.best = state_dict["best"]

    def _write(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, losses: dict[str, float]
    ) -> None:
        network = pl_module.released  # what every task calls the network to use
        assert isinstance(network, nn.Module)
        if not trainer.is_global_zero:
            return
        header = replace(self.header, step=trainer.global_step, losses=losses)
        save_checkpoint(self.path, network, header, torch.float16)


class Throughput(Callback):
    """Logs ``images_per_second`` (shown in the progress bar) and ``gpu_memory_mib``.

    Args:
        window: Steps over which to average.
    """

    def __init__(self, window: int = 10) -> None:
        self.window = window
        self.images = 0
        self.seconds = 0.0
        self.since: float | None = None

    def on_train_batch_start(self, *_: Any) -> None:
        """Start the clock, if it stands."""
        if self.since is None:
            self.since = time.perf_counter()

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Tensor | tuple[Tensor, Tensor],
        batch_idx: int,
    ) -> None:
        """Count, and log at the end of a window."""
        now = time.perf_counter()
        size = len(batch if isinstance(batch, Tensor) else batch[0])
        self.seconds += now - (self.since or now)
        self.images, self.since = self.images + size, now
        if self.images >= self.window * size:
            speed = trainer.world_size * self.images / self.seconds
            pl_module.log(SPEED, speed, prog_bar=True)
            if pl_module.device.type == "cuda":
                pl_module.log("gpu_memory_mib", torch.cuda.max_memory_allocated() / 2**20)
            self.images, self.seconds = 0, 0.0

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Stop the clock: only training counts, loading included."""
        self.since = None


class StopOnSignal(Callback):
    """Ctrl-C or SIGTERM ends training after the current step, validated and saved.

    A second one ends it at once.
    """

    SIGNALS = (signal.SIGINT, signal.SIGTERM)

    def __init__(self) -> None:
        self.received: int | None = None
        self.former: dict[int, Any] = {}

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Take the signals over."""

        def stop(number: int, frame: FrameType | None) -> None:
            self.received = number
            self._give_back()
            log.warning("Stopping after this step and a validation; once more to stop at once.")

        self.former = {number: signal.signal(number, stop) for number in self.SIGNALS}

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Ask the trainer to stop."""
        # Together or not at all: one process that went on would wait for the others for ever.
        stop = self.received is not None
        if trainer.strategy.reduce_boolean_decision(stop, all=False):
            trainer.should_stop = True

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Give the signals back."""
        self._give_back()

    def _give_back(self) -> None:
        for number, handler in self.former.items():
            signal.signal(number, handler)
        self.former = {}


class ProgressBar(TQDMProgressBar):
    """One bar for the whole run: steps, time left, images per second; validation is silent."""

    def __init__(self) -> None:
        # A log file takes a line now and then, a terminal one that moves.
        super().__init__(refresh_rate=1 if sys.stdout.isatty() else 50)

    def init_validation_tqdm(self) -> Tqdm:
        """Keep a bar that nobody sees."""
        return Tqdm(disable=True)

    def on_train_start(self, trainer: pl.Trainer, *_: Any) -> None:
        """Count from where the run stands to its end."""
        super().on_train_start(trainer)
        bar = self.train_progress_bar
        bar.set_description("Training")
        bar.unit = "step"
        bar.total = trainer.max_steps
        bar.n = bar.initial = trainer.global_step

    def on_train_epoch_start(self, *_: Any) -> None:
        """Go on: Lightning would start a new bar, with the words Epoch 0."""

    def get_metrics(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> dict[str, Any]:
        """Show the speed in whole images, and no version number of the run."""
        metrics = super().get_metrics(trainer, pl_module)
        return {"images/s": f"{metrics[SPEED]:.3g}"} if SPEED in metrics else {}
