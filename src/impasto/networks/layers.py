"""Small typed blocks of feed-forward image networks."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from impasto.networks.instance_norm import InstanceNorm


class ReflectConv(nn.Conv2d):
    """Convolution with reflection padding of half its kernel: ``ceil(size / stride)`` stays.

    Zero padding would leave a visible frame around the painting.
    """

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: int, stride: int = 1
    ) -> None:
        super().__init__(
            in_channels,
            out_channels,
            kernel_size,
            stride=stride,
            padding=kernel_size // 2,
            padding_mode="reflect",
        )


class FoldedConv(ReflectConv):
    """The same as ``ReflectConv``, computed at half the size on four times the channels.

    A large kernel on few channels leaves a processor's vector units idle: 9x9 from 16 channels to 3
    as 5x5 from 64 to 12 does a fifth more multiplications in half the time (on a CPU, forward and
    backward). The result is the same, up to rounding; weights are kept in their usual shape.

    Args:
        in_channels: Channels of the features.
        out_channels: Channels of the result.
        kernel_size: 1, 5, 9, ...: one more than a multiple of 4. Height and width must be even.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int) -> None:
        super().__init__(in_channels, out_channels, kernel_size)
        if kernel_size % 4 != 1:
            raise ValueError(f"kernel_size must be 1, 5, 9 and so on, got {kernel_size}.")

    def forward(self, features: Tensor) -> Tensor:
        """Convolve ``(N, C, H, W)`` features, H and W even."""
        assert self.bias is not None
        margin = self.kernel_size[0] // 2
        padded = F.pad(features, (margin,) * 4, mode="reflect")
        folded = F.conv2d(
            F.pixel_unshuffle(padded, 2).contiguous(memory_format=torch.channels_last),
            self.folded_weight().contiguous(memory_format=torch.channels_last),
            self.bias.repeat_interleave(4),
        )
        return F.pixel_shuffle(folded, 2)

    def folded_weight(self) -> Tensor:
        """The kernel for blocks of 2x2 pixels, of shape ``(4 C', 4 C, K // 2 + 1, K // 2 + 1)``."""
        # One kernel for each of the four pixels of a block, shifted to where that pixel looks.
        shifted = [
            F.pad(self.weight, (right, 1 - right, down, 1 - down))
            for down in (0, 1)
            for right in (0, 1)
        ]
        kernels = torch.stack([F.pixel_unshuffle(kernel, 2) for kernel in shifted], dim=1)
        return kernels.flatten(0, 1)


class ConvNormReLU(nn.Sequential):
    """Convolution, instance norm, ReLU."""

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: int, stride: int = 1
    ) -> None:
        super().__init__(
            ReflectConv(in_channels, out_channels, kernel_size, stride),
            InstanceNorm(out_channels),
            nn.ReLU(inplace=True),
        )


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions around which the features pass unchanged; no ReLU after the sum.

    Source:
        Johnson et al. 2016, supplementary material, https://arxiv.org/abs/1603.08155
    """

    def __init__(self, num_channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            ConvNormReLU(num_channels, num_channels, kernel_size=3),
            ReflectConv(num_channels, num_channels, kernel_size=3),
            InstanceNorm(num_channels),
        )

    def forward(self, features: Tensor) -> Tensor:
        """Add what the body finds to ``(N, C, H, W)`` features."""
        return features + self.body(features)


class UpsampleConv(nn.Sequential):
    """Nearest-neighbour upsampling by two, then convolution: no checkerboard.

    Source:
        Odena et al. 2016, https://distill.pub/2016/deconv-checkerboard
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(
            nn.Upsample(scale_factor=2, mode="nearest"),
            ConvNormReLU(in_channels, out_channels, kernel_size=3),
        )


def channels_last(network: nn.Module) -> nn.Module:
    """Lay the weights out as convolutions compute fastest, in place: with the channels last."""
    return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def reflect_to_multiple(images: Tensor, multiple: int, minimum: int) -> Tensor:
    """Extend images at the bottom and right by mirroring, to sides a network can take.

    Unlike ``F.pad(mode="reflect")`` it mirrors again and again, so a single pixel can be extended.

    Args:
        images: Any tensor of shape ``(N, C, H, W)``.
        multiple: What both sides become a multiple of.
        minimum: The least side, itself such a multiple.

    Returns:
        Images of shape ``(N, C, H', W')``; the very same tensor where nothing is missing.
    """
    for dim in (2, 3):
        size = images.shape[dim]
        wanted = max(minimum, (size + multiple - 1) // multiple * multiple)
        # Exporting keeps one branch for every size: the one that is right for all.
        is_exporting = torch.compiler.is_exporting()
        if torch.compiler.is_compiling() and not is_exporting and size < wanted < 2 * size:
            # The same, of which PyTorch 2.13 compiles what follows; of the other it may not.
            missing = (0, 0, 0, wanted - size) if dim == 2 else (0, wanted - size)
            images = F.pad(images, missing, mode="reflect")
        elif is_exporting or wanted > size:
            images = images.index_select(dim, _mirrored_positions(size, wanted, images.device))
    return images


def crop(images: Tensor, height: int, width: int) -> Tensor:
    """Keep the top left of ``(N, C, H, W)`` images: what ``reflect_to_multiple`` was given."""
    if not torch.compiler.is_exporting():
        return images[..., :height, :width]
    for dim, size in ((2, height), (3, width)):  # a slice asks whether it cuts anything off
        images = images.index_select(dim, torch.arange(size, device=images.device))
    return images


def _mirrored_positions(size: int, wanted: int, device: torch.device) -> Tensor:
    """0, 1, ..., size-1, size-2, ..., 1, 0, 1, ... up to ``wanted`` positions."""
    period = torch.full((1,), max(2 * size - 2, 1), device=device)  # ONNX divides tensors only
    position = torch.arange(wanted, device=device) % period
    return torch.minimum(position, period - position)
