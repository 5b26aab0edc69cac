"""Measure the choices of the recipe: output activation, schedule, learning rate, weight averaging.

Every variant trains the half-width network from the same seed on the same photos, in one process,
and is judged on the same held-out photos:

    python scripts/ablate.py --painting starry_night.jpg --photos photos/ --weights vgg19.pth

The table goes to the screen, pictures of every variant to ``--grid``.
"""

import argparse
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from tqdm import tqdm

from impasto.data import FolderPhotos
from impasto.images import image_grid, save_image
from impasto.loss_networks import VGG
from impasto.losses import PerceptualLoss, style_targets
from impasto.networks import TransformerNet, channels_last
from impasto.precision import half_dtype
from impasto.styles import load_painting
from impasto.tasks.schedule import rate_at

STYLE_LAYERS = {"relu1_1": 1.0, "relu2_1": 1.0, "relu3_1": 1.0}
CONTENT_LAYERS = {"relu3_3": 1.0}
BATCH_SIZE = 4
VISIBLE = 2 / 255  # closer than this to 0 or 1 counts as saturated


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
    """One way to train."""

    output: str = "sigmoid"
    schedule: str = "cosine"
    learning_rate: float = 2e-3
    warmup: int = 25  # steps over which the rate rises from zero
    averaging: float = 0.0  # decay of an exponential moving average of the weights; 0 for none


DEFAULT = Variant()
SUDDEN = replace(DEFAULT, warmup=0)
VARIANTS = [
    SUDDEN,
    replace(SUDDEN, output="tanh"),
    replace(SUDDEN, output="linear"),
    replace(SUDDEN, learning_rate=1e-3),
    replace(SUDDEN, learning_rate=4e-3),
    replace(SUDDEN, learning_rate=1e-3, schedule="constant"),  # the paper's
    DEFAULT,
    replace(DEFAULT, learning_rate=1e-3),
    replace(DEFAULT, schedule="constant"),
    replace(DEFAULT, averaging=0.98),
]


class Bench:
    """What all variants share: photos, painting, loss."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        dtype = half_dtype("cpu") or torch.float32
        network = VGG("vgg19", [*STYLE_LAYERS, *CONTENT_LAYERS], options.weights, dtype)
        self.painting = load_painting(options.painting, options.style_size)
        targets = style_targets(network, self.painting, STYLE_LAYERS, num_levels=3)
        self.loss = PerceptualLoss(
            network, targets, CONTENT_LAYERS, STYLE_LAYERS, content_weight=options.content_weight
        )
        photos = FolderPhotos(options.photos, image_size=options.size, seed=1)
        self.train = photos.train
        count = min(options.num_held_out, len(photos.val))
        held_out = [photos.val[index].image for index in range(count)]
        self.held_out = torch.stack(held_out).float() / 255

    def fit(self, variant: Variant) -> nn.Module:
        """Train one network."""
        torch.manual_seed(0)
        network = TransformerNet(width=16)
        network.to_image[1] = ACTIVATIONS[variant.output]()
        channels_last(network)
        average = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(variant.averaging))
        optimizer = torch.optim.Adam(network.parameters())
        for step in tqdm(range(self.options.steps), desc=str(variant), leave=False):
            first = step * BATCH_SIZE
            samples = [self.train[first + number].image for number in range(BATCH_SIZE)]
            photos = torch.stack(samples).float() / 255
            share = rate_at(step, self.options.steps, variant.warmup, variant.schedule)
            optimizer.param_groups[0]["lr"] = variant.learning_rate * share
            optimizer.zero_grad()
            self.loss(paint(network, photos), photos)["total"].backward()
            nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimizer.step()
            if variant.averaging:
                average.update_parameters(network)
        return average.module if variant.averaging else network

    @torch.no_grad()
    def judge(self, network: nn.Module) -> tuple[dict[str, float], Tensor]:
        """Losses and faults of what people would see: clamped to [0, 1]."""
        painted = torch.cat([paint(network, batch) for batch in self.held_out.split(BATCH_SIZE)])
        painted = painted.clamp(0, 1)
        batches = zip(painted.split(BATCH_SIZE), self.held_out.split(BATCH_SIZE), strict=True)
        parts = [self.loss(ours, photos) for ours, photos in batches]
        figures = {
            name: torch.stack([part[name] for part in parts]).mean().item() for name in parts[0]
        }
        saturated = (painted < VISIBLE) | (painted > 1 - VISIBLE)
        figures["saturated %"] = 100 * saturated.float().mean().item()
        figures["brighter than painting"] = (painted.mean() - self.painting.mean()).item()
        return figures, painted


def paint(network: nn.Module, photos: Tensor) -> Tensor:
    """Paint in bfloat16 where the machine computes it, as training does."""
    dtype = half_dtype("cpu")
    photos = photos.contiguous(memory_format=torch.channels_last)
    with torch.autocast("cpu", dtype, enabled=dtype is not None):
        return network(photos).float()


def main() -> None:
    """Train and judge all variants."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--painting", required=True)
    parser.add_argument("--photos", required=True)
    parser.add_argument("--weights", default="hub", help="of VGG-19, or 'hub'")
    parser.add_argument("--steps", type=int, default=250)
    parser.add_argument("--size", type=int, default=128, help="of the photos, in pixels")
    parser.add_argument("--style-size", type=int, default=256)
    parser.add_argument("--num-held-out", type=int, default=24, help="photos to judge on")
    parser.add_argument("--content-weight", type=float, default=0.4)
    parser.add_argument("--grid", type=Path, default=Path("runs/ablation.png"))
    bench = Bench(parser.parse_args())
    rows = [bench.held_out[:6]]
    for number, variant in enumerate(VARIANTS):
        figures, painted = bench.judge(bench.fit(variant))
        rows.append(painted[:6])
        if number == 0:
            names = ["output", "schedule", "rate", "warm-up", "averaging", *figures]
            print("| " + " | ".join(names) + " |\n|" + " --- |" * len(names), flush=True)
        numbers = " | ".join(f"{value:.4f}" for value in figures.values())
        print(
            f"| {variant.output} | {variant.schedule} | {variant.learning_rate:g} "
            f"| {variant.warmup} | {variant.averaging:g} | {numbers} |",
            flush=True,
        )
        save_image(image_grid(rows)[None], bench.options.grid)


if __name__ == "__main__":
    main()
