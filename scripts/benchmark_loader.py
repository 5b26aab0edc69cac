"""Photos per second out of a folder, and of JPEG and raw shards of it, against the plain way."""

import argparse
import itertools
import json
import logging
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from impasto.data import FolderPhotos, PreparedPhotos
from impasto.data.batches import PhotoSource, default_num_workers
from impasto.data.preparation import Shrinking, make_shards, plan_paths
from impasto.data.scenes import paint_scene
from impasto.memory import keep_freed_memory

IMAGE_SIZE = 256
BATCH_SIZE = 4
PLAIN, DECODING = "plain", "decoding alone"
ENCODINGS = {"prepared": Shrinking(), "raw": Shrinking(quality=None)}
SECONDS = 1.0  # a single measurement, about
KINDS = {"COCO-sized": (640, 480, 48), "camera-sized": (4000, 3000, 6)}  # width, height, photos

Measure = Callable[[], float]
"""Runs one contender for a while and tells its images per second."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what can be asked for."""
    parser.add_argument("--path", type=Path, help="folder of photos; without, some are generated")
    parser.add_argument("--photos", type=int, default=200, help="most photos of that folder")
    parser.add_argument("--repeats", type=int, default=7, help="measurements of each contender")
    parser.add_argument("--json", type=Path, help="where to write the figures")


def run(arguments: argparse.Namespace) -> None:
    """Compare plain loading with ours, taking turns, and print images per second."""
    torch.set_num_threads(1)  # as in a worker
    keep_freed_memory()  # as in training
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    if arguments.path:
        folder = arguments.path
        results = {str(folder): compare(folder, arguments.photos, arguments.repeats)}
        print_figures(str(folder), results[str(folder)])
    else:
        results = {}
        for kind, (width, height, count) in KINDS.items():
            with tempfile.TemporaryDirectory() as name:
                write_photos(Path(name), width, height, count)
                title = f"{kind} {width}x{height}"
                results[title] = compare(Path(name), count, arguments.repeats)
            print_figures(title, results[title])
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=2) + "\n")


def write_photos(folder: Path, width: int, height: int, count: int) -> None:
    """Write generated scenes with a camera's noise as JPEG of quality 90."""
    rng = np.random.default_rng(0)
    for number in range(count):
        scene = Image.fromarray(paint_scene(rng, 640)).resize((width, width))
        scene = scene.crop((0, 0, width, height))
        noise = rng.standard_normal((height, width, 3), dtype=np.float32) * 4
        levels = (np.asarray(scene) + noise).clip(0, 255).astype(np.uint8)
        Image.fromarray(levels).save(folder / f"{number}.jpg", quality=90)


def compare(folder: Path, count: int, repeats: int) -> dict[str, dict[str, list[float]]]:
    """Measure every contender several times, in turn, so that other load hits all alike.

    Args:
        folder: Of photos.
        count: Most photos to use.
        repeats: Measurements of each contender.

    Returns:
        By contender, ``images_per_second`` and ``times_plain``, one figure per repeat each.
    """
    photos = FolderPhotos(folder, IMAGE_SIZE)
    paths = [path for path in photos.train.paths[:count] if isinstance(path, Path)]
    photos.train.paths = paths
    contenders = {PLAIN: measure_plain(paths, load_plainly), DECODING: measure_plain(paths, decode)}
    with tempfile.TemporaryDirectory() as name:
        sources: dict[str, PhotoSource] = {"folder": photos}
        for encoding, shrinking in ENCODINGS.items():
            shards, plans = Path(name, encoding), plan_paths(paths, shrinking)
            report = make_shards(shards, plans, shrinking, num_workers=0, quiet=True)
            print(
                f"Shards, {encoding}: {report.num_bytes / report.num_photos / 1e3:.1f} kB a photo"
            )
            sources[encoding] = PreparedPhotos(shards, IMAGE_SIZE)
        for num_workers in (0, default_num_workers()):
            for source, made in sources.items():
                contenders[f"{source}, {num_workers} workers"] = measure_ours(made, num_workers)
        speeds: dict[str, list[float]] = {name: [] for name in contenders}
        for _ in range(repeats):
            for contender, measure in contenders.items():
                speeds[contender].append(measure())
    return {
        name: {
            "images_per_second": own,
            "times_plain": [a / b for a, b in zip(own, speeds[PLAIN], strict=True)],
        }
        for name, own in speeds.items()
    }


def measure_plain(paths: Sequence[Path], load: Callable[[Path], object]) -> Measure:
    """Load photos one by one in this process."""
    endless = itertools.cycle(paths)

    def measure() -> float:
        return _speed((load(path) for path in endless), 1, time.process_time)

    return measure


def measure_ours(photos: PhotoSource, num_workers: int) -> Measure:
    """Load batches through the data module, up to float32 in [0, 1]."""
    # Here, since it takes seconds to import, in every process of the other benchmarks too.
    import pytorch_lightning as pl

    from impasto.data.module import PREFETCHED_BATCHES, ImageDataModule

    data = ImageDataModule(lambda: photos, BATCH_SIZE, num_workers)
    data.trainer = pl.Trainer(
        accelerator="cpu", max_steps=10**6, logger=False, enable_checkpointing=False
    )
    batches = iter(data.train_dataloader())
    levels = (data.on_before_batch_transfer(batch, 0) for batch in batches)
    images = (torch.as_tensor(data.on_after_batch_transfer(batch, 0)) for batch in levels)

    def measure() -> float:
        # What the workers had prepared while the others were measured does not count.
        for _ in range(2 * num_workers * PREFETCHED_BATCHES):
            next(images)
        # In this process seconds of its core count, whatever else the machine does.
        clock = time.perf_counter if num_workers else time.process_time
        return _speed(images, BATCH_SIZE, clock)

    return measure


def load_plainly(path: Path) -> Tensor:
    """The usual way: decode all, convert, resize, crop the middle, to float, shape (3, S, S)."""
    with Image.open(path) as file:
        picture = file.convert("RGB")
    scale = IMAGE_SIZE / min(picture.size)
    width, height = (round(side * scale) for side in picture.size)
    picture = picture.resize((width, height), Image.Resampling.BILINEAR)
    left, top = (width - IMAGE_SIZE) // 2, (height - IMAGE_SIZE) // 2
    picture = picture.crop((left, top, left + IMAGE_SIZE, top + IMAGE_SIZE))
    levels = torch.from_numpy(np.asarray(picture, np.float32) / 255)
    return levels.permute(2, 0, 1).contiguous()


def decode(path: Path) -> None:
    """What the plain way begins with: a bound for all that decode at full size."""
    with Image.open(path) as file:
        file.load()


def print_figures(title: str, figures: dict[str, dict[str, list[float]]]) -> None:
    """Print medians, with the least and the most."""
    print(f"{title} JPEG to {IMAGE_SIZE} x {IMAGE_SIZE}, images per second (least to most),")
    print("without workers of one core's time, with workers of the whole machine's")
    for name, figure in figures.items():
        speeds, ratios = figure["images_per_second"], figure["times_plain"]
        print(
            f"  {name:20} {statistics.median(speeds):7.0f} ({min(speeds):.0f} to {max(speeds):.0f})"
            f"   {statistics.median(ratios):5.2f} x plain ({min(ratios):.2f} to {max(ratios):.2f})"
        )


def _speed(images: Iterator[object], size: int, clock: Callable[[], float]) -> float:
    """Images per second over about SECONDS, of an endless iterator of batches of a size."""
    started, count = clock(), 0
    while clock() - started < SECONDS:
        next(images)
        count += size
    return count / (clock() - started)
