"""What a config asks for, built: the task to train, and what is to be said of it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from hydra.utils import instantiate
from omegaconf import DictConfig, ListConfig, OmegaConf
from torch import nn

from impasto.cards import StyleCard
from impasto.checkpoint import NETWORKS, Header, load_checkpoint
from impasto.losses import FillingLoss, PerceptualLoss, StyleTargets
from impasto.networks import ContextDiscriminator, ContextEncoder, MultiTransformerNet
from impasto.settings import INIT_FILE, RESUME_FILE, STYLE_FILE, STYLES_FOLDER
from impasto.styles import Style, find_cards, find_style, previews, stack_targets
from impasto.tasks import Inpainting, Stylization

LICENCE = "MIT. Trained on features of VGG (Simonyan & Zisserman, Oxford VGG, CC BY 4.0)."


@dataclass(frozen=True)
class Recipe:
    """A task, ready to train.

    Args:
        task: Network, loss and optimiser.
        header: What the file to use says of itself before training.
        style: What is known of the painting; ``None`` for tasks without one.
        cards: Those of a run of many styles, in their order.
    """

    task: Stylization | Inpainting
    header: Header
    style: Style | None = None
    cards: Sequence[StyleCard] = ()


def build(cfg: DictConfig, resumed: Path | None, dtype: torch.dtype) -> Recipe:
    """Build what is to be trained.

    Args:
        cfg: All settings, complete.
        resumed: Folder of the run to go on with.
        dtype: What the loss network computes in.

    Raises:
        ValueError: If a value is wrong.
        FileNotFoundError: If a path does not exist.
        InstantiationException: Around any of these.
    """
    name = str(cfg.task._target_).rpartition(".")[2]
    if name not in _BUILDERS:
        raise ValueError(f"task._target_ must be one of {', '.join(_BUILDERS)}, got {name}.")
    _check_model(name, str(cfg.model._target_).rpartition(".")[2])
    has_many = "style" in cfg and "names" in cfg.style
    if has_many != (name == "MultiStylization"):
        raise ValueError(
            'model=johnson_multi takes "style.names=[great_wave,udnie]" and no style=, all other '
            "models take one style, style=great_wave."
        )
    return _BUILDERS[name](cfg, resumed, dtype)


def _check_model(task: str, network: str) -> None:
    """Say which models there are for a task, before one is built that does not fit."""
    if network in NETWORKS and network not in _NETWORKS_OF[task]:
        raise ValueError(
            f"{network} is no network for {task}, which takes {' or '.join(_NETWORKS_OF[task])}: "
            f"choose another model=."
        )


def _stylization(cfg: DictConfig, resumed: Path | None, dtype: torch.dtype) -> Recipe:
    """A run that goes on takes the card in its folder: the picture may be gone by then."""
    network = _loss_network(cfg)
    image, card = cfg.style.image, cfg.style.card
    if resumed and (resumed / STYLE_FILE).exists():
        image, card = None, resumed / STYLE_FILE
    style_layers = _weights(cfg.loss.style_layers)
    style = find_style(
        network, style_layers, cfg.loss.num_levels, str(cfg.style.name), image, card, cfg.style.size
    )
    loss = _perceptual_loss(cfg, network.compute_in(dtype), style.targets)
    header = _header(cfg, "stylization", [str(cfg.style.name)])
    return Recipe(_task(cfg, resumed, loss), header, style)


def _multi_stylization(cfg: DictConfig, resumed: Path | None, dtype: torch.dtype) -> Recipe:
    """With ``init``, either all of its styles go on, or it stays as it is and learns new ones."""
    loss_network = _loss_network(cfg)
    cards, sizes = _cards(cfg, resumed), list(cfg.style.sizes)
    targets = stack_targets(
        loss_network, cards, sizes, _weights(cfg.loss.style_layers), cfg.loss.num_levels
    )
    loss = _perceptual_loss(cfg, loss_network.compute_in(dtype), targets)
    names = [card.name for card in cards]
    network, styles = _multi_network(cfg, names, _init(cfg, resumed))
    task = instantiate(
        cfg.task,
        network=network,
        loss=loss,
        rows=[styles.index(name) for name in names],
        stroke_sizes=sizes,
        _convert_="all",
    )
    header = _header(cfg, "stylization", styles)
    header.arguments.update(num_styles=len(styles), strokes=list(network.strokes))
    return Recipe(task, header, Style(targets, previews(cards), None), cards)


def _cards(cfg: DictConfig, resumed: Path | None) -> list[StyleCard]:
    """Those that are named; a run that goes on takes those in its folder, in their order."""
    names, sizes = cfg.style.names, cfg.style.sizes
    if not isinstance(names, ListConfig) or not isinstance(sizes, ListConfig) or not sizes:
        raise ValueError(
            f'style.names and style.sizes must be lists, as in "style.names=[great_wave,udnie]" '
            f'and "style.sizes=[256]", got {names} and {sizes}.'
        )
    kept = sorted((resumed / STYLES_FOLDER).glob("*.safetensors")) if resumed else []
    return find_cards([str(path) for path in kept] or list(names))


def _multi_network(
    cfg: DictConfig, names: list[str], init: Path | None
) -> tuple[MultiTransformerNet, list[str]]:
    """The network to train, and the names of all the styles it has."""
    sizes = list(cfg.style.sizes)
    knobs = {"num_styles": len(names), "strokes": [min(sizes), max(sizes)]}
    network = instantiate(cfg.model, **knobs, _convert_="all")
    if init is None:
        return network, names
    trained, header = load_checkpoint(init)
    new = [name for name in names if name not in header.styles]
    if len(names) != len(new or header.styles):
        raise ValueError(
            f"init={init} has the styles {', '.join(header.styles)}: style.names must be all "
            f"of them, to go on, or new ones alone, to add these; got {', '.join(names)}."
        )
    wanted = {**_header(cfg, "", []).arguments, **knobs, "num_styles": len(header.styles)}
    if not isinstance(trained, MultiTransformerNet) or header.arguments != wanted:
        raise _misfit(init, trained)
    trained.requires_grad_(True).train()
    network = trained.with_new_styles(len(new)) if new else trained
    return network, header.styles + new


def _inpainting(cfg: DictConfig, resumed: Path | None, dtype: torch.dtype) -> Recipe:
    loss = FillingLoss(
        instantiate(cfg.loss.reconstruction),
        _loss_network(cfg).compute_in(dtype),
        _weights(cfg.loss.style_layers),
        perceptual_weight=cfg.loss.perceptual_weight,
        texture_weight=cfg.loss.texture_weight,
        seam_weight=cfg.loss.seam_weight,
        random_views=cfg.loss.random_views,
    )
    task = _task(cfg, resumed, loss)
    _check_filler(cfg, task.network)
    if task.adversary is not None:
        _check_discriminator(cfg, task.network, task.adversary.discriminator)
    return Recipe(task, _header(cfg, "inpainting", []))


def _check_filler(cfg: DictConfig, network: nn.Module) -> None:
    """A network may be for one size, for holes in the middle, and want several photos a step."""
    name, given = type(network).__name__, cfg.data.crop_size or cfg.data.image_size
    if network.size not in (None, given):
        raise ValueError(
            f"{name} takes photos of {network.size} px only: data.image_size={network.size} and no "
            f"data.crop_size, got {given}."
        )
    drawn = {family for family, weight in (cfg.data.masks.get("weights") or {}).items() if weight}
    if network.centre_only and drawn != {"centre"}:
        raise ValueError(
            f"{name} fills holes in the middle only: data.masks.weights must be {{centre: 1}}, got "
            f"{', '.join(sorted(drawn)) or 'all families'}."
        )
    if isinstance(network, ContextEncoder) and cfg.data.batch_size < 2:
        raise ValueError(f"{name} has batch norm over single numbers: data.batch_size=2 at least.")
    if cfg.trainer.gradient_clip_val is not None:
        raise ValueError(
            f"trainer.gradient_clip_val must be null where holes are filled, got "
            f"{cfg.trainer.gradient_clip_val}: give task.gradient_clip."
        )


def _check_discriminator(cfg: DictConfig, network: nn.Module, discriminator: nn.Module) -> None:
    """The paper's is for one size, and looks where its network paints."""
    if not isinstance(discriminator, ContextDiscriminator):
        return
    given = cfg.data.crop_size or cfg.data.image_size
    if given != discriminator.size:
        raise ValueError(
            f"adversary=context takes photos of {discriminator.size} px only, got {given}: take "
            f"adversary=patch."
        )
    if discriminator.whole == network.centre_only:
        wanted = str(not network.centre_only).lower()
        raise ValueError(
            f"task.adversary.discriminator.whole must be {wanted} for {type(network).__name__}: it "
            f"is to look where holes are."
        )


_NETWORKS_OF = {
    "Stylization": ("TransformerNet",),
    "MultiStylization": ("MultiTransformerNet",),
    "Inpainting": ("ContextEncoder", "ChannelwiseContextEncoder", "ContextEncoderPlus"),
}

_BUILDERS: dict[str, Callable[[DictConfig, Path | None, torch.dtype], Recipe]] = {
    "Stylization": _stylization,
    "MultiStylization": _multi_stylization,
    "Inpainting": _inpainting,
}


def _loss_network(cfg: DictConfig) -> Any:
    """Frozen, in float32, on the CPU."""
    layers = list({**_weights(cfg.loss.content_layers), **_weights(cfg.loss.style_layers)})
    return instantiate(cfg.loss_network, layers=layers, _convert_="all")


def _task(cfg: DictConfig, resumed: Path | None, loss: nn.Module) -> Any:
    network: nn.Module = instantiate(cfg.model)
    goes_on = resumed is not None and (resumed / RESUME_FILE).exists()
    init = _init(cfg, resumed)
    if init is not None and not goes_on:
        _start_from(network, init)
    return instantiate(cfg.task, network=network, loss=loss, _convert_="all")


def _init(cfg: DictConfig, resumed: Path | None) -> Path | None:
    """The network to begin with; of a run that goes on the copy it made: the file may be gone."""
    if cfg.init is None:
        return None
    copy = resumed / INIT_FILE if resumed else None
    return copy if copy and copy.exists() else Path(cfg.init)


def _start_from(network: nn.Module, path: Path) -> None:
    trained, _ = load_checkpoint(path)
    try:
        network.load_state_dict(trained.state_dict())
    except RuntimeError:
        raise _misfit(path, trained) from None


def _misfit(path: Path, trained: nn.Module) -> ValueError:
    return ValueError(
        f"init={path} holds another network than model= asks for: a {type(trained).__name__}, "
        f"which is of another kind or of other sizes."
    )


def _perceptual_loss(cfg: DictConfig, network: nn.Module, targets: StyleTargets) -> PerceptualLoss:
    return PerceptualLoss(
        network,
        targets,
        _weights(cfg.loss.content_layers),
        _weights(cfg.loss.style_layers),
        content_weight=cfg.loss.content_weight,
        style_weight=cfg.style.strength,
        tv_weight=cfg.loss.tv_weight,
        lattice_weight=cfg.loss.lattice_weight,
        random_views=cfg.loss.random_views,
    )


def _weights(layers: DictConfig) -> dict[str, float]:
    """Weights by layer; a weight of zero is how a config drops a layer."""
    return {str(layer): weight for layer, weight in layers.items() if weight != 0}


def _header(cfg: DictConfig, task: str, styles: list[str]) -> Header:
    arguments: Any = OmegaConf.to_container(cfg.model)
    network = arguments.pop("_target_").rpartition(".")[2]
    if network not in NETWORKS:
        raise ValueError(
            f"model._target_ must be one of {', '.join(NETWORKS)}, got {network}: nothing could "
            f"load it afterwards. Add it to impasto.checkpoint.NETWORKS."
        )
    return Header(
        task=task,
        network=network,
        arguments=arguments,
        styles=styles,
        data=_data_name(cfg.data),
        licence=LICENCE,
    )


def _data_name(data: DictConfig) -> str:
    if "path" in data:
        return Path(data.path).name
    return str(data.get("repository", "generated scenes"))
