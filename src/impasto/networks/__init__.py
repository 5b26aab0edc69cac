"""Feed-forward image networks: images in [0, 1] in and out."""

from impasto.networks.context_encoder import (
    ChannelwiseContextEncoder,
    ChannelwiseLinear,
    ContextEncoder,
)
from impasto.networks.context_encoder_plus import ContextEncoderPlus
from impasto.networks.discriminator import ContextDiscriminator, PatchDiscriminator
from impasto.networks.layers import channels_last
from impasto.networks.multi_transformer import MultiTransformerNet
from impasto.networks.prefill import prefill
from impasto.networks.transformer import TransformerNet

FILLERS = (ContextEncoder, ChannelwiseContextEncoder, ContextEncoderPlus)
"""Networks that fill holes: photos and masks to photos."""

__all__ = [
    "FILLERS",
    "ChannelwiseContextEncoder",
    "ChannelwiseLinear",
    "ContextDiscriminator",
    "ContextEncoder",
    "ContextEncoderPlus",
    "MultiTransformerNet",
    "PatchDiscriminator",
    "TransformerNet",
    "channels_last",
    "prefill",
]
