"""Export: other runtimes paint what the network paints, at every size, and know whose it is."""

import io
import json
import sys
import zipfile
from dataclasses import asdict
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

import export_onnx as command
from exporting import SIZES, export, photos_of
from impasto.checkpoint import Header, save_checkpoint
from impasto.inference.export import export_onnx, export_program
from impasto.networks import MultiTransformerNet, TransformerNet

ARGUMENTS = {"width": 2, "num_blocks": 1}
HEADER = Header("stylization", "TransformerNet", ARGUMENTS, ["Nachtwächter"], step=7)
MANY_ARGUMENTS = {"num_styles": 3, "strokes": [256, 512], **ARGUMENTS}
MANY_HEADER = Header("stylization", "MultiTransformerNet", MANY_ARGUMENTS, ["a", "b", "c"], step=7)


@pytest.fixture(scope="module")
def network() -> TransformerNet:
    torch.manual_seed(0)
    return TransformerNet(**ARGUMENTS).eval().requires_grad_(False)


@pytest.fixture(scope="module")
def model(network: TransformerNet) -> bytes:
    return export_onnx(network, HEADER)


@pytest.fixture(scope="module")
def half_model(network: TransformerNet) -> bytes:
    return export_onnx(network, HEADER, half=True)


@pytest.fixture(scope="module")
def package(network: TransformerNet) -> bytes:
    return export_program(network, HEADER)


@pytest.fixture
def checkpoint(network: TransformerNet, tmp_path: Path) -> Path:
    path = tmp_path / "network.safetensors"
    save_checkpoint(path, network, HEADER)
    return path


@pytest.fixture(scope="module")
def many() -> MultiTransformerNet:
    """A network of three styles."""
    torch.manual_seed(0)
    many = MultiTransformerNet(**MANY_ARGUMENTS)
    for rows in (many.style_rows, many.stroke_rows, many.strength_row):
        torch.nn.init.normal_(rows, std=0.3)
    return many.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def many_model(many: MultiTransformerNet) -> bytes:
    return export_onnx(many, MANY_HEADER)


def largest_difference(model: bytes, network: TransformerNet) -> float:
    """Of all sizes, in 1/255."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    largest = 0.0
    for photos in map(photos_of, SIZES):
        (paintings,) = session.run(["paintings"], {"photos": photos.numpy()})
        assert paintings.dtype == np.float32
        assert paintings.shape == photos.shape
        largest = max(largest, 255 * np.abs(paintings - network(photos).numpy()).max())
    return largest


def test_onnx_paints_the_same_at_every_size(model: bytes, network: TransformerNet) -> None:
    assert largest_difference(model, network) < 0.01


def test_half_precision_paints_nearly_the_same(half_model: bytes, network: TransformerNet) -> None:
    assert 0 < largest_difference(half_model, network) < 0.5


def test_weights_are_halved_but_for_the_first_layer(half_model: bytes) -> None:
    weights = {
        part.name: part.data_type for part in onnx.load_from_string(half_model).graph.initializer
    }
    assert weights["encoder.0.0.weight"] == onnx.TensorProto.FLOAT
    assert weights["encoder.2.0.weight"] == onnx.TensorProto.FLOAT16
    assert weights["blocks.0.body.0.0.weight"] == onnx.TensorProto.FLOAT16


def test_axes_are_named_and_operators_are_standard(model: bytes) -> None:
    proto = onnx.load_from_string(model)
    assert {opset.domain for opset in proto.opset_import} == {""}
    assert all(node.domain == "" for node in proto.graph.node)
    for value in (*proto.graph.input, *proto.graph.output):
        axes = value.type.tensor_type.shape.dim
        assert [axis.dim_param or axis.dim_value for axis in axes] == [
            "batch",
            3,
            "height",
            "width",
        ]


def test_header_is_in_the_metadata(model: bytes) -> None:
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    metadata = session.get_modelmeta().custom_metadata_map
    assert json.loads(metadata["impasto"]) == asdict(HEADER)


def test_files_say_nothing_of_where_they_were_made(model: bytes, package: bytes) -> None:
    archive = zipfile.ZipFile(io.BytesIO(package))
    for content in (model, *map(archive.read, archive.namelist())):
        assert str(Path(torch.__file__).parent).encode() not in content
        assert str(Path(command.__file__).parents[1]).encode() not in content


def test_same_network_gives_the_same_file(model: bytes, network: TransformerNet) -> None:
    assert export_onnx(network, HEADER) == model


def test_exporting_leaves_the_network_alone(half_model: bytes, network: TransformerNet) -> None:
    assert {weight.dtype for weight in network.parameters()} == {torch.float32}
    assert len(network.encoder) == 3


def test_package_paints_the_same_and_has_the_header(
    package: bytes, network: TransformerNet
) -> None:
    extra_files = {"impasto": ""}
    program = torch.export.load(io.BytesIO(package), extra_files=extra_files).module()
    assert json.loads(extra_files["impasto"]) == asdict(HEADER)
    for photos in map(photos_of, SIZES):
        torch.testing.assert_close(program(photos), network(photos))


def test_command_writes_all_it_is_asked_for(
    checkpoint: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(command, "SIZES", SIZES[:3])
    folder = tmp_path / "new"
    paths = [folder / name for name in ("network.onnx", "network.pt2", "report.md")]
    assert (
        export(monkeypatch, checkpoint, paths[0], "--torch-export", paths[1], "--report", paths[2])
        == 0
    )
    assert sorted(folder.iterdir()) == sorted(paths)
    printed = capsys.readouterr()
    assert printed.out == paths[2].read_text()
    assert "| 1 x 1 x 500 | 0.0" in printed.out
    assert printed.err == ""


def test_command_fails_if_the_paintings_differ(
    checkpoint: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(command, "export_onnx", lambda *_, **__: b"")
    monkeypatch.setattr(command, "onnx_painter", lambda _: torch.zeros_like)
    monkeypatch.setattr(command, "SIZES", SIZES[:3])
    assert export(monkeypatch, checkpoint, tmp_path / "network.onnx") == 1
    assert capsys.readouterr().err == "The exported network differs by more than 1/255.\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["missing.safetensors", "network.onnx"], "No checkpoint at "),
        (["network.safetensors", "network.pt"], "must end in .onnx."),
        (["network.safetensors", "network.onnx", "--torch-export=out.pt"], "must end in .pt2."),
        (["network.safetensors", "network.safetensors/network.onnx"], "is no folder to write to."),
        (["broken.safetensors", "network.onnx"], "is no safetensors file, or is damaged"),
    ],
)
def test_misuse_is_told_in_one_line(
    arguments: list[str],
    message: str,
    checkpoint: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(checkpoint.parent)
    Path("broken.safetensors").write_bytes(b"broken")
    assert export(monkeypatch, *arguments) == 2
    printed = capsys.readouterr()
    assert message in printed.err
    assert printed.err.count("\n") == 1
    assert not list(checkpoint.parent.glob("*.onnx"))


def test_missing_extra_is_told_with_its_remedy(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    assert export(monkeypatch, checkpoint, checkpoint.with_suffix(".onnx")) == 2
    printed = capsys.readouterr()
    assert printed.err.startswith("Exporting to ONNX takes onnxscript, which is not installed: ")
    assert printed.err.endswith('pip install "impasto[export]".\n')


def largest_knob_difference(paint: command.Painter, many: MultiTransformerNet) -> float:
    """Of all sizes, with knobs of its own for every photo, in 1/255."""
    largest = 0.0
    for size in SIZES:
        inputs = [photos_of(size), *command.inputs_for(many, size)[1:]]
        largest = max(largest, 255 * (paint(*inputs) - many(*inputs)).abs().max().item())
    return largest


def test_many_styles_take_knobs_for_every_photo(
    many_model: bytes, many: MultiTransformerNet
) -> None:
    paint = command.onnx_painter(many_model)
    assert largest_knob_difference(paint, many) < 0.01
    photos, style, stroke, _ = command.inputs_for(many, (2, 20, 24))
    photo, full = paint(photos, style, stroke, torch.tensor([0.0, 1.0]))
    assert torch.equal(photo, photos[0])
    settled = many.settled(style[1], float(stroke[1]), 1.0)
    assert torch.allclose(full, settled(photos[1:])[0], atol=1e-4)


def test_model_of_many_styles_says_what_it_takes(many_model: bytes) -> None:
    proto = onnx.load_from_string(many_model)
    axes = {
        value.name: [axis.dim_param or axis.dim_value for axis in value.type.tensor_type.shape.dim]
        for value in (*proto.graph.input, *proto.graph.output)
    }
    assert axes == {
        "photos": ["batch", 3, "height", "width"],
        "style": ["batch", 3],
        "stroke": ["batch"],
        "strength": ["batch"],
        "paintings": ["batch", 3, "height", "width"],
    }
    session = onnxruntime.InferenceSession(many_model, providers=["CPUExecutionProvider"])
    metadata = session.get_modelmeta().custom_metadata_map
    assert json.loads(metadata["impasto"]) == asdict(MANY_HEADER)


def test_package_of_many_styles_paints_the_same(many: MultiTransformerNet) -> None:
    package = command.program_painter(export_program(many, MANY_HEADER))
    assert largest_knob_difference(package, many) < 0.01


@pytest.mark.slow
def test_half_precision_paints_many_styles_nearly_the_same(many: MultiTransformerNet) -> None:
    half = command.onnx_painter(export_onnx(many, MANY_HEADER, half=True))
    assert 0 < largest_knob_difference(half, many) < 0.5


def test_command_exports_many_styles(
    many: MultiTransformerNet,
    many_model: bytes,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(command, "SIZES", SIZES[:3])
    monkeypatch.setattr(command, "export_onnx", lambda *_, **__: many_model)
    path = tmp_path / "many.safetensors"
    save_checkpoint(path, many, MANY_HEADER)
    assert export(monkeypatch, path, tmp_path / "many.onnx") == 0
    assert "| 1 x 1 x 500 | 0.0" in capsys.readouterr().out


def test_half_precision_takes_a_network_that_it_knows() -> None:
    with pytest.raises(ValueError, match=r"half takes a TransformerNet, a .*, got Conv2d"):
        export_onnx(torch.nn.Conv2d(3, 3, 1), HEADER, half=True)
