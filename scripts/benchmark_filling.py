"""Seconds to fill a hole, ours against classical ways, and of a whole fresh process of infer.py.

All fill the middle quarter of the same picture, in turns. Where OpenCV, SciPy or scikit-image is
not installed, what needs it is left out.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

import classical_fills
from impasto.data.sample import Scenes
from impasto.inference import Inpainter
from impasto.memory import keep_freed_memory

ROOT = Path(__file__).parent.parent
CKPT = ROOT / "checkpoints" / "inpainting.safetensors"
BASELINE = "harmonic"
PROCESS, IMPORT = "infer.py, whole process", "of which importing PyTorch"

Fill = Callable[[], object]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of this benchmark."""
    parser.add_argument("--ckpt", type=Path, default=CKPT)
    parser.add_argument("--photo", type=Path, help="made square; default: a generated scene")
    parser.add_argument("--sizes", nargs="+", type=int, default=(256, 1024), help="pixels a side")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--only", nargs="+", help="of the rows, besides ours")
    parser.add_argument("--json", type=Path, help="where to write the figures")


def run(options: argparse.Namespace) -> None:
    """Measure and print."""
    keep_freed_memory()  # as in infer.py
    rows = []
    for size in options.sizes:
        with tempfile.TemporaryDirectory() as folder:
            rows += compare(size, options, Path(folder))
    print(table(rows))
    if options.json:
        options.json.write_text(json.dumps({"rows": rows}, indent=2) + "\n")


def compare(size: int, options: argparse.Namespace, folder: Path) -> list[dict[str, Any]]:
    """Measure all ways at one size."""
    picture, mask = hole(options.photo, size)
    ways = fresh_processes(options.ckpt, picture, mask, folder) | classics(picture, mask)
    ways = {name: fill for name, fill in ways.items() if not options.only or name in options.only}
    start = time.perf_counter()
    inpainter = Inpainter.load(options.ckpt)
    inpainter(picture, mask)
    first = time.perf_counter() - start
    ways = {"ours": lambda: inpainter(picture, mask), **ways}
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(options.repeats):
        for name, fill in ways.items():
            seconds[name].append(timed(fill))
    baseline = seconds.get(BASELINE)
    return [
        {
            "size": size,
            "name": name,
            "s": statistics.median(own),
            "s_spread": [min(own), max(own)],
            "first_s": first if name == "ours" else None,
            "times_harmonic": baseline
            and statistics.median(b / o for b, o in zip(baseline, own, strict=True)),
        }
        for name, own in seconds.items()
    ]


def hole(photo: Path | None, size: int) -> tuple[Image.Image, Image.Image]:
    """A square picture and its mask."""
    if photo:
        with Image.open(photo) as opened:
            picture = opened.convert("RGB").resize((size, size))
    else:
        scene = Scenes(512, (1,))[0].image.permute(1, 2, 0).numpy()
        picture = Image.fromarray(scene).resize((size, size))
    mask = Image.new("L", (size, size))
    mask.paste(255, (size // 4, size // 4, size - size // 4, size - size // 4))
    return picture, mask


def fresh_processes(
    ckpt: Path, picture: Image.Image, mask: Image.Image, folder: Path
) -> dict[str, Fill]:
    """``infer.py`` as a user starts it, and what no program that uses PyTorch is faster than."""
    files = {name: folder / f"{name}.png" for name in ("input", "mask", "output")}
    picture.save(files["input"])
    mask.save(files["mask"])
    command = [str(ROOT / "infer.py"), f"ckpt={ckpt}", "overwrite=true"]
    command += [f"{name}={path}" for name, path in files.items()]
    return {
        PROCESS: lambda: started(command),
        IMPORT: lambda: started(["-c", "import torch"]),
    }


def started(arguments: list[str]) -> None:
    """Run Python, to its end."""
    subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)


def classics(picture: Image.Image, mask: Image.Image) -> dict[str, Fill]:
    """Those whose libraries are installed, by trying."""
    levels, missing = np.array(picture), np.array(mask) > 0
    small, small_hole = np.zeros((4, 4, 3), np.uint8), np.eye(4, dtype=bool)
    fills: dict[str, Fill] = {}
    for name in classical_fills.CLASSICAL_FILLS:
        try:
            classical_fills.fill(name, small, small_hole)
        except ImportError:
            continue
        fills[name] = partial(classical_fills.fill, name, levels, missing)
    return fills


def timed(fill: Fill) -> float:
    """Seconds it takes."""
    start = time.perf_counter()
    fill()
    return time.perf_counter() - start


def table(rows: list[dict[str, Any]]) -> str:
    """In Markdown."""
    lines = [
        "| size | | seconds | loading and first picture | times as fast as harmonic |",
        "| ---: | --- | ---: | ---: | ---: |",
    ]
    for row in rows:
        low, high = row["s_spread"]
        first = "" if row["first_s"] is None else f"{row['first_s']:.2f}"
        ratio = f"{row['times_harmonic']:.2f}" if row["times_harmonic"] else ""
        lines.append(
            f"| {row['size']} | {row['name']} | {row['s']:.3f} ({low:.3f} to {high:.3f}) "
            f"| {first} | {ratio} |"
        )
    lines += ["", f"{torch.get_num_threads()} threads, torch {torch.__version__}."]
    return "\n".join(lines)
