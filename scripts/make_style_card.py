"""Make a style card: a painting's statistics, what it is, and a preview made of these alone.

    python scripts/make_style_card.py my_painting.jpg mine.safetensors --title "My painting"
    python train.py style.name=mine style.card=mine.safetensors

A card that is already there keeps the facts that are not given anew, so that cards of a new lite
loss network are made with the picture's and the card's path alone. The preview starts from noise
and follows the statistics, so nothing of the painting's layout is in it, only colours and strokes.

Source:
    Texture synthesis: Gatys et al. 2015, https://arxiv.org/abs/1505.07376
"""

import argparse
import sys
from dataclasses import asdict, fields, replace
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm

from impasto.cards import Painting, StyleCard, encode_preview, load_card
from impasto.images import save_image
from impasto.loss_networks import Lite
from impasto.losses import StyleTargets, gram_matrix, style_distance
from impasto.losses.perceptual import halve
from impasto.memory import keep_freed_memory
from impasto.pictures import SAVED_SUFFIXES
from impasto.styles import make_card, open_painting

LAYERS = ("relu1_1", "relu2_1", "relu3_1", "relu3_4")
NUM_LEVELS = 2
SIZES = (256, 384, 512)
LEARNING_RATE = 0.04  # of the logits of pixels
PREVIEW_SIZE = 224


def synthesize(network: nn.Module, targets: StyleTargets, size: int, steps: int) -> Tensor:
    """Match statistics from noise, at half the size first, then at all of it.

    Args:
        network: Loss network.
        targets: By pyramid level.
        size: Side of the texture, in pixels.
        steps: Of optimisation, at each size.

    Returns:
        RGB in [0, 1], shape ``(1, 3, size, size)``.
    """
    texture = torch.rand(1, 3, size >> len(targets), size >> len(targets))
    for level in reversed(range(len(targets))):
        side = size >> level
        texture = F.interpolate(texture, (side, side), mode="bicubic")
        logits = texture.clamp(0.02, 0.98).logit().requires_grad_()
        optimizer = torch.optim.Adam([logits], lr=LEARNING_RATE)
        for _ in tqdm(range(steps), desc=f"Preview, {side} px", leave=False):
            optimizer.zero_grad()
            distance_to(network, targets[level:], logits.sigmoid()).backward()
            optimizer.step()
        texture = logits.detach().sigmoid()
    return texture


def distance_to(network: nn.Module, targets: StyleTargets, image: Tensor) -> Tensor:
    """Sum of style distances over levels and layers, a scalar."""
    distance = torch.zeros(())
    for grams in targets:
        features = network(image, grams)
        for layer, target in grams.items():
            distance = distance + style_distance(gram_matrix(features[layer]), target)
        image = halve(image)
    return distance


def main() -> None:
    """Read the picture, write the card."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("picture", help="path or URL")
    parser.add_argument("card", type=Path, help="where to, NAME.safetensors")
    for field in fields(Painting):
        parser.add_argument(f"--{field.name}", help="of the painting")
    parser.add_argument(
        "--sizes", type=int, nargs="+", default=SIZES, help="its shorter side, in pixels"
    )
    parser.add_argument("--steps", type=int, default=200, help="for the preview, at each size")
    parser.add_argument("--preview", type=Path, help="where to write the preview beside the card")
    options = parser.parse_args()
    try:
        if options.preview and options.preview.suffix.lower() not in SAVED_SUFFIXES:
            raise ValueError(
                f"--preview must end in one of {', '.join(sorted(SAVED_SUFFIXES))}, "
                f"got {options.preview}."
            )
        card = make(options)
        print(f"Wrote {options.card}, {options.card.stat().st_size / 1000:.0f} kB.")
        if options.preview:
            save_image(card.preview_image(), options.preview)
    except (OSError, ValueError) as error:
        print(f"make_style_card.py: {error}", file=sys.stderr)
        sys.exit(2)


def make(options: argparse.Namespace) -> StyleCard:
    """Make and save the card that the command line asks for."""
    keep_freed_memory()
    torch.manual_seed(0)
    network = Lite()
    painting = open_painting(options.picture)
    facts = load_card(options.card).painting if options.card.exists() else Painting()
    given = {name: getattr(options, name) for name in asdict(facts)}
    facts = replace(facts, **{name: value for name, value in given.items() if value is not None})
    made = make_card(network, painting, options.card.stem, options.sizes, LAYERS, NUM_LEVELS, facts)
    texture = synthesize(network, made.targets[min(options.sizes)], PREVIEW_SIZE, options.steps)
    card = replace(made, preview=encode_preview(texture))
    card.save(options.card)
    return card


if __name__ == "__main__":
    main()
