"""Who fills holes: classical ways, the package's own smooth fill, and trained networks."""

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor

import classical_fills
from classical_fills import CLASSICAL_FILLS
from impasto import Inpainter, inference, networks
from impasto.checkpoint import CheckpointError, load_checkpoint
from impasto.networks import prefill

PREFILL = "prefill"
CENTRE = "centre"
TASK = "inpainting"
Filler = Callable[[Tensor, Tensor], Tensor]
"""Maps levels of 8 bits, shape (N, 3, S, S), black in the hole, and masks, shape (N, 1, S, S), to
levels of the same shape, on the CPU all."""


@dataclass(frozen=True)
class Entrant:
    """Someone who fills holes.

    Args:
        name: As the tables have it.
        filler: What fills.
        version: Of what fills: figures of another are not taken from a cache.
        size: The only height and width it takes, in pixels; ``None`` for any.
        centre_only: Whether it fills the middle only.
        origin: What else is to be said of it, for the figures' file.
    """

    name: str
    filler: Filler
    version: str
    size: int | None = None
    centre_only: bool = False
    origin: Mapping[str, Any] | None = None

    def takes(self, size: int, family: str) -> bool:
        """Whether it fills holes of a family in photos of a size."""
        return self.size in (None, size) and (family == CENTRE or not self.centre_only)

    def fill(self, levels: Tensor, masks: Tensor) -> Tensor:
        """Fill without having seen what is in the hole, and put the known part back."""
        missing = masks > 0.5
        return torch.where(missing, self.filler(levels.masked_fill(missing, 0), masks), levels)


def to_levels(images: Tensor) -> Tensor:
    """Round pictures in [0, 1] to 8 bits, on the CPU."""
    return (images.clamp(0, 1) * 255).round().to("cpu", torch.uint8)


def classical_entrants(device: str) -> list[Entrant]:
    """Make the fills that were not learnt, the package's own last."""
    libraries = classical_fills.library_versions()
    pool = ThreadPoolExecutor(os.cpu_count())  # what takes long lets go of Python's lock
    entrants = [
        Entrant(name, partial(_fill_one_by_one, pool, name), f"{name} {libraries}")
        for name in CLASSICAL_FILLS
    ]
    version = digest(PREFILL, *source(networks))
    return [*entrants, Entrant(PREFILL, partial(_prefilled, device), version)]


def load_entrants(paths: Sequence[Path], device: str) -> list[Entrant]:
    """Load checkpoints, to be judged by what ``Inpainter`` makes of them.

    Each is named after its file if that tells it from all others.
    """
    stems = [path.stem for path in paths]
    entrants = []
    for path in paths:
        network, header = load_checkpoint(path)
        if header.task != TASK:
            raise CheckpointError(
                f"{path} is for the task {header.task!r}, and cannot fill holes: "
                f"checkpoints of the task {TASK!r} are needed."
            )
        alone = stems.count(path.stem) == 1 and path.stem not in {*CLASSICAL_FILLS, PREFILL}
        entrants.append(
            Entrant(
                name=path.stem if alone else str(path),
                filler=Inpainter(network, header, device, precision="fp32"),
                version=digest(path.read_bytes(), *source(networks, inference)),
                size=getattr(network, "size", None),
                centre_only=getattr(network, "centre_only", False),
                origin={
                    "checkpoint": str(path),
                    "network": header.network,
                    "arguments": header.arguments,
                    "weights": sum(weight.numel() for weight in network.parameters()),
                    "step": header.step,
                },
            )
        )
    return entrants


def source(*modules: ModuleType) -> list[bytes]:
    """The code of modules, all files of those that are packages."""
    sources = []
    for module in modules:
        path = Path(str(module.__file__))
        paths = sorted(path.parent.glob("*.py")) if path.name == "__init__.py" else [path]
        sources += [path.read_bytes() for path in paths]
    return sources


def digest(*parts: str | bytes) -> str:
    """Tell these parts, in this order, from all others."""
    found = hashlib.sha256()
    for part in parts:
        content = part.encode() if isinstance(part, str) else part
        found.update(len(content).to_bytes(8) + content)
    return found.hexdigest()


def _fill_one_by_one(pool: ThreadPoolExecutor, name: str, levels: Tensor, masks: Tensor) -> Tensor:
    photos = list(levels.permute(0, 2, 3, 1).contiguous().numpy())
    holes = list(masks[:, 0].numpy() > 0.5)
    filled = list(pool.map(partial(classical_fills.fill, name), photos, holes))
    return torch.from_numpy(np.stack(filled)).permute(0, 3, 1, 2)


@torch.inference_mode()
def _prefilled(device: str, levels: Tensor, masks: Tensor) -> Tensor:
    return to_levels(prefill(levels.to(device).float() / 255, masks.to(device)))
