"""Total variation: how much neighbouring pixels differ."""

from torch import Tensor


def total_variation(images: Tensor) -> Tensor:
    """Mean squared difference of neighbours, across and down.

    Args:
        images: Shape ``(N, C, H, W)``, in [0, 1].

    Returns:
        A scalar: 0 for a constant image, 2 for a chequerboard of black and white; grows with
        detail. A direction of a single pixel counts as constant.

    Source:
        Johnson et al. 2016, section 3.2, as the mean rather than the sum, so that image size does
        not count.
    """
    images = images.float()
    across = (images[..., :, 1:] - images[..., :, :-1]).square()
    down = (images[..., 1:, :] - images[..., :-1, :]).square()
    return sum((part.mean() for part in (across, down) if part.numel()), images.new_zeros(()))
