"""Paint a video: it is read, painted and written at the same time."""

import contextlib
import importlib.util
import os
import secrets
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import torch
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from impasto.images import DEFAULT_MAX_PIXELS, DEFAULT_QUALITY
from impasto.inference.coverage import lay_on
from impasto.inference.regions import Layout, to_shares
from impasto.inference.stylizer import Stylizer
from impasto.inference.transfer import bring, fetch, moment, seconds_between
from impasto.inference.video.camera import is_camera
from impasto.inference.video.codecs import choose_codec
from impasto.inference.video.film import Film
from impasto.inference.video.frame import Frame, Sound
from impasto.inference.video.smoother import Smoother
from impasto.interrupts import uninterrupted

if TYPE_CHECKING:
    from impasto.inference.video.sink import Sink

NUM_AHEAD = 4  # frames that wait before and behind the network, at most
T = TypeVar("T")
Cover = Callable[[tuple[int, int]], Image.Image]  # by width and height, in pixels
Arrange = Callable[[tuple[int, int]], Layout[Tensor]]  # likewise


def paint_video(
    source: Path | str,
    target: Path,
    stylizer: Stylizer,
    film: Film,
    *,
    codec: str = "auto",
    quality: int = DEFAULT_QUALITY,
    smooth: float = 0.0,
    max_pixels: int = DEFAULT_MAX_PIXELS,
    cover: Cover | None = None,
    arrange: Arrange | None = None,
) -> None:
    """Paint a video, or what a camera sees until Ctrl-C.

    Frames keep their times, also where these are irregular. Matroska and WebM round them to
    milliseconds, and move all of a file whose sound runs ahead, as AAC does by 21 ms, to after 0; a
    file that starts late, as recorded television does, starts at 0. Sound is
    copied where the container takes its codec, else encoded again as Opus or AAC (in mono or
    stereo), and ``film.notes`` says so; subtitles, chapters and metadata are left out. Frames that
    are rotated or mirrored when shown are turned first and written upright. Colours keep their
    matrix and primaries, in limited range and 8 bits; HDR (PQ and HLG) and BT.2020 become BT.709,
    whose white is HDR's diffuse white: highlights above it are clipped. Interlaced frames are
    painted as they are.

    Nobody sees half a file: it grows under a hidden name and is moved when it is complete. Ctrl-C
    completes what has been painted and keeps it as ``NAME.partial.SUFFIX``, or, from a camera, as
    ``target`` itself; any other failure leaves nothing.

    Args:
        source: A file that FFmpeg reads, or ``camera:0``, ``camera:1``, ...
        target: Where to; its suffix is one of ``SAVED_VIDEO_SUFFIXES``, missing folders are made.
        stylizer: Maps frames, uint8, shape ``(1, 3, H, W)``, to the same painted.
        film: Counts along.
        codec: One of ``CODECS``.
        quality: 1 to 100; of ProRes it chooses the profile.
        smooth: Against flicker, from 0 (off) to below 1; see ``Smoother``.
        max_pixels: Largest width times height of a frame; asked before anything is decoded.
        cover: Gives a mask of one size for all frames: a picture of mode L, from 0 where they stay
            as they are to 255 where they are painted.
        arrange: Gives the stylizer's layout for all frames, where it has several paintings to lay
            on each other.

    Raises:
        FileNotFoundError: If there is no such file.
        ImportError: If PyAV is not installed.
        KeyboardInterrupt: At Ctrl-C, after what was painted is saved; not from a camera.
        OSError: If the video cannot be written.
        ValueError: If ``source`` is no video that can be read, an argument is not allowed, or the
            codec cannot hold frames of this size.
    """
    check_video(source, target, codec)
    if not 1 <= quality <= 100:
        raise ValueError(f"quality must be from 1 to 100, got {quality}.")
    smoother = Smoother(smooth)
    # Here, since they load PyAV, which not everyone has who paints pictures.
    from impasto.inference.video.sink import Sink
    from impasto.inference.video.source import Source

    with (
        contextlib.closing(Source(source, max_pixels, target.suffix.lower(), film)) as opened,
        contextlib.closing(opened.items()) as items,
    ):
        held, first = _first_frame(items, source)
        _note(first, film)
        target.parent.mkdir(parents=True, exist_ok=True)
        # Cut, since names end at 255 bytes.
        beside = target.with_name(f".{target.name[:40]}.{secrets.token_hex(4)}")
        try:
            sink = Sink(beside, target, first, opened, film, codec=codec, quality=quality)
            height, width = first.pixels.shape[:2]
            device = getattr(stylizer, "device", torch.device("cpu"))  # any function will do
            mask = to_shares(cover((width, height))).to(device) if cover else None
            if arrange is None:
                stylize: Callable[[Tensor], Tensor] = stylizer
            else:
                stylize = partial(stylizer.lay_out, layout=arrange((width, height)))
            paint_frame = partial(
                _painted,
                device=device,
                stylize=stylize,
                smoother=smoother,
                film=film,
                mask=mask,
            )
            _paint(chain(held, items), paint_frame, sink, opened.num_frames)
            _keep(beside, target, film)
            opened.note_early_end()
        except KeyboardInterrupt:
            if film.num_frames and sink.is_complete and beside.exists():
                with uninterrupted():
                    _keep(beside, target if opened.is_camera else _partial(target), film)
                if opened.is_camera:
                    return
            raise
        finally:
            beside.unlink(missing_ok=True)


def check_video(source: Path | str, target: Path, codec: str) -> None:
    """Refuse what cannot be painted, before anything is opened.

    Args:
        source: A file, or ``camera:0``, ``camera:1``, ...
        target: Where to.
        codec: One of ``CODECS``.

    Raises:
        FileNotFoundError: If there is no such file.
        ImportError: If PyAV is not installed.
        ValueError: If ``source`` is no file or camera, or ``target`` cannot hold the codec or is
            ``source`` itself.
    """
    if importlib.util.find_spec("av") is None:
        raise ImportError('Videos need PyAV, which is not installed: pip install "impasto[video]"')
    choose_codec(codec, target)
    if is_camera(source):
        return
    path = Path(source)
    if not path.exists():
        raise FileNotFoundError(f"No video at {path}.")
    if not path.is_file():
        raise ValueError(f"{path} is no file.")  # opening a pipe would wait for ever
    if any(place.exists() and place.samefile(path) for place in (target, _partial(target))):
        raise ValueError(f"{target} is the video itself: give the painting another name.")


def _partial(target: Path) -> Path:
    """Where what was painted until Ctrl-C is kept."""
    return target.with_suffix(f".partial{target.suffix}")


def _first_frame(
    items: Iterator[Frame | Sound], source: Path | str
) -> tuple[list[Frame | Sound], Frame]:
    """Everything up to the first frame, which tells what the sink has to be like."""
    held = []
    for item in items:
        held.append(item)
        if isinstance(item, Frame):
            return held, item
    raise ValueError(
        f"{source} has no frame that can be decoded: it is empty or damaged, or its frames exceed "
        "max_pixels."  # with this limit, FFmpeg does not find out the size of some codecs
    )


def _note(first: Frame, film: Film) -> None:
    if first.is_interlaced:
        film.notes.append("The video is interlaced: its frames are painted as they are.")
    if first.is_wide:
        film.notes.append("The video has HDR or wide colours: they become BT.709.")


def _paint(
    items: Iterable[Frame | Sound],
    paint_frame: Callable[[Frame], Callable[[], Frame]],
    sink: "Sink",
    total: int | None,
) -> None:
    """Read, paint and write at the same time; at Ctrl-C, the sink is completed nevertheless."""
    bar = tqdm(total=total, unit="frame", disable=None, leave=False)  # where someone watches
    with bar, ThreadPoolExecutor(1) as writer:
        written: deque[Future[None]] = deque()
        try:
            with contextlib.closing(_ahead(iter(items))) as coming:
                for item in coming:
                    if isinstance(item, Frame):
                        written.append(writer.submit(_write_frame, sink, paint_frame(item)))
                        bar.update()
                    else:
                        written.append(writer.submit(sink.write, item))
                    while len(written) > NUM_AHEAD:
                        written.popleft().result()
            _drain(written, sink)
        except KeyboardInterrupt:
            with uninterrupted():
                _drain(written, sink)
            raise
        except BaseException:
            writer.shutdown(cancel_futures=True)
            sink.abandon()
            raise


def _painted(
    frame: Frame,
    device: torch.device,
    stylize: Callable[[Tensor], Tensor],
    smoother: Smoother,
    film: Film,
    mask: Tensor | None,
) -> Callable[[], Frame]:
    """Paint a frame; on a GPU that is only begun, and what is returned waits for it."""
    photo = bring(frame.pixels, device)
    start = moment(device)
    painted = stylize(photo)
    end = moment(device)
    film.num_frames += 1
    painted = smoother(photo, painted)
    if mask is not None:  # after smoothing, which would blur what moves in the photo
        painted = lay_on(photo, painted, mask)
    pixels = fetch(painted)

    def finished() -> Frame:
        film.seconds += seconds_between(start, end)
        return replace(frame, pixels=pixels())

    return finished


def _write_frame(sink: "Sink", painted: Callable[[], Frame]) -> None:
    sink.write(painted())


def _drain(written: deque[Future[None]], sink: "Sink") -> None:
    while written:
        written.popleft().result()
    sink.complete()


def _ahead(items: Iterator[T]) -> Generator[T, None, None]:
    """Run an iterator in a thread of its own, a few items ahead."""
    with ThreadPoolExecutor(1) as reader:
        coming = deque(reader.submit(next, items, None) for _ in range(NUM_AHEAD))
        try:
            while (item := coming.popleft().result()) is not None:
                coming.append(reader.submit(next, items, None))
                yield item
        finally:
            reader.shutdown(cancel_futures=True)


def _keep(beside: Path, place: Path, film: Film) -> None:
    with beside.open("rb+") as file:
        os.fsync(file.fileno())
    beside.replace(place)
    film.saved = place
