"""The transformer network rearranged to be run, not trained: the same paintings in less time."""

from collections.abc import Sequence
from functools import cached_property
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from impasto.inference import winograd
from impasto.inference.statistics import Statistics, as_one, measure
from impasto.networks import TransformerNet
from impasto.networks.instance_norm import InstanceNorm
from impasto.networks.layers import (
    FoldedConv,
    ResidualBlock,
    UpsampleConv,
    channels_last,
    crop,
    reflect_to_multiple,
)
from impasto.networks.transformer import MINIMUM_SIZE, STRIDE

# The pixels of a 2x2 block, (down, right), in the order in which "phases" of channels hold them.
PHASES = ((0, 0), (0, 1), (1, 0), (1, 1))


class FusedTransformer(nn.Module):
    """A ``TransformerNet`` for inference: the same function, up to rounding.

    - Nearest upsampling and a 3x3 convolution are one of 2x2 on the small features, with four times
      the channels: 2.25 times fewer multiplications.
    - The last convolution takes blocks of 2x2 pixels, see ``FoldedConv``, as that one leaves them.
    - In float32 on a CPU, residual blocks take a quarter of the multiplications, see ``winograd``.
    - Instance norm is batch norm of a batch of one, which PyTorch computes channels last, and the
      convolutions before it have no bias, which it would subtract again.
    - The first two layers compute in float32 whatever the rest does: networks turn differences in a
      smooth sky that are below the rounding of half precision into strokes. Behind them, rounding
      averages out.

    Args:
        network: Is left as it is.
        dtype: Of weights and features behind the second layer.

    Attributes:
        scales: Pixels of the photo from one position of each layer's raw features to the next, and
            of the painting.
        reaches: Pixels around its own that such a position looks at.
    """

    def __init__(self, network: TransformerNet, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        full, half, quarter = network.encoder
        layers = [_Layer(*_conv_and_norm(block)) for block in (full, half)]
        layers.append(_Layer(*_conv_and_norm(quarter), dtype))
        for block in network.blocks:
            assert isinstance(block, ResidualBlock)
            first, second, norm = block.body
            layers.append(_Layer(*_conv_and_norm(first), dtype, begins_block=True))
            layers.append(_Layer(*_conv_and_norm([second, norm]), dtype, ends_block=True))
        for block in network.decoder:
            assert isinstance(block, UpsampleConv)
            is_last = block is network.decoder[-1]
            layers.append(_UpsampleLayer(*_conv_and_norm(block[1]), dtype, keep_phases=is_last))
        self._layers = nn.ModuleList(layers)
        last = network.to_image[0]
        assert isinstance(last, FoldedConv)
        self.to_image = _ImageConv(last, dtype)
        self.scales, self.reaches = _geometry(layers, last.kernel_size[0])
        channels_last(self.requires_grad_(False)).eval()

    @property
    def layers(self) -> list["_Layer"]:
        """All that has a norm, in order."""
        return cast(list[_Layer], list(self._layers))

    def forward(self, images: Tensor, statistics: Sequence[Statistics] = ()) -> Tensor:
        """Paint photos.

        Args:
            images: RGB in [0, 1], float32, shape ``(N, 3, H, W)``, any H and W from 1 up.
            statistics: Of the norms, from the first on; the others take the images' own.

        Returns:
            Paintings in [0, 1], float32, of the same shape.
        """
        if images.device.type == "cpu" and len(images) > 1:  # nothing is gained by a batch there
            return torch.cat([self.paint(image, statistics) for image in images.split(1)])
        return self.paint(images, statistics)

    def paint(self, images: Tensor, statistics: Sequence[Statistics] = ()) -> Tensor:
        """Do the same, with all images at once on any device."""
        height, width = images.shape[-2:]
        features = self._run(images, list(statistics), len(self.layers))
        return crop(self.to_image(features), height, width)

    def measure(self, images: Tensor) -> list[Statistics]:
        """Find the statistics of all norms, of all images together, shape ``(N, 3, H, W)``."""
        statistics: list[Statistics] = []
        self._run(images, statistics, len(self.layers), together=True)
        return statistics

    def features_before_norm(self, images: Tensor, statistics: Sequence[Statistics]) -> Tensor:
        """Compute what the first norm that ``statistics`` does not know would see.

        Returns:
            Features of shape ``(N, C, H', W')``; where they are upsampled, phases of C channels.
        """
        return self._run(images, list(statistics), len(statistics))

    def _run(
        self, images: Tensor, statistics: list[Statistics], stop: int, together: bool = False
    ) -> Tensor:
        """Compute up to the convolution of layer ``stop``; add the statistics that are missing."""
        features = skipped = reflect_to_multiple(images, STRIDE, MINIMUM_SIZE)
        for index, layer in enumerate(self.layers):
            features = features.to(layer.kernel.dtype)
            if layer.begins_block:
                skipped = features
            raw = layer(features)
            if index == stop:
                return raw
            if index == len(statistics):
                statistics.append(layer.measure(as_one(raw) if together else raw))
            features = layer.normalize(raw, statistics[index])
            del raw  # before the next one is computed: at full resolution it is the largest thing
            if layer.ends_block:
                features += skipped
        return features


class _Layer(nn.Module):
    """A convolution, and then, statistics permitting, its norm and ReLU."""

    num_phases = 1

    def __init__(
        self,
        conv: nn.Conv2d,
        norm: InstanceNorm,
        dtype: torch.dtype = torch.float32,
        begins_block: bool = False,
        ends_block: bool = False,
    ) -> None:
        super().__init__()
        self.stride = conv.stride[0]
        self.begins_block, self.ends_block = begins_block, ends_block
        self.kernel = nn.Parameter(self.prepare(conv.weight.detach()).to(dtype))
        self.scale = nn.Parameter(norm.weight.detach().float())
        self.shift = nn.Parameter(norm.bias.detach().float())
        self.eps = norm.eps

    def prepare(self, weight: Tensor) -> Tensor:
        return weight.clone()

    @cached_property
    def _transformed(self) -> Tensor:
        return winograd.transform_kernel(self.kernel)

    def forward(self, features: Tensor) -> Tensor:
        if winograd.suits(features, self.kernel, self.stride):
            return winograd.convolve(features, self._transformed)
        margin = self.kernel.shape[-1] // 2
        padded = _extend(features, margin, "reflect")
        return F.conv2d(padded, self.kernel, stride=self.stride)

    def measure(self, raw: Tensor) -> Statistics:
        return measure(raw)

    def normalize(self, raw: Tensor, statistics: Statistics) -> Tensor:
        mean, variance = statistics
        if len(mean) == 1:
            normed = F.batch_norm(
                raw, mean[0], variance[0], self.scale, self.shift, training=False, eps=self.eps
            )
        else:
            rate = self.scale * (variance + self.eps).rsqrt()
            shift = self.shift - mean * rate
            normed = (raw * rate[..., None, None] + shift[..., None, None]).to(raw.dtype)
        return normed if self.ends_block else normed.relu_()


class _UpsampleLayer(_Layer):
    """Nearest upsampling by two, convolution, norm, ReLU.

    Args:
        keep_phases: Whether to leave every block of 2x2 pixels as one of 4 C channels.
    """

    num_phases = len(PHASES)

    def __init__(
        self,
        conv: nn.Conv2d,
        norm: InstanceNorm,
        dtype: torch.dtype,
        keep_phases: bool = False,
    ) -> None:
        super().__init__(conv, norm, dtype)
        self.keep_phases = keep_phases
        self.scale = nn.Parameter(self.scale.repeat(len(PHASES)))
        self.shift = nn.Parameter(self.shift.repeat(len(PHASES)))

    def prepare(self, weight: Tensor) -> Tensor:
        # The upper pixel of a block sees a row of the block above it, then two equal rows of its
        # own; the lower one sees two of its own, then one of the block below.
        rows = weight.new_tensor([[[1, 0, 0], [0, 1, 1]], [[1, 1, 0], [0, 0, 1]]])
        return torch.cat(
            [
                torch.einsum("ur,oirc,vc->oiuv", rows[down], weight, rows[right])
                for down, right in PHASES
            ]
        )

    def forward(self, features: Tensor) -> Tensor:
        """(N, C, H, W) features to (N, 4 C', H, W) phases."""
        height, width = features.shape[-2:]
        # Mirrored, an upsampled row meets its twin: the small features are replicated.
        padded = _extend(features, 1, "replicate")
        blocks = F.conv2d(padded, self.kernel).chunk(self.num_phases, dim=1)
        return torch.cat(
            [
                block[..., down : down + height, right : right + width]
                for block, (down, right) in zip(blocks, PHASES, strict=True)
            ],
            dim=1,
        )

    def measure(self, raw: Tensor) -> Statistics:
        """Of a channel, which is four here."""
        means, variances = (
            values.unflatten(1, (len(PHASES), -1)) for values in super().measure(raw)
        )
        return Statistics(means.mean(1), variances.mean(1) + means.var(1, correction=0))

    def normalize(self, raw: Tensor, statistics: Statistics) -> Tensor:
        mean, variance = (values.repeat(1, len(PHASES)) for values in statistics)
        phases = super().normalize(raw, Statistics(mean, variance))
        return phases if self.keep_phases else _interleave(phases)


class _ImageConv(nn.Module):
    """The last convolution and the sigmoid, from phases to an image: see ``FoldedConv``."""

    def __init__(self, conv: FoldedConv, dtype: torch.dtype) -> None:
        super().__init__()
        folded = conv.folded_weight().detach()  # of (12, C * 4, 5, 5); here phases come first
        folded = folded.unflatten(1, (-1, len(PHASES))).transpose(1, 2).flatten(1, 2)
        if dtype == torch.float32:  # 12 channels take a CPU a quarter longer than 16
            folded = F.pad(folded, (0,) * 7 + (-len(folded) % 16,))
        self.kernel = nn.Parameter(folded.to(dtype))
        assert conv.bias is not None
        self.bias = nn.Parameter(conv.bias.detach().float().repeat_interleave(len(PHASES)))

    def forward(self, phases: Tensor) -> Tensor:
        padded = _mirror_phases(phases, self.kernel.shape[-1] // 2)
        blocks = F.conv2d(padded, self.kernel)[:, : len(self.bias)].float()
        blocks = blocks + self.bias[:, None, None]
        return F.pixel_shuffle(blocks.sigmoid_(), 2)


def _conv_and_norm(block: nn.Module | list[nn.Module]) -> tuple[nn.Conv2d, InstanceNorm]:
    conv, norm, *_ = block if isinstance(block, list) else block.children()
    assert isinstance(conv, nn.Conv2d)
    assert isinstance(norm, InstanceNorm)
    return conv, norm


def _geometry(layers: list[_Layer], last_kernel_size: int) -> tuple[list[int], list[int]]:
    """Scales and reaches, in pixels of the photo, of each layer's raw features and the painting.

    A scale is how far one position is from the next, a reach how far it looks.
    """
    pitch, reach = 1, 0
    scales, reaches = [], []
    for layer in layers:
        # A kernel of 2x2 looks at the next of the small features.
        reach += pitch * (layer.kernel.shape[-1] // 2)
        scales.append(pitch := pitch * layer.stride)
        reaches.append(reach)
        pitch //= 2 if layer.num_phases > 1 else 1
    return [*scales, 1], [*reaches, reach + last_kernel_size // 2]


def _interleave(phases: Tensor) -> Tensor:
    """(N, 4 C, H, W) phases to (N, C, 2 H, 2 W) features, channels last."""
    count, channels, height, width = phases.shape
    features = torch.empty(
        (count, channels // len(PHASES), 2 * height, 2 * width),
        dtype=phases.dtype,
        device=phases.device,
        memory_format=torch.channels_last,
    )
    for phase, (down, right) in zip(phases.chunk(len(PHASES), dim=1), PHASES, strict=True):
        features[..., down::2, right::2] = phase
    return features


def _extend(features: Tensor, margin: int, mode: str) -> Tensor:
    """``F.pad`` on all sides; on GPUs that would undo channels last, so borders are copied."""
    if features.is_cuda and not torch.compiler.is_compiling():
        return _copy_borders(features, margin, mode)
    return F.pad(features, (margin,) * 4, mode=mode)


def _copy_borders(features: Tensor, margin: int, mode: str) -> Tensor:
    padded = _framed(features, margin)
    inwards = int(mode == "reflect")
    for dim in (2, 3):
        rows = padded.movedim(dim, 0)
        first, last = margin, len(rows) - margin - 1
        for distance in range(1, margin + 1):
            rows[first - distance] = rows[first + inwards * distance]
            rows[last + distance] = rows[last - inwards * distance]
    return padded


def _framed(features: Tensor, margin: int) -> Tensor:
    """(N, C, H, W) features with room on all sides, channels last."""
    count, channels, height, width = features.shape
    framed = torch.empty(
        (count, channels, height + 2 * margin, width + 2 * margin),
        dtype=features.dtype,
        device=features.device,
        memory_format=torch.channels_last,
    )
    framed[..., margin : margin + height, margin : margin + width] = features
    return framed


def _mirror_phases(phases: Tensor, margin: int) -> Tensor:
    """Extend (N, 4 C, H, W) phases by ``margin`` blocks as reflection extends the pixels in them.

    Of the pixels before the first one, 4, 3, 2, 1, every second is an upper one: for them the
    blocks are mirrored at the middle of the first one; for the lower ones, at its outer edge.
    """
    height, width = phases.shape[-2:]
    padded = _framed(phases, margin)
    pixels = padded.unflatten(1, (2, 2, -1))  # N, down, right, C, H, W
    for axis, dim, size in ((1, 4, height), (2, 5, width)):
        for offset in (0, 1):
            rows = pixels.select(axis, offset).movedim(dim - 1, 0)
            for distance in range(margin):
                before, first = margin - 1 - distance, margin + distance + 1 - offset
                behind, last = margin + size + distance, margin + size - 1 - distance - offset
                rows[before], rows[behind] = rows[first], rows[last]
    return padded
