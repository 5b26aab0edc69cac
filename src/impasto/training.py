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
import torch
from hydra.core.hydra_config import HydraConfig
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from pytorch_lightning.callbacks import Callback, LearningRateMonitor
from pytorch_lightning.loggers import TensorBoardLogger
from torch import Tensor

from impasto.callbacks import Export, Previews, ProgressBar, StopOnSignal, Throughput
from impasto.checkpoint import Header
from impasto.files import write_atomically
from impasto.losses import PerceptualLoss, style_targets
from impasto.memory import keep_freed_memory
from impasto.precision import half_dtype
from impasto.resumption import AtomicCheckpointIO, Resumption
from impasto.styles import load_painting
from impasto.tasks import Stylization
from impasto.watchdog import Watchdog

log = logging.getLogger(__name__)

ASSETS = Path(__file__).parent / "assets"
OmegaConf.register_new_resolver("asset", lambda name: str(ASSETS / name), replace=True)

CONFIG_FILE = "config.yaml"
RESUME_FILE = "resume.ckpt"
NETWORK_FILE = "network.safetensors"
METRICS_FILE = "metrics.json"
LICENCE = "MIT. Trained on features of VGG (Simonyan & Zisserman, Oxford VGG, CC BY 4.0)."


@dataclass(frozen=True)
class Run:
    """All parts of a training, built and ready to go.

    Args:
        cfg: What was asked for; of a resumed run, what was asked for then.
        folder: Everything the run writes lies here.
        task: Network, loss and optimiser.
        data: Photos.
        painting: The style, RGB in [0, 1], shape ``(1, 3, H, W)``.
        precision: Lightning's name of the number format.
    """

    cfg: DictConfig
    folder: Path
    task: Stylization
    data: pl.LightningDataModule
    painting: Tensor
    precision: str


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
        ValueError: If a value in the config is wrong.
        OmegaConfBaseException: If a mandatory value is missing.
        InstantiationException: Around either of the first two.
    """
    resumed = Path(cfg.resume) if cfg.resume is not None else None
    cfg = _load_config(resumed) if resumed else cfg
    OmegaConf.resolve(cfg)
    _check_complete(cfg)
    pl.seed_everything(cfg.seed, workers=True, verbose=False)
    precision = _precision(cfg.trainer)
    painting = load_painting(cfg.style.image, cfg.style.size)
    task = _build_task(cfg, painting, precision)
    data = instantiate(cfg.data, _convert_="all")
    folder = resumed or _new_folder(Path(cfg.run_folder, cfg.name))
    OmegaConf.save({**cfg, "resume": None}, folder / CONFIG_FILE)
    return Run(cfg, folder, task, data, painting, precision)


def fit(run: Run) -> Outcome:
    """Optimise until ``trainer.max_steps``, a signal or a divergence for good.

    Leaves in the run's folder TensorBoard events, ``resume.ckpt``, ``network.safetensors``,
    ``metrics.json`` and ``preview.png``.
    """
    # Lightning 2.6 with PyTorch 2.13 and later; harmless.
    warnings.filterwarnings(
        "ignore", "`isinstance.treespec, LeafSpec.` is deprecated", FutureWarning
    )
    keep_freed_memory()
    watchdog, stop = Watchdog(), StopOnSignal()
    trainer = instantiate(
        run.cfg.trainer,
        precision=run.precision,
        logger=TensorBoardLogger(run.folder, name="", version=""),
        callbacks=[watchdog, stop, *_callbacks(run)],
        plugins=[AtomicCheckpointIO()],
        _convert_="all",
    )
    checkpoint = run.folder / RESUME_FILE
    trainer.fit(
        run.task, run.data, ckpt_path=checkpoint if checkpoint.exists() else None, weights_only=True
    )
    _write_summary(trainer, run)
    return Outcome(stop.received, watchdog.failure)


def _load_config(folder: Path) -> DictConfig:
    """The config of a run that goes on, with what the command line changes: plain values."""
    for name in (CONFIG_FILE, RESUME_FILE):
        if not (folder / name).is_file():
            raise FileNotFoundError(
                f"Nothing to resume: no {name} in {folder}. Give the folder of a run, "
                f"resume=runs/<name>/<time>; it can be resumed once it was validated."
            )
    given = HydraConfig.get().overrides.task if HydraConfig.initialized() else []
    cfg = OmegaConf.merge(OmegaConf.load(folder / CONFIG_FILE), OmegaConf.from_dotlist(list(given)))
    assert isinstance(cfg, DictConfig)
    return cfg


def _check_complete(cfg: DictConfig) -> None:
    missing = sorted(OmegaConf.missing_keys(cfg))
    if missing:
        raise ValueError(f"{' and '.join(missing)} must be given, as in {missing[0]}=...")


def _new_folder(parent: Path) -> Path:
    """A new folder named by the time; runs that start in the same second get a number."""
    started = time.strftime("%Y-%m-%d_%H-%M-%S")
    names = itertools.chain([started], (f"{started}_{number}" for number in itertools.count(2)))
    folder = next(parent / name for name in names if not (parent / name).exists())
    folder.mkdir(parents=True)
    return folder


def _precision(trainer: DictConfig) -> str:
    """Resolve ``auto``: bfloat16 where the machine computes it natively."""
    if trainer.precision != "auto":
        return trainer.precision
    accelerator = trainer.accelerator
    if accelerator == "auto":
        accelerator = "cuda" if torch.cuda.is_available() else "cpu"
    return "bf16-mixed" if half_dtype(accelerator) else "32-true"


def _build_task(cfg: DictConfig, painting: Tensor, precision: str) -> Stylization:
    """Network, frozen loss network, the painting's targets, loss."""
    content_layers = _weights(cfg.loss.content_layers)
    style_layers = _weights(cfg.loss.style_layers)
    loss_network = instantiate(
        cfg.loss_network,
        layers=list({**content_layers, **style_layers}),
        dtype=torch.bfloat16 if precision == "bf16-mixed" else torch.float32,
        _convert_="all",
    )
    loss = PerceptualLoss(
        loss_network,
        style_targets(loss_network, painting, style_layers, cfg.loss.num_levels),
        content_layers,
        style_layers,
        content_weight=cfg.loss.content_weight,
        style_weight=cfg.style.strength,
        tv_weight=cfg.loss.tv_weight,
    )
    return instantiate(cfg.task, network=instantiate(cfg.model), loss=loss, _convert_="all")


def _weights(layers: DictConfig) -> dict[str, float]:
    """Weights by layer; a weight of zero is how a config drops a layer."""
    return {str(layer): weight for layer, weight in layers.items() if weight != 0}


def _callbacks(run: Run) -> list[Callback]:
    return [
        Throughput(),
        LearningRateMonitor("step"),
        Previews(run.folder, run.painting),
        Export(run.folder / NETWORK_FILE, _header(run.cfg)),
        Resumption(run.folder / RESUME_FILE),
        ProgressBar(),
    ]


def _header(cfg: DictConfig) -> Header:
    """What the file to use says of itself before training."""
    arguments: Any = OmegaConf.to_container(cfg.model)
    network = arguments.pop("_target_").rpartition(".")[2]
    return Header(
        task="stylization",
        network=network,
        arguments=arguments,
        styles=[cfg.style.name],
        data=Path(cfg.data.path).name if "path" in cfg.data else "generated scenes",
        licence=LICENCE,
    )


def _write_summary(trainer: pl.Trainer, run: Run) -> None:
    """Final validation losses: with the config as TensorBoard's hparams, and in a file."""
    metrics = {
        name: float(value)
        for name, value in trainer.callback_metrics.items()
        if name.startswith("val/")
    }
    if metrics and trainer.is_global_zero and isinstance(trainer.logger, TensorBoardLogger):
        settings: Any = OmegaConf.to_container(run.cfg)
        final = {name.replace("val/", "final/"): value for name, value in metrics.items()}
        trainer.logger.log_hyperparams(settings, final)
        summary = {"step": trainer.global_step, **metrics}
        write_atomically(run.folder / METRICS_FILE, json.dumps(summary, indent=2).encode())
