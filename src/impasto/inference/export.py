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
from impasto.networks import TransformerNet

INPUT, OUTPUT = "photos", "paintings"
AXES = {0: "batch", 2: "height", 3: "width"}  # of any size from 1 up
METADATA_KEY = "impasto"  # as in checkpoints
EXTRA = ("onnx", "onnxruntime", "onnxscript")
OPSET = 18  # what torch.onnx is written for; it converts to later ones
TORCHVISION_LOGGER = "torch.onnx._internal.exporter._registration"


def export_onnx(network: nn.Module, header: Header, half: bool = False) -> bytes:
    """Turn a network into an ONNX model, from ``photos`` to ``paintings``.

    Both are float32 RGB in [0, 1], shape ``(N, 3, H, W)``, for any N, H and W from 1 up: padding
    and cropping are in the graph. The header lies in the metadata, as JSON under ``impasto``.

    Args:
        network: Maps photos to paintings; it is copied, not changed.
        header: What its checkpoint says of it.
        half: Whether to keep weights and compute in fp16, but for the first layer.

    Returns:
        All of an ``.onnx`` file; the same network gives the same bytes.

    Raises:
        ImportError: If the packages of the extra ``export`` are missing.
        ValueError: If ``half`` is asked of a network other than ``TransformerNet``.
    """
    _require_extra()
    import onnx

    network = _prepare(network)
    program = _trace(_halve(network) if half else network)
    with _without_noise():
        exported = torch.onnx.export(
            program,
            dynamo=True,
            input_names=[INPUT],
            output_names=[OUTPUT],
            opset_version=OPSET,
            verbose=False,
        )
    assert exported is not None
    model = exported.model_proto
    _tidy(model.graph)
    model.metadata_props.add(key=METADATA_KEY, value=_to_json(header))
    onnx.checker.check_model(model)
    return model.SerializeToString(deterministic=True)


def export_program(network: nn.Module, header: Header) -> bytes:
    """Turn a network into a package that ``torch.export.load`` reads without this one.

    Args:
        network: Maps photos to paintings, both of shape ``(N, 3, H, W)``; it is copied.
        header: What its checkpoint says of it; it becomes the package's extra file ``impasto``.

    Returns:
        All of a ``.pt2`` file: a float32 program for the CPU and any N, H and W from 1 up.
    """
    file = io.BytesIO()
    extra_files = {METADATA_KEY: _to_json(header)}
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


def _trace(network: nn.Module) -> ExportedProgram:
    photos = torch.zeros(2, 3, 17, 22)  # sizes that differ, none of them 1
    axes = {axis: Dim(name, min=1) for axis, name in AXES.items()}
    # What it cannot prove of all sizes, such as that four times a number is even, it then checks.
    return torch.export.export(
        network,
        (photos,),
        dynamic_shapes=(axes,),
        prefer_deferred_runtime_asserts_over_guards=True,
    )


class _Cast(nn.Module):
    """Go on in another precision."""

    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        self.dtype = dtype

    def forward(self, features: Tensor) -> Tensor:
        return features.to(self.dtype)


def _halve(network: nn.Module) -> TransformerNet:
    """Compute in fp16, in place, with float32 at the border.

    The first layer stays float32: networks turn differences in a smooth sky that are below the
    rounding of fp16 into strokes. A photo of 640 px that is rounded to it comes out up to 5/255
    different, against 0.6/255 if everything but the first layer is rounded (starry_night).
    Instance norm needs no care: runtimes sum its statistics in float32.
    """
    if not isinstance(network, TransformerNet):
        raise ValueError(f"half takes a TransformerNet, got {type(network).__name__}.")
    network.half()
    network.encoder[0].float()
    network.encoder.insert(1, _Cast(torch.float16))
    network.to_image.insert(1, _Cast(torch.float32))
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


def _tidy(graph: Any) -> None:
    """Name the axes; drop where in whose source every node came from, a tenth of the file."""
    for value in (*graph.input, *graph.output):
        for axis, name in AXES.items():
            value.type.tensor_type.shape.dim[axis].dim_param = name
    graph.ClearField("value_info")  # inner shapes, by the former names
    for part in (*graph.node, *graph.input, *graph.output, *graph.initializer):
        part.ClearField("metadata_props")
        part.ClearField("doc_string")
