"""The settings of a run: complete, checked as a whole, with paths that hold anywhere."""

from pathlib import Path

import torch
from omegaconf import DictConfig, OmegaConf
from yaml import YAMLError  # type: ignore[import-untyped]

from impasto.download import is_url
from impasto.precision import half_dtype

CONFIG_FILE = "config.yaml"
RESUME_FILE = "resume.ckpt"
STYLE_FILE = "style.safetensors"
STYLES_FOLDER = "styles"  # cards of a run of many styles
INIT_FILE = "init.safetensors"  # a copy of the network that a run began with

# float16 would need loss scaling, which hides losses from the watchdog; bfloat16 needs none.
PRECISIONS = {"32-true": torch.float32, "bf16-mixed": torch.bfloat16}
PATHS = (
    "init",
    "style.image",
    "style.card",
    "data.path",
    "data.masks.folder",
    "loss_network.weights",
)
NOT_PATHS = ("hub", "package", "random")
WHOLE_NUMBERS = {"seed": 0, "trainer.max_steps": 1, "data.batch_size": 1, "loss.num_levels": 1}
"""Settings that are, and the least they may be."""
# What a run that goes on may change: how long, how often, where things are. Not what it computes.
CHANGEABLE = (*PATHS, "trainer.max_steps", "trainer.val_check_interval", "data.num_workers")


def load_settings(folder: Path, overrides: list[str]) -> DictConfig:
    """Read the settings of a run that goes on.

    Args:
        folder: Of the run.
        overrides: Changes such as ``trainer.max_steps=4000``.

    Raises:
        FileNotFoundError: If the folder holds nothing to go on with.
        ValueError: If a change is none of ``CHANGEABLE``, or the settings cannot be read.
    """
    if not (folder / CONFIG_FILE).is_file():
        raise FileNotFoundError(
            f"Nothing to resume: no {CONFIG_FILE} in {folder}. Give the folder of a run, "
            f"resume=runs/<name>/<time>."
        )
    changes = [override for override in overrides if not override.startswith("resume=")]
    for change in changes:
        if change.partition("=")[0] not in CHANGEABLE:
            raise ValueError(
                f"A run that goes on keeps its settings, got {change}: start a new run, or change "
                f"only {', '.join(CHANGEABLE)}."
            )
    try:
        settings = OmegaConf.load(folder / CONFIG_FILE)
    except YAMLError as error:
        raise ValueError(f"{folder / CONFIG_FILE} is damaged: {error}") from None
    if not isinstance(settings, DictConfig) or not {"trainer", "task", "data"} <= set(settings):
        raise ValueError(f"{folder / CONFIG_FILE} is damaged: settings are missing in it.")
    cfg = OmegaConf.merge(settings, OmegaConf.from_dotlist(changes))
    assert isinstance(cfg, DictConfig)
    return cfg


def settle(cfg: DictConfig) -> None:
    """Check what only the whole can tell, in place; make paths absolute.

    Args:
        cfg: All settings.

    Raises:
        ValueError: If a mandatory one is missing, or a number is out of range.
    """
    # But for the run's name, which may be that of a style that is missing.
    given = OmegaConf.masked_copy(cfg, [str(key) for key in cfg if key != "name"])
    missing = sorted(OmegaConf.missing_keys(given))
    if missing == ["style.name"] and cfg.style.image is None and cfg.style.card is None:
        raise ValueError(
            "No style: choose one, as in style=starry_night (configs/style/ has them all), or give "
            "a picture, style.image=PATH style.name=NAME."
        )
    if missing:
        raise ValueError(f"{' and '.join(missing)} must be given, as in {missing[0]}=...")
    OmegaConf.resolve(cfg)
    for key in PATHS:
        value = OmegaConf.select(cfg, key)
        if value is not None and value not in NOT_PATHS and not is_url(value):
            OmegaConf.update(cfg, key, str(Path(str(value)).expanduser().absolute()))
    names = OmegaConf.select(cfg, "style.names") or []
    for index, name in enumerate(names):
        if str(name).endswith(".safetensors"):
            cfg.style.names[index] = str(Path(name).expanduser().absolute())
    repository = OmegaConf.select(cfg, "data.repository")
    if repository is not None and Path(repository).is_dir():  # else a name on the hub
        cfg.data.repository = str(Path(repository).absolute())
    _check_numbers(cfg)
    if "style" in cfg:
        _check_crops(cfg)


def _check_numbers(cfg: DictConfig) -> None:
    for key, least in WHOLE_NUMBERS.items():
        value = OmegaConf.select(cfg, key, default=least)
        if type(value) is not int or value < least:
            raise ValueError(f"{key} must be a whole number of at least {least}, got {value}.")
    every = cfg.trainer.val_check_interval
    is_share = isinstance(every, float) and 0 < every <= 1
    if not (is_share or every is None or (isinstance(every, int) and every >= 1)):
        raise ValueError(
            f"trainer.val_check_interval must be steps, at least 1, or a share of the run above 0 "
            f"and up to 1.0, got {every}."
        )
    if OmegaConf.select(cfg, "trainer.accumulate_grad_batches", default=1) != 1:
        raise ValueError(
            "trainer.accumulate_grad_batches is not for these runs, which count batches: give a "
            "larger data.batch_size."
        )


def _check_crops(cfg: DictConfig) -> None:
    """What is trained on must be large enough for the coarsest level of the style's pyramid."""
    smallest = 16 << (cfg.loss.num_levels - 1)
    size = cfg.data.crop_size or cfg.data.image_size
    if size < smallest:
        raise ValueError(
            f"data.crop_size, or data.image_size without one, must be at least {smallest} for "
            f"{cfg.loss.num_levels} pyramid levels, got {size}."
        )


def choose_precision(trainer: DictConfig) -> str:
    """Resolve ``auto``: bfloat16 where the device that Lightning will take computes it natively.

    Args:
        trainer: With ``precision`` and ``accelerator``.

    Returns:
        One of ``PRECISIONS``.

    Raises:
        ValueError: If another one is asked for.
    """
    if trainer.precision == "auto":
        device = trainer.accelerator
        if device in ("auto", "gpu"):
            on_gpu = "mps" if torch.backends.mps.is_available() else "cpu"
            device = "cuda" if torch.cuda.is_available() else on_gpu
        return "bf16-mixed" if half_dtype(device) else "32-true"
    if trainer.precision not in PRECISIONS:
        raise ValueError(
            f"trainer.precision must be auto, {' or '.join(PRECISIONS)}, got {trainer.precision}."
        )
    return trainer.precision
