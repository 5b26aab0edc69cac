"""Training a style: one network learns to paint every photo like one painting."""

from typing import Any

import torch
from pytorch_lightning.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor, nn
from torch.optim import Adam
from torch.optim.lr_scheduler import LambdaLR

from impasto.compilation import compiled
from impasto.losses import PerceptualLoss, TemporalLoss
from impasto.tasks.task import Task


class Stylization(Task):
    """A transformer network, its perceptual loss, and how it is optimised.

    Args:
        network: Photos to paintings, both RGB in [0, 1], shape ``(N, 3, H, W)``.
        loss: What to minimise.
        learning_rate: Of Adam, at its highest.
        warmup_steps: Steps over which the rate rises.
        input_noise: Standard deviation of noise on the photos that are painted, on the scale of
            [0, 1]: something for brushes to follow where a photo is flat. Its gain is small, see
            docs/decisions.md; lattices are the loss's business.
        schedule: ``cosine`` or ``constant``, see ``rate_at``; the latter is the paper's.
        compile: Whether to compile the step, but for its random views: faster on a GPU, after a
            minute of waiting.
        temporal: What to ask of paintings of photos that move; ``None`` for nothing.

    Raises:
        ValueError: If the schedule is unknown, the rate is not above 0, or ``warmup_steps`` is
            negative.
    """

    def __init__(
        self,
        network: nn.Module,
        loss: PerceptualLoss,
        learning_rate: float = 1e-3,
        warmup_steps: int = 0,
        input_noise: float = 0.0,
        schedule: str = "constant",
        compile: bool = False,
        temporal: TemporalLoss | None = None,
    ) -> None:
        super().__init__(network, loss, learning_rate, warmup_steps, schedule)
        self.temporal = temporal
        self.input_noise = input_noise
        self._num_held_out = 0  # photos validated on so far, in one validation
        self.paint_and_compare = compiled(self._step) if compile else self._step

    def forward(self, photos: Tensor, knobs: Any) -> Tensor:
        """Paint photos: RGB in [0, 1], shape ``(N, 3, H, W)``, in and out, float32."""
        return self.network(photos).float()

    def compare(self, painted: Tensor, photos: Tensor, knobs: Any) -> dict[str, Tensor]:
        """Compute the parts of the loss, see ``PerceptualLoss``."""
        return self.loss(painted, photos)

    def draw_knobs(self, count: int) -> Any:
        """How that many photos of a training step are to be painted: one style has one way."""
        return None

    def deal_knobs(self, first: int, count: int) -> Any:
        """The same for held-out photos, the first of which has a number, from 0."""
        return None

    def training_step(self, photos: Tensor, batch_idx: int) -> Tensor:
        """Compute the loss of one batch of photos, and log its parts as ``train/...``."""
        noisy = photos + self.input_noise * torch.randn_like(photos)
        _, parts = self.paint_and_compare(noisy, photos, self.draw_knobs(len(photos)))
        self.log_dict({f"train/{name}": part.detach() for name, part in parts.items()})
        return parts["total"]

    def on_validation_start(self) -> None:
        """Count held-out photos from the first one."""
        self._num_held_out = 0

    def validation_step(self, photos: Tensor, batch_idx: int) -> dict[str, Tensor]:
        """Log the same loss on held-out photos as ``val/...``; returns photos and paintings."""
        # Photos move the same way every time: the best network is to be the best, not the luckiest.
        devices = [self.device] if self.device.type == "cuda" else []
        with torch.random.fork_rng(devices):
            torch.manual_seed(batch_idx)
            knobs = self.deal_knobs(self._num_held_out, len(photos))
            painted, parts = self._step(photos, photos, knobs)
        self._num_held_out += len(photos)
        held_out = {f"val/{name}": part for name, part in parts.items()}
        self.log_dict(held_out, batch_size=len(photos), sync_dist=True)  # of all processes
        return {"photos": photos, "painted": painted}

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """Adam over the network's weights, its rate set at every step."""
        optimizer = Adam(self.network.parameters(), lr=self.learning_rate)
        scheduler = LambdaLR(optimizer, self.rate)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": scheduler, "interval": "step"},
        }

    def _step(self, given: Tensor, photos: Tensor, knobs: Any) -> tuple[Tensor, dict[str, Tensor]]:
        painted = self(given, knobs)
        parts = self.compare(painted, photos, knobs)
        if self.temporal is not None:
            moved = self.temporal.move(given)
            parts["temporal"] = self.temporal(painted, self(moved.photos, knobs), moved)
            parts["total"] = parts["total"] + self.temporal.weight * parts["temporal"]
        return painted, parts
