"""Measure what painting in tiles changes, and what memory a very large picture takes.

    python scripts/measure_tiles.py NETWORK PHOTO --large 12000 8000

Seams: how much neighbouring pixels of the painting differ across the borders of tiles, over how
much they differ elsewhere: 1 where nothing shows. Memory: of infer.py in a process of its own.
"""

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from impasto.images import load_image, resize_short_side, to_tensor
from impasto.inference import Stylizer, stylizer
from impasto.inference.statistics import Statistics
from impasto.inference.tiling import Canvas, Region, cut, exact_statistics, paint_tiles, sample

ROOT = Path(__file__).parent.parent


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("network", type=Path)
    parser.add_argument("photo", type=Path)
    parser.add_argument("--size", type=int, default=2048, help="shorter side, pixels")
    parser.add_argument("--tile-size", type=int, default=512)
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--large", type=int, nargs=2, metavar=("WIDTH", "HEIGHT"))
    options = parser.parse_args()
    with torch.inference_mode():
        compare(options)
    if options.large:
        paint_large(options)


def compare(options: argparse.Namespace) -> None:
    """Tiles against the whole, with several kinds of statistics."""
    painter = Stylizer.load(options.network, "cpu", options.precision)
    network, tile_size = painter.network, options.tile_size
    photo = resize_short_side(load_image(options.photo), options.size)
    painted = torch.empty_like(photo)

    def write(region: Region, tile: Tensor) -> None:
        cut(painted, region).copy_(tile)

    canvas = Canvas(photo.shape[2], photo.shape[3], lambda region: cut(photo, region), write)
    whole = network(photo)
    exact: list[Statistics] = []
    for _ in exact_statistics(network, canvas, exact, tile_size):
        pass
    for _ in paint_tiles(network, canvas, exact, tile_size):
        pass
    print(f"{photo.shape[-1]} x {photo.shape[-2]} pixels in tiles of {tile_size}")
    tell("tiles against the whole with the same statistics", painted, network(photo, exact))
    print(
        f"seams: {seams(painted, tile_size):.3f}; the whole, there: {seams(whole, tile_size):.3f}"
    )
    tell("with exact statistics, found tile by tile, against its own", painted, whole)
    tell("with those of samples", network(photo, network.measure(sample(canvas))), whole)
    for factor in (2, 4):
        reduced = network.measure(F.avg_pool2d(photo, factor))
        tell(f"with those of a copy reduced {factor} times", network(photo, reduced), whole)


def tell(what: str, painted: Tensor, whole: Tensor) -> None:
    """Print by how many of 255 levels two paintings differ."""
    off = (painted - whole).abs() * 255
    print(f"{what}: {off.max():.2f} levels at most, {off.mean():.3f} on average")


def seams(painted: Tensor, tile_size: int) -> float:
    """Mean difference of neighbours across borders of tiles over that of others nearby.

    Of every sixteenth pair: networks upsample by four and JPEG has blocks of 8, which leave traces
    everywhere.
    """
    across, elsewhere = [], []
    for dim in (2, 3):
        steps = painted.diff(dim=dim).abs().mean(dim=(0, 1, 5 - dim))
        places = torch.arange(1, len(steps) + 1)
        across.append(steps[places % tile_size == 0])
        distance = (places + tile_size // 2) % tile_size - tile_size // 2
        elsewhere.append(steps[(distance != 0) & (distance.abs() <= 64) & (places % 16 == 0)])
    return (torch.cat(across).mean() / torch.cat(elsewhere).mean()).item()


def paint_large(options: argparse.Namespace) -> None:
    """Paint the photo at a very large size by infer.py, and ask the system what that took."""
    width, height = options.large
    with tempfile.TemporaryDirectory() as folder:
        large, target = Path(folder, "large.jpg"), Path(folder, "painted.jpg")
        with Image.open(options.photo) as photo:
            photo.convert("RGB").resize((width, height)).save(large)
        command = [sys.executable, str(ROOT / "infer.py"), f"ckpt={options.network}", "device=cpu"]
        command += [f"input={large}", f"output={target}", f"precision={options.precision}"]
        start = time.perf_counter()
        subprocess.run([*command, f"max_pixels={width * height}"], check=True)
        seconds = time.perf_counter() - start
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
        peak *= 1 if sys.platform == "darwin" else 1024
        Image.MAX_IMAGE_PIXELS = None
        with Image.open(target) as painting:
            right, bottom = (min(side, 4 * stylizer.TILE_SIZE) for side in painting.size)
            shown = to_tensor(painting.crop((0, 0, right, bottom)))
    print(f"{width} x {height}: {seconds:.0f} s, {peak / 2**30:.2f} GiB of memory at most")
    print(f"seams in its upper left: {seams(shown, stylizer.TILE_SIZE):.3f}")


if __name__ == "__main__":
    main()
