"""A context encoder of today: any size, any hole, and no worse than a smooth fill."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from impasto.networks.context_encoder import ChannelwiseLinear, to_signed
from impasto.networks.layers import crop, reflect_to_multiple
from impasto.networks.prefill import prefill

STRIDE = 16  # blocks of two pixels, and three stride-2 convolutions
MINIMUM_SIZE = 32  # where a single position is left, exported graphs go wrong
CONTEXT_SIZE = 8  # cells a side, on which every position sees every other
DILATIONS = (1, 2, 4, 8)


class ContextEncoderPlus(nn.Module):
    """Correct a smooth fill of the hole by what the context says belongs there.

    What remains of the context encoder is its channel-wise layer: on an 8x8 summary of the
    features, whatever the size of the photo, every place sees every other. Around it, skips carry
    detail past the bottleneck, gates tell hole from photo, nothing is normalised, and the
    output is a correction: before training, the fill itself. It works on blocks of 2x2 pixels: in
    full resolution most of the time would go into a few channels that have little to say.

    Args:
        width: Channels at half the resolution.

    Raises:
        ValueError: If ``width`` is below 1.

    Source:
        Pathak et al. 2016, https://arxiv.org/abs/1604.07379; gates: Yu et al. 2019,
        https://arxiv.org/abs/1806.03589; dilation: Iizuka et al. 2017,
        https://doi.org/10.1145/3072959.3073659
    """

    size: int | None = None  # any
    centre_only = False

    def __init__(self, width: int = 80) -> None:
        super().__init__()
        if width < 1:
            raise ValueError(f"ContextEncoderPlus needs a width of at least 1, got {width}.")
        widths = [width, 2 * width, 3 * width]  # at 1/2, 1/4 and 1/8 of the size
        self.encoder = nn.ModuleList(
            [
                GatedConv(4 * 7, width),
                nn.Sequential(
                    GatedConv(width, widths[1], stride=2), GatedConv(widths[1], widths[1])
                ),
                nn.Sequential(
                    GatedConv(widths[1], widths[2], stride=2), GatedConv(widths[2], widths[2])
                ),
            ]
        )
        self.bottleneck = nn.Sequential(
            GatedConv(widths[2], widths[2], stride=2),
            GlobalContext(widths[2]),
            *(GatedConv(widths[2], widths[2], dilation=dilation) for dilation in DILATIONS),
        )
        self.decoder = nn.ModuleList(
            nn.Sequential(GatedConv(below + skipped, skipped), Refinement(skipped))
            for below, skipped in zip([widths[2], *widths[:0:-1]], widths[::-1], strict=True)
        )
        self.to_correction = nn.Conv2d(width, 4 * 3, 3, padding=1, padding_mode="replicate")
        nn.init.zeros_(self.to_correction.weight)
        assert self.to_correction.bias is not None
        nn.init.zeros_(self.to_correction.bias)

    def forward(self, photos: Tensor, masks: Tensor) -> Tensor:
        """Fill holes.

        Args:
            photos: RGB in [0, 1], shape ``(N, 3, H, W)``, any H and W from 1 up. What they hold in
                the hole does not matter.
            masks: 1 where a pixel is missing, 0 where it is known, shape ``(N, 1, H, W)``.

        Returns:
            Photos in [0, 1] with the hole filled, of the same shape; bit for bit what they were
            elsewhere. While training the fill may go beyond: what is cut off has no gradient, and
            where black is to be filled a network could lose all of it.

        Raises:
            ValueError: If the shapes do not fit.
        """
        filled = prefill(photos, masks)
        missing = masks > 0.5
        inputs = torch.cat([photos.masked_fill(missing, 0), filled, missing.to(photos.dtype)], 1)
        correction = crop(self._correct(to_signed(inputs)), *photos.shape[-2:])
        corrected = filled + correction
        if not self.training:
            corrected = corrected.clamp(0, 1)
        return torch.where(missing, corrected, photos)

    def _correct(self, inputs: Tensor) -> Tensor:
        """(N, 7, H, W) to (N, 3, H', W'), extended to what the strides take."""
        features = F.pixel_unshuffle(reflect_to_multiple(inputs, STRIDE, MINIMUM_SIZE), 2)
        skipped = []
        for stage in self.encoder:
            features = stage(features)
            skipped.append(features)
        features = self.bottleneck(features)
        for stage, skip in zip(self.decoder, reversed(skipped), strict=True):
            features = F.interpolate(features, scale_factor=2.0, mode="nearest")
            features = stage(torch.cat([features, skip], dim=1))
        return F.pixel_shuffle(self.to_correction(features), 2)


class GatedConv(nn.Module):
    """Convolution, and a gate from 0 to 1 for every channel and position.

    The gate is all there is of non-linearity. Yu et al. have an ELU on what it lets through, too;
    on CPUs that takes as long as the convolution.

    Weights are drawn so that features keep their size from layer to layer: there is no
    normalisation to see to it.

    Args:
        in_channels: Channels of the features.
        out_channels: Channels of the result.
        stride: Of the convolution, of 3x3; beyond the border its pixels are repeated.
        dilation: Distance of the kernel's weights, in pixels.

    Source:
        Dauphin et al. 2017, https://arxiv.org/abs/1612.08083; for holes: Yu et al. 2019, section
        3.1, https://arxiv.org/abs/1806.03589
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        stride: int = 1,
        dilation: int = 1,
    ) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(
            in_channels,
            2 * out_channels,  # what there is to say, then the gates
            kernel_size=3,
            stride=stride,
            dilation=dilation,
            padding=dilation,
            padding_mode="replicate",
        )
        values, gates = self.convolution.weight.detach().chunk(2)
        fan_in = in_channels * 3**2
        # The mean square of the sigmoid of a normal number is 0.293: the result's is 1.
        nn.init.normal_(values, std=1.85 / math.sqrt(fan_in))
        nn.init.normal_(gates, std=1 / math.sqrt(fan_in))
        assert self.convolution.bias is not None
        nn.init.zeros_(self.convolution.bias)

    def forward(self, features: Tensor) -> Tensor:
        """Map ``(N, C, H, W)`` features to ``(N, C', H', W')``, H and W divided by the stride."""
        values, gates = self.convolution(features).chunk(2, dim=1)
        return values * gates.sigmoid()


class Refinement(nn.Module):
    """A gated convolution that adds to features; before training, nothing.

    Args:
        num_channels: Channels of the features.
    """

    def __init__(self, num_channels: int) -> None:
        super().__init__()
        self.layer = GatedConv(num_channels, num_channels)
        nn.init.zeros_(self.layer.convolution.weight[:num_channels])  # the gates are as ever

    def forward(self, features: Tensor) -> Tensor:
        """Map ``(N, C, H, W)`` features to the same shape."""
        refined: Tensor = features + self.layer(features)
        return refined


class GlobalContext(nn.Module):
    """Add to features what a channel-wise layer sees on a summary of 8x8 cells.

    Args:
        num_channels: Channels of the features.
    """

    def __init__(self, num_channels: int) -> None:
        super().__init__()
        self.positions = ChannelwiseLinear(num_channels, CONTEXT_SIZE**2)
        self.channels = nn.Conv2d(num_channels, num_channels, kernel_size=1)

    def forward(self, features: Tensor) -> Tensor:
        """Map ``(N, C, H, W)`` features, any H and W from 1 up, to the same shape."""
        summary = self.channels(self.positions(_resize_by_area(features, CONTEXT_SIZE)))
        return features + _resize_bilinearly(summary, *features.shape[-2:])


def _resize_bilinearly(cells: Tensor, height: int, width: int) -> Tensor:
    """``F.interpolate`` as products: of its own, PyTorch 2.13 compiles a wrong gradient."""
    return _tents(height, cells) @ cells @ _tents(width, cells).T


def _tents(length: int, like: Tensor) -> Tensor:
    """Weights of every one of 8 cells in every pixel, of shape (length, 8)."""
    cells = torch.arange(CONTEXT_SIZE, device=like.device)
    pixels = (torch.arange(length, device=like.device) + 0.5) * CONTEXT_SIZE / length - 0.5
    distances = (pixels.clamp(0, CONTEXT_SIZE - 1)[:, None] - cells).abs()
    return (1 - distances).clamp_min(0).to(like.dtype)


def _resize_by_area(features: Tensor, size: int) -> Tensor:
    """Average (N, C, H, W) features over size x size cells, by how much of a pixel lies in each."""
    rows = _overlaps(features.shape[2], size, features)
    columns = _overlaps(features.shape[3], size, features)
    return rows @ features @ columns.T


def _overlaps(length: int, count: int, like: Tensor) -> Tensor:
    """Weights of every pixel in the mean of every cell, of shape (count, length)."""
    # In units of 1 / (count * length), pixels are count long and cells length long: integers.
    cells = torch.arange(count, device=like.device)[:, None] * length
    pixels = torch.arange(length, device=like.device) * count
    shared = torch.minimum(cells + length, pixels + count) - torch.maximum(cells, pixels)
    return (shared.clamp_min(0) / length).to(like.dtype)
