"""How steadily style networks paint what moves.

    python scripts/evaluate.py video steady.safetensors --baseline plain.safetensors \
        --photos photos --clip film.mp4

What moved where is known: of photos that a camera pans, zooms, turns or sees through water, with a
little noise, exactly; of films, by optical flow. What a network painted before is moved likewise
and compared with what it paints now, where that was visible before.

A network that paints hardly any strokes is steady, too: see what it has left of detail.
"""

import argparse
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

import report
from evaluate_style import Figures, Network, find_baselines, load_networks, load_photos
from impasto import save_image
from impasto.images import image_grid
from impasto.losses.temporal import warp
from impasto.memory import keep_freed_memory
from impasto.precision import keep_float32
from judging import Painter
from video_motion import KINDS, ROOM, Clip, read_clip, set_in_motion

MOVED = "photos"  # what all moved photos are called together
NUM_TIMED = 15  # frames painted by every network in turn; their median counts
NUM_SHOWN = 4  # frames in the picture
CONTRAST = 4.0  # of the differences in it
COLUMNS = {
    "error": "root mean square, in levels of 255, of what a frame's painting differs from the one "
    "before, moved as the photo moved; where visible, mean over clips",
    "baseline": "the same of the baseline",
    "ratio": "error / baseline",
    "photo": "the same of the frames themselves: noise, interpolation and errors of the flow",
    "detail": "root mean square difference of neighbouring pixels of the paintings, in levels",
    "baseline_detail": "the same of the baseline",
}


@dataclass(frozen=True)
class Marks:
    """What was measured of one clip, in levels of 255; see ``COLUMNS``."""

    error: float
    detail: float


def differences(pictures: Tensor, clip: Clip) -> Tensor:
    """What changed from frame to frame beyond the motion.

    Args:
        pictures: Of the clip's frames, shape ``(T, 3, H, W)``.
        clip: What moved where.

    Returns:
        Shape ``(T - 1, 3, H, W)``, 0 where that is not known.
    """
    return (pictures[1:] - warp(pictures[:-1], clip.positions)) * clip.visible


def measure(pictures: Tensor, clip: Clip) -> Marks:
    """Measure pictures of a clip's frames, RGB in [0, 1], shape ``(T, 3, H, W)``."""
    squares = differences(pictures, clip).square().mean(1).sum()
    across = (pictures[..., 1:] - pictures[..., :-1]).square().mean()
    down = (pictures[..., 1:, :] - pictures[..., :-1, :]).square().mean()
    return Marks(
        error=255 * (squares / clip.visible.sum().clamp_min(1)).sqrt().item(),
        detail=255 * ((across + down) / 2).sqrt().item(),
    )


def paint(painter: Painter, frames: Tensor) -> Tensor:
    """Paint frames one by one, as a video's are."""
    return torch.cat([painter(frame) for frame in frames.split(1)])


def time_frames(painters: Sequence[Painter], frame: Tensor) -> list[float]:
    """Median seconds of each network for one frame, painted in turns."""
    seconds: list[list[float]] = [[] for _ in painters]
    for _ in range(NUM_TIMED):
        for painter, taken in zip(painters, seconds, strict=True):
            started = time.perf_counter()
            painter(frame).sum().item()  # waits for a GPU
            taken.append(time.perf_counter() - started)
    return [statistics.median(taken) for taken in seconds]


def find_clips(options: argparse.Namespace) -> tuple[list[Clip], list[str]]:
    """Film the photos and read the films; and say which photos were skipped."""
    if options.photos is None and not options.clip:
        raise ValueError("Nothing to paint: give --photos FOLDER, --clip VIDEO_OR_FOLDER or both.")
    if options.frames < 2:
        raise ValueError(f"--frames must be at least 2, got {options.frames}.")
    clips: list[Clip] = []
    skipped: list[str] = []
    if options.photos is not None:
        size = round(ROOM * options.size)
        photos, skipped = load_photos(options.photos, options.num_photos, size)
        generator = torch.Generator().manual_seed(options.seed)
        for number, photo in enumerate(photos.split(1)):
            kind = KINDS[number % len(KINDS)]
            clips.append(set_in_motion(photo, kind, options.size, options.frames, generator))
    clips += [read_clip(path, options.frames, options.size) for path in options.clip]
    return clips, skipped


def summarize(clips: Sequence[Clip], marks: Sequence[Marks]) -> dict[str, Marks]:
    """Take the mean over all moved photos, over those of one kind, and over films of one name."""
    groups: dict[str, list[Marks]] = {}
    for clip, mark in zip(clips, marks, strict=True):
        for name in (MOVED, clip.name) if clip.name in KINDS else (clip.name,):
            groups.setdefault(name, []).append(mark)
    return {
        name: Marks(
            statistics.mean(mark.error for mark in found),
            statistics.mean(mark.detail for mark in found),
        )
        for name, found in groups.items()
    }


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what can be asked for."""
    add = parser.add_argument
    add("checkpoints", type=Path, nargs="+", metavar="NETWORK", help="that train.py wrote")
    add("--baseline", type=Path, nargs="+", default=[], help="networks to compare with")
    add("--photos", type=Path, help="folder of photos to set in motion")
    add("--num-photos", type=int, default=24, help="take the first ones only")
    add("--clip", type=Path, nargs="+", default=[], help="videos, or folders of their frames")
    add("--frames", type=int, default=6, help="of each, the first ones only")
    add("--size", type=int, default=256, help="of frames' shorter side, in pixels")
    add("--seed", type=int, default=0, help="of how photos move")
    add("--json", type=Path, help="where to write all figures but times")
    add("--markdown", type=Path, help="where to write the tables")
    add("--picture", type=Path, help="where to show frames, paintings and what flickers in them")


def run(options: argparse.Namespace) -> None:
    """Measure all networks; print tables, write what was asked for."""
    keep_freed_memory()
    torch.backends.cudnn.deterministic = True
    keep_float32()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    networks = load_networks(options.checkpoints, device)
    baselines = find_baselines(networks, load_networks(options.baseline, device))
    clips, skipped = find_clips(options)
    everyone = [*networks, *baselines.values()]
    results: Figures = {
        "made": {
            "photos": sum(clip.name in KINDS for clip in clips),
            "frames": options.frames,
            "size": options.size,
            "seed": options.seed,
            "skipped": skipped,
            "device": device,
            "torch": torch.__version__,
        },
        "networks": compare(networks, baselines, clips),
    }
    seconds = time_frames([network.painter for network in everyone], clips[0].frames[:1].to(device))
    publish(results, dict(zip(everyone, seconds, strict=True)), baselines, options)
    if options.picture:
        # A film if there is one: what moves there is not all of one piece.
        save_image(draw(networks, baselines, clips[-1])[None], options.picture)


def compare(
    networks: Sequence[Network], baselines: dict[str, Network], clips: Sequence[Clip]
) -> list[Figures]:
    """Paint and measure all clips; a row for every network and kind of motion."""
    everyone = [*networks, *baselines.values()]
    photo = summarize(clips, [measure(clip.frames, clip) for clip in clips])
    found = {}
    with tqdm(total=len(everyone) * len(clips), unit="clip", desc="painting") as progress:
        for network in everyone:
            marks = []
            for clip in clips:
                marks.append(measure(paint(network.painter, clip.frames), clip))
                progress.update()
            found[network] = summarize(clips, marks)
    rows = []
    for network in networks:
        for name, mark in found[network].items():
            row: Figures = {"network": str(network.path), "motion": name, "error": mark.error}
            if baselines:
                baseline = baselines[network.style]
                other = found[baseline][name]
                row |= {"baseline": other.error, "ratio": mark.error / other.error}
            row |= {"photo": photo[name].error, "detail": mark.detail}
            if baselines:
                row |= {"baseline_detail": other.detail, "baseline_network": str(baseline.path)}
            rows.append(row)
    return rows


def publish(
    results: Figures,
    seconds: dict[Network, float],
    baselines: dict[str, Network],
    options: argparse.Namespace,
) -> None:
    """Print the tables and what they mean; write them and all figures where asked to."""
    made, rows = results["made"], results["networks"]
    columns = [name for name in COLUMNS if name in rows[0]]
    lines = [
        f"| network | motion | {' | '.join(columns)} |",
        "| --- | --- |" + " ---: |" * len(columns),
    ]
    for row in rows:
        numbers = " | ".join(f"{row[column]:.3f}" for column in columns)
        lines.append(f"| {row['network']} | {row['motion']} | {numbers} |")
    lines += ["", "| network | ms per frame | to the baseline |", "| --- | ---: | ---: |"]
    for network, taken in seconds.items():
        ratio = f"{taken / seconds[baselines[network.style]]:.2f}" if baselines else ""
        lines.append(f"| {network.path} | {1000 * taken:.1f} | {ratio} |")
    lines += ["", *(f"- {column}: {COLUMNS[column]}" for column in columns)]
    lines.append(
        f"- {made['photos']} moved photos and {len(options.clip)} films, up to {made['frames']} "
        f"frames of {made['size']} px each; seed {made['seed']}, torch {made['torch']} on "
        f"{made['device']}"
    )
    lines += [f"- skipped: {reason}" for reason in made["skipped"]]
    report.publish("\n".join(lines) + "\n", results, options.markdown, options.json)


def draw(networks: Sequence[Network], baselines: dict[str, Network], clip: Clip) -> Tensor:
    """Lay out frames in a row; below, for every network, its paintings and their differences."""
    rows = [clip.frames[1:][-NUM_SHOWN:]]
    for network in [*baselines.values(), *networks]:
        painted = paint(network.painter, clip.frames)
        changed = CONTRAST * differences(painted, clip).abs()
        rows += [painted[1:][-NUM_SHOWN:], changed.clamp(0, 1)[-NUM_SHOWN:]]
    return image_grid(rows)
