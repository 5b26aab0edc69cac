"""Photos on their way into training: loaders, conversion on the device, resumption, bad files."""

import logging
from collections.abc import Callable
from typing import Any

import torch
from pytorch_lightning import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader

from impasto.data.batches import (
    Batch,
    PhotoSource,
    PositionSampler,
    Remembered,
    Sample,
    Skipped,
    TrainLoader,
    collate,
    default_num_workers,
    ignore_interrupts,
)
from impasto.data.masked import Masked
from impasto.data.mix import MaskMix
from impasto.data.stream import StreamedCrops

log = logging.getLogger(__name__)

Tensors = Tensor | tuple[Tensor, Tensor]
"""Photos, or photos and masks."""

PREFETCHED_BATCHES = 4  # per worker; batches are small and photos differ in how long they take


class ImageDataModule(LightningDataModule):
    """Feeds photos to training, as float32 RGB in [0, 1], shape ``(N, 3, S, S)``, channels last.

    With ``masks``, batches are pairs: the photos, and float32 masks of shape ``(N, 1, S, S)``, 1
    where a pixel is to be missing. Held-out photos take the families in turn, always the same.

    One run is one pass of ``trainer.max_steps`` batches over the endless training set, so the
    progress bar foresees its end, and a resumed run goes on with the very sample that comes next.

    Args:
        source: Makes the photos, such as ``FolderPhotos``.
        batch_size: Photos per step and device.
        num_workers: Processes that load; ``None`` takes one per core up to 8, 0 loads in this one.
        masks: What to draw masks from; ``None`` for none.
        **options: Of ``source``, such as ``path``, ``image_size`` and ``seed``.

    Raises:
        ValueError: If ``batch_size`` is below 1 or ``num_workers`` negative, and what ``source``
            raises.
    """

    def __init__(
        self,
        source: Callable[..., PhotoSource],
        batch_size: int = 4,
        num_workers: int | None = None,
        masks: MaskMix | None = None,
        **options: Any,
    ) -> None:
        super().__init__()
        if batch_size < 1 or (num_workers or 0) < 0:
            raise ValueError(
                f"batch_size must be at least 1 and num_workers at least 0, "
                f"got {batch_size} and {num_workers}."
            )
        self.source = source(**options)
        self.train, self.val = self.source.train, self.source.val
        self.streams = self.train if isinstance(self.train, StreamedCrops) else None
        if masks is not None:
            self.train = Masked(self.train, [masks], seed=options.get("seed", 0))
            self.val = Masked(self.val, masks.families, seed=0)
        self.batch_size = batch_size
        self.num_workers = default_num_workers() if num_workers is None else num_workers
        self._skipped: set[str] = set()

    @property
    def num_skipped(self) -> int:
        """Files met so far that cannot be read."""
        return len(self._skipped)

    def setup(self, stage: str) -> None:
        """Read one sample here, so that hopeless data fails here and not in a worker."""
        if stage == "fit":
            self._report(self.train[0].skipped)

    def train_dataloader(self) -> TrainLoader:
        """Load the whole run, from where the trainer stands."""
        assert self.trainer is not None
        if self.trainer.max_steps < 1:
            raise ValueError("The length of the run is not known: set trainer.max_steps.")
        if self.streams:
            # The first process decides: others may be on machines with fewer cores.
            num_streams = self.trainer.strategy.broadcast(self.streams.num_streams)
            self.streams.share(num_streams, self.trainer.world_size)
        sampler = PositionSampler(
            self.trainer.max_steps,
            self.batch_size,
            self._num_done,
            self.trainer.global_rank,
            self.trainer.world_size,
        )
        return TrainLoader(
            self.train,
            sampler,
            num_workers=self.num_workers,
            persistent_workers=self.num_workers > 0,
            prefetch_factor=PREFETCHED_BATCHES if self.num_workers else None,
            worker_init_fn=ignore_interrupts,
            **self._loading(),
        )

    def val_dataloader(self) -> DataLoader[Sample]:
        """Load the held-out photos, in this process: they are few, and stay in memory."""
        return DataLoader(Remembered(self.val), **self._loading())

    def on_before_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Tensors:
        """Report bad files; go on with bytes, a quarter of what would be sent as floats."""
        self._report(batch.skipped)
        photos = torch.from_numpy(batch.levels).permute(0, 3, 1, 2)
        return photos if batch.masks is None else (photos, torch.from_numpy(batch.masks))

    def on_after_batch_transfer(self, batch: Tensors, dataloader_idx: int) -> Tensors:
        """Turn bytes into the package's one kind of image; here, where the device does it."""
        if isinstance(batch, Tensor):
            return batch / 255
        photos, masks = batch
        return photos / 255, masks.float()

    def state_dict(self) -> dict[str, int]:
        """What the order of photos follows from, where the number of cores decided it."""
        return {"num_streams": self.streams.num_streams} if self.streams else {}

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        """Go on in the same order, on another machine too."""
        if self.streams:
            self.streams.share(state_dict["num_streams"])

    def _loading(self) -> dict[str, Any]:
        return {
            "batch_size": self.batch_size,
            "collate_fn": collate,
            # Of its own: every pass draws a number, which would change the chance of the training.
            "generator": torch.Generator(),
        }

    def _num_done(self) -> int:
        """Count the batches trained on so far, over all resumptions.

        ``processed`` is right wherever a checkpoint was written: it rises between a step and
        ``on_train_batch_end``, and a step that was interrupted does not count.
        """
        assert self.trainer is not None
        progress = self.trainer.fit_loop.epoch_loop.batch_progress.total
        return progress.processed  # type: ignore[attr-defined]

    def _report(self, skipped: tuple[Skipped, ...]) -> None:
        for path, reason in skipped:
            if path not in self._skipped:
                self._skipped.add(path)
                log.warning(
                    "Skipping %s, which cannot be read (%s); %d so far.",
                    path,
                    reason,
                    self.num_skipped,
                )
