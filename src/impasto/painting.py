"""Paint a photo or a folder of photos: first decide what goes where, then do what is missing."""

import os
import re
import sys
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import torch
from tqdm import tqdm

from impasto.images import SAVED_SUFFIXES, list_images, open_picture, save_picture
from impasto.inference import Stylizer

# What PyTorch says on the CPU and on Apple GPUs, where it has no class of its own for it.
_NO_MEMORY = re.compile("allocate memory|out of memory")
FORMATS = ("keep", "png", "jpg", "webp")


@dataclass
class Job:
    """What is to be painted, and how far it has come.

    Args:
        targets: Where to paint to, by picture.
        place: The file or folder that is the result.
        is_folder: Whether a folder was asked for; there, what an earlier run painted can be kept.
        num_painted: Pictures painted in this run.
        num_kept: Pictures that an earlier run had painted.
        num_failed: Pictures that could not be read, painted or saved.
        seconds: Spent painting, reading and writing not counted.
    """

    targets: dict[Path, Path]
    place: Path
    is_folder: bool
    num_painted: int = 0
    num_kept: int = 0
    num_failed: int = 0
    seconds: float = 0.0


def plan_picture(source: Path, output: str | None, style: str) -> Job:
    """Decide where one picture is painted to.

    Args:
        source: A picture file.
        output: A file, or a folder (there is one, or it ends in a slash), or ``None`` for beside
            the picture.
        style: Completes the name where ``output`` gives none.

    Raises:
        ValueError: If ``output`` cannot be saved, or is the picture itself.
    """
    default_name = f"{source.stem}_{style}.png"
    target = Path(output) if output else source.with_name(default_name)
    if output and (target.is_dir() or output.endswith(("/", os.sep))):
        target = target / default_name
    if target.suffix.lower() not in SAVED_SUFFIXES:
        raise ValueError(
            f"output={target} cannot be saved: its suffix must be one of "
            f"{', '.join(sorted(SAVED_SUFFIXES))}."
        )
    if target.exists() and target.samefile(source):
        raise ValueError(f"output={target} is the input itself: give the painting another name.")
    return Job({source: target}, target, is_folder=False)


def plan_folder(source: Path, output: str | None, style: str, suffix_choice: str = "keep") -> Job:
    """Decide where each picture of a folder is painted to: to the same place in another folder.

    Pictures that differ in nothing but their suffix and would become one are told apart by
    keeping it: ``a.jpg`` and ``a.png`` become ``a.jpg.png`` and ``a.png.png``.

    Args:
        source: A folder; all folders in it count, but for the output.
        output: Another folder, or ``None`` for one beside it.
        style: Completes the name where ``output`` is ``None``.
        suffix_choice: One of ``FORMATS``; ``keep`` becomes PNG where a format cannot be saved.

    Raises:
        ValueError: If ``output`` is no folder or is ``source``, there is no picture, or two
            pictures would become one file.
    """
    folder = source.resolve()
    place = Path(output) if output else folder.with_name(f"{folder.name}_{style}")
    if place.exists() and not place.is_dir():
        raise ValueError(
            f"output={place} is a file, but input={source} is a folder: give a folder."
        )
    if place.resolve() == folder:
        raise ValueError(f"output={place} is the input itself: give another folder.")
    pictures = [path.relative_to(source) for path in list_images(source)]
    if place.resolve().is_relative_to(folder):
        inner = place.resolve().relative_to(folder)
        pictures = [path for path in pictures if not path.is_relative_to(inner)]
    if not pictures:
        raise ValueError(f"input={source} holds no pictures, such as JPEG or PNG files.")
    targets = _targets(pictures, suffix_choice)
    return Job({source / p: place / target for p, target in targets.items()}, place, is_folder=True)


def paint(job: Job, stylizer: Stylizer, *, overwrite: bool, quality: int, max_pixels: int) -> None:
    """Paint what a job asks for; pictures that fail are named on stderr and passed over.

    Args:
        job: Counts along, so that it tells the truth however this ends.
        stylizer: Paints.
        overwrite: Whether to paint again what a folder already holds.
        quality: Of JPEG and WebP, 1 to 100.
        max_pixels: Largest width times height opened.

    Raises:
        OSError: If a painting cannot be written, as on a full disk.
    """
    keep = job.is_folder and not overwrite
    missing = {s: target for s, target in job.targets.items() if not (keep and target.exists())}
    job.num_kept = len(job.targets) - len(missing)
    silent = None if job.is_folder else True  # None: a bar where someone watches
    with tqdm(missing.items(), unit="picture", disable=silent, leave=False) as bar:
        for source, target in bar:
            try:
                picture = open_picture(source, max_pixels)
                start = time.perf_counter()
                painted = stylizer(picture)
                job.seconds += time.perf_counter() - start
                save_picture(painted, target, quality)
            except (ValueError, FileNotFoundError, RuntimeError, MemoryError) as error:
                job.num_failed += 1
                bar.write(_failure(source, error), file=sys.stderr)
            else:
                job.num_painted += 1


def _targets(pictures: list[Path], suffix_choice: str) -> dict[Path, Path]:
    def suffix(path: Path) -> str:
        if suffix_choice != "keep":
            return f".{suffix_choice}"
        return path.suffix if path.suffix.lower() in SAVED_SUFFIXES else ".png"

    counts = Counter(path.with_suffix(suffix(path)) for path in pictures)
    targets = {}
    for path in pictures:
        target = path.with_suffix(suffix(path))
        targets[path] = target if counts[target] == 1 else path.with_name(path.name + suffix(path))
    doubled = [target for target, count in Counter(targets.values()).items() if count > 1]
    if doubled:
        raise ValueError(f"Two pictures would both become {doubled[0]}: rename one of them.")
    return targets


def _failure(source: Path, error: Exception) -> str:
    """One line for what can go wrong with a picture; anything else is a bug, and is raised."""
    if isinstance(error, (ValueError, FileNotFoundError)):
        return str(error)
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)) or _NO_MEMORY.search(str(error)):
        return f"{source} is too large for the memory of this device: make it smaller."
    raise error
