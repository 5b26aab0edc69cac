"""Loss networks: layers by name, only as deep as needed, weights from anywhere or the package."""

import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from impasto.loss_networks import VGG, Lite
from impasto.loss_networks.lite import COMPONENTS, WEIGHTS
from impasto.loss_networks.vgg import MEAN, STD, URLS, layer_names


def torchvision_weights(up_to: int) -> dict[str, Tensor]:
    """Fake weights of VGG-16 with torchvision's keys, for the first few convolutions."""
    shapes = {0: (64, 3), 2: (64, 64), 5: (128, 64), 7: (128, 128), 10: (256, 128)}
    generator = torch.Generator().manual_seed(0)
    weights = {}
    for position, (channels, in_channels) in list(shapes.items())[:up_to]:
        scale = (2 / (9 * in_channels)) ** 0.5
        weight = torch.randn(channels, in_channels, 3, 3, generator=generator) * scale
        weights[f"features.{position}.weight"] = weight
        weights[f"features.{position}.bias"] = torch.randn(channels, generator=generator) * 0.1
    return weights


def test_layers_have_the_names_of_the_paper() -> None:
    names = layer_names("vgg16")
    assert names[:5] == ["relu1_1", "relu1_2", "relu2_1", "relu2_2", "relu3_1"]
    assert len(names) == 13
    assert len(layer_names("vgg19")) == 16


def test_features_equal_torchvisions_layer_by_layer(tmp_path: Path) -> None:
    weights = torchvision_weights(up_to=4)
    save_file(weights, tmp_path / "vgg.safetensors")
    network = VGG("vgg16", ["relu1_2", "relu2_1", "relu2_2"], tmp_path / "vgg.safetensors")
    images = torch.rand(2, 3, 18, 22)

    def relu(features: Tensor, position: int) -> Tensor:
        key = f"features.{position}"
        return F.conv2d(
            features, weights[f"{key}.weight"], weights[f"{key}.bias"], padding=1
        ).relu()

    normalized = (images - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)
    relu1_2 = relu(relu(normalized, 0), 2)
    relu2_1 = relu(F.max_pool2d(relu1_2, 2), 5)
    features = network(images)
    torch.testing.assert_close(features["relu1_2"], relu1_2, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(features["relu2_1"], relu2_1, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(features["relu2_2"], relu(relu2_1, 7), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("name", "layer", "depth"), [("vgg16", "relu4_3", 10), ("vgg19", "relu3_1", 5)]
)
def test_nothing_is_built_below_the_deepest_layer(name: str, layer: str, depth: int) -> None:
    assert len(VGG(name, [layer], "random").convolutions) == depth


def test_nothing_is_computed_below_the_deepest_layer_of_a_call() -> None:
    network = VGG("vgg16", ["relu1_1", "relu3_3"], "random")
    calls: list[nn.Module] = []
    for convolution in network.convolutions:
        convolution.register_forward_hook(lambda module, *_: calls.append(module))
    assert set(network(torch.rand(1, 3, 8, 8), ["relu1_1"])) == {"relu1_1"}
    assert len(calls) == 1


def test_network_is_frozen_but_passes_gradients_to_the_image() -> None:
    network = VGG("vgg16", ["relu2_2"], "random")
    images = torch.rand(1, 3, 8, 8, requires_grad=True)
    network(images)["relu2_2"].sum().backward()
    assert images.grad is not None
    assert not any(weight.requires_grad for weight in network.parameters())


def test_features_come_in_the_precision_asked_for() -> None:
    network = VGG("vgg16", ["relu1_1"], "random", dtype=torch.bfloat16)
    assert network(torch.rand(1, 3, 8, 8))["relu1_1"].dtype == torch.bfloat16


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_truncated_file_serves_the_layers_it_has(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"vgg{suffix}"
    save = save_file if suffix == ".safetensors" else torch.save
    save(torchvision_weights(up_to=3), path)
    assert VGG("vgg16", ["relu2_1"], path)(torch.rand(1, 3, 8, 8))["relu2_1"].shape == (
        1,
        128,
        4,
        4,
    )
    with pytest.raises(ValueError, match=r"ends before relu2_2 \(no features.7.weight in it\)"):
        VGG("vgg16", ["relu2_2"], path)


def test_file_of_another_network_is_refused(tmp_path: Path) -> None:
    weights = torchvision_weights(up_to=2)
    weights["features.2.weight"] = torch.rand(8, 64, 3, 3)
    save_file(weights, tmp_path / "vgg.safetensors")
    with pytest.raises(ValueError, match=r"features.2 has the shape \(8, 64, 3, 3\)"):
        VGG("vgg16", ["relu1_2"], tmp_path / "vgg.safetensors")


def test_pickled_code_is_not_run(tmp_path: Path) -> None:
    class Touch:
        def __reduce__(self) -> tuple[object, tuple[object, ...]]:
            return Path.touch, (tmp_path / "touched",)

    with (tmp_path / "vgg.pth").open("wb") as file:
        pickle.dump({"features.0.weight": Touch()}, file, protocol=2)
    with pytest.raises(ValueError, match="cannot be read as weights"):
        VGG("vgg16", ["relu1_1"], tmp_path / "vgg.pth")
    assert not (tmp_path / "touched").exists()


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"No weights at .*nowhere.pth"):
        VGG("vgg16", ["relu1_1"], tmp_path / "nowhere.pth")


def test_unknown_layer_is_named_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"vgg16 has no layer relu9_9: choose among relu1_1"):
        VGG("vgg16", ["relu9_9"], "random")


def test_unknown_network_is_named_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match="No loss network 'vgg11': choose among vgg16, vgg19"):
        VGG("vgg11", ["relu1_1"], "random")


def test_hub_without_a_network_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setitem(URLS, "vgg16", "http://127.0.0.1:9/vgg16-397923af.pth")
    with pytest.raises(ValueError, match=r"could not be downloaded .*loss_network.weights=PATH"):
        VGG("vgg16", ["relu1_1"], "hub")


def multiply_adds(network: nn.Module, size: int) -> int:
    """Of all layers of a network, for one square image; nothing is computed."""
    with FlopCounterMode(display=False) as counter:
        network.to("meta")(torch.rand(1, 3, size, size, device="meta"))
    return counter.get_total_flops() // 2


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (7, 5), (33, 18)])
def test_lite_halves_odd_sizes_rounding_up(lite: Lite, size: tuple[int, int]) -> None:
    half = tuple(-(-side // 2) for side in size)
    quarter = tuple(-(-side // 4) for side in size)
    features = lite(torch.rand(2, 3, *size))
    assert {layer: tuple(found.shape) for layer, found in features.items()} == {
        "relu1_1": (2, 16, *size),
        "relu2_1": (2, 64, *half),
        "relu3_1": (2, 96, *quarter),
        "relu3_3": (2, 64, *quarter),
        "relu3_4": (2, 64, *quarter),
    }


def test_lite_returns_the_layers_chosen() -> None:
    network = Lite(["relu2_1", "relu3_4"], "random")
    images = torch.rand(1, 3, 8, 8)
    assert list(network(images)) == ["relu2_1", "relu3_4"]
    assert list(network(images, ["relu3_3"])) == ["relu3_3"]


def test_lite_computes_nothing_below_the_deepest_layer_of_a_call(lite: Lite) -> None:
    computed: list[nn.Module] = []
    for part in (*lite.stages.values(), *lite.heads.values()):
        part.register_forward_hook(lambda module, *_: computed.append(module))
    assert set(lite(torch.rand(1, 3, 8, 8), ["relu2_1"])) == {"relu2_1"}
    assert computed == [lite.stages["relu1_1"], lite.stages["relu2_1"], lite.heads["relu2_1"]]


def test_lite_is_frozen_but_passes_gradients_to_the_image(lite: Lite) -> None:
    images = torch.rand(1, 3, 8, 8, requires_grad=True)
    sum(found.square().sum() for found in lite(images).values()).backward()
    assert images.grad is not None
    assert images.grad.abs().min() > 0
    assert not any(weight.requires_grad for weight in lite.parameters())


def test_lite_computes_in_the_precision_asked_for(lite: Lite) -> None:
    images = torch.rand(1, 3, 8, 8)
    assert lite(images)["relu1_1"].dtype == torch.float32
    assert lite.compute_in(torch.bfloat16)(images)["relu3_4"].dtype == torch.bfloat16
    assert Lite(weights="random", dtype=torch.bfloat16)(images)["relu1_1"].dtype == torch.bfloat16


def test_fingerprint_tells_weights_and_not_precision(lite: Lite, tmp_path: Path) -> None:
    fingerprint = lite.fingerprint
    half = {name: weight.half().contiguous() for name, weight in lite.state_dict().items()}
    save_file(half, tmp_path / "lite.safetensors")
    assert Lite(["relu1_1"], tmp_path / "lite.safetensors").fingerprint == fingerprint
    torch.manual_seed(0)
    assert Lite(weights="random", dtype=torch.bfloat16).fingerprint == fingerprint
    assert lite.compute_in(torch.bfloat16).fingerprint == fingerprint
    assert Lite(weights="random").fingerprint != fingerprint


@pytest.mark.parametrize("layers", [["relu1_1", "relu1_2"], ["relu4_1"], []])
def test_unknown_layer_of_lite_is_named_with_the_known_ones(layers: list[str]) -> None:
    with pytest.raises(ValueError, match=r"has no layer .*: choose among relu1_1, relu2_1"):
        Lite(layers, "random")


def test_missing_file_of_lite_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"No weights of the lite .* at .*nowhere"):
        Lite(weights=tmp_path / "nowhere.safetensors")


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 a pickle in a zip"])
def test_file_that_is_no_safetensors_is_no_lite(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "lite.pth").write_bytes(content)
    with pytest.raises(ValueError, match="does not hold the lite loss network"):
        Lite(weights=tmp_path / "lite.pth")


def test_weights_of_vgg_are_no_lite(tmp_path: Path) -> None:
    save_file(torchvision_weights(up_to=2), tmp_path / "vgg.safetensors")
    with pytest.raises(ValueError, match="does not hold the lite loss network"):
        Lite(weights=tmp_path / "vgg.safetensors")


def test_lite_costs_an_eighth_of_vgg16(lite: Lite) -> None:
    vgg = VGG("vgg16", ["relu4_3"], "random")
    assert multiply_adds(lite, 256) <= multiply_adds(vgg, 256) / 8


def test_lite_comes_with_the_package() -> None:
    assert WEIGHTS.stat().st_size < 1_000_000
    features = Lite()(torch.rand(1, 3, 32, 32))
    assert set(features) == set(COMPONENTS)
    assert all(found.isfinite().all() and found.std() > 0 for found in features.values())
