"""One file to use a trained network: weights and a readable header, never pickle."""

import textwrap
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, fields
from dataclasses import field as default
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from impasto.container import CheckpointError, read_container, write_container
from impasto.networks import (
    ChannelwiseContextEncoder,
    ContextEncoder,
    ContextEncoderPlus,
    MultiTransformerNet,
    TransformerNet,
)

FORMAT_VERSION = 1
MAX_BYTES = 1 << 30  # 1 GiB: the largest network here is a quarter of it
MAX_MESSAGE = 200  # characters of what PyTorch says
MAX_SIZE = 4096  # of any argument of a network: a width, a number of blocks
NETWORKS: dict[str, type[nn.Module]] = {
    network.__name__: network
    for network in (
        TransformerNet,
        MultiTransformerNet,
        ContextEncoder,
        ChannelwiseContextEncoder,
        ContextEncoderPlus,
    )
}


@dataclass(frozen=True)
class Header:
    """What a checkpoint says of itself.

    Args:
        task: What the network does: ``stylization`` or ``inpainting``.
        network: Name of the network's class, one of ``NETWORKS``.
        arguments: What the class is built with.
        styles: Names of the paintings it paints like.
        step: Optimisation steps behind it.
        data: What it was trained on, in words.
        losses: Validation losses reached, by name.
        licence: Who may do what, and who is to be credited.
        format_version: Of this header.
    """

    task: str
    network: str
    arguments: dict[str, Any] = default(default_factory=dict)
    styles: list[str] = default(default_factory=list)
    step: int = 0
    data: str = ""
    losses: dict[str, float] = default(default_factory=dict)
    licence: str = ""
    format_version: int = FORMAT_VERSION


def save_checkpoint(
    path: Path, network: nn.Module, header: Header, dtype: torch.dtype | None = None
) -> None:
    """Write a network and its header, atomically: the file is whole or it is the former one.

    Args:
        path: Where to, ending in ``.safetensors``.
        network: One of ``NETWORKS``.
        header: What to say of it.
        dtype: Precision to keep the weights in; ``None`` keeps their own. ``torch.float16`` halves
            the file at no visible loss.
    """
    weights = {
        name: weight.detach().to("cpu", dtype if weight.is_floating_point() else None).contiguous()
        for name, weight in network.state_dict().items()  # batch norm counts in integers
    }
    write_container(path, weights, asdict(header))


def load_checkpoint(path: Path) -> tuple[nn.Module, Header]:
    """Read a network, ready for inference on the CPU, in float32.

    Args:
        path: A file that ``save_checkpoint`` wrote.

    Returns:
        The network in evaluation mode, and the header.

    Raises:
        FileNotFoundError: If there is no such file.
        CheckpointError: If the file is no checkpoint of impasto, is damaged or too new.
    """
    values, weights = read_container(path, "checkpoint", MAX_BYTES, FORMAT_VERSION)
    header = _parse_header(path, values)
    network = _build(path, header)
    _fill(path, network, weights)
    return network.eval().requires_grad_(False), header


def _parse_header(path: Path, values: dict[str, Any]) -> Header:
    if "kind" in values:  # of other files that are ours: a style card, a saved state
        raise CheckpointError(f"{path} is a {str(values['kind'])[:40]!r} and holds no network.")
    known = {field.name for field in fields(Header)}
    try:
        header = Header(**{name: value for name, value in values.items() if name in known})
        _check_types(header)
    except TypeError:
        raise CheckpointError(f"{path} has a damaged header: {str(values)[:80]!r}.") from None
    return header


def _check_types(header: Header) -> None:
    """Raise TypeError unless every field is of its kind: a header may come from anyone."""
    kinds: dict[type, tuple[str, ...]] = {
        str: ("task", "network", "data", "licence"),
        dict: ("arguments", "losses"),
        list: ("styles",),
        int: ("step",),
    }
    for kind, names in kinds.items():
        if not all(isinstance(getattr(header, name), kind) for name in names):
            raise TypeError(f"{', '.join(names)} must be {kind.__name__}.")
    if not all(isinstance(style, str) for style in header.styles):
        raise TypeError("styles must be names.")


def _build(path: Path, header: Header) -> nn.Module:
    if header.network not in NETWORKS:
        raise CheckpointError(
            f"{path} holds the network {header.network!r}; known here are {', '.join(NETWORKS)}."
        )
    if any(isinstance(size, int) and size > MAX_SIZE for size in _flat(header.arguments.values())):
        raise CheckpointError(f"{path} has arguments that do not fit: sizes up to {MAX_SIZE}.")
    try:
        with torch.device("meta"), _Undrawn():
            network = NETWORKS[header.network](**header.arguments)
    except (TypeError, ValueError, RuntimeError) as error:
        raise CheckpointError(f"{path} has arguments that do not fit: {error}") from None
    if isinstance(network, MultiTransformerNet) and len(network.style_rows) != len(header.styles):
        raise CheckpointError(
            f"{path} has {len(network.style_rows)} styles and {len(header.styles)} names for them."
        )
    return network


def _flat(values: Iterable[Any]) -> Iterator[Any]:
    """Values, and those of lists among them."""
    for value in values:
        yield from value if isinstance(value, list) else [value]


class _Undrawn(TorchFunctionMode):
    """Build networks without drawing weights: on the meta device that loads PyTorch's compiler."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Pass over what ``torch.nn.init`` does."""
        kwargs = kwargs or {}
        if getattr(func, "__module__", "") == nn.init.__name__:
            return args[0] if args else kwargs["tensor"]
        return func(*args, **kwargs)


def _fill(path: Path, network: nn.Module, weights: dict[str, Tensor]) -> None:
    try:
        network.load_state_dict(
            {n: w.float() if w.is_floating_point() else w for n, w in weights.items()}, assign=True
        )
    except RuntimeError as error:
        message = str(error).splitlines()[1].strip() if "\n" in str(error) else str(error)
        message = textwrap.shorten(message, MAX_MESSAGE)
        raise CheckpointError(f"{path} has weights that do not fit its header: {message}") from None
    for name, weight in weights.items():
        if weight.is_complex() or not bool(weight.isfinite().all()):
            raise CheckpointError(
                f"{path} has weights that are no finite numbers, {name} first: its training went "
                f"wrong, or the file was changed."
            )
