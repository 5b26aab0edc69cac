"""Painting, ours against the plain way and other runtimes, in turns in one run.

All paint the same levels (uint8, on the device, in and out) with the same weights: plain is the
network as it was trained, eager, float32, NCHW; ours is ``Stylizer``; half is ours at half the
width, and direct, where float32 is what a processor has, ours without Winograd's convolutions. On a
CPU, ONNX Runtime (float32) and OpenVINO (bfloat16) run the exported model if they are installed; on
a GPU, eager is ours without CUDA graphs, compiled with ``torch.compile`` in them. Each has a
process of its own.

Beside ours stand two floors: the time of its multiplications at the rate of a large matrix product,
and that of all its operations read and write at the rate of a large copy, both measured there.
"""

import argparse
import importlib.util
import json
import multiprocessing
import os
import platform
import resource
import statistics
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from contenders import CONTENDERS, DEVICE, Paint
from floors import floors, synchronize
from impasto.checkpoint import Header, load_checkpoint, save_checkpoint
from impasto.data.sample import Scenes
from impasto.networks import TransformerNet

SIZES = ("256", "512", "1024", "1920x1080", "3840x2160")
WIDTH = 32  # the paper's
TURN_SECONDS = 0.5  # the first painting of a turn finds the caches full of what others left
_paint: Paint
_loading_seconds: float


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of this benchmark."""
    parser.add_argument("--ckpt", type=Path, help="whose weights; default: random, of full width")
    parser.add_argument("--photo", type=Path, help="to paint, resized; default: a generated scene")
    parser.add_argument("--sizes", nargs="+", default=SIZES, help="such as 512 or 1920x1080")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--only", nargs="+", choices=CONTENDERS, help="besides plain")
    parser.add_argument("--json", type=Path, help="where to write the figures")
    parser.add_argument("--chart", type=Path, help="where to draw them, as SVG")


def run(options: argparse.Namespace) -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as folder:
        options.networks = write_networks(options.ckpt, Path(folder))
        names = [
            name
            for name, (_, needs) in CONTENDERS.items()
            if (name == "plain" or not options.only or name in options.only)
            and all(importlib.util.find_spec(package) for package in needs)
            and not (needs and torch.cuda.is_available())
        ]
        rows = [row for size in options.sizes for row in compare(size, names, options)]
    machine = describe_machine(options)
    print(table(rows, machine))
    if options.json:
        options.json.write_text(json.dumps({"machine": machine, "rows": rows}, indent=2) + "\n")
    if options.chart:
        options.chart.write_text(draw(rows))


def write_networks(ckpt: Path | None, folder: Path) -> dict[str, Path]:
    """Checkpoints of the network to measure, and of one of half its width."""
    if ckpt:
        width = load_checkpoint(ckpt)[1].arguments["width"]
    else:
        width, ckpt = WIDTH, folder / "full.safetensors"
        write_random(width, ckpt)
    half = folder / "half.safetensors"
    write_random(width // 2, half)
    return {"full": ckpt, "half": half}


def write_random(width: int, path: Path) -> None:
    """A network as it is before training."""
    torch.manual_seed(0)
    header = Header("stylization", "TransformerNet", {"width": width}, ["none"])
    save_checkpoint(path, TransformerNet(width), header)


def compare(size: str, names: list[str], options: argparse.Namespace) -> list[dict[str, Any]]:
    """Measure all contenders at one size, in turns."""
    width, _, height = size.partition("x")
    levels = levels_of(options.photo, int(width), int(height or width))
    context = multiprocessing.get_context("spawn")
    processes = {
        name: ProcessPoolExecutor(1, context, initializer=prepare, initargs=(name, options))
        for name in names
    }
    paintings = {}
    first: dict[str, float] = {}
    for name, process in processes.items():
        paintings[name], first[name] = process.submit(first_call, levels).result()
        process.submit(timed, levels).result()  # on a GPU, the second painting records a graph
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for _ in range(options.repeats):
        for name, process in processes.items():
            seconds[name].append(process.submit(timed, levels).result())
    rows = []
    for name, process in processes.items():
        ratios = sorted(
            plain / own for plain, own in zip(seconds["plain"], seconds[name], strict=True)
        )
        off = np.abs(paintings[name].astype(int) - paintings["plain"].astype(int))
        rows.append(
            {
                "size": size,
                "name": name,
                "ms": 1000 * statistics.median(seconds[name]),
                "ms_spread": [1000 * min(seconds[name]), 1000 * max(seconds[name])],
                "times_plain": statistics.median(ratios),
                "times_plain_spread": [ratios[0], ratios[-1]],
                "first_call_s": first[name],
                "peak_memory_mb": process.submit(peak_memory).result() / 1e6,
                **process.submit(floor_of, levels).result(),
                # Half the width has other weights, and paints something else.
                "largest_difference": None if name == "half" else int(off.max()),
                "mean_difference": None if name == "half" else float(off.mean()),
            }
        )
        process.shutdown()
    return rows


def levels_of(photo: Path | None, width: int, height: int) -> Tensor:
    """What is painted: uint8, shape (1, 3, H, W)."""
    from PIL import Image

    if photo:
        with Image.open(photo) as picture:
            array = np.array(picture.convert("RGB").resize((width, height)))
    else:
        scene = Scenes(512, (1,))[0].image.permute(1, 2, 0).numpy()
        array = np.array(Image.fromarray(scene).resize((width, height)))
    return torch.from_numpy(array).permute(2, 0, 1)[None].contiguous()


def prepare(name: str, options: argparse.Namespace) -> None:
    """Build a contender in this process."""
    torch.set_num_threads(options.threads)
    start = time.perf_counter()
    global _paint, _loading_seconds
    build, _ = CONTENDERS[name]
    _paint = build(options.networks["half" if name == "half" else "full"])
    _loading_seconds = time.perf_counter() - start


def first_call(levels: Tensor) -> tuple[np.ndarray, float]:
    """The painting, and the seconds that loading the network and painting once took."""
    start = time.perf_counter()
    painted = _paint(levels.to(DEVICE))
    synchronize()
    seconds = time.perf_counter() - start
    return painted.cpu().numpy(), seconds + _loading_seconds


def timed(levels: Tensor) -> float:
    """Seconds of one painting, on average over a turn."""
    levels = levels.to(DEVICE)
    synchronize()
    start, num_paintings, seconds = time.perf_counter(), 0, 0.0
    while seconds < TURN_SECONDS:
        _paint(levels)
        synchronize()
        num_paintings, seconds = num_paintings + 1, time.perf_counter() - start
    return seconds / num_paintings


def peak_memory() -> int:
    """Bytes this process has taken at most, on the GPU if there is one."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_reserved()  # with that of graphs
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def floor_of(levels: Tensor) -> dict[str, float | None]:
    """Milliseconds that multiplications alone would take, and that moving data alone would.

    Ours only: others do not let themselves be counted.
    """
    network = getattr(_paint, "network", None)
    if network is None or network._compiled_call_impl is not None:
        return {"floor_ms": None, "traffic_ms": None}
    multiplying, moving = floors(network, network.to_image.kernel, levels[0, 0].numel())
    return {"floor_ms": 1000 * multiplying, "traffic_ms": 1000 * moving}


def describe_machine(options: argparse.Namespace) -> dict[str, Any]:
    """What the figures hold for."""
    gpu = torch.cuda.is_available()
    return {
        "device": torch.cuda.get_device_name() if gpu else cpu_name(),
        "threads": options.threads,
        "torch": torch.__version__,
        "load": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
    }


def cpu_name() -> str:
    """As Linux calls it, or the kind of processor."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def table(rows: list[dict[str, Any]], machine: dict[str, Any]) -> str:
    """In Markdown."""
    lines = [
        "| size | | ms | times plain | first call s | peak memory MB | floors ms: multiplying, "
        "moving | off by at most, on average |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: | --- |",
    ]
    for row in rows:
        low, high = row["times_plain_spread"]
        off = row["largest_difference"]
        difference = "" if off is None else f"{off}, {row['mean_difference']:.3f} of 255"
        floors = [row["floor_ms"], row["traffic_ms"]]
        floor = "" if None in floors else ", ".join(f"{number:.1f}" for number in floors)
        lines.append(
            f"| {row['size']} | {row['name']} | {row['ms']:.1f} | {row['times_plain']:.2f} "
            f"({low:.2f} to {high:.2f}) | {row['first_call_s']:.2f} | {row['peak_memory_mb']:.0f} "
            f"| {floor} | {difference} |"
        )
    lines += ["", f"{machine['device']}, {machine['threads']} threads, torch {machine['torch']}."]
    return "\n".join(lines)


def draw(rows: list[dict[str, Any]]) -> str:
    """Bars of how many times as fast as plain, as SVG."""
    bar, left, scale = 18, 190, 380 / max(row["times_plain"] for row in rows)
    colours = {"plain": "#b8b8b8", "ours": "#1f5fa8", "half": "#6ea0d8"}
    parts = []
    for index, row in enumerate(rows):
        y = 30 + index * bar
        length = row["times_plain"] * scale
        parts.append(
            f'<text x="{left - 8}" y="{y + 12}" text-anchor="end">{row["size"]} {row["name"]}'
            f'</text><rect x="{left}" y="{y + 2}" width="{length:.1f}" height="{bar - 4}" '
            f'fill="{colours.get(row["name"], "#d9a441")}"/>'
            f'<text x="{left + length + 6:.1f}" y="{y + 12}">{row["times_plain"]:.1f}x, '
            f"{row['ms']:.0f} ms</text>"
        )
    height = 40 + bar * len(rows)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="720" height="{height}" '
        f'font-family="sans-serif" font-size="12"><rect width="720" height="{height}" '
        f'fill="white"/><text x="{left}" y="18" font-weight="bold">times as fast as eager float32'
        f"</text>{''.join(parts)}</svg>\n"
    )
