"""Synthesise a texture from a painting's statistics: what the style loss knows of it, and no more.

    python scripts/synthesize_texture.py painting.jpg texture.png --weights vgg19.safetensors

It starts from noise, so nothing of the painting's layout comes through, only colours and strokes.

Source:
    Gatys et al. 2015, https://arxiv.org/abs/1505.07376
"""

import argparse
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F
from tqdm import tqdm

from impasto.images import save_image
from impasto.loss_networks import VGG
from impasto.losses import gram_matrix, style_distance, style_targets
from impasto.losses.perceptual import halve
from impasto.precision import half_dtype
from impasto.styles import load_painting

LAYERS = {"relu1_1": 1.0, "relu2_1": 1.0, "relu3_1": 1.0, "relu3_3": 1.0}
NUM_LEVELS = 3
LEARNING_RATE = 0.04  # of the logits of pixels


def synthesize(network: VGG, painting: Tensor, size: int, steps: int) -> Tensor:
    """Match the statistics, at a quarter of the size, at half, then at all of it.

    Args:
        network: Loss network.
        painting: RGB in [0, 1], shape ``(1, 3, H, W)``.
        size: Side of the texture, in pixels.
        steps: Of optimisation, at each of the three sizes.

    Returns:
        RGB in [0, 1], shape ``(1, 3, size, size)``.
    """
    texture = painting.mean(dim=(2, 3), keepdim=True) + 0.1 * torch.randn(
        1, 3, size // 4, size // 4
    )
    for scale in (4, 2, 1):
        reduced = F.interpolate(painting, scale_factor=1 / scale, mode="area")
        targets = style_targets(network, reduced, LAYERS, NUM_LEVELS)
        side = size // scale
        texture = F.interpolate(texture, (side, side), mode="bicubic")
        logits = texture.clamp(0.02, 0.98).logit().requires_grad_()
        optimizer = torch.optim.Adam([logits], lr=LEARNING_RATE)
        for _ in tqdm(range(steps), desc=f"{side} px"):
            optimizer.zero_grad()
            image, distance = logits.sigmoid(), torch.zeros(())
            for level in targets:
                features = network(image)
                for layer, target in level.items():
                    distance = distance + style_distance(gram_matrix(features[layer]), target)
                image = halve(image)
            distance.backward()
            optimizer.step()
        texture = logits.detach().sigmoid()
    return texture


def main() -> None:
    """Read the painting, write the texture."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("painting", type=Path)
    parser.add_argument("texture", type=Path)
    parser.add_argument("--weights", default="hub", help="of VGG-19, or 'hub'")
    parser.add_argument(
        "--painting-size", type=int, default=384, help="its shorter side, in pixels"
    )
    parser.add_argument("--size", type=int, default=384, help="of the texture, in pixels")
    parser.add_argument("--steps", type=int, default=120, help="at each of three sizes")
    options = parser.parse_args()
    torch.manual_seed(0)
    network = VGG("vgg19", LAYERS, options.weights, half_dtype("cpu") or torch.float32)
    painting = load_painting(options.painting, options.painting_size)
    texture = synthesize(network, painting, options.size, options.steps)
    save_image(texture, options.texture)


if __name__ == "__main__":
    main()
