"""How the learning rate runs over a training."""

import math

SCHEDULES = ("cosine", "constant")


def rate_at(step: int, num_steps: int, warmup_steps: int = 0, schedule: str = "cosine") -> float:
    """Tell the learning rate at a step, as a share of its highest.

    Args:
        step: From 0.
        num_steps: Of the whole training.
        warmup_steps: Steps over which the rate rises, by equal parts.
        schedule: ``cosine`` falls to zero at the last step; ``constant`` stays.

    Returns:
        A share in [0, 1].

    Raises:
        ValueError: If the schedule is unknown.

    Source:
        Loshchilov & Hutter 2017, eq. 5, without restarts, https://arxiv.org/abs/1608.03983
    """
    if schedule not in SCHEDULES:
        raise ValueError(f"No schedule {schedule!r}: choose {' or '.join(SCHEDULES)}.")
    share = min(1.0, (step + 1) / (warmup_steps + 1))
    if schedule == "cosine":
        share *= 0.5 * (1 + math.cos(math.pi * min(1.0, step / num_steps)))
    return share
