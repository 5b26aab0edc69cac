"""Compile a training step, with what PyTorch's compiler needs to know for it."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a function, as ``torch.compile`` does.

    Of padding that repeats the border, the compiler does not know the gradient (PyTorch 2.11 to
    2.13): it calls a kernel, and mistakes its strides where convolutions leave channels last on a
    CPU. So it is told here, in sums that it can fuse with what comes before and after.

    Args:
        function: Of tensors; compiled when it is first called.
    """
    # Here, since it takes seconds to import, and most trainings are not compiled.
    from torch._inductor import decomposition

    operation = torch.ops.aten.replication_pad2d_backward.default
    if operation not in decomposition.decompositions:
        decomposition.register_decomposition([operation])(replication_gradient)
        decomposition.fast_random_decomps.cache_clear()  # of who compiled before
    return torch.compile(function)


def replication_gradient(gradient: Tensor, features: Tensor, padding: list[int]) -> Tensor:
    """Gradient of features that were padded by repeating their border.

    Args:
        gradient: Of the padded features, shape ``(..., H', W')``.
        features: Before padding, shape ``(..., H, W)``.
        padding: Left, right, top and bottom, in pixels.
    """
    if min(padding) < 0:  # what is cut off instead of padded is left to PyTorch
        return NotImplemented
    left, right, top, bottom = padding
    for dim, before, behind in ((-1, left, right), (-2, top, bottom)):
        size = features.shape[dim]
        axis = (0, 0) * (-1 - dim)  # F.pad counts from the last dimension
        inner = gradient.narrow(dim, before, size)
        first = gradient.narrow(dim, 0, before).sum(dim, keepdim=True)
        last = gradient.narrow(dim, before + size, behind).sum(dim, keepdim=True)
        gradient = inner + F.pad(first, (*axis, 0, size - 1)) + F.pad(last, (*axis, size - 1, 0))
    return gradient
