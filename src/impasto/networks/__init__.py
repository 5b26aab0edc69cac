"""Feed-forward image networks: images in [0, 1] in and out."""

from impasto.networks.layers import channels_last
from impasto.networks.transformer import TransformerNet

__all__ = ["TransformerNet", "channels_last"]
