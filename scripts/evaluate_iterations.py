"""How many iterations of optimisation one pass of a style network is worth.

    python scripts/evaluate.py iterations checkpoints/starry_night.safetensors --photos photos

For every photo the network's painting sets a value: that of the perceptual loss, style plus
weighted content. Then the photo is painted by L-BFGS against the very same loss, until it is as
good. Counted are moves, not evaluations; value and moves are computed in float32.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from statistics import quantiles

import torch
from torch import Tensor
from tqdm import tqdm

import report
from evaluate_style import Figures, Network, find_paintings, load_networks, load_photos
from impasto.features import Features, find_features
from impasto.losses import PerceptualLoss
from impasto.memory import keep_freed_memory
from impasto.optimization import STARTS, Objective, Remembering, logits_of, make_minimizer, noise
from impasto.precision import keep_float32
from impasto.styles import CARDS, find_style

LITE_CONTENT_WEIGHT, VGG_CONTENT_WEIGHT = 0.4, 0.3  # what networks are trained with


def count_iterations(objective: Objective, start: Tensor, value: float, limit: int) -> int | None:
    """Count the moves of L-BFGS until a loss is reached.

    Args:
        objective: Perceptual loss of one photo.
        start: Picture in [0, 1], shape ``(1, 3, H, W)``.
        value: Loss to be reached.
        limit: Moves after which it is given up.

    Returns:
        0 if the start is as good already; ``None`` if ``limit`` moves did not do, or no move
        gained anything more.
    """
    minimizer = make_minimizer("lbfgs", logits_of(start))
    if objective(minimizer.point)[0] <= value:
        return 0
    for number in range(1, limit + 1):
        if not minimizer.iterate(objective):
            return None
        if objective.parts["total"] <= value:
            return number
    return None


def summarize(counts: Sequence[int | None], limit: int) -> Figures:
    """Median and quartiles of what photos took; what was not reached counts as the limit."""
    values = [limit if count is None else count for count in counts]
    lower, median, upper = quantiles(values, n=4, method="inclusive") if values[1:] else values * 3
    return {
        "median": median,
        "lower_quartile": lower,
        "upper_quartile": upper,
        "not_reached": sum(count is None for count in counts),
        "per_photo": list(counts),
    }


def build_loss(features: Features, style: str, options: argparse.Namespace) -> PerceptualLoss:
    """The loss that a network of this style is measured and optimised by."""
    picture = card = None
    if options.paintings:
        picture = options.paintings[style]
    else:
        card = CARDS / f"{style}.safetensors"
        if not card.is_file():
            raise ValueError(
                f"impasto has no card of the style {style!r}: give --paintings, a folder with a "
                f"picture named after it."
            )
    found = find_style(
        features.network,
        features.style_layers,
        features.num_levels,
        style,
        picture,
        card,
        options.style_size,
    )
    return PerceptualLoss(
        features.network,
        found.targets,
        features.content_layers,
        features.style_layers,
        content_weight=options.content_weight,
    )


def measure(
    network: Network, loss: PerceptualLoss, photos: Tensor, limit: int, bar: tqdm
) -> Figures:
    """Count iterations from both starts for every photo, shape ``(N, 3, S, S)``."""
    counts: dict[str, list[int | None]] = {start: [] for start in STARTS}
    values, owns = [], []
    remembering = loss.network
    assert isinstance(remembering, Remembering)
    for number, photo in enumerate(photos.split(1)):
        remembering.remember(photo)
        with torch.no_grad():
            values.append(loss(network.painter(photo), photo)["total"].item())
            owns.append(loss(photo, photo)["total"].item())
        objective = Objective(loss, photo)
        for start in STARTS:
            first = photo if start == "photo" else noise(photo.shape, number).to(photo)
            counts[start].append(count_iterations(objective, first, values[-1], limit))
            bar.update()
    return {
        "network_loss": sum(values) / len(values),
        "photo_loss": sum(owns) / len(owns),
        **{f"from_{start}": summarize(found, limit) for start, found in counts.items()},
    }


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what can be asked for."""
    add = parser.add_argument
    add("checkpoints", type=Path, nargs="+", metavar="CHECKPOINT", help="that train.py wrote")
    add("--photos", type=Path, required=True, help="folder")
    add("--num-photos", type=int, default=20, help="take the first ones only")
    add("--size", type=int, default=256, help="of photos, in pixels")
    add("--style-size", type=int, default=256, help="of paintings' shorter side, in pixels")
    add("--loss-network", default="lite", help="lite, vgg16 or vgg19")
    add("--teacher", help="weights of the loss network: hub, package, random or a path")
    add("--paintings", type=Path, help="folder; default: the package's style cards, lite alone")
    add("--content-weight", type=float, help="default: 0.4 with lite, 0.3 with a VGG, as trained")
    add("--max-iterations", type=int, default=300, help="after which it is given up")
    add("--json", type=Path, help="where to write all figures")
    add("--markdown", type=Path, help="where to write the table")


def run(options: argparse.Namespace) -> None:
    """Measure all checkpoints; print a table, write what was asked for."""
    keep_freed_memory()
    torch.manual_seed(0)  # for random weights
    torch.backends.cudnn.deterministic = True
    keep_float32()
    if options.max_iterations < 1:
        raise ValueError(f"--max-iterations must be at least 1, got {options.max_iterations}.")
    device = "cuda" if torch.cuda.is_available() else "cpu"
    features = find_features(options.loss_network, options.teacher)
    if options.content_weight is None:
        lite = options.loss_network == "lite"
        options.content_weight = LITE_CONTENT_WEIGHT if lite else VGG_CONTENT_WEIGHT
    networks = load_networks(options.checkpoints, device)
    if options.paintings:
        options.paintings = find_paintings(options.paintings, networks)
    losses = [build_loss(features, network.style, options) for network in networks]
    photos, skipped = load_photos(options.photos, options.num_photos, options.size)
    total = len(networks) * len(STARTS) * len(photos)
    rows = []
    with tqdm(total=total, unit="painting", desc="optimising") as bar:
        for network, loss in zip(networks, losses, strict=True):
            loss.network = Remembering(loss.network)
            found = measure(
                network, loss.to(device), photos.to(device), options.max_iterations, bar
            )
            rows.append({"checkpoint": str(network.path), "style": network.style, **found})
    made = {
        "loss_network": options.loss_network,
        "weights": Path(options.teacher).name if options.teacher else None,
        "num_photos": len(photos),
        "skipped": skipped,
        "size": options.size,
        "style_size": options.style_size,
        "content_weight": options.content_weight,
        "max_iterations": options.max_iterations,
        "device": device,
        "torch": torch.__version__,
    }
    publish({"made": made, "checkpoints": rows}, options.json, options.markdown)


def publish(results: Figures, json_path: Path | None, markdown_path: Path | None) -> None:
    """Print the table and what it means; write it and all figures where asked to."""
    made = results["made"]
    limit = made["max_iterations"]
    lines = [
        "| network | from photo | quartiles | from noise | quartiles | loss | loss of the photo |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for row in results["checkpoints"]:
        cells = [f"{Path(row['checkpoint']).stem} ({row['style']})"]
        for start in STARTS:
            found = row[f"from_{start}"]
            cells += [
                told(found["median"], limit),
                f"{told(found['lower_quartile'], limit)} to {told(found['upper_quartile'], limit)}",
            ]
        cells += [f"{row['network_loss']:.4f}", f"{row['photo_loss']:.4f}"]
        lines.append(f"| {' | '.join(cells)} |")
    lines += [
        "",
        "- from photo, from noise: iterations of L-BFGS from there to the loss of the network's "
        "painting, median over photos",
        f"- loss: style + {made['content_weight']:g} * content by {made['loss_network']}, mean "
        f"over photos",
        f"- {made['num_photos']} photos of {made['size']} px, torch {made['torch']} on "
        f"{made['device']}",
    ]
    lines += [f"- skipped: {reason}" for reason in made["skipped"]]
    report.publish("\n".join(lines) + "\n", results, markdown_path, json_path)


def told(count: float, limit: int) -> str:
    """A number of iterations, or that it is more than anybody waited for."""
    return f">= {limit}" if count >= limit else f"{count:g}"
