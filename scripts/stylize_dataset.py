"""Paint a data set of any size with a trained network, on all of a machine or of a cluster.

    python scripts/stylize_dataset.py checkpoints/starry_night.safetensors photos/ painted/
    python scripts/stylize_dataset.py network.safetensors photos/ painted/ --format parquet
    python scripts/stylize_dataset.py network.safetensors s3://my/photos s3://my/art --address auto

Photos are all pictures in a folder and below, or the rows of all its Parquet files. Folders may be
on any storage that fsspec knows; on a cluster, one that all machines see. Of an animation the first
frame is painted.

A pool of actors of Ray Data paints. What an actor was at that was killed, or whose machine went
down, another one does again. Files appear when they are whole. Run again, it paints only what is
missing, and nothing where nothing is; it does not notice photos that have changed. Photos that
cannot be painted are listed on stderr and tried again by the next run.

The work is listed before it begins: 0.5 GB of memory here per million photos, next to none in the
actors. A row group of a Parquet file is painted by one actor: some hundred rows are a good size.

The exit code is 0 if all is painted, 1 if something is not, 2 if something is wrong with the
arguments, 130 after Ctrl-C.
"""

import argparse
import os
import sys
import time
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn
from tqdm import tqdm

from impasto.checkpoint import Header, load_checkpoint
from impasto.images import DEFAULT_MAX_PIXELS, DEFAULT_QUALITY
from impasto.inference.devices import PRECISIONS
from impasto.inference.knobs import Knobs
from impasto.inference.palette import COLORS
from impasto.inference.stylizer import Stylizer
from impasto.manifest import fingerprint
from impasto.painting import one_line

if TYPE_CHECKING:
    from dataset_painter import Job
    from dataset_plan import Plan

FORMATS = ("keep", "png", "jpg", "webp", "parquet")
DONE, FAILED, MISUSED, INTERRUPTED = 0, 1, 2, 130  # exit codes, as of infer.py
RAY_DATA = ("ray", "fsspec", "pandas", "pyarrow")
SHARD_SIZE = 256  # paintings: files of some 50 MB

# Read by Ray as it starts: it calls nobody, and actors are no nicer than who started them.
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
os.environ.setdefault("RAY_worker_niceness", "0")


def main() -> int:
    """Paint what the command line says."""
    options = parse()
    try:
        require_ray()
        network, header = load_checkpoint(options.checkpoint)
        check_knobs(options, network, header)
        return run(options, network, header)
    except (ImportError, OSError, ValueError) as error:
        return complain(str(error), MISUSED)
    except KeyboardInterrupt:
        return complain("Stopped. Run it again to go on.", INTERRUPTED)


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("checkpoint", type=Path, help="NAME.safetensors, of a style")
    add("input", help="folder with pictures or with Parquet files")
    add("output", help="folder to paint to")
    add(
        "--format",
        choices=FORMATS,
        default="keep",
        help="of paintings; keep: of the photos, PNG where it must, JPEG for rows of Parquet files",
    )
    add("--column", default="image", help="of Parquet files: bytes or {bytes, path}")
    add("--quality", type=int, default=DEFAULT_QUALITY, help="of JPEG and WebP, 1 to 100")
    add("--max-pixels", type=int, default=DEFAULT_MAX_PIXELS, help="largest photo painted")
    add("--shard-size", type=int, default=SHARD_SIZE, help="paintings in a Parquet file")
    add("--actors", type=int, help="how many; default: what there are GPUs, or CPUs, for")
    add("--device", choices=("auto", "cpu", "cuda", "mps"), default="auto")
    add("--precision", choices=("auto", *PRECISIONS), default="auto")
    add("--style", help="of a network of many, or a mix: udnie:2,the_scream")
    add("--strength", type=float, default=1.0, help="from 0, the photo, to 1, the painting")
    add("--stroke", type=float, help="size of strokes, of a network of many styles, in pixels")
    add("--colors", choices=COLORS, default="painting", help="whose colours paintings get")
    add("--cpus", type=int, help="of an actor; default: 1, or a GPU's share of them")
    add("--gpus", type=float, help="of an actor; 0.5 has two share one; default: 1 on CUDA")
    add("--address", default="local", help="of a cluster; auto finds this machine's")
    options = parser.parse_args()
    for name in ("actors", "cpus", "max_pixels", "shard_size"):
        value = getattr(options, name)
        if value is not None and value < 1:
            parser.error(f"--{name.replace('_', '-')} must be at least 1, got {value}")
    if not 1 <= options.quality <= 100:
        parser.error(f"--quality must be from 1 to 100, got {options.quality}")
    if options.gpus is not None and options.gpus < 0:
        parser.error(f"--gpus must not be negative, got {options.gpus}")
    return options


def knobs_of(options: argparse.Namespace) -> dict[str, Any]:
    """The knobs that are not as they are by default, for ``Stylizer``."""
    defaults = asdict(Knobs())
    return {
        name: getattr(options, name)
        for name in defaults
        if getattr(options, name) != defaults[name]
    }


def check_knobs(options: argparse.Namespace, network: nn.Module, header: Header) -> None:
    """Raise ValueError, here and not in every actor, if the network does not paint like this."""
    stylizer = Stylizer(network, header, "cpu", "fp32", **knobs_of(options))
    if stylizer.num_regions > 1:
        raise ValueError(f"--style={options.style} names regions, which only infer.py paints.")


def require_ray() -> None:
    """Raise ImportError, which says what to do, where Ray Data is not installed."""
    missing = [name for name in RAY_DATA if find_spec(name) is None]  # importing takes seconds
    if missing:
        raise ImportError(
            f"Painting data sets needs Ray Data, and {missing[0]} is not installed: "
            f"pip install 'impasto[cluster]'."
        )


def run(options: argparse.Namespace, network: nn.Module, header: Header) -> int:
    """Plan, paint what is missing, and tell; returns the exit code."""
    from dataset_painter import Job
    from dataset_plan import claim, make_plan
    from dataset_store import Store

    photos, paintings = Store.at(options.input), Store.at(options.output)
    if (photos.files, photos.root) == (paintings.files, paintings.root):
        raise ValueError(f"{options.output} is the input itself: give another folder.")
    shared = (options.format, options.quality, options.max_pixels, options.column)
    knobs = knobs_of(options)
    job = Job(photos, paintings, *shared, "cpu", options.precision, 1, options.shard_size, knobs)
    plan = make_plan(job, options.actors or os.cpu_count() or 1)
    names = ("format", "quality", "precision")
    recipe = {"checkpoint": fingerprint(options.checkpoint)}
    claim(job, recipe | {name: getattr(options, name) for name in names} | knobs, plan)
    if not plan.parts:
        print(f"{options.output}: all {plan.num_photos} photos are painted, nothing to do.")
        return DONE
    return paint(options, job, plan, network, header)


def paint(
    options: argparse.Namespace, job: "Job", plan: "Plan", network: nn.Module, header: Header
) -> int:
    """Paint what is missing, and tell; returns the exit code."""
    import ray

    from dataset_pool import Wish, paint_parts, size_pool, start_ray

    wish = Wish(options.actors, options.cpus, options.gpus, options.device)
    num_done = plan.num_photos - plan.num_missing
    start = time.perf_counter()
    bar = tqdm(total=plan.num_photos, initial=num_done, unit="photo", disable=None)
    try:
        pool = size_pool(wish, start_ray(options.address, wish))
        say(f"{pool.num_actors} actors paint {plan.num_missing} photos on {pool.device}.", bar)
        for report in paint_parts(plan.parts, network, header, job, pool):
            for failure in report["failures"]:
                say(failure["reason"], bar)
            num_done += report["painted"]
            bar.update(report["painted"] + len(report["failures"]))
    except RuntimeError as error:
        state = f"{num_done} of {plan.num_photos} photos are done; the same command goes on"
        return complain(f"Painting stopped ({error}). {state}.", FAILED)
    finally:
        bar.close()
        ray.shutdown()
    seconds = time.perf_counter() - start
    print(f"{options.output}: {num_done} of {plan.num_photos} photos are painted, {seconds:.0f} s.")
    if num_done < plan.num_photos:
        return complain(f"Not painted: {plan.num_photos - num_done}.", FAILED)
    return DONE


def say(message: str, bar: "tqdm[Any]") -> None:
    """Print a line on stderr, above the bar."""
    bar.write(one_line(message), file=sys.stderr)


def complain(message: str, exit_code: int) -> int:
    """Print a line on stderr; returns the exit code."""
    sys.stderr.write(f"stylize_dataset.py: {one_line(' '.join(message.split()))}\n")
    return exit_code


if __name__ == "__main__":
    sys.exit(main())
