"""Train fast feed-forward image networks with perceptual losses, and run them in milliseconds."""

from impasto.images import load_image, save_image
from impasto.inference import Inpainter, Stylizer

__all__ = ["Inpainter", "Stylizer", "load_image", "save_image"]
