"""Ways to paint with the same weights, each by its name: ours, the plain one, other runtimes.

All take levels and give levels: uint8, shape ``(N, 3, H, W)``, on the GPU if there is one.
"""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from impasto.checkpoint import load_checkpoint
from impasto.inference import Stylizer, replay, winograd
from impasto.inference.devices import choose_device, choose_dtype
from impasto.memory import keep_freed_memory
from impasto.networks import TransformerNet
from impasto.networks.layers import FoldedConv, ReflectConv
from impasto.precision import keep_float32

Paint = Callable[[Tensor], Tensor]
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def plain(ckpt: Path) -> Paint:
    """The network as it was trained, but for the folding of its last convolution."""
    network = load_checkpoint(ckpt)[0].float().eval()
    assert isinstance(network, TransformerNet)
    folded = network.to_image[0]
    assert isinstance(folded, FoldedConv)
    conv = ReflectConv(folded.in_channels, 3, 9)
    conv.load_state_dict(folded.state_dict())
    network.to_image[0] = conv
    network.to(DEVICE)

    @torch.inference_mode()
    def paint(levels: Tensor) -> Tensor:
        return to_levels(network(levels.float() / 255))

    return paint


def ours(ckpt: Path) -> Stylizer:
    """As ``infer.py`` paints."""
    keep_freed_memory()
    keep_float32()
    return Stylizer.load(ckpt)


def compiled(ckpt: Path) -> Paint:
    """Ours, its kernels by torch.compile, in the same CUDA graphs."""
    stylizer = ours(ckpt)
    stylizer.network.compile(mode="max-autotune-no-cudagraphs")
    return stylizer


def eager(ckpt: Path) -> Paint:
    """Ours without CUDA graphs."""
    replay.MAX_PIXELS = 0
    return ours(ckpt)


def direct(ckpt: Path) -> Paint:
    """Ours without Winograd's convolutions."""
    winograd.LEAST_CHANNELS = sys.maxsize
    return ours(ckpt)


def onnx_runtime(ckpt: Path) -> Paint:
    """The exported model in ONNX Runtime."""
    import onnxruntime

    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(exported(ckpt), settings)

    def paint(levels: Tensor) -> Tensor:
        photos = (levels.float() / 255).numpy()
        return to_levels(torch.from_numpy(session.run(None, {"photos": photos})[0]))

    return paint


def openvino(ckpt: Path) -> Paint:
    """The exported model in OpenVINO, which takes bfloat16 where the processor has it."""
    import openvino

    core = openvino.Core()
    content = exported(ckpt)
    models: dict[tuple[int, ...], Any] = {}
    settings = {
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": "bf16",
    }

    def paint(levels: Tensor) -> Tensor:
        shape = tuple(levels.shape)
        if shape not in models:  # one for this shape alone is faster
            model = core.read_model(content)
            model.reshape(shape)
            models[shape] = core.compile_model(model, "CPU", settings)
        return to_levels(torch.from_numpy(models[shape]([(levels.float() / 255).numpy()])[0]))

    return paint


def exported(ckpt: Path) -> bytes:
    """A checkpoint as ONNX."""
    from impasto.inference.export import export_onnx

    return export_onnx(*load_checkpoint(ckpt))


def to_levels(images: Tensor) -> Tensor:
    """RGB in [0, 1] to uint8."""
    return (images * 255).round().to(torch.uint8)


CONTENDERS: dict[str, tuple[Callable[[Path], Paint], tuple[str, ...]]] = {
    "plain": (plain, ()),
    "ours": (ours, ()),
    "half": (ours, ()),
    **({"eager": (eager, ()), "compiled": (compiled, ())} if torch.cuda.is_available() else {}),
    **({"direct": (direct, ())} if choose_dtype("auto", choose_device()) == torch.float32 else {}),
    "onnxruntime": (onnx_runtime, ("onnx", "onnxruntime", "onnxscript")),
    "openvino": (openvino, ("openvino", "onnx", "onnxscript")),
}
