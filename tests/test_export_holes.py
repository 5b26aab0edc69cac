"""Exports of networks that fill holes: other runtimes fill what they fill, at every size."""

import json
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import onnx
import onnxruntime
import pytest
import torch

import export_onnx as command
from exporting import SIZES, export, photos_of
from impasto.checkpoint import Header, save_checkpoint
from impasto.inference.export import export_onnx, export_program
from impasto.networks import ChannelwiseContextEncoder, ContextEncoderPlus

HEADER = Header("inpainting", "ContextEncoderPlus", {"width": 2}, step=7)


@pytest.fixture(scope="module")
def filler() -> Iterator[ContextEncoderPlus]:
    """A network that fills holes, with a shorter prefill: tracing it takes a minute else."""
    torch.manual_seed(0)
    filler = ContextEncoderPlus(width=2)
    torch.nn.init.normal_(filler.to_correction.weight, std=0.05)
    with pytest.MonkeyPatch.context() as patch:
        module = sys.modules["impasto.networks.prefill"]  # the package calls its function the same
        patch.setattr(module, "STEPS", [[0.9]])
        patch.setattr(module, "NUM_HALVINGS", 1)
        yield filler.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def filler_model(filler: ContextEncoderPlus) -> bytes:
    return export_onnx(filler, HEADER)


def largest_difference(paint: command.Painter, network: ContextEncoderPlus) -> float:
    """Of all sizes, in 1/255."""
    largest = 0.0
    for size in SIZES:
        photos = photos_of(size)
        masks = (photos[:, :1].roll(1, 3) < 0.4).float()
        filled = paint(photos, masks)
        assert filled.dtype == torch.float32
        assert torch.equal(filled.where(masks == 0, 0), photos.where(masks == 0, 0))
        largest = max(largest, 255 * (filled - network(photos, masks)).abs().max().item())
    return largest


def test_holes_are_filled_the_same_at_every_size(
    filler_model: bytes, filler: ContextEncoderPlus
) -> None:
    assert largest_difference(command.onnx_painter(filler_model), filler) < 0.01


@pytest.mark.slow
def test_package_fills_the_same_at_every_size(filler: ContextEncoderPlus) -> None:
    package = command.program_painter(export_program(filler, HEADER))
    assert largest_difference(package, filler) < 0.01


@pytest.mark.slow
def test_half_precision_fills_nearly_the_same(filler: ContextEncoderPlus) -> None:
    model = export_onnx(filler, HEADER, half=True)
    assert 0 < largest_difference(command.onnx_painter(model), filler) < 1


def test_model_that_fills_holes_says_what_it_takes(filler_model: bytes) -> None:
    proto = onnx.load_from_string(filler_model)
    axes = {
        value.name: [axis.dim_param or axis.dim_value for axis in value.type.tensor_type.shape.dim]
        for value in (*proto.graph.input, *proto.graph.output)
    }
    assert axes == {
        "photos": ["batch", 3, "height", "width"],
        "masks": ["batch", 1, "height", "width"],
        "filled": ["batch", 3, "height", "width"],
    }
    session = onnxruntime.InferenceSession(filler_model, providers=["CPUExecutionProvider"])
    metadata = session.get_modelmeta().custom_metadata_map
    assert json.loads(metadata["impasto"]) == asdict(HEADER)


def test_network_of_one_size_keeps_it(monkeypatch: pytest.MonkeyPatch) -> None:
    with torch.device("meta"):  # to draw its weights takes longer than to export them
        network = ChannelwiseContextEncoder()
    network.to_empty(device="cpu").eval().requires_grad_(False)
    for weight in network.state_dict().values():
        weight.fill_(0.01)
    model = export_onnx(network, Header("inpainting", "ChannelwiseContextEncoder"))
    axes = onnx.load_from_string(model).graph.input[0].type.tensor_type.shape.dim
    assert [axis.dim_param or axis.dim_value for axis in axes] == ["batch", 3, 128, 128]
    rows = command.differences(network, [command.onnx_painter(model)])
    assert len(rows) == 3
    assert max(row[0] for row in rows) < 0.01


def test_command_exports_what_fills_holes(
    filler: ContextEncoderPlus,
    filler_model: bytes,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(command, "SIZES", SIZES[:3])
    monkeypatch.setattr(command, "export_onnx", lambda *_, **__: filler_model)
    path = tmp_path / "filler.safetensors"
    save_checkpoint(path, filler, HEADER)
    assert export(monkeypatch, path, tmp_path / "filler.onnx") == 0
    assert "| 1 x 1 x 500 | 0.0" in capsys.readouterr().out
