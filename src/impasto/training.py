"""Training: build what the config names, fit, leave a network to use."""

import itertools
import json
import logging
import time
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from hydra.core.hydra_config import HydraConfig
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from pytorch_lightning.callbacks import Callback, LearningRateMonitor, ModelCheckpoint
from pytorch_lightning.loggers import TensorBoardLogger
from torch import Tensor

from impasto.callbacks import Export, Previews, ProgressBar, StopOnSignal, Throughput
from impasto.checkpoint import Header
from impasto.files import write_atomically
from impasto.losses import PerceptualLoss, style_targets
from impasto.precision import half_dtype
from impasto.styles import load_painting
from impasto.tasks import Stylization
from impasto.watchdog import Watchdog

log = logging.getLogger(__name__)

CONFIG_FILE = "config.yaml"
RESUME_FILE = "resume.ckpt"
NETWORK_FILE = "network.safetensors"
METRICS_FILE = "metrics.json"
LICENCE = "MIT. Trained on features of VGG (Simonyan & Zisserman, Oxford VGG, CC BY 4.0)."


def train(cfg: DictConfig) -> Path:
    """Train what the config says in a new folder, or go on where a run stopped.

    Args:
        cfg: As composed from ``configs/train.yaml``.

    Returns:
        The run's folder, with ``config.yaml``, TensorBoard events, ``resume.ckpt``,
        ``network.safetensors``, ``metrics.json`` and ``preview.png``.

    Raises:
        FileNotFoundError: If a path in the config does not exist.
        ValueError: If a value in the config is wrong.
        RuntimeError: If training diverged for good; everything is saved.
    """
    cfg, folder = _open_run(cfg)
    pl.seed_everything(cfg.seed, workers=True, verbose=False)
    precision = _precision(cfg.trainer)
    painting = load_painting(cfg.style.image, cfg.style.size)
    task = _build_task(cfg, painting, precision)
    data = instantiate(cfg.data, _convert_="all")
    watchdog = Watchdog()
    trainer = instantiate(
        cfg.trainer,
        precision=precision,
        logger=TensorBoardLogger(folder, name="", version=""),
        callbacks=[watchdog, *_callbacks(cfg, folder, painting)],
        _convert_="all",
    )
    log.info("Training %s in %s; watch it with: tensorboard --logdir %s", cfg.name, folder, folder)
    checkpoint = None if cfg.resume is None else folder / RESUME_FILE
    trainer.fit(task, data, ckpt_path=checkpoint, weights_only=True)
    _write_summary(trainer, cfg, folder)
    if watchdog.failure:
        raise RuntimeError(watchdog.failure)
    return folder


def _open_run(cfg: DictConfig) -> tuple[DictConfig, Path]:
    """The config and folder of a new run, or of the one to resume."""
    if cfg.resume is None:
        folder = _new_folder(Path(cfg.run_folder, cfg.name))
        OmegaConf.save(cfg, folder / CONFIG_FILE, resolve=True)
        return cfg, folder
    folder = Path(cfg.resume)
    for name in (CONFIG_FILE, RESUME_FILE):
        if not (folder / name).is_file():
            raise FileNotFoundError(
                f"Nothing to resume: no {name} in {folder}. Give the folder of a run, "
                f"resume=runs/<name>/<time>; it can be resumed once it was validated."
            )
    return OmegaConf.merge(OmegaConf.load(folder / CONFIG_FILE), _overrides()), folder


def _new_folder(parent: Path) -> Path:
    """A new folder named by the time; runs that start in the same second get a number."""
    started = time.strftime("%Y-%m-%d_%H-%M-%S")
    names = itertools.chain([started], (f"{started}_{number}" for number in itertools.count(2)))
    folder = next(parent / name for name in names if not (parent / name).exists())
    folder.mkdir(parents=True)
    return folder


def _overrides() -> DictConfig:
    """What the command line changes of a run that goes on: values, such as trainer.max_steps."""
    given = HydraConfig.get().overrides.task if HydraConfig.initialized() else []
    return OmegaConf.from_dotlist(list(given))


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
    content_layers = OmegaConf.to_container(cfg.loss.content_layers)
    style_layers = OmegaConf.to_container(cfg.loss.style_layers)
    assert isinstance(content_layers, dict)
    assert isinstance(style_layers, dict)
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


def _callbacks(cfg: DictConfig, folder: Path, painting: Tensor) -> list[Callback]:
    return [
        StopOnSignal(),
        Throughput(),
        LearningRateMonitor("step"),
        Previews(folder, painting),
        Export(folder / NETWORK_FILE, _header(cfg)),
        ModelCheckpoint(
            folder,
            filename=Path(RESUME_FILE).stem,
            save_on_train_epoch_end=False,
            enable_version_counter=False,
        ),
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


def _write_summary(trainer: pl.Trainer, cfg: DictConfig, folder: Path) -> None:
    """Final validation losses: with the config as TensorBoard's hparams, and in a file."""
    metrics = {
        name: float(value)
        for name, value in trainer.callback_metrics.items()
        if name.startswith("val/")
    }
    if metrics and trainer.is_global_zero and isinstance(trainer.logger, TensorBoardLogger):
        settings: Any = OmegaConf.to_container(cfg, resolve=True)
        trainer.logger.log_hyperparams(settings, metrics)
        summary = {"step": trainer.global_step, **metrics}
        write_atomically(folder / METRICS_FILE, json.dumps(summary, indent=2).encode())
