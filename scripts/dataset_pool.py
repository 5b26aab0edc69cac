"""The actors that paint a data set, on Ray Data: how many, of what size, and what they report."""

import logging
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa
import ray
import ray.data
import ray.exceptions
from torch import nn

import dataset_painter
import dataset_photo
import dataset_store
from dataset_painter import Job, Painter, Tally
from impasto.checkpoint import Header

PART = "part"  # a column of one row
MAX_THREADS = 8  # of one actor: more do not read and save faster than one GPU paints
OURS = (dataset_painter, dataset_photo, dataset_store, sys.modules[__name__])


@dataclass(frozen=True)
class Pool:
    """Actors, all alike.

    Args:
        num_actors: How many.
        num_cpus: Of each; as many threads compute, and as many read and write.
        num_gpus: Of each; a fraction shares one.
        device: Where each computes.
    """

    num_actors: int
    num_cpus: int
    num_gpus: float
    device: str


@dataclass(frozen=True)
class Wish:
    """What was asked for; ``None`` for what fits.

    Args:
        num_actors: How many.
        num_cpus: Of each.
        num_gpus: Of each.
        device: ``auto`` for CUDA where there is any, and the CPU elsewhere; ``cpu``, ``cuda`` or
            ``mps``.
    """

    num_actors: int | None = None
    num_cpus: int | None = None
    num_gpus: float | None = None
    device: str = "auto"


class SharedTally(Tally):
    """A tally that is an actor, as any painter sees it.

    Args:
        actor: Ray's handle of it.
    """

    def __init__(self, actor: Any) -> None:
        self._actor = actor

    def begin(self, name: str) -> int:
        """Count; 1 where the tally is lost, which is no reason not to paint."""
        try:
            return ray.get(self._actor.begin.remote(name))
        except ray.exceptions.RayError:
            return 1

    def end(self, name: str) -> None:
        """Forget it, in a while."""
        self._actor.end.remote(name)


class Actor(Painter):
    """A painter as Ray Data calls it."""

    def __call__(self, batch: Any) -> Any:
        """Paint a part; takes a table with nothing but that, as bytes."""
        return super().__call__(pa.ipc.open_stream(batch.column(PART)[0].as_buffer()).read_all())


def start_ray(address: str, wish: Wish) -> dict[str, float]:
    """Join a cluster, or make one of this machine.

    Args:
        address: Of the cluster; ``local`` for one of our own.
        wish: More CPUs than there are, where they are asked for, are shared.

    Returns:
        What it has: ``CPU``, ``GPU`` and more.

    Raises:
        ConnectionError: If there is no cluster.
    """
    logging.getLogger("ray").setLevel(logging.ERROR)
    own: dict[str, Any] = {}
    if address == "local":
        num_wished = (wish.num_actors or 1) * (wish.num_cpus or 1)
        own = {"include_dashboard": False, "num_cpus": max(os.cpu_count() or 1, num_wished)}
    try:
        ray.init(address, logging_level=logging.ERROR, configure_logging=False, **own)
    except (ConnectionError, RuntimeError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise ConnectionError(
            f"--address {address} leads to no Ray cluster ({reason}): start one with "
            f"`ray start --head`, or leave --address out to paint on this machine."
        ) from None
    return ray.cluster_resources()


def size_pool(wish: Wish, resources: dict[str, float]) -> Pool:
    """Decide what was left open, so that all of the cluster is used.

    Args:
        wish: What was asked for.
        resources: Of the cluster.

    Raises:
        ValueError: If it has no GPU, and one is asked for.
    """
    cpus, gpus = int(resources.get("CPU", 1)), resources.get("GPU", 0.0)
    device = wish.device
    if device == "auto":
        device = "cuda" if gpus and wish.num_gpus != 0 else "cpu"
    if device != "cuda":
        num_cpus = wish.num_cpus or (1 if device == "cpu" else min(MAX_THREADS, cpus))
        fitting = cpus // num_cpus if device == "cpu" else 1
        return Pool(wish.num_actors or max(1, fitting), num_cpus, 0.0, device)
    num_gpus = wish.num_gpus or 1.0
    num_actors = wish.num_actors or int(gpus / num_gpus)
    if not 0 < num_actors * num_gpus <= gpus:
        raise ValueError(
            f"{num_actors or 1} actors with {num_gpus:g} GPUs each are asked for, and there are "
            f"{gpus:g} GPUs: ask for less, or take --device cpu."
        )
    num_cpus = wish.num_cpus or max(1, min(MAX_THREADS, cpus // num_actors))
    return Pool(num_actors, num_cpus, num_gpus, device)


def paint_parts(
    parts: list[Any], network: nn.Module, header: Header, job: Job, pool: Pool
) -> Iterator[dict[str, Any]]:
    """Have the actors paint.

    Args:
        parts: Arrow tables as ``WORK`` says.
        network: Of the checkpoint.
        header: Of the checkpoint.
        job: What to do; where, is the pool's.
        pool: The actors.

    Returns:
        Reports as ``REPORT`` says, of parts as they are done. Ray Data starts an actor again that
        was lost, as often as that happens, and what it was at.

    Raises:
        RuntimeError: If a part cannot be painted, as on a full disk, or the cluster is lost.
    """
    for module in OURS:  # other machines do not have this folder
        ray.cloudpickle.register_pickle_by_value(module)
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)
    tally = SharedTally(ray.remote(Tally).options(num_cpus=0).remote())
    job = replace(job, device=pool.device, num_threads=pool.num_cpus)
    items = [{PART: to_bytes(part)} for part in parts]
    # As bytes, one by one: tables would have a task each to look at them.
    painted = ray.data.from_items(items, override_num_blocks=len(items)).map_batches(
        Actor,
        fn_constructor_args=(network, header, job, tally),
        batch_size=None,  # a part is a task
        batch_format="pyarrow",
        compute=ray.data.ActorPoolStrategy(size=pool.num_actors),
        num_cpus=pool.num_cpus,
        num_gpus=pool.num_gpus,
    )
    try:
        for report in painted.iter_rows():
            if report["fault"]:
                raise RuntimeError(report["fault"])
            yield report
    except ray.exceptions.RayError as error:
        raise RuntimeError(_reason(error)) from error


def to_bytes(part: Any) -> bytes:
    """Serialize an Arrow table."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, part.schema) as stream:
        stream.write_table(part)
    return sink.getvalue().to_pybytes()


def _reason(error: BaseException) -> str:
    """The last line of what actors raised: Ray wraps it several times."""
    lines = [line for line in str(error).splitlines() if line.strip()]
    return lines[-1].strip(" .") if lines else type(error).__name__
