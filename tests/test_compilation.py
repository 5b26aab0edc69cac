"""Compiled training steps: they compute what eager ones do, gradients included."""

import sysconfig
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from torch import nn

from impasto.compilation import replication_gradient
from impasto.loss_networks import Lite
from impasto.loss_networks.lite import COMPONENTS
from impasto.losses import FillingLoss, PerceptualLoss, ReconstructionLoss
from impasto.networks.context_encoder_plus import GatedConv
from impasto.tasks import Stylization

LAYERS = {"relu1_1": 1.0}


def needs_compiler(test: Callable[..., None]) -> Callable[..., None]:
    """Mark a test that compiles, of which PyTorch warns for reasons of its own."""
    for mark in (
        pytest.mark.slow,
        pytest.mark.usefixtures("compiler"),
        pytest.mark.filterwarnings("ignore"),
    ):
        test = mark(test)
    return test


@pytest.fixture
def compiler() -> Iterator[None]:
    """What PyTorch's compiler needs on a CPU."""
    from torch._functorch import config as functorch_config
    from torch._inductor import config, cpp_builder, exc

    try:
        cpp_builder.get_cpp_compiler()
    except exc.InvalidCxxCompiler:
        pytest.skip("torch.compile needs a C++ compiler, and there is none on this machine")
    if not Path(sysconfig.get_path("include"), "Python.h").exists():
        pytest.skip("torch.compile needs the headers of Python, and they are not on this machine")
    torch.compiler.reset()
    # Processes would take seconds to start; graphs kept on disk may be older than the code.
    with (
        config.patch(compile_threads=1, fx_graph_cache=False),
        functorch_config.patch(enable_autograd_cache=False),
    ):
        yield


@pytest.fixture
def photos() -> torch.Tensor:
    """Two of them, 16 pixels a side, channels last."""
    generator = torch.Generator().manual_seed(1)
    photos = torch.rand(2, 3, 16, 16, generator=generator)
    return photos.contiguous(memory_format=torch.channels_last)


@needs_compiler
def test_compiled_step_is_the_eager_one(photos: torch.Tensor) -> None:
    # What pads by replication, in a network and in the loss: whole networks take a minute each.
    torch.manual_seed(0)
    lite = Lite(LAYERS, "random")
    targets = {layer: torch.rand(*2 * [COMPONENTS[layer]]) for layer in LAYERS}
    loss = PerceptualLoss(lite, [targets], LAYERS, LAYERS)
    task = Stylization(GatedConv(3, 3), loss, compile=True)
    found = []
    for step in (task._step, task.paint_and_compare):
        painted, parts = step(photos, photos, None)
        gradients = torch.autograd.grad(parts["total"], list(task.network.parameters()))
        found.append([painted, *parts.values(), *gradients])
    torch.testing.assert_close(*found, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("padding", [(1, 1, 1, 1), (3, 0, 0, 2), (0, 0, 0, 0)], ids=str)
@pytest.mark.parametrize("size", [(5, 6), (1, 4), (1, 1)], ids=str)
def test_gradient_of_replication_is_pytorchs(
    size: tuple[int, int], padding: tuple[int, ...]
) -> None:
    features = torch.rand(2, 3, *size, requires_grad=True)
    padded = nn.functional.pad(features, padding, mode="replicate")
    gradient = torch.rand_like(padded)
    expected = torch.autograd.grad(padded, features, gradient)[0]
    torch.testing.assert_close(replication_gradient(gradient, features, list(padding)), expected)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_random_views_make_no_graphs_of_their_own() -> None:
    layers = {"relu1_1": 1.0, "relu2_1": 1.0}
    lite = Lite(layers, weights="random")
    reconstruction = ReconstructionLoss("log_l2")
    loss = FillingLoss(reconstruction, lite, layers, perceptual_weight=1, random_views=True)
    graphs = []

    def count(graph: torch.fx.GraphModule, _: object) -> Callable[..., object]:
        graphs.append(graph)
        return graph.forward

    torch.compiler.reset()
    step = torch.compile(lambda *batch: loss(*batch)["total"], backend=count)
    masks = torch.zeros(2, 1, 64, 64)
    masks[..., 16:48, 16:48] = 1
    counts = []
    for _ in range(16):  # more than there are ways to lie and sizes
        filled = torch.rand(2, 3, 64, 64, requires_grad=True)
        step(filled, torch.rand(2, 3, 64, 64), masks).backward()
        counts.append(len(graphs))
    torch.compiler.reset()
    assert counts[-1] == counts[5] <= 6
