"""Generated scenes as photos to train on: no files, no network."""

import numpy as np
import torch
from torch.utils.data import Dataset, Subset

from impasto.data.batches import Sample
from impasto.data.scenes import paint_scene

TRAIN, VAL = range(2)  # streams of chance that never meet
NUM_TURNS = 4  # scenes cut up in turn


class SampleScenes:
    """Scenes painted on the fly, each from its number; see ``impasto.data.scenes``.

    Args:
        image_size: Side of a scene, in pixels.
        crop_size: Side of the square pieces to train on, in pixels; ``None`` for whole scenes. A
            scene is cut into as many as it has room for.
        num_val_images: Held-out scenes, the same for every seed.
        seed: Of the scenes to train on, at least 0.

    Raises:
        ValueError: If ``image_size`` is below 16, ``num_val_images`` below 1, or ``crop_size`` out
            of range.
    """

    def __init__(
        self,
        image_size: int = 256,
        crop_size: int | None = None,
        num_val_images: int = 32,
        seed: int = 0,
    ) -> None:
        if image_size < 16 or num_val_images < 1:
            raise ValueError(
                f"Scenes need an image_size of at least 16 and num_val_images of at least 1, "
                f"got {image_size} and {num_val_images}."
            )
        crop_size = image_size if crop_size is None else crop_size
        if not 1 <= crop_size <= image_size:
            raise ValueError(
                f"crop_size must be from 1 to image_size, which is {image_size}, got {crop_size}."
            )
        self.train = Pieces(Scenes(image_size, (TRAIN, seed)), crop_size)
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


class Pieces(Dataset[Sample]):
    """Square pieces of scenes, endless.

    Several scenes are cut up in turn, so that the pieces of a batch are of different ones.

    Args:
        scenes: What to cut up.
        size: Side of a piece, in pixels, up to the scenes'.
    """

    def __init__(self, scenes: Scenes, size: int) -> None:
        self.scenes = scenes
        self.size = size
        self._painted: dict[int, Sample] = {}

    def __getitem__(self, number: int) -> Sample:
        rows = self.scenes.image_size // self.size
        block, place = divmod(number, NUM_TURNS * rows**2)
        piece, turn = divmod(place, NUM_TURNS)
        top, left = (self.size * corner for corner in divmod(piece, rows))
        image = self._scene(block * NUM_TURNS + turn).image
        return Sample(image[:, top : top + self.size, left : left + self.size])

    def _scene(self, number: int) -> Sample:
        """Paint a scene, or find it among the last few."""
        if number not in self._painted:
            if len(self._painted) == NUM_TURNS:
                del self._painted[min(self._painted)]
            self._painted[number] = self.scenes[number]
        return self._painted[number]
