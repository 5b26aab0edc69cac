"""Measure the choices of the recipe: crops, lattice, views, noise, padding, optimisation.

Every variant trains the half-width network against the lite loss network, from the same seed and
in one process, and is judged by VGG-19 on the same held-out photos:

    python scripts/ablate.py --painting starry_night.jpg --photos photos/ --only crops --seconds 60

All get the same budget. ``--steps`` gives the same figures every time. ``--seconds`` compares what
a user waits for, reading photos and loading the loss network included, and needs an idle machine;
photos are read in between steps here, where ``train.py`` has other processes for it.

The table goes to the screen, pictures of every variant to ``--grid``.
"""

import argparse
import itertools
import time
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from tqdm import tqdm

from impasto.data import FolderPhotos
from impasto.images import image_grid, save_image
from impasto.loss_networks import VGG, Lite
from impasto.losses import PerceptualLoss, lattice, style_targets
from impasto.memory import keep_freed_memory
from impasto.networks import TransformerNet, channels_last
from impasto.precision import half_dtype
from impasto.schedule import rate_at
from impasto.styles import load_painting
from judging import CONTENT_LAYER, NUM_LEVELS, STYLE_LAYERS, Judge, measure

SIZE = 256  # of photos and of the painting, in pixels, in training and before the judge
VISIBLE = 2 / 255  # closer than this to 0 or 1 counts as saturated
GRID_PHOTOS = 6


class ScaledTanh(nn.Module):
    """The output of the paper's authors: 150 tanh, around the middle of 0 to 255."""

    def forward(self, features: Tensor) -> Tensor:
        """Any real numbers in, slightly more than [0, 1] out."""
        return 0.5 + 150 / 255 * features.tanh()


class Linear(nn.Module):
    """No activation, around the middle of [0, 1]: clamped only when used."""

    def forward(self, features: Tensor) -> Tensor:
        """Any real numbers in and out."""
        return 0.5 + features


ACTIVATIONS = {"sigmoid": nn.Sigmoid, "tanh": ScaledTanh, "linear": Linear}


@dataclass(frozen=True)
class Variant:
    """One way to train; by default, that of ``train.py``."""

    output: str = "sigmoid"
    schedule: str = "cosine"
    learning_rate: float = 2e-3
    warmup: int = 50  # steps over which the rate rises from zero
    averaging: float = 0.0  # decay of an exponential moving average of the weights; 0 for none
    batch_size: int = 4
    crop_size: int = 128  # pixels, of photos whose shorter side has SIZE
    lattice_weight: float = 0.1
    random_views: bool = True  # in which content is compared
    input_noise: float = 0.02  # standard deviation, on the scale of [0, 1]
    padding_mode: Literal["replicate", "zeros"] = "replicate"  # of the loss network


DEFAULT = Variant()
SUDDEN = replace(DEFAULT, warmup=0)
CROPS = ((4, 128), (2, 128), (2, 192), (2, 256), (4, 256))  # photos per step, pixels
GROUPS = {  # each starts with the default
    "crops": [replace(DEFAULT, batch_size=batch, crop_size=crop) for batch, crop in CROPS],
    "lattice": [DEFAULT, replace(DEFAULT, lattice_weight=0.0)],
    "views": [DEFAULT, replace(DEFAULT, random_views=False)],
    "noise": [DEFAULT, replace(DEFAULT, input_noise=0.0)],
    "padding": [DEFAULT, replace(DEFAULT, padding_mode="zeros")],
    "optimizer": [
        DEFAULT,
        replace(DEFAULT, learning_rate=1e-3),
        replace(DEFAULT, schedule="constant"),
        replace(DEFAULT, averaging=0.98),
        SUDDEN,
        replace(SUDDEN, output="tanh"),
        replace(SUDDEN, output="linear"),
        replace(SUDDEN, learning_rate=1e-3),
        replace(SUDDEN, learning_rate=4e-3),
        replace(SUDDEN, learning_rate=1e-3, schedule="constant"),  # the paper's
    ],
}


class Bench:
    """What all variants share: painting, budget, judge and the photos it sees."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.dtype = half_dtype("cpu") or torch.float32
        self.painting = load_painting(options.painting, SIZE)
        torch.manual_seed(0)  # for random weights
        teacher = VGG("vgg19", [*STYLE_LAYERS, CONTENT_LAYER], options.teacher)
        self.judges = [Judge(teacher, [self.painting])]
        photos = FolderPhotos(options.photos, SIZE, max_val_images=options.num_held_out).val
        held_out = [photos[index].image for index in range(len(photos))]
        self.held_out = torch.stack(held_out).float() / 255

    def fit(self, variant: Variant) -> tuple[nn.Module, int]:
        """Train one network; returns it and the number of its steps."""
        steps, count = spend(self.options, started=time.monotonic()), 0
        photos = FolderPhotos(self.options.photos, SIZE, variant.crop_size, seed=1).train
        loss = self._loss(variant)
        torch.manual_seed(0)
        network = TransformerNet(width=16)
        network.to_image[1] = ACTIVATIONS[variant.output]()
        channels_last(network)
        average = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(variant.averaging))
        optimizer = torch.optim.Adam(network.parameters())
        for step, num_steps in tqdm(steps, desc="training", unit="step", leave=False):
            first = step * variant.batch_size
            samples = [photos[first + number].image for number in range(variant.batch_size)]
            batch = torch.stack(samples).float() / 255
            share = rate_at(step, num_steps, variant.warmup, variant.schedule)
            optimizer.param_groups[0]["lr"] = variant.learning_rate * share
            optimizer.zero_grad()
            noisy = batch + variant.input_noise * torch.randn_like(batch)
            loss(paint(network, noisy), batch)["total"].backward()
            nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimizer.step()
            if variant.averaging:
                average.update_parameters(network)
            count = step + 1
        return (average.module if variant.averaging else network), count

    @torch.no_grad()
    def judge(self, network: nn.Module) -> tuple[dict[str, float], Tensor]:
        """Distances and faults of what people would see: clamped to [0, 1]."""
        batches = []

        def painter(photos: Tensor) -> Tensor:
            batches.append(paint(network, photos).clamp(0, 1))
            return batches[-1]

        own, marks = measure(self.judges, [painter], self.held_out)
        painted = torch.cat(batches)
        style, content = marks.style.mean().item(), marks.content.mean().item()
        saturated = (painted < VISIBLE) | (painted > 1 - VISIBLE)
        return {
            "content": content,
            "style": style,
            "relative": style / own.style.mean().item(),
            "objective": style + self.options.content_weight * content,
            "lattice": lattice(painted).item(),
            "saturated %": 100 * saturated.float().mean().item(),
            "brighter than painting": (painted.mean() - self.painting.mean()).item(),
        }, painted

    def _loss(self, variant: Variant) -> PerceptualLoss:
        network = Lite([*STYLE_LAYERS, CONTENT_LAYER], padding_mode=variant.padding_mode)
        targets = style_targets(network, self.painting, STYLE_LAYERS, NUM_LEVELS)
        return PerceptualLoss(
            network.compute_in(self.dtype),
            targets,
            {CONTENT_LAYER: 1.0},
            STYLE_LAYERS,
            content_weight=self.options.content_weight,
            lattice_weight=variant.lattice_weight,
            random_views=variant.random_views,
        )


def spend(options: argparse.Namespace, started: float) -> Iterator[tuple[int, int]]:
    """Count steps until the budget is spent; say how many there will be at the pace so far."""
    for step in itertools.count():
        used = step / options.steps
        if options.seconds is not None:
            used = (time.monotonic() - started) / options.seconds
        if used >= 1:
            return
        yield step, round(step / used) if step else 1


def paint(network: nn.Module, photos: Tensor) -> Tensor:
    """Paint in bfloat16 where the machine computes it, as training does."""
    dtype = half_dtype("cpu")
    photos = photos.contiguous(memory_format=torch.channels_last)
    with torch.autocast("cpu", dtype, enabled=dtype is not None):
        return network(photos).float()


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    add = parser.add_argument
    add("--painting", required=True)
    add("--photos", required=True, help="folder")
    add("--teacher", default="hub", help="weights of VGG-19: hub, random or a path")
    add("--only", choices=GROUPS, help="group of variants; all by default")
    budget = parser.add_mutually_exclusive_group()
    # Text, for argparse takes the very number of its default for not given.
    budget.add_argument("--steps", type=int, default="250", help="of every variant; 250")
    budget.add_argument("--seconds", type=float, help="of training, for every variant")
    add("--num-held-out", type=int, default=24, help="photos to judge on")
    add("--content-weight", type=float, default=0.4, help="in training and in the objective")
    add("--grid", type=Path, default=Path("runs/ablation.png"))
    options = parser.parse_args()
    if options.steps < 1 or (options.seconds is not None and options.seconds <= 0):
        parser.error("--steps must be at least 1, --seconds above 0.")
    return options


def main() -> None:
    """Train and judge the variants; print those of their settings that differ among them."""
    keep_freed_memory()
    options = parse()
    bench = Bench(options)
    groups = [options.only] if options.only else GROUPS
    variants = list(dict.fromkeys(variant for group in groups for variant in GROUPS[group]))
    names = [field.name for field in fields(Variant)]
    names = [name for name in names if len({getattr(v, name) for v in variants}) > 1]
    rows = [bench.held_out[:GRID_PHOTOS]]
    for variant in variants:
        network, steps = bench.fit(variant)
        figures, painted = bench.judge(network)
        if variant is variants[0]:
            columns = [*names, "steps", *figures]
            print(f"| {' | '.join(columns)} |\n|{' --- |' * len(columns)}", flush=True)
        cells = [str(getattr(variant, name)) for name in names]
        cells += [str(steps), *(f"{value:.4f}" for value in figures.values())]
        print(f"| {' | '.join(cells)} |", flush=True)
        rows.append(painted[:GRID_PHOTOS])
        save_image(image_grid(rows)[None], options.grid)


if __name__ == "__main__":
    main()
