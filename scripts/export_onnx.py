"""Export a trained network to ONNX, and measure that it paints or fills the same there.

    python scripts/export_onnx.py checkpoints/starry_night.safetensors starry_night.onnx
    python scripts/export_onnx.py network.safetensors network.onnx --half --report report.md
    python scripts/export_onnx.py checkpoints/inpainting.safetensors inpainting.onnx

A network of many styles takes its knobs for every photo, in the order of the styles in its header:

    session = onnxruntime.InferenceSession("paintings.onnx")
    header = json.loads(session.get_modelmeta().custom_metadata_map["impasto"])
    style = np.array([[name == "udnie" for name in header["styles"]]], np.float32)  # adds up to 1
    stroke = np.array([header["arguments"]["strokes"][0]], np.float32)  # from the first to the last
    strength = np.array([0.8], np.float32)  # from 0, the photo, to 1, the painting
    knobs = {"style": style, "stroke": stroke, "strength": strength}
    (paintings,) = session.run(None, {"photos": photos, **knobs})  # float32 RGB, (1, 3, H, W)

The exit code is 0 if ONNX Runtime and PyTorch agree within 1/255 for every size, 1 if they do not
(the files are written all the same), 2 if something is wrong with the arguments.
"""

import argparse
import io
import os
import sys
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from impasto.checkpoint import load_checkpoint
from impasto.files import write_atomically
from impasto.inference.export import FILLERS, export_onnx, export_program
from impasto.networks import MultiTransformerNet
from impasto.networks.context_encoder import centre

SIZES = [  # batch, height, width
    (1, 1, 1),
    (1, 1, 500),
    (1, 3, 700),
    (1, 37, 53),
    (1, 64, 64),
    (2, 128, 96),
    (1, 256, 256),
    (1, 255, 257),
    (1, 511, 513),
    (1, 640, 480),
]
LEVELS = 255  # of an 8-bit image: differences are told in these
ALLOWED = 1.0  # level
DIFFERS, MISUSED = 1, 2  # exit codes; the second as of infer.py

HOLE_LEVEL = 0.4  # of the noise that masks are cut from: about a quarter is darker

Painter = Callable[..., Tensor]
"""Maps photos in [0, 1], shape ``(N, 3, H, W)``, and masks or knobs, to the same painted."""


def clouds(batch: int, height: int, width: int) -> Tensor:
    """Draw smooth noise, in which double the size is double the contrast, as in photos.

    White noise would hide what rounding does to a clear sky, that networks paint by traces in it.

    Returns:
        RGB in [0, 1], shape ``(batch, 3, height, width)``, the same at every call.
    """
    generator = torch.Generator().manual_seed(0)
    photos = torch.full((batch, 3, height, width), 0.5)
    size, contrast = 2, 1.0
    while size <= max(height, width):
        noise = torch.rand(batch, 3, min(size, height), min(size, width), generator=generator)
        photos += contrast * (F.interpolate(noise, (height, width), mode="bicubic") - 0.5)
        size, contrast = 2 * size, contrast / 2
    return photos.clamp(0, 1)


def sizes_for(network: nn.Module) -> list[tuple[int, int, int]]:
    """Batch, height and width of what a network is tried on: all it takes, where that is one."""
    size = getattr(network, "size", None)
    return [(batch, size, size) for batch in (1, 2, 5)] if size else SIZES


def inputs_for(network: nn.Module, size: tuple[int, int, int]) -> list[Tensor]:
    """Draw photos; masks of smooth shapes where holes are filled; of many styles, the knobs."""
    photos = clouds(*size)
    if isinstance(network, MultiTransformerNet):
        return [photos, *draw_knobs(network, len(photos), seed=sum(size))]
    if not isinstance(network, FILLERS):
        return [photos]
    masks = (photos.flip(2)[:, :1] < HOLE_LEVEL).float()
    if network.centre_only:
        masks = torch.zeros_like(masks)
        centre(masks).fill_(1)
    return [photos, masks]


def draw_knobs(network: MultiTransformerNet, count: int, seed: int) -> list[Tensor]:
    """Draw mixes of styles, strokes and strengths for photos, ``(N, S)``, ``(N,)`` and ``(N,)``."""
    generator = torch.Generator().manual_seed(seed)
    shares = torch.rand(count, len(network.style_rows), generator=generator)
    smallest, largest = network.strokes
    strokes = smallest + (largest - smallest) * torch.rand(count, generator=generator)
    return [shares / shares.sum(1, keepdim=True), strokes, torch.rand(count, generator=generator)]


def onnx_painter(model: bytes) -> Painter:
    """Run an ONNX model on the CPU."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    names = [value.name for value in session.get_inputs()]

    def paint(*inputs: Tensor) -> Tensor:
        named = zip(names, (values.numpy() for values in inputs), strict=True)
        return torch.from_numpy(session.run(None, dict(named))[0])

    return paint


def program_painter(package: bytes) -> Painter:
    """Run a package of torch.export."""
    return torch.export.load(io.BytesIO(package)).module()


@torch.inference_mode()
def differences(network: nn.Module, painters: list[Painter]) -> list[list[float]]:
    """Compare painters with the network itself.

    Returns:
        By size: the largest and the mean absolute difference of every painter, in 1/255.
    """
    rows = []
    for size in sizes_for(network):
        inputs = inputs_for(network, size)
        wanted = network(*inputs)
        row: list[float] = []
        for paint in painters:
            difference = LEVELS * (paint(*inputs) - wanted).abs()
            row += [difference.max().item(), difference.mean().item()]
        rows.append(row)
    return rows


def tabulate(names: list[str], sizes: list[tuple[int, int, int]], rows: list[list[float]]) -> str:
    """Lay the differences out as a Markdown table, in 1/255."""
    heads = [f"{name}, {figure}" for name in names for figure in ("largest", "mean")]
    lines = [
        "Differences from the network in PyTorch and float32, in 1/255:",
        "",
        "| " + " | ".join(["photos", *heads]) + " |",
        "| --- |" + " ---: |" * len(heads),
    ]
    for (batch, height, width), row in zip(sizes, rows, strict=True):
        cells = [f"{batch} x {height} x {width}", *(f"{value:.5f}" for value in row)]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def check_outputs(options: argparse.Namespace) -> None:
    """Raise ValueError unless all files can be written, before minutes are spent on them."""
    for path, ending in ((options.onnx, ".onnx"), (options.torch_export, ".pt2")):
        if path is not None and path.suffix != ending:
            raise ValueError(f"{path} must end in {ending}.")
    for path in filter(None, (options.onnx, options.torch_export, options.report)):
        folder = next(folder for folder in path.absolute().parents if folder.exists())
        if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
            raise ValueError(f"{path} cannot be written: {folder} is no folder to write to.")


def run(options: argparse.Namespace) -> bool:
    """Export, measure, and tell; return whether all differences are small."""
    check_outputs(options)
    network, header = load_checkpoint(options.checkpoint)
    model = export_onnx(network, header, half=options.half)
    painters = {"ONNX fp16" if options.half else "ONNX": onnx_painter(model)}
    write_atomically(options.onnx, model)
    if options.torch_export is not None:
        package = export_program(network, header)
        painters["torch.export"] = program_painter(package)
        write_atomically(options.torch_export, package)
    rows = differences(network, list(painters.values()))
    table = tabulate(list(painters), sizes_for(network), rows)
    if options.half:
        table += "\nThe CPU computes fp16 in float32 between its casts; a GPU rounds more.\n"
    sys.stdout.write(table)
    if options.report is not None:
        write_atomically(options.report, table.encode())
    return all(value <= ALLOWED for row in rows for value in row)


def main() -> None:
    """Read the arguments; what is wrong with them is told in one line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("checkpoint", type=Path, help="NAME.safetensors")
    parser.add_argument("onnx", type=Path, help="where to, NAME.onnx")
    parser.add_argument(
        "--half", action="store_true", help="weights and compute of the ONNX in fp16"
    )
    parser.add_argument(
        "--torch-export", type=Path, metavar="PT2", help="where to write a float32 package as well"
    )
    parser.add_argument(
        "--report", type=Path, metavar="MD", help="where to write the table as well"
    )
    options = parser.parse_args()
    try:
        same = run(options)
    except (ImportError, OSError, ValueError) as error:
        sys.stderr.write(" ".join(str(error).split()) + "\n")
        sys.exit(MISUSED)
    if not same:
        sys.stderr.write(f"The exported network differs by more than {ALLOWED:g}/255.\n")
        sys.exit(DIFFERS)


if __name__ == "__main__":
    main()
