"""Paint photos with a trained style network; knows nothing of training."""

from pathlib import Path
from typing import Self, overload

import torch
from PIL import Image
from torch import Tensor, nn

from impasto.checkpoint import CheckpointError, Header, load_checkpoint
from impasto.images import split_alpha, to_picture
from impasto.inference.devices import choose_device, choose_dtype

TASK = "stylization"


class Stylizer:
    """A style network that is ready to paint.

    Weights and features are of the precision asked for; PyTorch sums the statistics of instance
    norm in float32 in any case, so half precision holds for large pictures too.

    Args:
        network: Maps RGB in [0, 1], shape ``(N, 3, H, W)``, to the same. It is moved to the device
            and cast, not copied.
        header: What its checkpoint says of it.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:1`` or ``mps``.
        precision: ``auto``, ``fp32``, ``bf16`` or ``fp16``.

    Raises:
        CheckpointError: If the network was trained for another task.
        ValueError: If ``device`` or ``precision`` is unknown or not to be had.
    """

    def __init__(
        self, network: nn.Module, header: Header, device: str = "auto", precision: str = "auto"
    ) -> None:
        if header.task != TASK:
            raise CheckpointError(
                f"This checkpoint is for the task {header.task!r}, a Stylizer needs {TASK!r}."
            )
        self.header = header
        self.device = choose_device(device)
        self.dtype = choose_dtype(precision, self.device)
        self.network = network.to(self.device, self.dtype).eval().requires_grad_(False)
        # Tensor cores want channels last; on CPUs it measured 5 to 20 % slower, for instance norm
        # turns every tensor back.
        on_gpu = self.device.type == "cuda"
        self._memory_format = torch.channels_last if on_gpu else torch.contiguous_format
        self.network.to(memory_format=self._memory_format)  # type: ignore[call-overload]

    @classmethod
    def load(cls, path: str | Path, device: str = "auto", precision: str = "auto") -> Self:
        """Read a checkpoint.

        Args:
            path: A ``.safetensors`` file that training wrote.
            device: ``auto``, ``cpu``, ``cuda``, ``cuda:1`` or ``mps``.
            precision: ``auto``, ``fp32``, ``bf16`` or ``fp16``.

        Raises:
            FileNotFoundError: If there is no such file.
            CheckpointError: If it is no checkpoint, is damaged, or is for another task.
            ValueError: If ``device`` or ``precision`` is unknown or not to be had.
        """
        network, header = load_checkpoint(Path(path))
        return cls(network, header, device, precision)

    @overload
    def __call__(self, image: Tensor) -> Tensor: ...

    @overload
    def __call__(self, image: Image.Image) -> Image.Image: ...

    def __call__(self, image: Tensor | Image.Image) -> Tensor | Image.Image:
        """Paint.

        Args:
            image: RGB in [0, 1], shape ``(N, 3, H, W)`` or ``(3, H, W)``, of any float type and on
                any device; or a picture of any mode, upright as ``open_picture`` gives it.

        Returns:
            The painting: a tensor of the same shape, type and device; or a picture of the same
            size, with the opacity it had.

        Raises:
            ValueError: If a tensor is of another shape, empty, or holds integers.
        """
        if isinstance(image, Image.Image):
            rgb, alpha = split_alpha(image)
            return to_picture(self._paint(rgb), alpha)
        _check(image)
        painted = self._paint(image if image.ndim == 4 else image[None])
        # A copy made outside inference mode is a tensor like any other, free to be changed.
        return torch.empty_like(image, requires_grad=False).copy_(painted.view(image.shape))

    @torch.inference_mode()
    def _paint(self, images: Tensor) -> Tensor:
        images = images.to(self.device, self.dtype, memory_format=self._memory_format)
        return self.network(images).contiguous()


def _check(image: Tensor) -> None:
    if not isinstance(image, Tensor):
        raise ValueError(f"A tensor or a PIL picture can be painted, got {type(image).__name__}.")
    shape = tuple(image.shape)
    if image.ndim not in (3, 4) or shape[-3] != 3 or image.numel() == 0:
        raise ValueError(f"An image must be of shape (N, 3, H, W) or (3, H, W), got {shape}.")
    if not image.is_floating_point():
        raise ValueError(f"An image must hold floats in [0, 1], got {image.dtype}: divide by 255.")
