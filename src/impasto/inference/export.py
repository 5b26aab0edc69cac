"""Trained networks in formats that others run: ONNX, and packages of torch.export.

ONNX takes ``pip install "impasto[export]"``, and imports nothing of it before it is needed.
"""

import copy
import io
import json
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from impasto.checkpoint import Header
from impasto.container import HEADER_KEY
from impasto.networks import (
    FILLERS,
    ContextEncoderPlus,
    MultiTransformerNet,
    TransformerNet,
)

INPUT, MASKS = "photos", "masks"
KNOBS = ("style", "stroke", "strength")
OUTPUT, FILLED = "paintings", "filled"
AXES = {0: "batch", 2: "height", 3: "width"}  # of any size from 1 up
EXTRA = ("onnx", "onnxruntime", "onnxscript")
OPSET = 18  # what torch.onnx is written for; it converts to later ones
TORCHVISION_LOGGER = "torch.onnx._internal.exporter._registration"


def export_onnx(network: nn.Module, header: Header, half: bool = False) -> bytes:
    """Turn a network into an ONNX model, from ``photos`` to ``paintings``.

    Both are float32 RGB in [0, 1], shape ``(N, 3, H, W)``, for any N, H and W from 1 up: padding
    and cropping are in the graph. Networks that fill holes take ``masks`` as well, float32 of shape
    ``(N, 1, H, W)`` with 1 for missing, and give ``filled``; of those for one size only N is free.
    Networks of many styles take the knobs of every photo as well, float32: ``style``, how much of
    each of S styles in the order of the header, shape ``(N, S)``, in rows that add up to 1;
    ``stroke`` in pixels, shape ``(N,)``; ``strength`` in [0, 1], shape ``(N,)``. The header lies in
    the metadata, as JSON under ``impasto``.

    Args:
        network: Maps photos to paintings, or photos and masks to filled photos; it is copied, not
            changed.
        header: What its checkpoint says of it.
        half: Whether to keep weights and compute in fp16, but for the first layer of a
            ``TransformerNet`` and the rows of many styles, and for the smooth fill that a
            ``ContextEncoderPlus`` starts from.

    Returns:
        All of an ``.onnx`` file; the same network gives the same bytes.

    Raises:
        ImportError: If the packages of the extra ``export`` are missing.
        ValueError: If ``half`` is asked of any other network.
    """
    _require_extra()
    import onnx

    network, fills = _prepare(network), isinstance(network, FILLERS)
    program = _trace(_halve(network) if half else network)
    with _without_noise():
        exported = torch.onnx.export(
            program,
            dynamo=True,
            input_names=input_names(network),
            output_names=[FILLED] if fills else [OUTPUT],
            opset_version=OPSET,
            verbose=False,
        )
    assert exported is not None
    model = exported.model_proto
    _tidy(model.graph, _free_axes(network))
    model.metadata_props.add(key=HEADER_KEY, value=_to_json(header))
    onnx.checker.check_model(model)
    return model.SerializeToString(deterministic=True)


def export_program(network: nn.Module, header: Header) -> bytes:
    """Turn a network into a package that ``torch.export.load`` reads without this one.

    Args:
        network: Maps photos to paintings, both of shape ``(N, 3, H, W)``, or photos and masks to
            filled photos; it is copied.
        header: What its checkpoint says of it; it becomes the package's extra file ``impasto``.

    Returns:
        All of a ``.pt2`` file: a float32 program for the CPU and any N, H and W from 1 up, or for
            the one size that the network takes.
    """
    file = io.BytesIO()
    extra_files = {HEADER_KEY: _to_json(header)}
    program = _trace(_prepare(network))
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)  # paths of the machine that exports
    torch.export.save(program, file, extra_files=extra_files)
    return file.getvalue()


def _require_extra() -> None:
    missing = [name for name in EXTRA if find_spec(name) is None]
    if missing:
        raise ImportError(
            f"Exporting to ONNX takes {', '.join(missing)}, which is not installed: "
            f'pip install "impasto[export]".'
        )


def _to_json(header: Header) -> str:
    return json.dumps(asdict(header))


def _prepare(network: nn.Module) -> nn.Module:
    return copy.deepcopy(network).to("cpu", torch.float32).eval().requires_grad_(False)


def input_names(network: nn.Module) -> list[str]:
    """What an exported network takes, in order."""
    if isinstance(network, MultiTransformerNet):
        return [INPUT, *KNOBS]
    return [INPUT, MASKS] if isinstance(network, FILLERS) else [INPUT]


def _trace(network: nn.Module) -> ExportedProgram:
    size = getattr(network, "size", None)
    height, width = (size, size) if size else (17, 22)  # sizes that differ, none of them 1
    inputs = [torch.zeros(2, 3, height, width)]
    if isinstance(network, FILLERS):
        inputs.append(torch.zeros(2, 1, height, width))
    if isinstance(network, MultiTransformerNet):
        inputs += [torch.ones(2, len(network.style_rows)), torch.ones(2), torch.ones(2)]
    axes = {axis: Dim(name, min=1) for axis, name in _free_axes(network).items()}
    # What it cannot prove of all sizes, such as that four times a number is even, it then checks.
    return torch.export.export(
        network,
        tuple(inputs),
        dynamic_shapes=tuple(
            {axis: name for axis, name in axes.items() if axis < values.ndim} for values in inputs
        ),
        prefer_deferred_runtime_asserts_over_guards=True,
    )


def _free_axes(network: nn.Module) -> dict[int, str]:
    """Those that are of any size."""
    return {0: AXES[0]} if getattr(network, "size", None) else AXES


class _Cast(nn.Module):
    """Go on in another precision."""

    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        self.dtype = dtype

    def forward(self, features: Tensor) -> Tensor:
        return features.to(self.dtype)


def _halve(network: nn.Module) -> nn.Module:
    """Compute in fp16, in place, with float32 at the border.

    The first layer of style networks stays float32: they turn differences in a smooth sky that are
    below the rounding of fp16 into strokes. A photo of 640 px that is rounded to it comes out up to
    5/255 different, against 0.6/255 if everything but the first layer is rounded (starry_night).
    Instance norm needs no care: runtimes sum its statistics in float32.
    """
    to_half, to_float = _Cast(torch.float16), _Cast(torch.float32)
    if isinstance(network, ContextEncoderPlus):
        network.half()
        network.encoder[0] = nn.Sequential(to_half, network.encoder[0])
        network.to_correction = nn.Sequential(network.to_correction, to_float)  # type: ignore[assignment]
        return network
    if isinstance(network, MultiTransformerNet):
        _halve(network.trunk)
        return network
    if not isinstance(network, TransformerNet):
        raise ValueError(
            f"half takes a TransformerNet, a MultiTransformerNet or a ContextEncoderPlus, got "
            f"{type(network).__name__}."
        )
    network.half()
    network.encoder[0].float()
    network.encoder.insert(1, to_half)
    network.to_image.insert(1, to_float)
    return network


@contextmanager
def _without_noise() -> Iterator[None]:
    """Silence what torch.onnx says of itself and of torchvision, which is not needed."""
    logger = logging.getLogger(TORCHVISION_LOGGER)
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings(
                "ignore", r"`isinstance.treespec, LeafSpec.` is deprecated", FutureWarning
            )
            yield
    finally:
        logger.setLevel(level)


def _tidy(graph: Any, axes: dict[int, str]) -> None:
    """Name the axes; drop where in whose source every node came from, a tenth of the file."""
    for value in (*graph.input, *graph.output):
        sizes = value.type.tensor_type.shape.dim
        for axis, name in axes.items():
            if axis < len(sizes):
                sizes[axis].dim_param = name
    graph.ClearField("value_info")  # inner shapes, by the former names
    for part in (*graph.node, *graph.input, *graph.output, *graph.initializer):
        part.ClearField("metadata_props")
        part.ClearField("doc_string")
