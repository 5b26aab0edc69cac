"""One training step, ours against the plain recipe, in turns in one run.

The plain recipe is what implementations of Johnson et al. do: float32, NCHW, eager, and all VGG
layers computed for the photos too. Ours is what ``train.py`` does here. Same network, same loss
layers (relu1_2, 2_2, 3_3, 4_3; content relu3_3), same batch. Lite is ours with the lite loss
network in the place of VGG-16, and with its layers at two pyramid levels: the default.
"""

import argparse
import json
import multiprocessing
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from impasto.compilation import compiled
from impasto.loss_networks import VGG, Lite
from impasto.losses import PerceptualLoss, style_targets
from impasto.memory import keep_freed_memory
from impasto.networks import TransformerNet, channels_last
from impasto.precision import half_dtype

STYLE_LAYERS = {"relu1_2": 1.0, "relu2_2": 1.0, "relu3_3": 1.0, "relu4_3": 1.0}
LITE_STYLE_LAYERS = {"relu1_1": 1.0, "relu2_1": 1.0, "relu3_1": 1.0, "relu3_4": 1.0}
LITE_NUM_LEVELS = 2
CONTENT_LAYER = "relu3_3"
_step: Callable[[], None]
NUM_WARM_UPS = 2  # steps in which libraries choose kernels and memory is first taken


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of this benchmark."""
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--size", type=int, default=256, help="of the photos, in pixels")
    parser.add_argument("--width", type=int, default=32, help="of the network; 32 is the paper's")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--compile", action="store_true", help="compile ours; for GPUs")
    parser.add_argument("--json", type=Path, help="where to write the figures")


def run(options: argparse.Namespace) -> None:
    """Measure and print."""
    context = multiprocessing.get_context("spawn")
    contenders = {
        name: ProcessPoolExecutor(1, context, initializer=prepare, initargs=(name, options))
        for name in STEPS
    }
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for repeat in range(-NUM_WARM_UPS, options.repeats):
        for name, process in contenders.items():
            duration = process.submit(timed).result()
            if repeat >= 0:
                seconds[name].append(duration)
    gpu = torch.cuda.is_available()
    figures = {
        "device": torch.cuda.get_device_name() if gpu else "the CPU",
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        **{f"{name}_ms": 1000 * statistics.median(times) for name, times in seconds.items()},
        **compare("ratio", seconds["plain"], seconds["ours"]),
        **compare("lite_ratio", seconds["plain"], seconds["lite"]),
        **compare("lite_over_ours", seconds["ours"], seconds["lite"]),
    }
    print(
        f"One step of {options.batch_size} photos of {options.size} px, width {options.width}, on "
        f"{figures['device']}: plain {figures['plain_ms']:.0f} ms, ours {figures['ours_ms']:.0f} "
        f"ms: {told(figures, 'ratio')}."
    )
    print(
        f"Ours with the lite loss network {figures['lite_ms']:.0f} ms: "
        f"{told(figures, 'lite_ratio')} as plain, {told(figures, 'lite_over_ours')} as with VGG-16."
    )
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2))


def compare(name: str, slow: list[float], fast: list[float]) -> dict[str, Any]:
    """How many times as fast, turn by turn: the median, and the lowest and highest."""
    ratios = sorted(one / other for one, other in zip(slow, fast, strict=True))
    return {name: statistics.median(ratios), f"{name}_spread": [ratios[0], ratios[-1]]}


def told(figures: dict[str, Any], name: str) -> str:
    """One of the ratios, in words."""
    lowest, highest = figures[f"{name}_spread"]
    return f"{figures[name]:.2f} times as fast ({lowest:.2f} to {highest:.2f})"


def prepare(name: str, options: argparse.Namespace) -> None:
    """Build a contender in this process, of its own since memory settings are a process's."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.manual_seed(0)
    photos = torch.rand(options.batch_size, 3, options.size, options.size, device=device)
    global _step
    _step = STEPS[name](photos, options)


def timed() -> float:
    """Seconds of one step of this process's contender."""
    start = time.perf_counter()
    _step()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - start


def plain_step(photos: Tensor, options: argparse.Namespace) -> Callable[[], None]:
    """The step of pytorch/examples and its kin."""
    network = TransformerNet(options.width).to(photos.device)
    vgg = VGG("vgg16", STYLE_LAYERS, "random").to(photos.device)
    for weight in vgg.parameters():
        weight.data = weight.contiguous()  # NCHW
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)

    def gram(features: Tensor) -> Tensor:
        count, channels, height, width = features.shape
        rows = features.view(count, channels, height * width)
        return rows.bmm(rows.transpose(1, 2)) / (channels * height * width)

    targets = {layer: gram(found) for layer, found in vgg(torch.rand_like(photos[:1])).items()}

    def step() -> None:
        optimizer.zero_grad()
        painted = network(photos)
        found, wanted = vgg(painted), vgg(photos)
        content = F.mse_loss(found[CONTENT_LAYER], wanted[CONTENT_LAYER])
        style = sum(
            F.mse_loss(gram(found[layer]), target.expand(len(photos), -1, -1))
            for layer, target in targets.items()
        )
        (content + style).backward()
        optimizer.step()

    return step


def our_step(photos: Tensor, options: argparse.Namespace) -> Callable[[], None]:
    """The step of ``train.py`` with VGG-16, without Lightning around it."""
    return fast_step(photos, options, VGG("vgg16", STYLE_LAYERS, "random"), STYLE_LAYERS, 1)


def lite_step(photos: Tensor, options: argparse.Namespace) -> Callable[[], None]:
    """The step of ``train.py`` with the lite loss network, likewise."""
    lite = Lite(weights="random")
    return fast_step(photos, options, lite, LITE_STYLE_LAYERS, LITE_NUM_LEVELS)


def fast_step(
    photos: Tensor,
    options: argparse.Namespace,
    loss_network: VGG | Lite,
    style_layers: dict[str, float],
    num_levels: int,
) -> Callable[[], None]:
    """What both have in common."""
    keep_freed_memory()
    dtype = half_dtype(photos.device.type)
    photos = photos.contiguous(memory_format=torch.channels_last)
    network = channels_last(TransformerNet(options.width)).to(photos.device)
    loss_network = loss_network.compute_in(dtype or torch.float32).to(photos.device)
    targets = style_targets(loss_network, torch.rand_like(photos[:1]), style_layers, num_levels)
    loss = PerceptualLoss(loss_network, targets, {CONTENT_LAYER: 1.0}, style_layers)
    loss.to(photos.device)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)

    def losses() -> Tensor:
        with torch.autocast(photos.device.type, dtype, enabled=dtype is not None):
            painted = network(photos).float()
            return loss(painted, photos)["total"]

    compute = compiled(losses) if options.compile else losses

    def step() -> None:
        optimizer.zero_grad()
        compute().backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()

    return step


STEPS = {"plain": plain_step, "ours": our_step, "lite": lite_step}
