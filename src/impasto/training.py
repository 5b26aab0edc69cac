"""Training: build what the config names, fit, leave a network to use."""

import itertools
import json
import logging
import time
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from hydra.core.hydra_config import HydraConfig
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from pytorch_lightning.callbacks import LearningRateMonitor
from pytorch_lightning.loggers import TensorBoardLogger

from impasto.callbacks import Export, Previews, ProgressBar, StopOnSignal, Throughput
from impasto.checkpoint import Header
from impasto.files import write_atomically
from impasto.memory import keep_freed_memory
from impasto.recipes import Recipe, build
from impasto.resumption import AtomicCheckpointIO, Resumption, steps_done
from impasto.settings import (
    CONFIG_FILE,
    INIT_FILE,
    PRECISIONS,
    RESUME_FILE,
    STYLE_FILE,
    STYLES_FOLDER,
    choose_precision,
    load_settings,
    settle,
)
from impasto.tasks import Inpainting, Stylization
from impasto.watchdog import DiscriminatorWatch, Watchdog

log = logging.getLogger(__name__)

ASSETS = Path(__file__).parent / "assets"
OmegaConf.register_new_resolver("asset", lambda name: str(ASSETS / name), replace=True)

NETWORK_FILE = "network.safetensors"
METRICS_FILE = "metrics.json"


@dataclass(frozen=True)
class Run:
    """All parts of a training, built and ready to go.

    Args:
        cfg: What was asked for; of a resumed run, what was asked for then.
        folder: Everything the run writes lies here.
        task: Network, loss and optimiser.
        data: Photos.
        trainer: With its callbacks.
        header: What the file to use says of itself before training.
        watchdog: Knows whether the run failed.
        stop: Knows whether a signal stopped it.
    """

    cfg: DictConfig
    folder: Path
    task: Stylization | Inpainting
    data: pl.LightningDataModule
    trainer: pl.Trainer
    header: Header
    watchdog: Watchdog
    stop: StopOnSignal


@dataclass(frozen=True)
class Outcome:
    """How a training ended; both ``None`` if it ran to its last step. Everything is saved.

    Args:
        signal: Number of the signal that stopped it.
        failure: Why the watchdog gave up.
    """

    signal: int | None
    failure: str | None


def train(cfg: DictConfig) -> Path:
    """Train what the config says; see ``prepare`` and ``fit``. Returns the run's folder."""
    run = prepare(cfg)
    fit(run)
    return run.folder


def prepare(cfg: DictConfig) -> Run:
    """Build all parts of a training; nothing is written if one of them cannot be.

    Args:
        cfg: As composed from ``configs/train.yaml``.

    Raises:
        FileNotFoundError: If a path in the config does not exist.
        ValueError: If a value in the config is wrong, or no photo can be read.
        TypeError: If a value is of another type than needed.
        OmegaConfBaseException: If a mandatory value is missing.
        InstantiationException: Around any of these.
    """
    resumed = Path(cfg.resume).expanduser() if cfg.resume is not None else None
    if resumed:
        overrides = HydraConfig.get().overrides.task if HydraConfig.initialized() else []
        cfg = load_settings(resumed, overrides)
    settle(cfg)
    done = steps_done(resumed / RESUME_FILE) if resumed else 0
    if cfg.trainer.max_steps < done:
        raise ValueError(
            f"The run in {resumed} has {done} steps behind it: trainer.max_steps must be at least "
            f"that, got {cfg.trainer.max_steps}."
        )
    pl.seed_everything(cfg.seed, workers=True, verbose=False)
    precision = choose_precision(cfg.trainer)
    recipe = build(cfg, resumed, PRECISIONS[precision])
    data = instantiate(cfg.data, _convert_="all")
    data.setup("fit")
    folder = resumed or _new_folder(Path(cfg.run_folder, str(cfg.name)))
    watchdog, stop = Watchdog(), StopOnSignal()
    trainer = instantiate(
        cfg.trainer,
        precision=precision,
        logger=TensorBoardLogger(
            folder,
            name="",
            version="",
            default_hp_metric=False,
            purge_step=done if resumed else None,
        ),
        callbacks=[
            watchdog,
            DiscriminatorWatch(),
            stop,
            Throughput(),
            LearningRateMonitor("step"),
            Previews(
                folder,
                recipe.style.picture if recipe.style else None,
                num_photos=max(4, len(recipe.header.styles)),  # photos take styles in turn
            ),
            Export(folder / NETWORK_FILE, recipe.header),
            Resumption(folder / RESUME_FILE),
            ProgressBar(),
        ],
        plugins=[AtomicCheckpointIO()],
        _convert_="all",
    )
    if trainer.is_global_zero:
        folder.mkdir(parents=True, exist_ok=resumed is not None)
        _keep(cfg, recipe, folder)
    return Run(cfg, folder, recipe.task, data, trainer, recipe.header, watchdog, stop)


def _keep(cfg: DictConfig, recipe: Recipe, folder: Path) -> None:
    """Write what a run is to go on with, whatever becomes of the files that it was begun with."""
    if cfg.init is not None and not (folder / INIT_FILE).exists() and Path(cfg.init).exists():
        write_atomically(folder / INIT_FILE, Path(cfg.init).read_bytes())
    if recipe.style and recipe.style.card:
        recipe.style.card.save(folder / STYLE_FILE)
    for index, card in enumerate(recipe.cards):
        (folder / STYLES_FOLDER).mkdir(exist_ok=True)
        card.save(folder / STYLES_FOLDER / f"{index:03}.safetensors")
    settings = OmegaConf.to_yaml(OmegaConf.create({**cfg, "resume": None}))
    write_atomically(folder / CONFIG_FILE, settings.encode())  # last: with it there is a run


def fit(run: Run) -> Outcome:
    """Optimise until ``trainer.max_steps``, a signal or a divergence for good.

    Leaves in the run's folder TensorBoard events, ``resume.ckpt``, ``network.safetensors``,
    ``metrics.json`` and ``preview.png``.
    """
    for harmless in (
        "`isinstance.treespec, LeafSpec.` is deprecated",  # Lightning 2.6 with PyTorch 2.13
        ".*does not have many workers",  # as many as there are cores; none for the few held out
        "The number of training batches .* is smaller than the logging interval",
    ):
        warnings.filterwarnings("ignore", harmless)
    keep_freed_memory()
    settings: Any = OmegaConf.to_container(run.cfg)
    assert isinstance(run.trainer.logger, TensorBoardLogger)
    run.trainer.logger.log_hyperparams(settings)
    checkpoint = run.folder / RESUME_FILE
    run.trainer.fit(
        run.task, run.data, ckpt_path=checkpoint if checkpoint.exists() else None, weights_only=True
    )
    if run.trainer.is_global_zero:
        _write_summary(run, run.trainer.logger, settings)
    return Outcome(run.stop.received, run.watchdog.failure)


def _new_folder(parent: Path) -> Path:
    """A folder yet to be made, named by the time; a second run of one second gets a number."""
    started = time.strftime("%Y-%m-%d_%H-%M-%S")
    names = itertools.chain([started], (f"{started}_{number}" for number in itertools.count(2)))
    return next(parent / name for name in names if not (parent / name).exists())


def _write_summary(run: Run, logger: TensorBoardLogger, settings: dict[str, Any]) -> None:
    """Final validation losses: with the config as TensorBoard's hparams, and in a file."""
    losses = {
        name: float(value)
        for name, value in run.trainer.callback_metrics.items()
        if name.startswith("val/")
    }
    if not losses:  # nothing was left to do: what the run ended with stays
        return
    final = {name.replace("val/", "final/"): value for name, value in losses.items()}
    logger.log_hyperparams(settings, final)
    logger.finalize("success")
    summary = {"step": run.trainer.global_step, **losses}
    write_atomically(run.folder / METRICS_FILE, json.dumps(summary, indent=2).encode())
