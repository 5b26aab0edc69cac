"""The image transformation network of Johnson et al.: photo in, painting out, in one pass."""

from torch import Tensor, nn

from impasto.networks.layers import (
    ConvNormReLU,
    FoldedConv,
    ResidualBlock,
    UpsampleConv,
    crop,
    reflect_to_multiple,
)

STRIDE = 4  # two stride-2 convolutions
MINIMUM_SIZE = 8  # the 9x9 convolutions mirror 4 pixels, the residual blocks 1 of H/4


class TransformerNet(nn.Module):
    """Downsample by four, transform by residual blocks, upsample by four.

    It departs from the paper where later work agreed to: instance norm for batch norm, nearest
    upsampling and convolution for transposed convolution, reflection padding in every convolution
    for one padding of 40 pixels.

    Args:
        width: Channels at full resolution; 32 is the paper's, 16 its authors' later release.
        num_blocks: Residual blocks at a quarter of the resolution.

    Raises:
        ValueError: If ``width`` or ``num_blocks`` is below 1.

    Source:
        Johnson et al. 2016, https://arxiv.org/abs/1603.08155
    """

    def __init__(self, width: int = 32, num_blocks: int = 5) -> None:
        super().__init__()
        if width < 1 or num_blocks < 1:
            raise ValueError(
                f"TransformerNet needs a width and a number of blocks of at least 1, "
                f"got width={width}, num_blocks={num_blocks}."
            )
        self.encoder = nn.Sequential(
            ConvNormReLU(3, width, kernel_size=9),
            ConvNormReLU(width, 2 * width, kernel_size=3, stride=2),
            ConvNormReLU(2 * width, 4 * width, kernel_size=3, stride=2),
        )
        self.blocks = nn.Sequential(*(ResidualBlock(4 * width) for _ in range(num_blocks)))
        self.decoder = nn.Sequential(
            UpsampleConv(4 * width, 2 * width),
            UpsampleConv(2 * width, width),
        )
        self.to_image = nn.Sequential(FoldedConv(width, 3, kernel_size=9), nn.Sigmoid())

    def forward(self, images: Tensor) -> Tensor:
        """Paint photos.

        Args:
            images: RGB in [0, 1], shape ``(N, 3, H, W)``, any H and W from 1 up.

        Returns:
            Paintings in [0, 1], of the same shape.
        """
        height, width = images.shape[-2:]
        features = reflect_to_multiple(images, STRIDE, MINIMUM_SIZE)
        features = self.encoder(features)
        features = self.blocks(features)
        features = self.decoder(features)
        return crop(self.to_image(features), height, width)
