"""Frozen networks whose features tell how alike two images look."""

from impasto.loss_networks.lite import Lite
from impasto.loss_networks.vgg import VGG

__all__ = ["VGG", "Lite"]
