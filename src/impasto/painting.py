"""Paint what a job asks for: some threads read ahead and save while one paints."""

import errno
import re
import sys
import time
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from impasto.animations import (
    ANIMATED_SUFFIXES,
    Animation,
    is_animation,
    map_frames,
    save_animation,
)
from impasto.filling import Layers, Masks, save_deep
from impasto.huge import is_huge, paint_huge
from impasto.images import open_picture, save_picture
from impasto.inference import Inpainter, Stylizer
from impasto.inference.transfer import bring, fetch, moment, seconds_between
from impasto.interrupts import uninterrupted
from impasto.jobs import Job
from impasto.manifest import Manifest, State, file_stamp

# What PyTorch says on the CPU and on Apple GPUs, where it has no class of its own for it.
_NO_MEMORY = re.compile("allocate memory|out of memory")
# Of one name and no other; any other trouble with writing, as a full disk, ends the run.
_BAD_NAME = {
    *(errno.EEXIST, errno.EILSEQ, errno.EINVAL, errno.EISDIR),
    *(errno.ELOOP, errno.ENAMETOOLONG, errno.ENOENT, errno.ENOTDIR),
}
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
# What is written beside a painting, and left there by whoever is killed.
_LEFTOVER = re.compile(r"\.(.+)\.[0-9a-f]{8}(\.[A-Za-z]+)?")
_LEFTOVER_SECONDS = 60  # unchanged for so long, it is nobody's
_TILE_BAR = "{percentage:3.0f} % |{bar}| {elapsed}<{remaining}"  # of one large picture
# A picture that is not huge; its file's stamp; its hole, or what else a stylizer takes, by name.
_Read = tuple[Image.Image | None, list[int], Tensor | dict[str, Image.Image]]
# Waits for a painting, and tells the seconds that it took.
_Begun = Callable[[], tuple[Image.Image, float]]


def paint(
    job: Job,
    painter: Stylizer | Inpainter,
    *,
    recipe: dict[str, Any],
    overwrite: bool,
    quality: int,
    max_pixels: int,
    workers: int,
    layers: Masks | Layers | None = None,
) -> None:
    """Paint what a job asks for; pictures that fail are named on stderr and passed over.

    A folder keeps a record of its paintings, ``.impasto.jsonl``. What it says was painted from the
    same photo by the same recipe is kept, and so is what it does not know.

    Args:
        job: Counts along, so that it tells the truth however this ends.
        painter: Paints, in this thread only.
        recipe: What decides how a painting looks: names and plain values.
        overwrite: Whether to paint again what a folder already holds.
        quality: Of JPEG and WebP, 1 to 100.
        max_pixels: Largest width times height opened; of animations, of all frames together.
        workers: Threads that read and save. As many pictures are held that wait to be painted, and
            as many that wait to be saved.
        layers: What an ``Inpainter`` is to fill, or where a ``Stylizer`` is to paint what; then
            huge pictures are held in memory too.

    Raises:
        OSError: If a painting cannot be written, as on a full disk.
    """
    stamp = layers.stamp if layers else file_stamp
    manifest = Manifest(job.folder, job.place, recipe, stamp) if job.folder else None
    missing = _missing(job, None if overwrite else manifest)
    sweep(missing.values())
    silent = None if job.folder else True  # None: a bar where someone watches
    start = time.perf_counter()
    try:
        with (
            warnings.catch_warnings(),
            tqdm(total=len(missing), unit="picture", disable=silent, leave=False) as bar,
        ):
            warnings.simplefilter("ignore")  # Pillow's, of metadata that is odd but harmless
            run = _Run(job, painter, bar, manifest, quality, max_pixels, workers, layers)
            run.through(missing)
    finally:
        job.wall_seconds = time.perf_counter() - start


def one_line(text: str) -> str:
    r"""Make a text printable on one line: file names may hold anything.

    Args:
        text: Any text; a line break becomes ``\n``, a byte that is no text such as ``\udc80``.
    """
    return _UNPRINTABLE.sub(lambda found: ascii(found[0])[1:-1], text)


def explain_failure(source: Path | str, error: Exception) -> str:
    """Say in one line what went wrong with a picture or a video; else it is a bug, and is raised.

    Args:
        source: What was to be painted.
        error: What came of it.
    """
    if isinstance(error, (ValueError, FileNotFoundError)):
        return str(error)
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)) or _NO_MEMORY.search(str(error)):
        return f"{source} is too large for the memory of this device: make it smaller."
    raise error


@dataclass
class _Run:
    """The way of pictures through reading, painting and saving.

    Pictures are painted one at a time, in the order of their names: a batch is not faster on CPUs,
    and nothing here is compiled for a size that one order would keep better than another.
    """

    job: Job
    painter: Stylizer | Inpainter
    bar: "tqdm[Any]"
    manifest: Manifest | None
    quality: int
    max_pixels: int
    workers: int
    layers: Masks | Layers | None
    saves: deque[tuple[Path, "Future[float]"]] = field(default_factory=deque)

    def through(self, targets: dict[Path, Path]) -> None:
        pool = ThreadPoolExecutor(self.workers)
        try:
            for source, target, reading in self._ahead(pool, targets):
                self._paint(pool, source, target, reading)
                while len(self.saves) > self.workers:
                    self._settle(*self.saves.popleft())
            while self.saves:
                self._settle(*self.saves.popleft())
        finally:  # after Ctrl-C or on a full disk: what is being saved is finished, no more begun
            with uninterrupted():
                pool.shutdown(cancel_futures=True)
            well = [future.result() for _, future in self.saves if _is_well(future)]
            self.job.num_painted += len(well)
            self.job.seconds += sum(well)

    def _ahead(
        self, pool: ThreadPoolExecutor, targets: dict[Path, Path]
    ) -> Iterator[tuple[Path, Path, "Future[_Read]"]]:
        """Yield pictures in order, while those after them are being read."""
        reading: deque[tuple[Path, Path, Future[_Read]]] = deque()
        for source, target in targets.items():
            reading.append((source, target, pool.submit(self._read, source)))
            if len(reading) > self.workers:
                yield reading.popleft()
        while reading:
            yield reading.popleft()

    def _read(self, source: Path) -> _Read:
        # Before it is read: what changes while it is, shows.
        stamp = self.layers.stamp(source) if self.layers else file_stamp(source)
        if isinstance(self.layers, Masks):
            picture, hole = self.layers.open(source)
            return picture, stamp, hole
        if self.layers is None and is_huge(source, self.max_pixels):
            return None, stamp, {}
        picture = open_picture(source, self.max_pixels)
        return picture, stamp, self.layers.open(source, picture.size) if self.layers else {}

    def _paint(
        self,
        pool: ThreadPoolExecutor,
        source: Path,
        target: Path,
        reading: "Future[_Read]",
    ) -> None:
        painted: Animation | Image.Image | _Begun
        with self._failures_of(source):
            picture, stamp, layers = reading.result()
            if picture is None:
                self._paint_huge(source, stamp, target)
                return
            has_more = picture.info.get("has_more_frames", False)
            can_move = has_more and target.suffix.lower() in ANIMATED_SUFFIXES
            if isinstance(layers, Tensor):
                painted = self._fill(source, picture, layers)
            else:
                if "mask" in layers and layers["mask"].getextrema() == (0, 0):
                    self._say(f"Nothing is painted in {source} by its mask: it is saved as it was.")
                stylize = partial(self._stylize, layers=layers)
                if can_move and is_animation(source):
                    painted = map_frames(source, stylize, self.max_pixels)
                else:
                    painted = stylize(picture) if layers else self._begin(picture)
            saving = pool.submit(self._save, painted, source, stamp, target)
            self.saves.append((source, saving))
            if has_more and not isinstance(painted, Animation):
                self._say(f"{source} has several frames, {target.name} only the first of them.")

    def _begin(self, picture: Image.Image) -> Image.Image | _Begun:
        """Paint; a GPU does so while other pictures are on their way, if they are plain."""
        assert not isinstance(self.painter, Inpainter)
        is_plain = picture.mode == "RGB" and not picture.has_transparency_data
        if not (is_plain and self.painter.fits(picture.height, picture.width)):
            return self._stylize(picture, {})
        device = self.painter.device
        photo = bring(np.array(picture), device)
        start = moment(device)
        painted = self.painter(photo)
        end = moment(device)
        pixels = fetch(painted)
        return lambda: (Image.fromarray(pixels()), seconds_between(start, end))

    def _stylize(self, picture: Image.Image, layers: dict[str, Image.Image]) -> Image.Image:
        assert not isinstance(self.painter, Inpainter)
        with self._timed() as progress:
            return self.painter(picture, progress, **layers)

    def _fill(self, source: Path, picture: Image.Image, mask: Tensor) -> Image.Image:
        assert isinstance(self.painter, Inpainter)
        if not mask.any():
            self._say(f"Nothing is missing in {source} by its mask: it is saved as it was.")
        if picture.info.get("is_stretched"):
            self._say(f"The mask of {source} has other proportions, and is stretched over it.")
        with self._timed() as progress:
            return self.painter(picture, mask, progress)

    def _paint_huge(self, source: Path, stamp: list[int], target: Path) -> None:
        assert not isinstance(self.painter, Inpainter)
        with self._timed() as progress:
            paint_huge(source, target, self.painter, self.quality, progress)
        if self.manifest:
            self.manifest.record(source, stamp, target)
        self.job.num_painted += 1
        self.bar.update()

    @contextmanager
    def _timed(self) -> Iterator[Callable[[float], object]]:
        """Count the seconds; show how far a picture has come that takes long."""
        start = time.perf_counter()
        with tqdm(total=1, bar_format=_TILE_BAR, delay=1, disable=None, leave=False) as bar:
            yield lambda share: bar.update(share - bar.n)
        self.job.seconds += time.perf_counter() - start

    def _save(
        self,
        painted: Animation | Image.Image | _Begun,
        source: Path,
        stamp: list[int],
        target: Path,
    ) -> float:
        """Save, and tell how many seconds of painting were not counted yet."""
        seconds = 0.0
        if not isinstance(painted, (Animation, Image.Image)):
            painted, seconds = painted()
        try:
            if isinstance(painted, Animation):
                save_animation(painted, target, self.quality)
            elif painted.mode.startswith("I;16"):
                save_deep(painted, target)
            else:
                save_picture(painted, target, self.quality)
            if self.manifest:
                self.manifest.record(source, stamp, target)
        except OSError as error:
            if error.errno not in _BAD_NAME:
                raise
            raise ValueError(f"{target} cannot be saved: {error.strerror}.") from None
        return seconds

    def _settle(self, source: Path, saving: "Future[float]") -> None:
        with self._failures_of(source):
            self.job.seconds += saving.result()
            self.job.num_painted += 1
            self.bar.update()

    @contextmanager
    def _failures_of(self, source: Path) -> Iterator[None]:
        try:
            yield
        except (ValueError, FileNotFoundError, RuntimeError, MemoryError) as error:
            self.job.num_failed += 1
            self.bar.update()
            self._say(explain_failure(source, error))

    def _say(self, text: str) -> None:
        self.bar.write(one_line(text), file=sys.stderr)


def _missing(job: Job, manifest: Manifest | None) -> dict[Path, Path]:
    """Find what is to be painted; without a manifest that is everything."""
    if manifest is None:
        return job.targets
    states = {source: manifest.state(source, target) for source, target in job.targets.items()}
    missing = {s: job.targets[s] for s in states if states[s] in (State.MISSING, State.STALE)}
    job.num_kept = len(job.targets) - len(missing)
    job.num_foreign = sum(state is State.FOREIGN for state in states.values())
    return missing


def sweep(targets: Iterable[Path]) -> None:
    """Remove what a run that was killed had begun to write of the same paintings.

    Args:
        targets: Where to paint to.
    """
    beginnings = {(target.parent, target.name[:40]) for target in targets}
    for folder in {folder for folder, _ in beginnings if folder.is_dir()}:
        for path in folder.iterdir():
            match = _LEFTOVER.fullmatch(path.name)
            if match and (folder, match[1]) in beginnings:
                with suppress(OSError):  # another run is faster, or may not be disturbed
                    if time.time() - path.lstat().st_mtime > _LEFTOVER_SECONDS:
                        path.unlink()


def _is_well(future: "Future[float]") -> bool:
    return future.done() and not future.cancelled() and future.exception() is None
