"""Minimisers of one tensor, one iteration at a time, whose state fits a file of tensors."""

import math
from collections import deque
from collections.abc import Callable, Mapping
from typing import Protocol

import torch
from torch import Tensor

Function = Callable[[Tensor], tuple[float, Tensor]]
"""Maps a point to its value and its gradient, of the point's shape."""

DECREASE = 1e-4  # share of the decrease that the slope promises, Nocedal & Wright's c1
MAX_TRIALS = 8  # of ever shorter steps before a direction is given up
FIRST_STEP = 0.1  # root mean square of the very first move: a fortieth of the contrast, in logits
ADAM_STEP = 0.08  # of logits
BETAS, EPSILON = (0.9, 0.999), 1e-8  # of Adam, as in the paper


class Minimizer(Protocol):
    """What an optimisation needs of its method."""

    point: Tensor
    """Where it is now."""

    def iterate(self, function: Function) -> bool:
        """Move once; whether anything was gained, without which there is no use in going on."""

    def state(self) -> dict[str, Tensor]:
        """All it needs to go on, by name; scalars have no dimensions."""

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Go on where ``state`` was taken."""


class LBFGS:
    """Newton's method with curvature guessed from the last few moves, and never uphill.

    PyTorch's own evaluates the point anew with every call and starts with a move too small to see.
    Here an iteration is one evaluation, but for the few whose first trial goes too far.

    Args:
        point: Where to start, float32 of any shape.
        history_size: Moves remembered; each takes two tensors of the point's size.

    Source:
        Nocedal & Wright 2006, algorithms 7.4 and 3.1 (backtracking).
    """

    def __init__(self, point: Tensor, history_size: int = 10) -> None:
        self.point = point
        self.value = math.inf
        self.gradient: Tensor | None = None
        self.moves: deque[tuple[Tensor, Tensor]] = deque(maxlen=history_size)

    def iterate(self, function: Function) -> bool:
        """Move along the quasi-Newton direction, less far until the value falls.

        Returns:
            Whether it fell; if not, the point stays and what was remembered is forgotten.
        """
        if self.gradient is None:
            self.value, self.gradient = function(self.point)
        direction = self._direction(self.gradient)
        slope = _dot(direction, self.gradient)
        for trial in range(MAX_TRIALS):
            move = direction * 0.4**trial
            value, gradient = function(self.point + move)
            if value <= self.value + DECREASE * slope * 0.4**trial:
                self._remember(move, gradient - self.gradient)
                self.point, self.value, self.gradient = self.point + move, value, gradient
                return True
        given_up = not self.moves
        self.moves.clear()
        return not given_up and self.iterate(function)

    def _direction(self, gradient: Tensor) -> Tensor:
        """The two-loop recursion; downhill, with a move that can be seen, as long as it is new."""
        if not self.moves:
            length = gradient.square().mean().sqrt().clamp_min(torch.finfo(gradient.dtype).tiny)
            return gradient * (-FIRST_STEP / length)
        direction, shares = -gradient, []
        for move, change in reversed(self.moves):
            share = _dot(move, direction) / _dot(move, change)
            direction = direction - share * change
            shares.append(share)
        move, change = self.moves[-1]
        direction = direction * (_dot(move, change) / _dot(change, change))
        for (move, change), share in zip(self.moves, reversed(shares), strict=True):
            direction = direction + (share - _dot(change, direction) / _dot(move, change)) * move
        return direction

    def _remember(self, move: Tensor, change: Tensor) -> None:
        # Only positive curvature keeps the next direction downhill.
        if _dot(move, change) > 1e-7 * _dot(change, change):
            self.moves.append((move, change))

    def state(self) -> dict[str, Tensor]:
        """See ``Minimizer``."""
        state = {"point": self.point, "value": torch.tensor(self.value, dtype=torch.float64)}
        if self.gradient is not None:
            state["gradient"] = self.gradient
        for number, (move, change) in enumerate(self.moves):
            state |= {f"move/{number}": move, f"change/{number}": change}
        return state

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """See ``Minimizer``."""
        self.point, self.gradient = state["point"], state.get("gradient")
        self.value = state["value"].item()
        self.moves.clear()
        for number in range(sum(name.startswith("move/") for name in state)):
            self.moves.append((state[f"move/{number}"], state[f"change/{number}"]))


class Adam:
    """A constant step along the mean of past gradients, relative to their size.

    Args:
        point: Where to start, float32 of any shape.

    Source:
        Kingma & Ba 2014, algorithm 1, https://arxiv.org/abs/1412.6980
    """

    def __init__(self, point: Tensor) -> None:
        self.point = point
        self.mean, self.square = torch.zeros_like(point), torch.zeros_like(point)
        self.num_moves = 0

    def iterate(self, function: Function) -> bool:
        """Move once; always true, for its next move may gain what this one lost."""
        _, gradient = function(self.point)
        self.num_moves += 1
        self.mean = self.mean.lerp(gradient, 1 - BETAS[0])
        self.square = self.square.lerp(gradient.square(), 1 - BETAS[1])
        mean, square = (
            moment / (1 - beta**self.num_moves)
            for moment, beta in zip((self.mean, self.square), BETAS, strict=True)
        )
        self.point = self.point - ADAM_STEP * mean / (square.sqrt() + EPSILON)
        return True

    def state(self) -> dict[str, Tensor]:
        """See ``Minimizer``."""
        moves = torch.tensor(self.num_moves)
        return {"point": self.point, "mean": self.mean, "square": self.square, "num_moves": moves}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """See ``Minimizer``."""
        self.point, self.mean, self.square = state["point"], state["mean"], state["square"]
        self.num_moves = int(state["num_moves"])


def _dot(first: Tensor, second: Tensor) -> float:
    return torch.dot(first.flatten(), second.flatten()).item()
