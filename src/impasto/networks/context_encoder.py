"""Context encoders as first published: a hole in the middle, or anywhere, of 128 x 128 pixels."""

from itertools import pairwise

import torch
from torch import Tensor, nn

from impasto.networks.prefill import require_photos_and_masks

SIZE = 128  # pixels: the bottlenecks fix it
# The mean colour of ImageNet as RGB. The authors' code writes it to red, green and blue in the
# order of another library's channels, blue first.
MEAN_COLOUR = (123 / 255, 117 / 255, 104 / 255)
SLOPE = 0.2  # of LeakyReLU below 0


class ChannelwiseLinear(nn.Module):
    """Connect every position of a channel with every other one, but no channel with another.

    For C channels of n positions it takes ``C * n^2`` weights where a fully connected layer takes
    ``C^2 * n^2``; a 1x1 convolution after it lets channels talk.

    Args:
        num_channels: Channels of the features.
        num_positions: Height times width of the features.

    Raises:
        ValueError: If either is below 1.

    Source:
        Pathak et al. 2016, section 3.1, https://arxiv.org/abs/1604.07379
    """

    def __init__(self, num_channels: int, num_positions: int) -> None:
        super().__init__()
        if num_channels < 1 or num_positions < 1:
            raise ValueError(
                f"ChannelwiseLinear needs at least 1 channel and 1 position, "
                f"got num_channels={num_channels}, num_positions={num_positions}."
            )
        self.weight = nn.Parameter(torch.empty(num_channels, num_positions, num_positions))
        self.bias = nn.Parameter(torch.zeros(num_channels, num_positions))
        nn.init.normal_(self.weight, std=num_positions**-0.5)  # features keep their size

    def forward(self, features: Tensor) -> Tensor:
        """Map ``(N, C, H, W)`` features to the same shape; H * W is ``num_positions``.

        Raises:
            ValueError: If the features have other numbers of channels or positions.
        """
        channels, positions = self.bias.shape
        if features.shape[1] != channels or features.shape[2] * features.shape[3] != positions:
            raise ValueError(
                f"This ChannelwiseLinear takes {channels} channels of {positions} positions, "
                f"got features of shape {tuple(features.shape)}."
            )
        rows = features.flatten(2).transpose(0, 1)  # (C, N, positions)
        mixed = torch.baddbmm(self.bias[:, None], rows, self.weight.transpose(1, 2))
        return mixed.transpose(0, 1).reshape(features.shape)


class ContextEncoder(nn.Module):
    """The inpainting network that the authors released: all of the photo in 4000 numbers.

    It has no channel-wise layer (``ChannelwiseContextEncoder`` has), does not see the mask but the
    hole in the mean colour, and paints the middle 64 x 64 of 128 x 128 pixels. Convolutions have
    no bias: the authors set theirs to zero before every step. In training mode, batch norm
    on the 1x1 bottleneck takes at least 2 photos at a time.

    Like all networks that fill holes it says what it takes: ``size`` is the only height and
    width (``None``: any), ``centre_only`` whether holes must lie in the middle half.

    Source:
        Pathak et al. 2016, https://arxiv.org/abs/1604.07379, and its supplementary code
    """

    size: int | None = SIZE
    centre_only = True

    def __init__(self) -> None:
        super().__init__()
        self.encoder = _encoder()
        self.bottleneck = nn.Sequential(
            nn.Conv2d(512, 4000, 4, bias=False),  # 1x1
            nn.BatchNorm2d(4000),
            nn.LeakyReLU(SLOPE, inplace=True),
            nn.ConvTranspose2d(4000, 512, 4, bias=False),  # 4x4
            nn.BatchNorm2d(512),
            nn.ReLU(inplace=True),
        )
        self.decoder = _decoder(512, 256, 128, 64)
        self.apply(initialize)

    def forward(self, photos: Tensor, masks: Tensor) -> Tensor:
        """Paint the middle of photos.

        Args:
            photos: RGB in [0, 1], shape ``(N, 3, 128, 128)``.
            masks: 1 where a pixel is missing, shape ``(N, 1, 128, 128)``: the middle 64 x 64, or
                less, so that what is painted overlaps with what is known.

        Returns:
            The photos with their middle 64 x 64 replaced, known or not, of the same shape.

        Raises:
            ValueError: If the size is another, or a hole reaches beyond the middle.
        """
        require_photos_and_masks(photos, masks, self.size)
        _require_centre(masks)
        patches = to_unit(self.decoder(self.bottleneck(self.encoder(_with_mean(photos, masks)))))
        filled = photos.clone()  # in its own precision, whatever the network computes in
        centre(filled).copy_(patches)
        return filled


class ChannelwiseContextEncoder(nn.Module):
    """The context encoder with the paper's channel-wise layer, for holes anywhere.

    Encoder and decoder are those of the authors' network for random holes: one more layer than
    ``ContextEncoder``'s, to all of the photo. Between them are the paper's channel-wise layer and
    a 1x1 convolution, 0.4 million weights for the 65.5 of the 4000-wide bottleneck.

    Source:
        Pathak et al. 2016, sections 3.1 and 3.3, https://arxiv.org/abs/1604.07379
    """

    size: int | None = SIZE
    centre_only = False

    def __init__(self) -> None:
        super().__init__()
        self.encoder = _encoder()
        self.bottleneck = nn.Sequential(
            ChannelwiseLinear(512, 4 * 4),
            nn.Conv2d(512, 512, 1, bias=False),
            nn.BatchNorm2d(512),
            nn.ReLU(inplace=True),
        )
        self.decoder = _decoder(512, 256, 128, 64, 64)
        self.apply(initialize)

    def forward(self, photos: Tensor, masks: Tensor) -> Tensor:
        """Paint photos anew, holes and all.

        Args:
            photos: RGB in [0, 1], shape ``(N, 3, 128, 128)``.
            masks: 1 where a pixel is missing, shape ``(N, 1, 128, 128)``.

        Returns:
            What the network makes of all of the photo, in [0, 1], of the same shape.

        Raises:
            ValueError: If the size is another.
        """
        require_photos_and_masks(photos, masks, self.size)
        return to_unit(self.decoder(self.bottleneck(self.encoder(_with_mean(photos, masks)))))


def centre(images: Tensor) -> Tensor:
    """The middle half of ``(N, C, H, W)`` images, a view of shape ``(N, C, H / 2, W / 2)``."""
    height, width = images.shape[-2:]
    top, left = height // 4, width // 4
    return images[..., top : top + height // 2, left : left + width // 2]


def initialize(module: nn.Module) -> None:
    """Draw weights as the authors do: convolutions N(0, 0.02), scales of batch norm N(1, 0.02)."""
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
        nn.init.normal_(module.weight, std=0.02)
    elif isinstance(module, nn.BatchNorm2d):
        nn.init.normal_(module.weight, mean=1.0, std=0.02)
        nn.init.zeros_(module.bias)


def to_signed(images: Tensor) -> Tensor:
    """[0, 1] to [-1, 1]."""
    return 2 * images - 1


def to_unit(images: Tensor) -> Tensor:
    """[-1, 1] to [0, 1]."""
    return (images + 1) / 2


def down(in_channels: int, out_channels: int, norm: bool = True) -> list[nn.Module]:
    """A 4x4 convolution of stride 2, batch norm and LeakyReLU: half the height and width."""
    layers: list[nn.Module] = [nn.Conv2d(in_channels, out_channels, 4, 2, 1, bias=False)]
    if norm:
        layers.append(nn.BatchNorm2d(out_channels))
    return [*layers, nn.LeakyReLU(SLOPE, inplace=True)]


def _encoder() -> nn.Sequential:
    """From (N, 3, 128, 128) in [-1, 1] to features of shape (N, 512, 4, 4)."""
    widths = (64, 64, 128, 256, 512)
    layers = down(3, widths[0], norm=False)
    for narrow, wide in pairwise(widths):
        layers += down(narrow, wide)
    return nn.Sequential(*layers)


def _decoder(*widths: int) -> nn.Sequential:
    """From (N, widths[0], H, W) features to RGB in [-1, 1], twice as large for every width."""
    layers: list[nn.Module] = []
    for wide, narrow in pairwise(widths):
        layers += [
            nn.ConvTranspose2d(wide, narrow, 4, 2, 1, bias=False),
            nn.BatchNorm2d(narrow),
            nn.ReLU(inplace=True),
        ]
    layers += [nn.ConvTranspose2d(widths[-1], 3, 4, 2, 1, bias=False), nn.Tanh()]
    return nn.Sequential(*layers)


def _with_mean(photos: Tensor, masks: Tensor) -> Tensor:
    """Photos in [-1, 1] with the hole in the mean colour."""
    colour = photos.new_tensor(MEAN_COLOUR)[:, None, None]
    return to_signed(torch.where(masks > 0.5, colour, photos))


def _require_centre(masks: Tensor) -> None:
    if torch.compiler.is_compiling():  # a graph cannot look at values
        return
    outside = (masks > 0.5).float().sum() - (centre(masks) > 0.5).float().sum()
    if outside > 0:
        raise ValueError(
            f"ContextEncoder fills the middle {SIZE // 2} x {SIZE // 2} pixels only, and "
            f"{int(outside)} missing ones lie elsewhere; use ChannelwiseContextEncoder or "
            f"ContextEncoderPlus, which take any mask."
        )
