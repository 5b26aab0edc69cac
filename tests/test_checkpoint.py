"""Checkpoints to use: what comes out is what went in, and hostile files are refused."""

import json
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from impasto import checkpoint
from impasto.checkpoint import CheckpointError, Header, load_checkpoint, save_checkpoint
from impasto.networks import (
    ContextEncoder,
    ContextEncoderPlus,
    MultiTransformerNet,
    TransformerNet,
)

ARGUMENTS = {"width": 2, "num_blocks": 1}
HEADER = Header("stylization", "TransformerNet", ARGUMENTS, ["mosaic"], 7, "x", {"val/total": 0.5})


@pytest.fixture
def network() -> TransformerNet:
    return TransformerNet(**ARGUMENTS)


def test_network_and_header_survive(tmp_path: Path, network: TransformerNet) -> None:
    save_checkpoint(tmp_path / "n.safetensors", network, HEADER)
    loaded, header = load_checkpoint(tmp_path / "n.safetensors")
    images = torch.rand(1, 3, 9, 10)
    assert header == HEADER
    torch.testing.assert_close(loaded(images), network(images), rtol=0, atol=0)


def test_half_precision_halves_the_file_and_changes_nothing_visible(
    tmp_path: Path, network: TransformerNet
) -> None:
    save_checkpoint(tmp_path / "full.safetensors", network, HEADER)
    save_checkpoint(tmp_path / "half.safetensors", network, HEADER, torch.float16)
    full, half = (tmp_path / f"{name}.safetensors" for name in ("full", "half"))
    assert half.stat().st_size < 0.6 * full.stat().st_size + 1000
    images = torch.rand(1, 3, 32, 32)
    difference = load_checkpoint(half)[0](images) - network(images)
    assert difference.abs().max() < 1 / 255


def test_networks_that_fill_holes_survive(tmp_path: Path) -> None:
    network = ContextEncoderPlus(width=2)
    header = Header("inpainting", "ContextEncoderPlus", {"width": 2})
    save_checkpoint(tmp_path / "n.safetensors", network, header)
    loaded, _ = load_checkpoint(tmp_path / "n.safetensors")
    photos, masks = torch.rand(1, 3, 33, 40), (torch.rand(1, 1, 33, 40) > 0.5).float()
    torch.testing.assert_close(loaded(photos, masks), network(photos, masks), rtol=0, atol=0)


def test_counts_of_batch_norm_stay_whole_numbers(tmp_path: Path) -> None:
    network = ContextEncoder().eval()
    count = "encoder.3.num_batches_tracked"
    network.get_buffer(count).fill_(1_000_001)  # more than float16 holds
    header = Header("inpainting", "ContextEncoder")
    save_checkpoint(tmp_path / "n.safetensors", network, header, torch.float16)
    assert load_checkpoint(tmp_path / "n.safetensors")[0].get_buffer(count) == 1_000_001


def test_failed_write_leaves_the_former_file(
    tmp_path: Path, network: TransformerNet, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "n.safetensors"
    save_checkpoint(path, network, HEADER)
    former = path.read_bytes()
    monkeypatch.setattr(Path, "replace", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        save_checkpoint(path, TransformerNet(**ARGUMENTS), HEADER)
    assert path.read_bytes() == former
    assert list(tmp_path.iterdir()) == [path]


def write(path: Path, header: object, weights: dict[str, torch.Tensor] | None = None) -> Path:
    text = header if isinstance(header, str) else json.dumps(header)
    save_file(weights or {"w": torch.zeros(1)}, path, {"impasto": text})
    return path


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("no json", "damaged header"),
        ("[1]", "damaged header"),
        ("[" * 100_000, "damaged header"),
        (
            {
                "format_version": 1,
                "task": "a",
                "network": "TransformerNet",
                "arguments": {"num_blocks": 10**9},
            },
            "arguments that do not fit",
        ),
        ({"task": "stylization"}, "damaged header"),
        ({"format_version": 99, "task": "a", "network": "b"}, "format version 99.*upgrade impasto"),
        ({"format_version": "1", "task": "a", "network": "b"}, "damaged header"),
        (
            {"format_version": 1, "task": "stylization", "network": "os.system"},
            "network 'os.system'; known here are TransformerNet",
        ),
        (
            {"format_version": 1, "task": "a", "network": "TransformerNet", "arguments": {"w": 1}},
            "arguments that do not fit",
        ),
        (
            {
                "format_version": 1,
                "task": "a",
                "network": "TransformerNet",
                "arguments": {"width": 10**9},
            },
            "arguments that do not fit",
        ),
        (
            {"format_version": 1, "task": "a", "network": "TransformerNet", "arguments": []},
            "damaged header",
        ),
        (
            {"format_version": 1, "task": "a", "network": "TransformerNet", "styles": 5},
            "damaged header",
        ),
        (
            {"format_version": 1, "task": "stylization", "network": "TransformerNet"},
            "weights that do not fit",
        ),
    ],
)
def test_hostile_headers_are_refused(tmp_path: Path, header: object, message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        load_checkpoint(write(tmp_path / "n.safetensors", header))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_styles": 10**9}, "arguments that do not fit"),
        ({"num_styles": 10**400}, "arguments that do not fit"),
        ({"num_styles": -1}, "at least 1 style, got -1"),
        ({"num_styles": 0}, "at least 1 style, got 0"),
        ({"num_styles": "2"}, "arguments that do not fit"),
        ({"num_styles": 2.5}, "arguments that do not fit"),
        ({"num_styles": float("nan")}, "arguments that do not fit"),
        ({"num_styles": None}, "arguments that do not fit"),
        ({"num_styles": [2]}, "arguments that do not fit"),
        ({}, "arguments that do not fit"),
        ({"num_styles": 2, "strokes": []}, "a smaller and a larger size"),
        ({"num_styles": 2, "strokes": [512, 256]}, "a smaller and a larger size"),
        ({"num_styles": 2, "strokes": [-1, 256]}, "a smaller and a larger size"),
        ({"num_styles": 2, "strokes": [1, 2, 3]}, "a smaller and a larger size"),
        ({"num_styles": 2, "strokes": [1, float("inf")]}, "a smaller and a larger size"),
        ({"num_styles": 2, "strokes": [[1], [2]]}, "a smaller and a larger size"),
        ({"num_styles": 2, "strokes": {"a": 1, "b": 2}}, "a smaller and a larger size"),
        ({"num_styles": 2, "strokes": "12"}, "a smaller and a larger size"),
        ({"num_styles": 2, "strokes": [1, 10**400]}, "arguments that do not fit"),
        ({"num_styles": 2, "strokes": 256}, "arguments that do not fit"),
        ({"num_styles": 3}, "has 3 styles and 2 names for them"),
        ({"num_styles": 2}, "weights that do not fit"),
        ({"num_styles": 2, "width": 10**9}, "arguments that do not fit"),
    ],
)
def test_hostile_headers_of_many_styles_are_refused(
    tmp_path: Path, arguments: dict[str, object], message: str
) -> None:
    header = {"format_version": 1, "task": "stylization", "network": "MultiTransformerNet"}
    header |= {"arguments": {"num_blocks": 1, **arguments}, "styles": ["night", "day"]}
    with pytest.raises(CheckpointError, match=message):
        load_checkpoint(write(tmp_path / "n.safetensors", header))


def test_many_styles_survive(tmp_path: Path) -> None:
    arguments = {"num_styles": 2, "strokes": [256, 512], "width": 2, "num_blocks": 1}
    network = MultiTransformerNet(**arguments)
    torch.nn.init.normal_(network.style_rows)
    header = Header("stylization", "MultiTransformerNet", arguments, ["night", "day"])
    save_checkpoint(tmp_path / "n.safetensors", network, header)
    loaded, found = load_checkpoint(tmp_path / "n.safetensors")
    inputs = torch.rand(1, 3, 9, 10), torch.eye(2)[:1], torch.tensor([300.0]), torch.tensor([0.5])
    assert found == header
    torch.testing.assert_close(loaded(*inputs), network(*inputs), rtol=0, atol=0)


@pytest.mark.parametrize("spoil", [float("nan"), float("inf"), 1j])
def test_weights_that_are_no_numbers_are_refused(
    tmp_path: Path, network: TransformerNet, spoil: complex
) -> None:
    path = tmp_path / "network.safetensors"
    weights = network.state_dict()
    name, weight = next(iter(weights.items()))
    weights[name] = weight * spoil
    header = asdict(Header("stylization", "TransformerNet", ARGUMENTS, ["night"]))
    write(path, header, weights)
    with pytest.raises(CheckpointError, match=f"no finite numbers, {name} first"):
        load_checkpoint(path)


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="No checkpoint at "):
        load_checkpoint(tmp_path / "nowhere.safetensors")


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 a pickle in a zip", b"\xff" * 100])
def test_files_that_are_no_safetensors_are_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "n.safetensors"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match="no safetensors file, or is damaged"):
        load_checkpoint(path)


def test_truncated_file_is_refused(tmp_path: Path, network: TransformerNet) -> None:
    path = tmp_path / "n.safetensors"
    save_checkpoint(path, network, HEADER)
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(CheckpointError, match="damaged"):
        load_checkpoint(path)


def test_weights_without_a_header_are_refused(tmp_path: Path) -> None:
    save_file({"w": torch.zeros(1)}, tmp_path / "n.safetensors")
    with pytest.raises(CheckpointError, match="no impasto header"):
        load_checkpoint(tmp_path / "n.safetensors")


def test_huge_file_is_refused_unread(
    tmp_path: Path, network: TransformerNet, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_checkpoint(tmp_path / "n.safetensors", network, HEADER)
    monkeypatch.setattr(checkpoint, "MAX_BYTES", 100)
    with pytest.raises(CheckpointError, match="larger than"):
        load_checkpoint(tmp_path / "n.safetensors")


def test_styles_of_a_header_are_names(tmp_path: Path) -> None:
    network = TransformerNet(width=1, num_blocks=1)
    header = Header("stylization", "TransformerNet", {"width": 1, "num_blocks": 1}, [5])
    save_checkpoint(tmp_path / "a.safetensors", network, header)
    with pytest.raises(CheckpointError, match="damaged header"):
        load_checkpoint(tmp_path / "a.safetensors")


def test_message_of_weights_that_do_not_fit_is_short(tmp_path: Path) -> None:
    network = TransformerNet(width=1, num_blocks=5)
    header = Header("stylization", "TransformerNet", {"width": 1, "num_blocks": 90}, ["a"])
    save_checkpoint(tmp_path / "a.safetensors", network, header)
    with pytest.raises(CheckpointError) as error:
        load_checkpoint(tmp_path / "a.safetensors")
    assert len(str(error.value)) < 300 + len(str(tmp_path))
