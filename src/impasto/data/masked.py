"""Photos with something missing."""

from collections.abc import Sequence

import torch
from torch.utils.data import Dataset

from impasto.data.batches import Sample
from impasto.data.masks import MaskFamily, draw_mask


class Masked(Dataset[Sample]):
    """Gives every sample a mask, which depends on the seed and the sample's number alone.

    Args:
        photos: What to mask.
        families: Of masks; samples take them in turn.
        seed: Of the masks, at least 0.
    """

    def __init__(self, photos: Dataset[Sample], families: Sequence[MaskFamily], seed: int) -> None:
        self.photos = photos
        self.families = families
        self.seed = seed

    def __len__(self) -> int:
        return len(self.photos)  # type: ignore[arg-type]

    def __getitem__(self, number: int) -> Sample:
        sample = self.photos[number]
        family = self.families[number % len(self.families)]
        height, width = sample.image.shape[1:]
        mask = draw_mask(family, height, width, self.seed, number)
        return sample._replace(mask=mask[0].to(torch.uint8))
