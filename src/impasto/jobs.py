"""What is to be painted: which photo or video becomes which file."""

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import chain, count
from pathlib import Path

from impasto.animations import is_animation
from impasto.images import IMAGE_SUFFIXES, SAVED_SUFFIXES, list_images
from impasto.inference.video import VIDEO_SUFFIXES, check_video, choose_suffix, is_camera
from impasto.manifest import MANIFEST_NAME

FORMATS = ("keep", "png", "jpg", "webp")


@dataclass
class Job:
    """Which pictures are to be painted, and how far that has come.

    Args:
        targets: Where to paint to, by picture.
        place: The file or folder that is the result.
        folder: The folder that was asked for, where it was one; there, what an earlier run painted
            can be kept.
        videos: In that folder; they are passed over.
        num_painted: Pictures painted in this run.
        num_kept: Pictures that were there already.
        num_foreign: Of those, files of which the folder's record does not know how they came.
        num_failed: Pictures that could not be read, painted or saved.
        seconds: Spent painting, reading and writing not counted.
        wall_seconds: From the first picture to the last.
    """

    targets: dict[Path, Path]
    place: Path
    folder: Path | None = None
    videos: list[Path] = field(default_factory=list)
    num_painted: int = 0
    num_kept: int = 0
    num_foreign: int = 0
    num_failed: int = 0
    seconds: float = 0.0
    wall_seconds: float = 0.0


@dataclass(frozen=True)
class VideoJob:
    """Which video is to be painted.

    Args:
        source: A file, or a camera such as ``camera:0``.
        target: Where to paint to.
    """

    source: str
    target: Path


def is_video(source: str, output: str | None) -> bool:
    """Tell whether a source is a video, or a camera.

    Args:
        source: As it was asked for; a folder is none, whatever its name.
        output: What it is to become: a video is what a file of an unknown suffix must be, if that
            is one.
    """
    path = Path(source)
    if is_camera(source) or path.is_dir():
        return is_camera(source)
    suffix, becomes_video = path.suffix.lower(), Path(output or "").suffix.lower() in VIDEO_SUFFIXES
    return suffix in VIDEO_SUFFIXES or (becomes_video and suffix not in IMAGE_SUFFIXES)


def plan_video(source: str, output: str | None, style: str, codec: str = "auto") -> VideoJob:
    """Decide where a video is painted to.

    Args:
        source: A video file, or a camera such as ``camera:0``.
        output: A file, or a folder (there is one, or it ends in a slash), or ``None`` for beside
            the video, of a camera in the working folder. A recording that is named here replaces
            no other.
        style: Completes the name where ``output`` gives none.
        codec: One of ``CODECS``; what its container is where ``output`` does not say.

    Raises:
        FileNotFoundError: If there is no such file.
        ImportError: If PyAV is not installed.
        ValueError: If ``source`` is no file or camera, or ``output`` cannot be saved, does not hold
            the codec, or is the video itself.
    """
    if is_camera(source):
        target = _place(output, Path(f"camera_{style}{choose_suffix(codec)}"))
        if target != Path(output or ""):
            target = _unused(target)
    else:
        path = Path(source)
        name = f"{path.stem}_{style}{choose_suffix(codec, path.suffix)}"
        target = _place(output, path.with_name(name))
    check_video(source, target, codec)
    return VideoJob(source, target)


def plan_picture(
    source: Path, output: str | None, style: str, companions: Sequence[Path] = ()
) -> Job:
    """Decide where one picture is painted to.

    Args:
        source: A picture file.
        output: A file, or a folder (there is one, or it ends in a slash), or ``None`` for beside
            the picture.
        style: Completes the name where ``output`` gives none.
        companions: Files, or folders of files, that go with the picture.

    Raises:
        ValueError: If ``output`` cannot be saved, or is the picture itself or one of the others.
    """
    suffix = ".gif" if _stays_gif(source) else ".png"
    target = _place(output, source.with_name(f"{source.stem}_{style}{suffix}"))
    becomes_gif = target.suffix.lower() == ".gif" and is_animation(source)
    if target.suffix.lower() not in SAVED_SUFFIXES and not becomes_gif:
        raise ValueError(
            f"output={target} cannot be saved: its suffix must be one of "
            f"{', '.join(sorted(SAVED_SUFFIXES))}."
        )
    if target.exists() and target.samefile(source):
        raise ValueError(f"output={target} is the input itself: give the painting another name.")
    if target.exists() and any(_is_in(target, other) for other in companions):
        raise ValueError(f"output={target} is there, and goes with the input: give another name.")
    return Job({source: target}, target)


def plan_folder(
    source: Path,
    output: str | None,
    style: str,
    suffix_choice: str = "keep",
    companions: Sequence[Path] = (),
) -> Job:
    """Decide where each picture of a folder is painted to: to the same place in another folder.

    Pictures that differ in nothing but their suffix and would become one are told apart by
    keeping it: ``a.jpg`` and ``a.png`` become ``a.jpg.png`` and ``a.png.png``.

    Args:
        source: A folder; all folders in it count, but for the output and those of earlier runs.
        output: Another folder, or ``None`` for one beside it.
        style: Completes the name where ``output`` is ``None``.
        suffix_choice: One of ``FORMATS``; ``keep`` becomes PNG where a format cannot be saved, or
            is GIF and does not move.
        companions: Files or folders that may lie in ``source``, and are none of the photos.

    Raises:
        ValueError: If ``output`` is no folder or is ``source`` or one of the others, there is no
            picture, or two pictures would become one file.
    """
    folder = source.resolve()
    named = Path(os.path.abspath(source))  # noqa: PTH100 - a link to a folder keeps its own name
    place = Path(output) if output else named.with_name(f"{named.name}_{style}")
    if place.exists() and not place.is_dir():
        raise ValueError(
            f"output={place} is a file, but input={source} is a folder: give a folder."
        )
    if place.resolve() == folder:
        raise ValueError(f"output={place} is the input itself: give another folder.")
    if place.resolve() in [other.resolve() for other in companions]:
        raise ValueError(f"output={place} holds what goes with the input: give another folder.")
    pictures = [path.relative_to(source) for path in list_images(source)]
    videos = _list_videos(source)
    if place.resolve().is_relative_to(folder):
        inner = place.resolve().relative_to(folder)
        pictures = [path for path in pictures if not path.is_relative_to(inner)]
        videos = [path for path in videos if not path.is_relative_to(source / inner)]
    records = (path.relative_to(source) for path in source.rglob(MANIFEST_NAME))
    painted = {path.parent for path in records} - {Path()}  # by us: paintings are no photos
    pictures = [path for path in pictures if painted.isdisjoint(path.parents)]
    for other in companions:
        if not folder.is_relative_to(other.resolve()):
            pictures = [path for path in pictures if not _is_in(source / path, other)]
    if not pictures:
        hint = f" Its videos are painted one by one: input={videos[0]}" if videos else ""
        raise ValueError(f"input={source} holds no pictures, such as JPEG or PNG files.{hint}")
    targets = _targets(source, pictures, suffix_choice)
    paths = {source / path: place / target for path, target in targets.items()}
    return Job(paths, place, folder=source, videos=videos)


def _is_in(path: Path, place: Path) -> bool:
    return path.resolve().is_relative_to(place.resolve())


def _place(output: str | None, default: Path) -> Path:
    """What is asked for, completed by the name of the default where it is a folder."""
    if not output:
        return default
    is_folder = Path(output).is_dir() or output.endswith(("/", os.sep))
    return Path(output, default.name) if is_folder else Path(output)


def _unused(path: Path) -> Path:
    """The path with a number, where there is such a file: a recording cannot be made again."""
    others = (path.with_stem(f"{path.stem}_{number}") for number in count(2))
    return next(other for other in chain([path], others) if not other.exists())


def _list_videos(folder: Path) -> list[Path]:
    """Videos in a folder and below, but for hidden ones, as ``list_images`` finds pictures."""
    found = (path for path in folder.rglob("*") if path.suffix.lower() in VIDEO_SUFFIXES)
    return sorted(
        path
        for path in found
        if path.is_file()
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )


def _targets(folder: Path, pictures: list[Path], suffix_choice: str) -> dict[Path, Path]:
    def suffix_of(path: Path) -> str:
        if suffix_choice != "keep":
            return f".{suffix_choice}"
        is_kept = path.suffix.lower() in SAVED_SUFFIXES or _stays_gif(folder / path)
        return path.suffix if is_kept else ".png"

    suffixes = {path: suffix_of(path) for path in pictures}
    counts = Counter(path.with_suffix(suffix) for path, suffix in suffixes.items())
    targets = {}
    for path, suffix in suffixes.items():
        target = path.with_suffix(suffix)
        targets[path] = target if counts[target] == 1 else path.with_name(path.name + suffix)
    doubled = [target for target, count in Counter(targets.values()).items() if count > 1]
    if doubled:
        raise ValueError(f"Two pictures would both become {doubled[0]}: rename one of them.")
    return targets


def _stays_gif(path: Path) -> bool:
    """A GIF that moves becomes one; 256 colours are too few for what can be PNG."""
    return path.suffix.lower() == ".gif" and is_animation(path)
