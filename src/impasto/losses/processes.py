"""What a batch has in common when several processes each hold a part of it."""

import torch.distributed as dist
from torch import Tensor


def averaged(value: Tensor) -> Tensor:
    """Average a number over all processes that train together; alone, it stays.

    A loss that divides by what it finds in the batch must divide by what all of the batch holds,
    or several devices would descend another loss than one does.

    Args:
        value: Without gradients, of the same shape in every process.
    """
    if not (dist.is_available() and dist.is_initialized()) or dist.get_world_size() == 1:
        return value
    value = value.clone()
    dist.all_reduce(value)
    return value / dist.get_world_size()
