"""Distillation: least squares recovers what can be recovered, and a stopped run goes on."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional as F

from impasto.loss_networks import VGG, Lite
from impasto.loss_networks.lite import COMPONENTS
from least_squares import Products, fill, initialize, preactivations, select

SCRIPT = Path(__file__).parents[1] / "scripts" / "distill_loss_network.py"


@pytest.mark.parametrize("stride", [1, 2])
def test_least_squares_recovers_a_convolution(stride: int) -> None:
    torch.manual_seed(0)
    truth, learner = (nn.Conv2d(3, 5, 3, stride, padding=1) for _ in range(2))
    features = torch.randn(2, 3, 24, 24)
    products = Products()
    with torch.no_grad():
        products.add(features, truth(features), learner)
        fill(learner, products.solve())
        assert torch.allclose(learner(features), truth(features), atol=1e-3)


def test_channels_that_follow_from_others_are_not_chosen() -> None:
    torch.manual_seed(0)
    independent = torch.randn(100, 3) * torch.tensor([3.0, 2.0, 1.0])
    channels = torch.cat([independent, independent @ torch.randn(3, 4)], dim=1)
    chosen = select(channels.T @ channels, 3)
    assert torch.linalg.matrix_rank(channels[:, chosen]) == 3


def test_preactivations_are_vggs_before_the_relu_and_pooled_where_the_student_strides() -> None:
    vgg = VGG("vgg19", ["relu3_1"], "random")
    images = torch.rand(1, 3, 32, 32)
    features = vgg(images, ["relu1_1", "relu2_1"])
    assert torch.equal(preactivations(vgg, images, 0).relu(), features["relu1_1"])
    assert torch.equal(preactivations(vgg, images, 2).relu(), features["relu2_1"])
    assert preactivations(vgg, images, 1).shape == (1, 64, 16, 16)


def test_first_weights_tell_what_the_teacher_sees() -> None:
    torch.manual_seed(0)
    vgg, student = VGG("vgg19", COMPONENTS, "random"), Lite(weights="random", padding_mode="zeros")

    def wanted(images: torch.Tensor) -> dict[str, torch.Tensor]:
        return {layer: found[:, : COMPONENTS[layer]] for layer, found in vgg(images).items()}

    batches = [F.interpolate(torch.rand(4, 3, 12, 12), scale_factor=8) for _ in range(4)]
    initialize(student, vgg, wanted, batches[:3])
    found = student(batches[3])
    for layer, target in wanted(batches[3]).items():
        spread = target - target.mean((0, 2, 3), keepdim=True)
        assert (found[layer] - target).square().sum() < 0.5 * spread.square().sum(), layer


@pytest.mark.slow
def test_a_stopped_distillation_goes_on(photos: Path, tmp_path: Path) -> None:
    folder = tmp_path / "lite"
    command = [sys.executable, SCRIPT, "--photos", photos, "--paintings", photos]
    command += ["--teacher", "random", "--size", "32", "--folder", folder]
    weights = []
    for steps in ("1", "3"):
        done = subprocess.run(
            [*command, "--steps", steps], capture_output=True, text=True, timeout=300
        )
        assert done.returncode == 0, done.stderr
        weights.append(load_file(folder / "lite.safetensors"))
    assert torch.load(folder / "resume.pt", weights_only=True)["step"] == 3
    name = "heads.relu3_4.weight"
    assert not torch.equal(weights[0][name], weights[1][name])
    Lite(weights=folder / "lite.safetensors")
