"""Measure how much a network's videos flicker, and what smoothing does to that.

    python scripts/measure_flicker.py checkpoints/starry_night.safetensors clip.mp4 --frames 24

prints a Markdown table, in levels of 255. Flicker: how much the painting changes from one frame to
the next where the photo stands still. Ghosting: how far smoothing takes the painting from what the
network paints where the photo changes a lot; both are lower for better videos. Where a clip has no
such places, the table says nan.

It does not know what moves where: where the camera pans, hardly a pixel stands still.
"""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice, pairwise
from pathlib import Path

import torch
from torch import Tensor

from impasto import Stylizer, load_image, save_image
from impasto.images import image_grid, list_images, resize_short_side
from impasto.inference.video import Smoother

STILL = 2 / 255  # largest change of any colour of a pixel that stands still
MOVING = 20 / 255  # smallest change of one that moves
NUM_SHOWN = 4  # frames in the grid


@dataclass(frozen=True)
class Marks:
    """What was measured of one smoothing, in levels of 255."""

    smooth: float
    flicker: float
    photo_flicker: float
    ghosting: float


def read_frames(path: Path, num_frames: int, size: int) -> list[Tensor]:
    """Read the first frames of a clip.

    Args:
        path: A video, or a folder of pictures in the order of their names.
        num_frames: How many, at most.
        size: Pixels of the shorter side.

    Returns:
        RGB in [0, 1], each of shape ``(1, 3, H, W)``, in steps of 1/255.

    Raises:
        ValueError: If there are less than two.
    """
    opened = map(load_image, list_images(path)) if path.is_dir() else _decoded(path)
    frames = [
        (resize_short_side(frame, size).clamp(0, 1) * 255).round() / 255
        for frame in islice(opened, num_frames)
    ]
    if len(frames) < 2:
        raise ValueError(f"{path} has {len(frames)} frames: flicker needs two.")
    return frames


def _decoded(path: Path) -> Iterator[Tensor]:
    import av

    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            yield torch.from_numpy(frame.to_ndarray(format="rgb24")).permute(2, 0, 1)[None] / 255


def smoothed(photos: list[Tensor], paintings: list[Tensor], smooth: float) -> list[Tensor]:
    """Smooth paintings as a video's are.

    Args:
        photos: RGB in [0, 1], each of shape ``(1, 3, H, W)``.
        paintings: Of these photos, alike.
        smooth: From 0 to below 1.

    Returns:
        Paintings alike, in steps of 1/255.
    """
    smoother = Smoother(smooth)
    return [
        smoother(_levels(photo), _levels(painting)) / 255
        for photo, painting in zip(photos, paintings, strict=True)
    ]


def measure(
    photos: list[Tensor], plain: list[Tensor], paintings: list[Tensor], smooth: float
) -> Marks:
    """Measure a clip.

    Args:
        photos: RGB in [0, 1], each of shape ``(1, 3, H, W)``.
        plain: What the network paints, alike.
        paintings: The same smoothed.
        smooth: How much, to keep with the marks.
    """
    changes = torch.cat([_change(*pair) for pair in pairwise(photos)])
    still, moving = changes < STILL, changes > MOVING
    flicker = torch.cat([(b - a).abs().mean(1) for a, b in pairwise(paintings)])
    photo_flicker = torch.cat([(b - a).abs().mean(1) for a, b in pairwise(photos)])
    distance = torch.cat([(b - a).abs().mean(1) for a, b in zip(plain, paintings, strict=True)])
    return Marks(
        smooth=smooth,
        flicker=255 * float(flicker[still].mean()),
        photo_flicker=255 * float(photo_flicker[still].mean()),
        ghosting=255 * float(distance[1:][moving].mean()),
    )


def table(marks: list[Marks]) -> str:
    """Markdown, a row for every smoothing."""
    lines = ["| smooth | flicker | of the photo | ghosting |", "| ---: | ---: | ---: | ---: |"]
    lines += [
        f"| {m.smooth:g} | {m.flicker:.2f} | {m.photo_flicker:.2f} | {m.ghosting:.2f} |"
        for m in marks
    ]
    return "\n".join(lines)


def _levels(image: Tensor) -> Tensor:
    return (image.clamp(0, 1) * 255).round().to(torch.uint8)


def _change(before: Tensor, after: Tensor) -> Tensor:
    """The largest change of any colour, shape ``(1, H, W)``, in [0, 1]."""
    return (after - before).abs().amax(1)


def main() -> None:
    """Paint, smooth and measure."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("network", type=Path)
    parser.add_argument("clip", type=Path, help="a video, or a folder of pictures")
    parser.add_argument("--smooth", type=float, nargs="+", default=[0.0, 0.3, 0.6, 0.9])
    parser.add_argument("--frames", type=int, default=12)
    parser.add_argument("--size", type=int, default=256, help="of the shorter side, in pixels")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--grid", type=Path, help="photos, and below them a row for each --smooth")
    options = parser.parse_args()
    stylizer = Stylizer.load(options.network, device=options.device)
    photos = read_frames(options.clip, options.frames, options.size)
    plain = [_levels(stylizer(photo)) / 255 for photo in photos]
    results = [smoothed(photos, plain, smooth) for smooth in options.smooth]
    marks = [measure(photos, plain, r, s) for r, s in zip(results, options.smooth, strict=True)]
    changes = torch.cat([_change(*pair) for pair in pairwise(photos)])
    print(table(marks))
    still, moving = (float(part.float().mean()) for part in (changes < STILL, changes > MOVING))
    print(f"\n{len(photos)} frames; {still:.0%} of the pixels stand still, {moving:.0%} move.")
    if options.grid:
        rows = [torch.cat(row[-NUM_SHOWN:]) for row in (photos, *results)]
        save_image(image_grid(rows)[None], options.grid)


if __name__ == "__main__":
    main()
