"""Networks that tell photos from filled ones, to train those that fill."""

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from impasto.networks.context_encoder import SIZE, SLOPE, centre, down, initialize, to_signed
from impasto.networks.prefill import require_photos_and_masks


class ContextDiscriminator(nn.Module):
    """The paper's: one verdict on the painted 64 x 64, or on all 128 x 128 pixels.

    It returns logits, for binary cross-entropy that takes logits, where the authors' ends in a
    sigmoid. In training mode batch norm takes photos and paintings in batches of their own.

    Args:
        whole: Whether to look at all of the image (for ``ChannelwiseContextEncoder``) and not
            at the middle half only (for ``ContextEncoder``); it takes one more layer.

    Source:
        Pathak et al. 2016, section 3.2, https://arxiv.org/abs/1604.07379
    """

    size = SIZE
    sees_holes_only = False  # what a network paints of the known part is judged too

    def __init__(self, whole: bool = False) -> None:
        super().__init__()
        self.whole = whole
        more = down(64, 64) if whole else []
        self.layers = nn.Sequential(
            *down(3, 64, norm=False),
            *more,
            *down(64, 128),
            *down(128, 256),
            *down(256, 512),
            nn.Conv2d(512, 1, 4, bias=False),
        )
        self.apply(initialize)

    def forward(self, images: Tensor, masks: Tensor) -> Tensor:
        """Judge photos or filled photos.

        Args:
            images: RGB in [0, 1], shape ``(N, 3, 128, 128)``.
            masks: Of shape ``(N, 1, 128, 128)``, and not looked at: who knows the hole judges its
                seam and nothing else (section 3.2).

        Returns:
            Logits, above 0 for a photo, shape ``(N, 1, 1, 1)``.

        Raises:
            ValueError: If the size is another.
        """
        require_photos_and_masks(images, masks, SIZE)
        return self.layers(to_signed(images if self.whole else centre(images)))


class PatchDiscriminator(nn.Module):
    """Many verdicts on the patches of an image of any size, for the hinge loss.

    Spectral norm keeps it from winning outright and there is no batch norm: verdicts do not depend
    on what else is in the batch. It sees the mask, so that it looks where something was painted.

    Args:
        width: Channels of the first layer; those of the others go with it.

    Raises:
        ValueError: If ``width`` is below 1.

    Source:
        Yu et al. 2019, https://arxiv.org/abs/1806.03589 (SN-PatchGAN, with one layer less);
        Miyato et al. 2018, https://arxiv.org/abs/1802.05957
    """

    sees_holes_only = True

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        if width < 1:
            raise ValueError(f"PatchDiscriminator needs a width of at least 1, got {width}.")
        widths = [4, width, 2 * width, 4 * width, 4 * width, 4 * width]
        layers: list[nn.Module] = []
        for narrow, wide in pairwise(widths):
            layers += [
                spectral_norm(nn.Conv2d(narrow, wide, kernel_size=5, stride=2, padding=2)),
                nn.LeakyReLU(SLOPE, inplace=True),
            ]
        self.layers = nn.Sequential(*layers[:-1])

    def forward(self, images: Tensor, masks: Tensor) -> Tensor:
        """Judge photos or filled photos.

        Args:
            images: RGB in [0, 1], shape ``(N, 3, H, W)``: the painting in the hole only, the photo
                elsewhere.
            masks: 1 where a pixel was missing, shape ``(N, 1, H, W)``.

        Returns:
            Logits, above 0 for a photo: ``4 * width`` for every patch, shape
            ``(N, 4 * width, H / 32, W / 32)``, rounded up.

        Raises:
            ValueError: If the shapes do not fit.
        """
        require_photos_and_masks(images, masks)
        return self.layers(to_signed(torch.cat([images, masks], dim=1)))
