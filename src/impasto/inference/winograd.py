"""3x3 convolutions with a quarter of the multiplications, for CPUs that compute in float32."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

KERNEL_SIZE, TILE_SIZE = 3, 4
SEEN_SIZE = TILE_SIZE + KERNEL_SIZE - 1  # positions a side that a tile looks at
LEAST_SIDE = SEEN_SIZE  # of features: a smaller one has no room to mirror
# Measured: with 64 channels, or on 32x32 positions, both ways take as long.
LEAST_CHANNELS, LEAST_POSITIONS = 96, 2048
TILES_AT_ONCE = 256  # what becomes of 128 channels is then some 5 MB, and stays in the cache


def suits(features: Tensor, weight: Tensor, stride: int) -> bool:
    """Tell whether ``convolve`` can do this, and faster than PyTorch.

    Args:
        features: Shape ``(N, C, H, W)``.
        weight: The kernel, shape ``(C', C, K, K)``.
        stride: Of the convolution.
    """
    return (
        features.device.type == "cpu"
        and features.dtype == torch.float32
        and stride == 1
        and weight.shape[2:] == (KERNEL_SIZE, KERNEL_SIZE)
        and min(weight.shape[:2]) >= LEAST_CHANNELS
        and min(features.shape[2:]) >= LEAST_SIDE
        and features.shape[2] * features.shape[3] >= LEAST_POSITIONS
    )


def transform_kernel(weight: Tensor) -> Tensor:
    """Bring a kernel of shape ``(C', C, 3, 3)`` into the form ``(36, C, C')`` of ``convolve``."""
    matrix = weight.new_tensor(
        [
            [1 / 4, 0, 0],
            [-1 / 6, -1 / 6, -1 / 6],
            [-1 / 6, 1 / 6, -1 / 6],
            [1 / 24, 1 / 12, 1 / 6],
            [1 / 24, -1 / 12, 1 / 6],
            [0, 0, 1],
        ],
        dtype=torch.float64,
    )
    transformed = torch.einsum("dr,oirc,ac->daio", matrix, weight.double(), matrix)
    return transformed.flatten(0, 1).to(weight.dtype).contiguous()


def convolve(features: Tensor, kernel: Tensor) -> Tensor:
    """Convolve with a 3x3 kernel, mirrored at the border: the same result, up to rounding.

    Tiles of 4x4 positions are computed at once from the 6x6 that they look at. Brought into
    another basis, each of those is a matrix product of its own, and 36 of these do the work of
    9 x 16.

    Args:
        features: Shape ``(N, C, H, W)``, float32, H and W at least ``LEAST_SIDE``; channels last
            is fastest.
        kernel: As ``transform_kernel`` makes it.

    Returns:
        Shape ``(N, C', H, W)``, channels last.

    Source:
        Lavin and Gray 2016, F(4x4, 3x3), https://arxiv.org/abs/1509.09308
    """
    height, width = features.shape[-2:]
    rows, columns = -(-height // TILE_SIZE), -(-width // TILE_SIZE)
    right, bottom = 1 + columns * TILE_SIZE - width, 1 + rows * TILE_SIZE - height
    padded = F.pad(features, (1, right, 1, bottom), mode="reflect").permute(0, 2, 3, 1)
    result = features.new_empty(len(features), rows * TILE_SIZE, width, kernel.shape[2])
    step = TILE_SIZE * max(1, TILES_AT_ONCE // columns)
    for seen, target in zip(padded, result, strict=True):
        for top, band in zip(range(0, rows * TILE_SIZE, step), target.split(step), strict=True):
            _convolve_band(seen[top : top + len(band) + KERNEL_SIZE - 1], kernel, band)
    return result.permute(0, 3, 1, 2)[:, :, :height]


def _convolve_band(seen: Tensor, kernel: Tensor, band: Tensor) -> None:
    """From (4 n + 2, 4 m + 2, C) padded features to (4 n, W, C'), W at most 4 m."""
    rows = len(band) // TILE_SIZE
    across = _enter(_every_fourth(seen, dim=1))  # 6, 4 n + 2, m, C
    tiles = _enter(_every_fourth(across, dim=1))  # 6 down, 6 across, n, m, C
    columns = tiles.shape[3]
    products = torch.bmm(tiles.view(SEEN_SIZE**2, rows * columns, -1), kernel)
    products = products.view(SEEN_SIZE, SEEN_SIZE, rows, columns, -1)
    down = band.new_empty(TILE_SIZE, *products.shape[1:])
    _leave(products, list(down))
    pixels = band.unflatten(0, (rows, TILE_SIZE)).transpose(0, 1)  # 4, n, W, C'
    _leave(down.transpose(0, 1), [pixels[:, :, column::TILE_SIZE] for column in range(TILE_SIZE)])


def _every_fourth(seen: Tensor, dim: int) -> list[Tensor]:
    """The six positions of every tile in a dimension of size 4 n + 2: views with n of each."""
    length = seen.shape[dim] - KERNEL_SIZE
    first = seen.movedim(dim, 0)
    return [first[start : start + length : TILE_SIZE].movedim(0, dim) for start in range(SEEN_SIZE)]


def _enter(seen: Sequence[Tensor]) -> Tensor:
    """Bring six positions of all tiles into the other basis; they become the first dimension."""
    first, second, third, fourth, fifth, sixth = seen
    basis = first.new_empty(SEEN_SIZE, *first.shape)
    # Written in place, in an order in which a result may hold what a later one is made of.
    torch.sub(fifth, third, alpha=4, out=basis[1])
    torch.sub(fourth, second, alpha=4, out=basis[0])
    torch.sub(basis[1], basis[0], out=basis[2])
    basis[1].add_(basis[0])
    torch.sub(fifth, third, out=basis[3])
    torch.sub(fourth, second, out=basis[0])
    torch.sub(basis[3], basis[0], alpha=2, out=basis[4])
    basis[3].add_(basis[0], alpha=2)
    torch.sub(fifth, third, alpha=5, out=basis[0])
    basis[0].add_(first, alpha=4)
    torch.sub(sixth, fourth, alpha=5, out=basis[5])
    basis[5].add_(second, alpha=4)
    return basis


def _leave(basis: Tensor, targets: Sequence[Tensor]) -> None:
    """Bring six products of all tiles, which are lost, back to four positions.

    Where a target has fewer columns, those of the last tile are left out.
    """
    evens = torch.add(basis[1], basis[2]), torch.add(basis[3], basis[4])
    odds = basis[1].sub_(basis[2]), basis[3].sub_(basis[4])
    for power, target in enumerate(targets):
        near, far = (part[..., : target.shape[-2], :] for part in (odds if power % 2 else evens))
        torch.add(near, far, alpha=2**power, out=target)
    for target, rest in ((targets[0], basis[0]), (targets[3], basis[5])):
        target.add_(rest[..., : target.shape[-2], :])
