"""Estimate how fast a training would be on GPUs, and what feeds them, from a few steps on one core.

    python scripts/estimate_scale.py style=starry_night
    python scripts/estimate_scale.py task=inpainting --loader 150 350 --gpu H100

What train.py is told goes first. One step is run with a count of the arithmetic of each of its
operations, and of the bytes that it reads and writes. On a GPU an operation takes the longest of
three: to start it, to compute it, to move its bytes. What only a GPU tells is not in it: how good
its kernels are for these shapes. Figures for GPUs are computed, not measured.
"""

import argparse
import logging
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import pytorch_lightning as pl
import torch
from hydra import compose, initialize_config_dir
from pytorch_lightning.callbacks import Callback
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from benchmark_loader import IMAGE_SIZE, KINDS, compare, write_photos
from impasto.training import fit, prepare

CONFIGS = Path(__file__).parents[1] / "configs"
NUM_STEPS = 9
COUNTED_STEP = 2  # not timed, nor are those before it, in which libraries choose kernels


class Gpu(NamedTuple):
    """Rates per second: arithmetic in bfloat16, a multiply-add being two; bytes of memory."""

    operations: float
    bytes: float
    link: float  # bytes to the others of a machine, as an all-reduce can use it


# Of the data sheets (A100 and H100 as SXM); links: 0.75 of NVLink in one direction, of PCIe 4.0.
GPUS = {
    "A100": Gpu(312e12, 2.04e12, 225e9),
    "H100": Gpu(989e12, 3.35e12, 340e9),
    "L4": Gpu(121e12, 0.30e12, 20e9),
}
UTILISATION = 0.4  # of the peak of arithmetic, assumed
OF_BANDWIDTH = 0.7  # of the peak of memory, assumed
START = 5e-6  # seconds that Python and PyTorch take to start an operation, assumed
NETWORK = 25e9  # bytes per second between machines: 200 Gb/s
HOP = 5e-6  # seconds for a message to the next GPU
GPUS_PER_MACHINE = 8


class Operations(TorchDispatchMode):
    """Notes the arithmetic of every operation, and the bytes it reads and writes."""

    def __init__(self) -> None:
        super().__init__()
        self.costs: list[tuple[float, float]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Do it; note it, unless it only looks at memory in another way."""
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        if not func.is_view:
            leaves = tree_leaves((args, kwargs, result))
            moved = sum(leaf.nbytes for leaf in leaves if isinstance(leaf, Tensor))
            count = flop_registry.get(func.overloadpacket)
            self.costs.append((count(*args, **kwargs, out_val=result) if count else 0, moved))
        return result

    def seconds_on(self, gpu: Gpu) -> float:
        """All of them, one after the other."""
        rates = UTILISATION * gpu.operations, OF_BANDWIDTH * gpu.bytes
        return sum(max(START, flops / rates[0], size / rates[1]) for flops, size in self.costs)


class Meter(Callback):
    """Takes the time of steps, in seconds of one core, without loading; counts one of them."""

    def __init__(self) -> None:
        self.counted = Operations()
        self.times: list[float] = []
        self.images = 0

    def on_train_batch_start(self, trainer: pl.Trainer, task: Any, batch: Any, step: int) -> None:
        """Start the clock or the count."""
        self.images = len(batch if isinstance(batch, Tensor) else batch[0])
        if step == COUNTED_STEP:
            self.counted.__enter__()
        self.started = time.process_time()

    def on_train_batch_end(self, trainer: pl.Trainer, task: Any, *rest: Any) -> None:
        """Stop it."""
        if rest[-1] == COUNTED_STEP:
            self.counted.__exit__(None, None, None)
        elif rest[-1] > COUNTED_STEP:
            self.times.append(time.process_time() - self.started)

    @property
    def seconds(self) -> float:
        """A step."""
        return statistics.median(self.times)


def main() -> None:
    """Measure, compute and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("settings", nargs="*", help="as for train.py")
    parser.add_argument("--gpu", choices=GPUS, default="A100")
    parser.add_argument("--gpus", type=int, nargs="+", default=[1, 8, 64], help="how many")
    parser.add_argument(
        "--loader",
        type=float,
        nargs=2,
        metavar=("FOLDER", "SHARDS"),
        help="photos a second per core out of a folder and of shards; default: measured here",
    )
    options = parser.parse_args()
    torch.set_num_threads(1)
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    meter, weights, steps = measure_training(options.settings)
    loader = options.loader or measure_loading()
    flops, moved = (sum(column) for column in zip(*meter.counted.costs, strict=True))
    print(
        f"\nOne core: a step of {meter.images} photos takes {meter.seconds:.3g} s, "
        f"{flops / 2e9:.3g} G multiply-adds at {flops / 2e9 / meter.seconds:.0f} G a second, in "
        f"{len(meter.counted.costs)} operations that move {moved / 1e9:.3g} GB. It trains "
        f"{weights / 1e6:.3g} M weights. Photos of {IMAGE_SIZE} px out of COCO's size load at "
        f"{loader[0]:.0f} a second and core from a folder, {loader[1]:.0f} from shards.\n"
    )
    print(
        "| | a step | all-reduce | efficiency | photos/s | cores that load: folder, shards "
        f"| {steps} steps, hours x devices |\n|{' --- |' * 7}"
    )
    gpu = GPUS[options.gpu]
    rows = [("1 core, measured", 1, meter.seconds, 0.0)]
    for count in options.gpus:
        seconds = meter.counted.seconds_on(gpu), reduction_seconds(weights, count, gpu)
        rows.append((f"{count} {options.gpu}, computed", count, *seconds))
    for name, count, step, reduction in rows:
        speed = count * meter.images / (step + reduction)
        photos = f"{speed:,.{int(speed < 100)}f}"
        folder, shards = (f"{speed / rate:.3g}" for rate in loader)
        print(
            f"| {name} | {1000 * step:.3g} ms | {1000 * reduction:.2g} ms "
            f"| {step / (step + reduction):.0%} | {photos} | {folder}, {shards} "
            f"| {count * steps * (step + reduction) / 3600:.2g} |"
        )


def measure_training(settings: list[str]) -> tuple[Meter, int, int]:
    """Run a few steps on one core; tells how many weights it trains and steps it has, too."""
    with (
        tempfile.TemporaryDirectory() as folder,
        initialize_config_dir(str(CONFIGS), version_base="1.3"),
    ):
        cfg = compose("train", [*settings, f"run_folder={folder}"])
        steps, cfg.trainer.max_steps = cfg.trainer.max_steps, NUM_STEPS
        cfg.trainer.val_check_interval = NUM_STEPS
        cfg.trainer.accelerator, cfg.data.num_workers = "cpu", 0
        cfg.task.compile = False  # compiled, a step's operations could not be counted
        run = prepare(cfg)
        meter = Meter()
        run.trainer.callbacks.insert(0, meter)  # type: ignore[attr-defined]
        fit(run)
    trained = [weight for weight in run.task.parameters() if weight.requires_grad]
    return meter, sum(weight.numel() for weight in trained), steps


def measure_loading() -> list[float]:
    """Photos a second and core out of a folder, and of shards made of it."""
    width, height, count = next(iter(KINDS.values()))
    with tempfile.TemporaryDirectory() as name:
        write_photos(Path(name), width, height, count)
        figures = compare(Path(name), count, repeats=3)
    return [
        statistics.median(figures[f"{source}, 0 workers"]["images_per_second"])
        for source in ("folder", "prepared")
    ]


def reduction_seconds(weights: int, num_gpus: int, gpu: Gpu) -> float:
    """Of a ring all-reduce of float32 gradients, within machines and then between them."""
    inside = min(num_gpus, GPUS_PER_MACHINE)
    machines = -(-num_gpus // inside)
    ring = 2 * (inside - 1) * (4 * weights / inside / gpu.link + HOP)
    return ring + 2 * (machines - 1) * (4 * weights / machines / NETWORK + HOP)


if __name__ == "__main__":
    main()
