"""Generated scenes as photos to train on: no files, no network."""

import numpy as np
import torch
from torch.utils.data import Dataset, Subset

from impasto.data.batches import Sample
from impasto.data.scenes import paint_scene

TRAIN, VAL = range(2)  # streams of chance that never meet


class SampleScenes:
    """Scenes painted on the fly, each from its number; see ``impasto.data.scenes``.

    Args:
        image_size: Side, in pixels.
        num_val_images: Held-out scenes, the same for every seed.
        seed: Of the scenes to train on, at least 0.

    Raises:
        ValueError: If ``image_size`` is below 16 or ``num_val_images`` below 1.
    """

    def __init__(self, image_size: int = 256, num_val_images: int = 32, seed: int = 0) -> None:
        if image_size < 16 or num_val_images < 1:
            raise ValueError(
                f"Scenes need an image_size of at least 16 and num_val_images of at least 1, "
                f"got {image_size} and {num_val_images}."
            )
        self.train = Scenes(image_size, (TRAIN, seed))
        self.val = Subset(Scenes(image_size, (VAL,)), range(num_val_images))


class Scenes(Dataset[Sample]):
    """Endless scenes, by number from 0 up.

    Args:
        image_size: Side, in pixels.
        stream: Numbers that tell these scenes from all others, each at least 0.
    """

    def __init__(self, image_size: int, stream: tuple[int, ...]) -> None:
        self.image_size = image_size
        self.stream = stream

    def __getitem__(self, number: int) -> Sample:
        scene = paint_scene(np.random.default_rng((*self.stream, number)), self.image_size)
        return Sample(torch.from_numpy(scene).permute(2, 0, 1))
