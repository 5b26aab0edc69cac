"""Temporal loss: what of a painting does not move along with its photo."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from impasto.losses.weights import checked_weight

SHIFT = 0.06  # of the side, at most: 8 of 128 pixels, what moves in a film from frame to frame
ZOOM = 0.05  # at most, as a share of the size
TURN = 0.05  # radians, at most: 3 degrees
WAVE = 0.01  # of the side: standard deviation of the smooth field
CELLS = 4  # values of that field along either side: a wave is an eighth of a picture, or longer
BORDER = 0.1  # of half a side: over which an occluder fades in
LUMINANCE = (0.2126, 0.7152, 0.0722)  # of linear RGB, ITU-R BT.709, as in ReCoNet


@dataclass(frozen=True)
class Moved:
    """Photos a moment later, and what is known of that moment."""

    photos: Tensor  # RGB in [0, 1], (N, 3, H, W)
    positions: Tensor  # where each pixel was before, x and y from -1 to 1, (N, H, W, 2)
    visible: Tensor  # 1 where it was in the picture and nothing covers it now, else 0, (N, 1, H, W)
    light: Tensor  # by how much its luminance rose, (N, 1, H, W)


class TemporalLoss(nn.Module):
    """How far a painting is from moving along with its photo, learnt from still photos.

    ``move`` makes of every photo what a camera could see a moment later: shifted, zoomed, turned
    and bent a little, partly covered by something new, in another light, with noise of its own.
    What the network paints then is compared with what it painted before, moved in the same way.
    Motion and occlusion are known, so no optical flow is estimated, neither here nor in painting.

    Args:
        weight: In the total, for who adds it up.
        motion: How far photos move, as a multiple of what frames of a film do; each at random
            between standing still and this.
        occlusion: Radius of the largest occluder, as a share of half a side.
        light: Largest change of brightness, on the scale of [0, 1], and of contrast, as a share;
            for half of the photos the light stays.
        noise: Standard deviation, at most, on the scale of [0, 1]: cameras' and codecs'.

    Raises:
        ValueError: If one of them is negative or no number.

    Source:
        Ruder et al. 2016, eq. 7, https://arxiv.org/abs/1604.08610, for the comparison; Gao et al.
        2018 (ReCoNet), eq. 6, https://arxiv.org/abs/1807.01197, for the light. Both take
        neighbouring frames of films and their flow; here photos are moved at random.
    """

    def __init__(
        self,
        weight: float = 1.0,
        motion: float = 1.0,
        occlusion: float = 0.5,
        light: float = 0.1,
        noise: float = 0.012,
    ) -> None:
        super().__init__()
        self.weight = checked_weight("weight", weight)
        self.motion = checked_weight("motion", motion)
        self.occlusion = checked_weight("occlusion", occlusion)
        self.light = checked_weight("light", light)
        self.noise = checked_weight("noise", noise)

    @torch.no_grad()
    def move(self, photos: Tensor) -> Moved:
        """Draw what the photos look like a moment later, with PyTorch's global generator.

        Args:
            photos: RGB in [0, 1], shape ``(N, 3, H, W)``; noise may exceed the range.
        """
        with torch.autocast(photos.device.type, enabled=False):
            photos = photos.float()
            positions = still_positions(photos) + self.motion * _random_motion(photos)
            moved = warp(photos, positions)
            lit = (moved + self.light * _random_light(moved)).clamp(0, 1)
            cover = _random_cover(photos, self.occlusion)
            # Another photo of the batch; of a single one, its own mirror image.
            covered = lit.lerp(photos.roll(1, 0).flip(3), cover)
            noise = self.noise * _random_share(photos) * torch.randn_like(photos)
            inside = (positions.abs().amax(3) < 1)[:, None]
            return Moved(
                photos=(covered + noise).clamp(0, 1).contiguous(memory_format=torch.channels_last),
                positions=positions,
                visible=(inside & (cover == 0)).float(),
                light=luminance(lit - moved),
            )

    def forward(self, painted: Tensor, painted_later: Tensor, moved: Moved) -> Tensor:
        """Compare paintings of photos with those of the photos moved.

        A painting may grow lighter or darker by what its photo does, or by less: instance norm
        keeps a network from seeing light that changes everywhere alike. (ReCoNet demands all of it,
        pixel by pixel, of colours too.)

        Args:
            painted: RGB in [0, 1], shape ``(N, 3, H, W)``.
            painted_later: Of ``moved.photos``, same shape and range.
            moved: What ``move`` made of the photos.

        Returns:
            A float32 scalar: the mean squared difference where a pixel is visible both times, over
            the variance of the painting. 0 for a painting that moves along, about 2 for one that
            has nothing to do with what was there before. Faded paintings gain nothing.
        """
        with torch.autocast(painted.device.type, enabled=False):
            difference = painted_later.float() - warp(painted.float(), moved.positions)
            brighter = difference.mean(1, keepdim=True)
            allowed = brighter.clamp(moved.light.clamp(max=0), moved.light.clamp(min=0))
            squares = (difference - allowed).square().mean(1, keepdim=True)
            error = (squares * moved.visible).sum() / moved.visible.sum().clamp_min(1)
            # The 1e-4, a deviation of 1 %, keeps flat paintings from mattering.
            return error / (_variance(painted.float()) + 1e-4)


def warp(images: Tensor, positions: Tensor) -> Tensor:
    """Fetch every pixel from another place, by bicubic interpolation, which hardly blurs.

    Args:
        images: Float32, shape ``(N, C, H, W)``, mirrored beyond their borders.
        positions: Of the places, x and y, shape ``(N, H, W, 2)``; the picture reaches from -1 to 1.

    Returns:
        Of the images' shape; bicubic interpolation may exceed their range a little.
    """
    return F.grid_sample(
        images, positions, mode="bicubic", padding_mode="reflection", align_corners=False
    )


def still_positions(images: Tensor) -> Tensor:
    """Places of the pixels themselves, for ``warp``; shape ``(N, H, W, 2)``."""
    same = torch.eye(2, 3, device=images.device).expand(len(images), 2, 3)
    return F.affine_grid(same, list(images.shape), align_corners=False)


def luminance(images: Tensor) -> Tensor:
    """Weigh red, green and blue as eyes do: shape ``(N, 3, H, W)`` to ``(N, 1, H, W)``."""
    weights = images.new_tensor(LUMINANCE).view(1, 3, 1, 1)
    return (images * weights).sum(1, keepdim=True)


def _random_motion(photos: Tensor) -> Tensor:
    """From where pixels come, relative to where they are: (N, H, W, 2), sides from -1 to 1."""
    count, _, height, width = photos.shape
    across, down, zoom, turn = _random_signs(photos, 4).unbind(1)
    zoom, turn = ZOOM * zoom, TURN * turn
    rows = [
        torch.stack([zoom, -turn * height / width, 2 * SHIFT * across], 1),
        torch.stack([turn * width / height, zoom, 2 * SHIFT * down], 1),
    ]
    whole = F.affine_grid(torch.stack(rows, 1), list(photos.shape), align_corners=False)
    field = torch.randn(count, 2, CELLS, CELLS, device=photos.device)
    bent = 2 * WAVE * F.interpolate(field, (height, width), mode="bicubic")
    return _random_share(photos) * (whole + bent.permute(0, 2, 3, 1))


def _random_light(photos: Tensor) -> Tensor:
    """A change alike in all colours, which is smooth or grows with luminance: (N, 1, H, W)."""
    corners = _random_signs(photos, 4).view(-1, 1, 2, 2)
    smooth = F.interpolate(corners, photos.shape[2:], mode="bilinear", align_corners=True)
    contrast = _random_signs(photos, 1).view(-1, 1, 1, 1)
    bright = luminance(photos)
    change = smooth + contrast * (bright - bright.mean((2, 3), keepdim=True))
    return (2 * _random_share(photos) - 1).relu() * change


def _random_cover(photos: Tensor, largest: float) -> Tensor:
    """How much of each pixel a round occluder covers, 0 to 1: (N, 1, H, W)."""
    centre = _random_signs(photos, 2).view(-1, 1, 1, 2)
    distance = (still_positions(photos) - centre).norm(dim=3)
    radius = largest * _random_share(photos)[..., 0]
    return ((radius - distance) / BORDER).clamp(0, 1)[:, None]


def _random_share(photos: Tensor) -> Tensor:
    """A number from 0 to 1 for every photo: (N, 1, 1, 1)."""
    return torch.rand(len(photos), 1, 1, 1, device=photos.device)


def _random_signs(photos: Tensor, count: int) -> Tensor:
    """Numbers from -1 to 1 for every photo: (N, count)."""
    return 2 * torch.rand(len(photos), count, device=photos.device) - 1


def _variance(images: Tensor) -> Tensor:
    """Of the colours within a picture, mean over colours and pictures."""
    return (images - images.mean((2, 3), keepdim=True)).square().mean()
