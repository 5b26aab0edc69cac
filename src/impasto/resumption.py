"""Resuming: what makes a run that was stopped end with the same weights as one that was not."""

import io
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import pytorch_lightning as pl
import torch
import torch.distributed as dist
from lightning_fabric.plugins.io import TorchCheckpointIO
from pytorch_lightning.callbacks import Checkpoint

from impasto.files import write_atomically


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes ``.ckpt`` files beside their place and moves them there.

    Lightning writes to the system's temporary folder first, often another disk, from where the
    move is a copy that can be cut.
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None
    ) -> None:
        """Write all of it or nothing."""
        buffer = io.BytesIO()
        torch.save(checkpoint, buffer)
        write_atomically(Path(path), buffer.getvalue())


class Resumption(Checkpoint):
    """Saves after every validation what a run needs to go on, PyTorch's random numbers included.

    The data needs no random state: a sample depends on the seed and its position alone.

    Args:
        path: Of the ``.ckpt``, overwritten every time.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.random_states: list[list[torch.Tensor]] = []

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Go on with the saved random states, after all that draws numbers when starting."""
        if trainer.global_rank < len(self.random_states):
            states = self.random_states[trainer.global_rank]
            torch.set_rng_state(states[0])
            for state in states[1:]:
                torch.cuda.set_rng_state(state)
        elif trainer.global_rank > 0:  # all have begun with the same seed, and drawn the same
            torch.manual_seed(torch.initial_seed() + trainer.global_rank)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Save; Lightning calls this class last, so that all others have come to rest."""
        trainer.save_checkpoint(self.path)

    def state_dict(self) -> dict[str, Any]:
        """By process, the random states of the CPU and, where there is one, of the GPU in use."""
        device = [torch.cuda.get_rng_state()] if torch.cuda.is_available() else []
        mine = [torch.get_rng_state(), *device]
        if not (dist.is_available() and dist.is_initialized()):
            return {"random_states": [mine]}
        states = [mine] * dist.get_world_size()
        dist.all_gather_object(states, mine)
        return {"random_states": states}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Keep the states until training starts."""
        self.random_states = state_dict["random_states"]


def steps_done(path: Path) -> int:
    """Optimisation steps behind a ``.ckpt``; 0 if a run ended before it wrote one.

    Raises:
        ValueError: If it is damaged.
    """
    if not path.exists():
        return 0
    try:  # to the CPU: what a GPU began may go on without one
        return torch.load(path, map_location="cpu", mmap=True, weights_only=True)["global_step"]
    except (OSError, RuntimeError, UnpicklingError, EOFError, KeyError, TypeError) as error:
        raise ValueError(
            f"{path} is damaged ({type(error).__name__}): without it the run begins anew, with it "
            f"it cannot go on."
        ) from None
