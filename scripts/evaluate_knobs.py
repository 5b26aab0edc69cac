"""Whether the knobs of a network of many styles do what they say.

    python scripts/evaluate.py knobs checkpoints/paintings.safetensors --photos photos

Strength: how far paintings are from their photos, which is to grow from step to step. Strokes: how
far paintings are from the styles in their largest size, with the smallest strokes and with the
largest. Regions: how steep paintings of two styles are where these meet. The judge is the lite loss
network; only styles of the package, whose cards it has, can be asked about strokes.
"""

import argparse
from itertools import pairwise
from pathlib import Path
from statistics import mean
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

import report
from evaluate_style import load_photos
from impasto import Stylizer
from impasto.cards import StyleCard, load_card
from impasto.loss_networks import Lite
from impasto.losses import content_distance, gram_matrix, style_distance
from impasto.losses.perceptual import halve
from impasto.memory import keep_freed_memory
from impasto.metrics import psnr
from impasto.networks import MultiTransformerNet
from impasto.precision import keep_float32
from impasto.styles import CARDS
from judging import BATCH_SIZE, CONTENT_LAYER, NUM_LEVELS, STYLE_LAYERS

STRENGTHS = [step / 10 for step in range(11)]
EQUAL = 99.0  # dB, in place of infinity: JSON has none
BAND = 8  # pixels on both sides of a border of two regions

Figures = dict[str, Any]


def painted(stylizer: Stylizer, photos: Tensor, regions: Tensor | None = None) -> Tensor:
    """Paint photos, shape ``(N, 3, S, S)``, a few at a time."""
    return torch.cat([stylizer(batch, regions=regions) for batch in photos.split(BATCH_SIZE)])


def distance_to_photos(judge: Lite, images: Tensor, photos: Tensor) -> float:
    """Mean relative distance of features, over photos."""
    found, wanted = (judge(batch, [CONTENT_LAYER])[CONTENT_LAYER] for batch in (images, photos))
    pairs = zip(found.split(1), wanted.split(1), strict=True)
    return mean(content_distance(one, other).item() for one, other in pairs)


def distance_to_style(judge: Lite, images: Tensor, card: StyleCard, size: int) -> float:
    """Mean distance of Gram matrices from a style's in some size, as the loss has it."""
    distances = []
    for level in card.targets_for(judge, size, STYLE_LAYERS, NUM_LEVELS):
        features = judge(images, STYLE_LAYERS)
        distances += [style_distance(gram_matrix(features[k]), level[k]).item() for k in level]
        images = halve(images)
    return mean(distances)


def steepness(images: Tensor) -> float:
    """Mean difference of neighbours across the vertical middle, ``BAND`` pixels on both sides."""
    middle = images.shape[-1] // 2
    band = images[..., middle - BAND : middle + BAND]
    return (band[..., 1:] - band[..., :-1]).abs().mean().item()


def measure_strength(judge: Lite, stylizer: Stylizer, photos: Tensor) -> Figures:
    """How far paintings of every strength are from their photos."""
    distances, fidelity = [], 0.0
    for strength in STRENGTHS:
        images = painted(stylizer.with_knobs(strength=strength), photos)
        distances.append(distance_to_photos(judge, images, photos))
        if strength == 0:
            fidelity = psnr(images, photos).clamp(max=EQUAL).mean().item()
    rising = all(one < other for one, other in pairwise(distances))
    return {"distances": distances, "rising": rising, "psnr_at_0": fidelity}


def measure_strokes(judge: Lite, stylizer: Stylizer, photos: Tensor, card: StyleCard) -> Figures:
    """How far paintings with the smallest and the largest strokes are from the largest style."""
    strokes = stylizer.header.arguments["strokes"]
    small, large = (
        distance_to_style(
            judge, painted(stylizer.with_knobs(stroke=stroke), photos), card, strokes[1]
        )
        for stroke in strokes
    )
    return {"small": small, "large": large, "ratio": large / small}


def measure_border(stylizer: Stylizer, photos: Tensor, left: str, right: str) -> float:
    """Steepness where two regions meet, relative to the steeper of the styles in that place."""
    size = photos.shape[-1]
    labels = (torch.arange(size) >= size // 2).long().expand(1, 1, size, size)
    both = painted(stylizer.with_knobs(style=f"{left}/{right}"), photos, regions=labels)
    single = [painted(stylizer.with_knobs(style=name), photos) for name in (left, right)]
    return steepness(both) / max(map(steepness, single))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what can be asked for."""
    add = parser.add_argument
    add("checkpoint", type=Path, help="a network of many styles")
    add("--photos", type=Path, required=True, help="folder")
    add("--num-photos", type=int, default=20, help="the first ones are taken")
    add("--size", type=int, default=256, help="of photos, in pixels")
    add("--json", type=Path, help="where to write all figures")
    add("--markdown", type=Path, help="where to write the table")


@torch.inference_mode()
def run(options: argparse.Namespace) -> None:
    """Turn all knobs of all styles; print a table, write what was asked for."""
    keep_freed_memory()
    keep_float32()
    stylizer = Stylizer.load(options.checkpoint, precision="fp32")
    if stylizer.header.network != MultiTransformerNet.__name__:
        raise ValueError(f"{options.checkpoint} has one style: its knobs are not trained.")
    judge = Lite([*STYLE_LAYERS, CONTENT_LAYER]).to(stylizer.device)
    photos, _ = load_photos(options.photos, options.num_photos, options.size)
    photos = photos.to(stylizer.device)
    names = stylizer.header.styles
    figures: Figures = {}
    for name, other in tqdm(list(zip(names, [*names[1:], names[0]], strict=True)), unit="style"):
        single = stylizer.with_knobs(style=name)
        figures[name] = {"strength": measure_strength(judge, single, photos)}
        if (CARDS / f"{name}.safetensors").exists():
            card = load_card(CARDS / f"{name}.safetensors")
            figures[name]["strokes"] = measure_strokes(judge, single, photos, card)
        figures[name]["border"] = {
            "other": other,
            "steepness": measure_border(stylizer, photos, name, other),
        }
    publish(figures, len(photos), options)


def publish(figures: Figures, num_photos: int, options: argparse.Namespace) -> None:
    """Print the table; write it and all figures where asked to."""
    shown = STRENGTHS[::2]
    heads = [f"strength {strength:g}" for strength in shown]
    columns = [*heads, "rising", "psnr at 0", "strokes", "border"]
    lines = [f"| style | {' | '.join(columns)} |", "| --- |" + " ---: |" * len(columns)]
    for name, row in figures.items():
        strength, strokes = row["strength"], row.get("strokes")
        cells = [f"{strength['distances'][STRENGTHS.index(s)]:.3f}" for s in shown]
        cells += ["yes" if strength["rising"] else "no", f"{strength['psnr_at_0']:.0f}"]
        cells += [f"{strokes['ratio']:.2f}" if strokes else "", f"{row['border']['steepness']:.2f}"]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    lines += [
        "",
        f"- strength: distance of {num_photos} photos' features ({CONTENT_LAYER} of the lite loss "
        "network) before and after, relative to their energy; rising: over all of 0, 0.1, ... 1",
        f"- psnr at 0: of paintings of no strength from the photos, in dB; {EQUAL:.0f} if equal",
        "- strokes: distance from the style in the largest size, painted with the largest strokes, "
        "over that with the smallest: below 1 where the knob does its work",
        f"- border: mean difference of neighbours within {BAND} pixels of where this style meets "
        "the next one, over the larger of the two styles' own there",
    ]
    report.publish("\n".join(lines) + "\n", figures, options.markdown, options.json)
