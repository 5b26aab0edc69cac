"""Run trained networks, without anything that trains them."""

from impasto.inference.inpainter import Inpainter
from impasto.inference.stylizer import Stylizer

__all__ = ["Inpainter", "Stylizer"]
