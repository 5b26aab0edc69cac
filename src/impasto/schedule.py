"""How the learning rate runs over a training."""

import math

from torch.optim.lr_scheduler import LambdaLR, LRScheduler, ReduceLROnPlateau

SCHEDULES = ("cosine", "constant")


def rate_at(step: int, num_steps: int, warmup_steps: int = 0, schedule: str = "cosine") -> float:
    """Tell the learning rate at a step, as a share of its highest.

    Args:
        step: From 0.
        num_steps: Of the whole training.
        warmup_steps: Steps over which the rate rises, by equal parts; at least 0.
        schedule: ``cosine`` falls, to zero after the last step; ``constant`` stays.

    Returns:
        A share in [0, 1].

    Raises:
        ValueError: If the schedule is unknown, or ``warmup_steps`` is negative.

    Source:
        Loshchilov & Hutter 2017, eq. 5, without restarts, https://arxiv.org/abs/1608.03983
    """
    if schedule not in SCHEDULES:
        raise ValueError(f"No schedule {schedule!r}: choose {' or '.join(SCHEDULES)}.")
    if warmup_steps < 0:
        raise ValueError(f"warmup_steps must be at least 0, got {warmup_steps}.")
    share = min(1.0, (step + 1) / (warmup_steps + 1))
    if schedule == "cosine":
        share *= 0.5 * (1 + math.cos(math.pi * min(1.0, step / num_steps)))
    return share


def refresh(scheduler: LRScheduler | ReduceLROnPlateau) -> None:
    """Set the rate of the step that comes next anew: a run that goes on may have become longer."""
    assert isinstance(scheduler, LambdaLR)
    groups = scheduler.optimizer.param_groups
    for group, highest, share in zip(groups, scheduler.base_lrs, scheduler.lr_lambdas, strict=True):
        group["lr"] = highest * share(scheduler.last_epoch)
