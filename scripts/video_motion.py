"""Clips of which is known what moved where: photos set in motion, and films with optical flow."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from impasto.losses.temporal import luminance, warp
from measure_flicker import read_frames

KINDS = ("pan", "zoom", "turn", "wave")
PAN = (1.0, 6.0)  # pixels per frame
ZOOM = (0.01, 0.03)  # of the size per frame
TURN = (0.01, 0.03)  # radians per frame
WAVE = (2.0, 4.0)  # pixels
NOISE = (1 / 255, 2 / 255)  # standard deviation
ROOM = 1.25  # of a photo's size to that of its frames
NUM_STEPS = 30  # of a fixed point: displacements change by less than half a pixel per pixel


@dataclass(frozen=True)
class Clip:
    """Frames, and where every pixel of one was in the one before."""

    name: str
    frames: Tensor  # RGB in [0, 1], in steps of 1/255, (T, 3, H, W)
    positions: Tensor  # for ``warp``, (T - 1, H, W, 2)
    visible: Tensor  # 1 where that is known and was in the frame, (T - 1, 1, H, W)


@dataclass(frozen=True)
class Camera:
    """What looks at a photo from a place that changes with time; lengths in pixels."""

    pan: tuple[float, float] = (0.0, 0.0)  # per frame
    zoom: float = 0.0  # per frame
    turn: float = 0.0  # radians per frame
    wave: float = 0.0  # amplitude
    length: float = 1.0  # of a wave
    phase: float = 0.0  # radians

    def see(self, places: Tensor, time: float) -> Tensor:
        """Where in the photo lie places in a frame; x and y from its middle, ``(..., 2)``."""
        scale, angle = math.exp(self.zoom * time), self.turn * time
        cosine, sine = scale * math.cos(angle), scale * math.sin(angle)
        turning = places.new_tensor([[cosine, sine], [-sine, cosine]])
        moving = places.new_tensor(self.pan) * time
        # Each coordinate sways with the other: seen through running water.
        swaying = (2 * math.pi / self.length * places.flip(-1) + self.phase + 0.7 * time).sin()
        return places @ turning + moving + self.wave * swaying

    def find(self, seen: Tensor, time: float) -> Tensor:
        """The places in a frame of what lies there in the photo: the inverse of ``see``."""
        places = seen
        for _ in range(NUM_STEPS):
            places = places + seen - self.see(places, time)
        return places


def draw_camera(kind: str, size: int, generator: torch.Generator) -> Camera:
    """Draw how a camera moves in one of ``KINDS``, for frames of a size in pixels."""

    def between(low: float, high: float) -> float:
        return low + (high - low) * torch.rand((), generator=generator).item()

    sign = 1 if between(-1, 1) > 0 else -1
    angle = between(0, 2 * math.pi)
    if kind == "pan":
        speed = between(*PAN)
        return Camera(pan=(speed * math.cos(angle), speed * math.sin(angle)))
    if kind == "zoom":
        return Camera(zoom=sign * between(*ZOOM))
    if kind == "turn":
        return Camera(turn=sign * between(*TURN))
    length = between(0.4, 0.8) * size
    return Camera(wave=between(*WAVE), length=length, phase=angle)


def set_in_motion(
    photo: Tensor, kind: str, size: int, num_frames: int, generator: torch.Generator
) -> Clip:
    """Film a photo.

    Unlike the temporal loss, which draws one displacement at random, this is a camera that goes on
    moving, and nothing covers anything.

    Args:
        photo: RGB in [0, 1], shape ``(1, 3, S, S)``.
        kind: One of ``KINDS``.
        size: Of the frames, in pixels.
        num_frames: How many.
        generator: Of chance.
    """
    camera = draw_camera(kind, size, generator)
    places = _pixels(size, size) - (size - 1) / 2
    noise = NOISE[0] + (NOISE[1] - NOISE[0]) * torch.rand((), generator=generator)
    frames, positions = [], []
    for number in range(num_frames):
        time = number - (num_frames - 1) / 2  # the photo as it is lies in the middle
        seen = camera.see(places, time)
        frame = warp(photo, (seen / (photo.shape[3] / 2))[None].float())
        frame = frame + noise * torch.randn(frame.shape, generator=generator)
        frames.append((frame.clamp(0, 1) * 255).round() / 255)
        if number > 0:
            positions.append((camera.find(seen, time - 1) / (size / 2)).float())
    return _clip(kind, frames, positions)


def read_clip(path: Path, num_frames: int, size: int) -> Clip:
    """Read the first frames of a film, and find what moved where.

    Optical flow is OpenCV's DIS (Kroeger et al. 2016, https://arxiv.org/abs/1603.03590); what it
    finds in one direction and not in the other counts as covered, by the criterion of Sundaram et
    al. 2010 that Ruder et al. 2016 take, https://arxiv.org/abs/1604.08610.

    Args:
        path: A video, or a folder of pictures in the order of their names.
        num_frames: How many, at most.
        size: Pixels of the shorter side.

    Raises:
        ValueError: If there are less than two frames, or OpenCV is missing.
        OSError: If there is no such file.
    """
    frames = read_frames(path, num_frames, size)
    greys = [(luminance(frame)[0, 0] * 255).round().byte().numpy() for frame in frames]
    flow = _optical_flow()
    pixels = _pixels(*greys[0].shape)
    extent = torch.tensor(pixels.shape[1::-1])
    positions, agreed = [], []
    for before, after in pairwise(greys):
        back, forth = (torch.from_numpy(flow(*pair)) for pair in ((after, before), (before, after)))
        place = ((2 * (pixels + back) + 1) / extent - 1).float()
        returned = warp(forth.permute(2, 0, 1)[None], place[None])[0].permute(1, 2, 0)
        lengths = back.square().sum(2) + returned.square().sum(2)
        agreed.append((back + returned).square().sum(2) < 0.01 * lengths + 0.5)
        positions.append(place)
    return _clip(path.stem, frames, positions, torch.stack(agreed)[:, None])


def _optical_flow() -> Callable[[Any, Any], Any]:
    """From one grey picture to another: where its pixels are there, in pixels, (H, W, 2)."""
    try:
        import cv2
    except ImportError:
        raise ValueError('--clip needs OpenCV: pip install "impasto[evaluate]".') from None
    found = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    # Given a field, it writes into it and, being the first, starts from none.
    return lambda one, other: found.calc(one, other, np.zeros((*one.shape, 2), np.float32))


def _clip(
    name: str, frames: list[Tensor], positions: list[Tensor], known: Tensor | None = None
) -> Clip:
    places = torch.stack(positions)
    visible = (places.abs().amax(3) < 1)[:, None]
    return Clip(
        name, torch.cat(frames), places, (visible if known is None else visible & known).float()
    )


def _pixels(height: int, width: int) -> Tensor:
    """Columns and rows of all pixels, from 0: (H, W, 2), float64."""
    rows, columns = torch.meshgrid(
        torch.arange(height, dtype=torch.float64),
        torch.arange(width, dtype=torch.float64),
        indexing="ij",
    )
    return torch.stack([columns, rows], 2)
