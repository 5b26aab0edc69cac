"""Have everyone fill the same holes, and measure how well."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

import classical_fills
import fill_entrants
import fill_judging
from fill_entrants import Entrant, digest, source, to_levels
from fill_judging import MEASURES, FillJudge
from impasto import loss_networks, metrics
from impasto.data.masks import MaskFamily, draw_mask
from impasto.files import write_atomically
from impasto.images import list_images, load_image, square

BATCH_SIZE = 8


@dataclass(frozen=True)
class Photo:
    """Middle squares of a photo.

    Args:
        number: In its folder, among all that are there: it decides the masks.
        levels: By size, 8 bits, shape ``(3, size, size)``.
    """

    number: int
    levels: Mapping[int, Tensor]


@dataclass(frozen=True)
class Outcome:
    """Figures of n photos of one size, with holes of one family.

    Args:
        size: Height and width, in pixels.
        family: Of masks.
        numbers: Of the photos, shape ``(n,)``.
        shares: How much of each was missing, from 0 to 1, shape ``(n,)``.
        figures: By name of the entrant, a column for each of ``MEASURES``, shape ``(n, M)``.
    """

    size: int
    family: str
    numbers: NDArray[np.int64]
    shares: NDArray[np.float64]
    figures: Mapping[str, NDArray[np.float64]]


def load_photos(
    folder: Path, count: int | None, sizes: Sequence[int]
) -> tuple[list[Photo], list[str]]:
    """Load the middle of every photo, rounded to 8 bits; and say what was skipped."""
    if count is not None and count < 1:
        raise ValueError(f"--num-photos must be at least 1, got {count}.")
    photos, skipped = [], []
    for number, path in enumerate(list_images(folder)[:count]):
        try:
            image = load_image(path)
        except (ValueError, OSError) as error:
            skipped.append(str(error))
        else:
            levels = {size: to_levels(square(image, size)[0]) for size in sizes}
            photos.append(Photo(number, levels))
    if not photos:
        raise ValueError(f"No photo can be read in {folder}: {'; '.join(skipped) or 'none there'}.")
    return photos, skipped


class Contest:
    """All entrants on all photos.

    Args:
        entrants: Who fills.
        families: Of masks, by name.
        judge: Who measures.
        seed: Of the masks.
        cache: A folder of figures measured before; ``None`` measures all anew.
    """

    def __init__(
        self,
        entrants: Sequence[Entrant],
        families: Mapping[str, MaskFamily],
        judge: FillJudge,
        seed: int = 0,
        cache: Path | None = None,
    ) -> None:
        self.entrants = entrants
        self.families = families
        self.judge = judge
        self.seed = seed
        self.cache = cache
        self.device = next(judge.network.parameters()).device
        # Figures of another judge, or of other code, are not taken from the cache.
        weights = [weight.cpu().numpy().tobytes() for weight in judge.network.state_dict().values()]
        code = source(classical_fills, fill_entrants, fill_judging, metrics, loss_networks)
        self.rules = digest(torch.__version__, str(self.device), *code, *weights)

    def run(self, photos: Sequence[Photo], sizes: Sequence[int]) -> list[Outcome]:
        """Fill and measure, a few photos at a time: nothing large is kept."""
        outcomes = []
        fields = [(size, family) for size in sizes for family in self.families]
        total = sum(entrant.takes(*field) for field in fields for entrant in self.entrants)
        with tqdm(total=total * len(photos), unit="picture", desc="filling") as progress:
            for size in sizes:
                parts: dict[str, list[Outcome]] = {family: [] for family in self.families}
                for first in range(0, len(photos), BATCH_SIZE):
                    batch = Batch(self, photos[first : first + BATCH_SIZE], size)
                    for family in self.families:
                        parts[family].append(batch.run(family, progress))
                outcomes += [_joined(parts[family]) for family in self.families]
        return outcomes

    def draw_masks(self, family: str, size: int, photos: Sequence[Photo]) -> Tensor:
        """The masks of photos, shape ``(N, 1, size, size)``, by seed, family and number alone."""
        draw = partial(draw_mask, self.families[family], size, size, self.seed)
        return torch.cat([draw(photo.number) for photo in photos])


class Batch:
    """Some photos of one size, and what the judge sees in them.

    Args:
        contest: The rules.
        photos: Some of them.
        size: In pixels.
    """

    def __init__(self, contest: Contest, photos: Sequence[Photo], size: int) -> None:
        self.contest = contest
        self.photos = photos
        self.size = size
        self.levels = torch.stack([photo.levels[size] for photo in photos])
        self.images = self._to_judge(self.levels)

    @cached_property
    def targets(self) -> dict[str, Tensor]:
        """Features of the originals, the same for every hole."""
        return self.contest.judge.features(self.images)

    def run(self, family: str, progress: tqdm) -> Outcome:
        """Have everyone fill one hole in every photo."""
        masks = self.contest.draw_masks(family, self.size, self.photos)
        figures = {}
        for entrant in self.contest.entrants:
            if entrant.takes(self.size, family):
                figures[entrant.name] = self._figures(entrant, masks)
                progress.update(len(self.photos))
        numbers = np.array([photo.number for photo in self.photos])
        shares = masks.double().mean((1, 2, 3)).numpy()
        return Outcome(self.size, family, numbers, shares, figures)

    def _figures(self, entrant: Entrant, masks: Tensor) -> NDArray[np.float64]:
        """A column for each of MEASURES, from the cache if they are there."""
        cache = self.contest.cache
        if cache is None:
            return self._measure(entrant, masks)
        inputs = [part.numpy().tobytes() for part in (self.levels, masks)]
        known_by = digest(self.contest.rules, entrant.version, *inputs)
        path = cache / f"{known_by}.npy"
        figures = _read_figures(path, len(masks))
        if figures is None:
            figures = self._measure(entrant, masks)
            content = io.BytesIO()
            np.save(content, figures)
            write_atomically(path, content.getvalue())
        return figures

    def _measure(self, entrant: Entrant, masks: Tensor) -> NDArray[np.float64]:
        filled = self._to_judge(entrant.fill(self.levels, masks))
        masks = masks.to(self.contest.device)
        return self.contest.judge(filled, self.images, masks, self.targets).numpy()

    def _to_judge(self, levels: Tensor) -> Tensor:
        return levels.to(self.contest.device).float() / 255


def _joined(parts: Sequence[Outcome]) -> Outcome:
    """Outcomes of different photos as one."""
    first = parts[0]
    return Outcome(
        first.size,
        first.family,
        np.concatenate([part.numbers for part in parts]),
        np.concatenate([part.shares for part in parts]),
        {name: np.concatenate([part.figures[name] for part in parts]) for name in first.figures},
    )


def _read_figures(path: Path, count: int) -> NDArray[np.float64] | None:
    """What was measured before; None if it was not, or the file is damaged."""
    try:
        figures = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    return figures if figures.shape == (count, len(MEASURES)) else None
