"""Where a painting stands while it is optimised: its preview, its saved state, its TensorBoard."""

import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image
from torch import Tensor
from tqdm import tqdm

from impasto.container import read_container, write_container
from impasto.images import save_picture, to_picture
from impasto.optimization import Optimization

STATE_VERSION, MAX_STATE_BYTES = 1, 1 << 36
SECONDS_BETWEEN_PREVIEWS, SECONDS_BETWEEN_STATES = 10.0, 60.0
BAR = "{desc} {percentage:3.0f} % |{bar}| {elapsed}<{remaining}{postfix}"


@dataclass(frozen=True)
class Painting:
    """What is being made, and where it goes.

    Args:
        optimization: Of the photo.
        alpha: The photo's opacity, shape ``(1, 1, H, W)``, or ``None``.
        output: The finished picture.
        recipe: What decides its pixels.
    """

    optimization: Optimization
    alpha: Tensor | None
    output: Path
    recipe: dict[str, Any]

    @property
    def preview(self) -> Path:
        """What is there so far, as long as there is no more."""
        return preview_path(self.output)

    @property
    def state(self) -> Path:
        """What is needed to go on."""
        return self.output.with_name(f"{self.output.name}.resume.safetensors")

    def picture(self) -> Image.Image:
        """As it is now."""
        return to_picture(self.optimization.image())

    def keep(self) -> None:
        """Save what is needed to go on, atomically."""
        header = {"kind": "optimisation", "format_version": STATE_VERSION, "recipe": self.recipe}
        write_container(self.state, self.optimization.state(), header)

    def restore(self) -> bool:
        """Go on where a former run stopped; whether there was one.

        Raises:
            ValueError: If it was of other arguments, or its file is damaged.
        """
        if not self.state.exists():
            return False
        kind = "saved state"
        header, tensors = read_container(self.state, kind, MAX_STATE_BYTES, STATE_VERSION)
        former = header.get("recipe")
        if not isinstance(former, dict):
            raise ValueError(
                f"{self.state} is damaged: give another output=, or delete it to start anew."
            )
        changed = [key for key, value in self.recipe.items() if former.get(key) != value]
        if changed:
            raise ValueError(
                f"{self.state} is of a painting with other {', '.join(changed)}: give the same "
                f"arguments to go on, another output=, or delete it to start anew."
            )
        self.optimization.restore(tensors)
        return True

    def finish(self) -> None:
        """Save the picture; what was needed on the way is removed."""
        save_picture(to_picture(self.optimization.image(), self.alpha), self.output)
        for path in (self.preview, self.state):
            path.unlink(missing_ok=True)


def preview_path(output: Path) -> Path:
    """Where a painting that goes to ``output`` is shown until it is finished."""
    return output.with_name(f"{output.stem}.preview.jpg")


class Journal:
    """TensorBoard's events, or nothing where it is not installed or not wanted.

    Args:
        folder: ``None`` for nothing.
        step: What comes after this iteration is written anew.
    """

    def __init__(self, folder: Path | None, step: int) -> None:
        self.writer: Any = None
        if folder is None:
            return
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            return
        self.writer = SummaryWriter(str(folder), purge_step=step)

    def losses(self, parts: dict[str, float], step: int) -> None:
        """Write down the parts of the loss."""
        if self.writer:
            for name, value in parts.items():
                self.writer.add_scalar(f"optimize/{name}", value, step)

    def picture(self, image: Tensor, step: int) -> None:
        """Write down what has been painted, of shape ``(1, 3, H, W)``."""
        if self.writer:
            self.writer.add_image("painted", image[0].cpu(), step)

    def close(self) -> None:
        """Write all to the disk."""
        if self.writer:
            self.writer.close()


class Interruption:
    """Ctrl-C and a polite kill wait for the iteration to end; a second Ctrl-C does not."""

    def __init__(self) -> None:
        self.wanted = False
        self.former = {
            number: signal.signal(number, self._note) for number in (signal.SIGINT, signal.SIGTERM)
        }

    def _note(self, *_: object) -> None:
        self.wanted = True
        self.restore()

    def restore(self) -> None:
        """Handle signals as before."""
        for number, handler in self.former.items():
            signal.signal(number, handler)


def work(painting: Painting, journal: Journal, interruption: Interruption) -> bool:
    """Iterate until it is done or interrupted; whether it is done.

    Every so often the preview is written, and what is needed to go on.
    """
    optimization = painting.optimization
    shown = kept = time.monotonic()
    with tqdm(
        total=optimization.work, initial=optimization.work_done, bar_format=BAR, mininterval=0.5
    ) as bar:
        while not optimization.done and not interruption.wanted:
            optimization.advance()
            losses, step = optimization.losses, optimization.num_iterations
            journal.losses(losses, step)
            height, width = optimization.minimizer.point.shape[-2:]
            bar.set_description_str(f"{width} x {height}", refresh=False)
            shares = (f"{name} {losses[name]:.4f}" for name in ("content", "style", "total"))
            bar.set_postfix_str(", ".join(shares), refresh=False)
            bar.update(optimization.work_done - bar.n)
            if time.monotonic() - shown > SECONDS_BETWEEN_PREVIEWS:
                save_picture(painting.picture(), painting.preview)
                journal.picture(optimization.image(), step)
                shown = time.monotonic()
            if time.monotonic() - kept > SECONDS_BETWEEN_STATES:
                painting.keep()
                kept = time.monotonic()
    if not optimization.done:
        painting.keep()
        save_picture(painting.picture(), painting.preview)
    return optimization.done
