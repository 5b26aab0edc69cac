"""The method it all began with: change the pixels of one picture until it has what is wanted."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from impasto.losses import PerceptualLoss
from impasto.minimizers import LBFGS, Adam, Minimizer

MINIMIZERS = ("lbfgs", "adam")
STARTS = ("photo", "noise")
SMALLEST_SIZE = 128  # pixels of the longer side: a face is still one, and large strokes fit in
DARKEST = 0.02  # what black starts from: at 0 and at 1 a logit does not move
MAX_HISTORY = 20  # moves that L-BFGS remembers
MAX_HISTORY_BYTES = 1 << 30  # of all of them together


def choose_sizes(height: int, width: int, smallest: int) -> list[tuple[int, int]]:
    """Halve a picture's size as often as it keeps its longer side and its shorter side.

    Args:
        height: In pixels.
        width: In pixels.
        smallest: Pixels that the shorter side keeps; the longer one keeps ``SMALLEST_SIZE``.

    Returns:
        Height and width from coarse to fine, the last one as given.
    """
    sizes = [(height, width)]
    while max(sizes[0]) // 2 >= SMALLEST_SIZE and min(sizes[0]) // 2 >= smallest:
        sizes.insert(0, (sizes[0][0] // 2, sizes[0][1] // 2))
    return sizes


class Remembering(nn.Module):
    """A loss network that looks at the photo once: its features never change.

    Args:
        network: Loss network.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.photo: Tensor | None = None
        self.found: dict[tuple[str, ...], dict[str, Tensor]] = {}  # by layers asked for

    def remember(self, photo: Tensor) -> None:
        """Take this very tensor for the photo from now on."""
        self.photo, self.found = photo, {}

    def forward(self, images: Tensor, layers: Mapping[str, float]) -> dict[str, Tensor]:
        """As the network does."""
        if images is not self.photo:
            return self.network(images, layers)
        if tuple(layers) not in self.found:
            self.found[tuple(layers)] = self.network(images, layers)
        return self.found[tuple(layers)]


class Objective:
    """A perceptual loss and its gradient, of the logits of a picture's pixels.

    In logits no pixel leaves [0, 1], and both ends of it can be reached but slowly. Measured, that
    ends a fifth lower than pixels that are held back by a penalty.

    Args:
        loss: On the device to compute on.
        photo: What is to be painted, RGB in [0, 1], shape ``(1, 3, H, W)``, on that device.
    """

    def __init__(self, loss: PerceptualLoss, photo: Tensor) -> None:
        self.loss = loss
        self.photo = photo
        self.parts: dict[str, float] = {}  # of the last evaluation

    def __call__(self, logits: Tensor) -> tuple[float, Tensor]:
        """Evaluate: the total, and its gradient of the shape of ``logits``, ``(1, 3, H, W)``."""
        logits = logits.detach().requires_grad_()
        parts = self.loss(logits.sigmoid(), self.photo)
        (gradient,) = torch.autograd.grad(parts["total"], logits)
        self.parts = {name: part.item() for name, part in parts.items()}
        return self.parts["total"], gradient


class Optimization:
    """A photo that is being painted, from a small copy to its own size.

    Args:
        loss: Perceptual loss, on the device to compute on.
        photo: RGB in [0, 1], shape ``(1, 3, H, W)``.
        steps: Iterations at the coarsest size; see ``plan_steps``.
        start: ``photo`` or ``noise``.
        minimizer: ``lbfgs`` or ``adam``.
        seed: Of the noise.

    Raises:
        ValueError: If ``start`` or ``minimizer`` is unknown, or the photo is too small for the
            pyramid of the loss.

    Source:
        Gatys et al. 2016, https://openaccess.thecvf.com/content_cvpr_2016/html/Gatys_Image_Style_Transfer_CVPR_2016_paper.html;
        coarse to fine: Gatys et al. 2017, section 6, https://arxiv.org/abs/1611.07865
    """

    def __init__(
        self,
        loss: PerceptualLoss,
        photo: Tensor,
        steps: int,
        start: str = "photo",
        minimizer: str = "lbfgs",
        seed: int = 0,
    ) -> None:
        for name, value, allowed in (("init", start, STARTS), ("optimizer", minimizer, MINIMIZERS)):
            if value not in allowed:
                raise ValueError(f"{name} must be one of {', '.join(allowed)}, got {value!r}.")
        height, width = photo.shape[-2:]
        smallest = 16 << (loss.num_levels - 1)
        if min(height, width) < smallest:
            raise ValueError(
                f"A photo of {width}x{height} pixels is too small for {loss.num_levels} pyramid "
                f"levels: at least {smallest} a side are needed, as with a larger size=."
            )
        self.loss = loss
        self.loss.network = self.network = Remembering(loss.network)
        self.photo = photo
        self.sizes = choose_sizes(height, width, smallest)
        self.steps = plan_steps(steps, len(self.sizes))
        self.minimizer_name = minimizer
        self.level, self.iteration = 0, 0  # of this level
        self.losses: dict[str, float] = {}  # parts of the last evaluation, by name
        first = F.interpolate(photo, self.sizes[0], mode="bilinear", antialias=True)
        if start == "noise":
            first = noise(first.shape, seed)
        self._enter(first.to(photo))

    @property
    def done(self) -> bool:
        """Whether the last iteration at full size is over."""
        return self.level == len(self.sizes)

    @property
    def num_iterations(self) -> int:
        """Iterations done at all sizes; fewer were needed where nothing was to be gained."""
        return sum(self.steps[: self.level]) + self.iteration

    @property
    def work(self) -> float:
        """All there is to do, in iterations at full size."""
        return self._work(len(self.sizes), 0)

    @property
    def work_done(self) -> float:
        """What of ``work`` is over."""
        return self._work(self.level, self.iteration)

    def _work(self, level: int, iteration: int) -> float:
        height, width = self.sizes[-1]
        shares = [rows * columns / (height * width) for rows, columns in self.sizes]
        whole = sum(s * n for s, n in zip(shares[:level], self.steps[:level], strict=True))
        return whole + (shares[level] * iteration if iteration else 0)

    def image(self) -> Tensor:
        """What has been painted so far: RGB in [0, 1], of the size it is being painted at."""
        return self.minimizer.point.sigmoid()

    def advance(self) -> None:
        """Do one iteration; after the last one at a size, go on to the next."""
        gained = self.minimizer.iterate(self.objective)
        self.losses = self.objective.parts
        self.iteration += 1
        if gained and self.iteration < self.steps[self.level]:
            return
        self.level, self.iteration = self.level + 1, 0
        if not self.done:
            size = self.sizes[self.level]
            self._enter(F.interpolate(self.image(), size, mode="bicubic"))

    def _enter(self, image: Tensor) -> None:
        """Start at this level, from a picture of its size."""
        photo = F.interpolate(self.photo, self.sizes[self.level], mode="bilinear", antialias=True)
        self.network.remember(photo)
        self.objective = Objective(self.loss, photo)
        self.minimizer = make_minimizer(self.minimizer_name, logits_of(image))

    def state(self) -> dict[str, Tensor]:
        """All that is needed to go on, on the CPU, by name; see ``restore``."""
        numbers = {"level": self.level, "iteration": self.iteration}
        return {
            **{name: torch.tensor(number) for name, number in numbers.items()},
            **{f"minimizer/{k}": v.cpu().contiguous() for k, v in self.minimizer.state().items()},
        }

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Go on where ``state`` was taken, of an optimisation built alike."""
        self.level, self.iteration = int(state["level"]), int(state["iteration"])
        point = state["minimizer/point"].to(self.photo.device)
        self._enter(point)
        self.minimizer.restore(
            {
                name.removeprefix("minimizer/"): tensor.to(self.photo.device)
                for name, tensor in state.items()
                if name.startswith("minimizer/")
            }
        )


def plan_steps(steps: int, num_sizes: int) -> list[int]:
    """Iterations at each size: as many at the coarsest, half as many with every doubling."""
    return [max(1, steps >> level) for level in range(num_sizes)]


def noise(shape: Sequence[int], seed: int) -> Tensor:
    """Colours that are all equally likely, in [0, 1]; the same for the same seed."""
    return torch.rand(list(shape), generator=torch.Generator().manual_seed(seed))


def logits_of(image: Tensor) -> Tensor:
    """Undo the sigmoid of an image in [0, 1], whose ends are drawn in a little."""
    return image.clamp(DARKEST, 1 - DARKEST).logit()


def make_minimizer(name: str, point: Tensor) -> Minimizer:
    """Make one of ``MINIMIZERS``, with as long a memory as there is room for."""
    if name == "adam":
        return Adam(point)
    room = MAX_HISTORY_BYTES // (2 * point.numel() * point.element_size())
    return LBFGS(point, max(3, min(MAX_HISTORY, room)))
