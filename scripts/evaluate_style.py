"""How near style networks come to their paintings, and what they keep of the photos.

    python scripts/evaluate.py style checkpoints/*.safetensors --photos photos --paintings paintings

The judge is VGG-19, in float32. It knows nothing of taste, and favours a network that was trained
against the same layers: compare networks with it, not styles.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

import torch
from torch import Tensor, nn

import report
from impasto import Stylizer, load_image, save_image
from impasto.images import image_grid, list_images, square
from impasto.loss_networks import VGG, Lite
from impasto.memory import keep_freed_memory
from impasto.precision import keep_float32
from impasto.styles import load_painting
from judging import CONTENT_LAYER, STYLE_LAYERS, Judge, Marks, Painter, measure, spearman

RANKED_PHOTOS = 20  # painted by every network, for the rank correlation
COLUMNS = {
    "style": "distance of the painted photos' Gram matrices from the painting's, relative to the "
    "painting's, mean over photos: 0 for the painting, 1 for matrices of zeros",
    "own": "the same of the photos as they are",
    "relative": "style / own: 0 for the painting, 1 where nothing was gained",
    "content": "squared distance of the painted photos' features from the photos', relative to the "
    "photo's, mean over photos: 0 for the photo, 1 for features of zeros",
    "objective": "style + {content_weight:g} * content, the less the better",
    "closer": "share of the photos that painting brought nearer to the painting in style, 0 to 1",
    "baseline": "objective of the baseline with that style",
    "ratio": "objective / baseline: below 1 where it is better than the baseline",
}

Figures = dict[str, Any]
"""By name, as JSON takes them."""


@dataclass(frozen=True)
class Network:
    """A checkpoint, and the name of its painting."""

    path: Path
    style: str
    painter: Painter


def correlate(photos: Marks, painted: Sequence[Marks], names: Sequence[str]) -> Figures:
    """Compare two judges' order of all pairs of an image and a painting, by style distance."""
    styles = [photos.style, *(marks.style[..., :RANKED_PHOTOS] for marks in painted)]
    teacher, lite = torch.cat(styles, dim=2)  # (P, images)
    single = [spearman(a, b) for a, b in zip(teacher, lite, strict=True)]
    return {
        "pairs": teacher.numel(),
        "overall": spearman(teacher.flatten(), lite.flatten()),
        "mean_per_painting": mean(single),
        "per_painting": dict(zip(names, single, strict=True)),
    }


def summarize(painted: Marks, photos: Marks, number: int, content_weight: float) -> Figures:
    """Sum up what the first judge says of one network, whose painting has a number."""
    styles, owns = painted.style[0, number], photos.style[0, number]
    style, own, content = styles.mean().item(), owns.mean().item(), painted.content.mean().item()
    return {
        "style": style,
        "own": own,
        "relative": style / own,
        "content": content,
        "objective": style + content_weight * content,
        "closer": (styles < owns).double().mean().item(),
    }


def load_networks(
    paths: Sequence[Path], device: str, styles: Sequence[str] | None = None
) -> list[Network]:
    """Load checkpoints, in float32: what a device rounds is not the network's merit.

    Of a network of many styles, each is judged like a network of its own, or those asked for.
    """
    networks = []
    for path in paths:
        stylizer = Stylizer.load(path, device, "fp32")
        if not stylizer.header.styles:
            raise ValueError(f"{path} does not name its style: train it with style.name=NAME.")
        networks += [
            Network(path, name, stylizer.with_knobs(style=name))
            for name in stylizer.header.styles
            if styles is None or name in styles
        ]
    if paths and not networks:
        raise ValueError(f"No checkpoint has any of the styles {', '.join(styles or [])}.")
    return networks


def find_baselines(networks: Sequence[Network], baselines: Sequence[Network]) -> dict[str, Network]:
    """Find the baseline of every style, which must be one; none at all if none is given."""
    found = {}
    for network in networks if baselines else ():
        same = [baseline for baseline in baselines if baseline.style == network.style]
        if len(same) != 1:
            given = ", ".join(f"{baseline.path} ({baseline.style})" for baseline in baselines)
            raise ValueError(
                f"{network.path} needs one baseline of the style {network.style!r}, "
                f"--baseline has {len(same)}: {given}."
            )
        found[network.style] = same[0]
    return found


def find_paintings(folder: Path, networks: Sequence[Network]) -> dict[str, Path]:
    """Find all paintings of a folder by name, those of the networks among them."""
    paths = list_images(folder)
    for network in networks:
        count = sum(path.stem == network.style for path in paths)
        if count != 1:
            names = ", ".join(path.name for path in paths) or "nothing"
            raise ValueError(
                f"{network.path} needs one painting named {network.style!r} in {folder}, "
                f"which has {count}: there is {names}."
            )
    return {path.stem: path for path in paths}


def load_photos(folder: Path, count: int | None, size: int) -> tuple[Tensor, list[str]]:
    """Load the middle of every photo, shape ``(N, 3, size, size)``; and say what was skipped."""
    if count is not None and count < 1:
        raise ValueError(f"--num-photos must be at least 1, got {count}.")
    photos, skipped = [], []
    for path in list_images(folder)[:count]:
        try:
            photos.append(square(load_image(path), size))
        except ValueError as error:
            skipped.append(str(error))
    if not photos:
        raise ValueError(f"No photo can be read in {folder}: {'; '.join(skipped) or 'none there'}.")
    return torch.cat(photos), skipped


def load_teachers(weights: str, lite: str | None) -> list[nn.Module]:
    """Load VGG-19, and the lite loss network if its weights are given."""
    layers = [*STYLE_LAYERS, CONTENT_LAYER]
    teacher = VGG("vgg19", layers, weights)
    return [teacher] if lite is None else [teacher, Lite(layers, lite)]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what can be asked for."""
    add = parser.add_argument
    add("checkpoints", type=Path, nargs="+", metavar="CHECKPOINT", help="that train.py wrote")
    add("--photos", type=Path, required=True, help="folder")
    add("--paintings", type=Path, required=True, help="folder; files are named after the styles")
    add("--teacher", default="hub", help="weights of VGG-19: hub, random or a path")
    add("--styles", nargs="+", help="judge these only")
    add("--baseline", type=Path, nargs="+", default=[], help="checkpoints to compare with")
    add("--size", type=int, default=256, help="of photos and of paintings' shorter side, in pixels")
    add("--num-photos", type=int, help="take the first ones only")
    add("--content-weight", type=float, default=0.3, help="in the objective")
    add("--rank", action="store_true", help="correlate the lite loss network with the teacher")
    add("--lite", default="package", help="weights of the lite loss network: package or a path")
    add("--json", type=Path, help="where to write all figures")
    add("--markdown", type=Path, help="where to write the table")
    add("--grid", type=Path, help="where to write a picture of what was painted")
    add("--grid-photos", type=int, default=6, help="photos in it")


def run(options: argparse.Namespace) -> None:
    """Judge all checkpoints; print a table, write what was asked for."""
    keep_freed_memory()
    torch.manual_seed(0)  # for random weights
    torch.backends.cudnn.deterministic = True
    keep_float32()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    networks = load_networks(options.checkpoints, device, options.styles)
    baselines = find_baselines(networks, load_networks(options.baseline, device))
    paths = find_paintings(options.paintings, networks)
    if not options.rank:
        paths = {network.style: paths[network.style] for network in networks}
    paintings = {name: load_painting(path, options.size).to(device) for name, path in paths.items()}
    teachers = load_teachers(options.teacher, options.lite if options.rank else None)
    judges = [Judge(teacher.to(device), list(paintings.values())) for teacher in teachers]
    photos, skipped = load_photos(options.photos, options.num_photos, options.size)

    everyone = [*networks, *baselines.values()]
    own, *marks = measure(judges, [network.painter for network in everyone], photos)
    names = list(paintings)
    summaries = {
        network: summarize(mark, own, names.index(network.style), options.content_weight)
        for network, mark in zip(everyone, marks, strict=True)
    }
    rows = compare(networks, baselines, summaries)
    results: Figures = {
        "made": provenance(options, len(photos), skipped, device),
        "checkpoints": rows,
        "mean": {name: mean(row[name] for row in rows) for name in COLUMNS if name in rows[0]},
    }
    if options.rank:
        results["rank"] = correlate(own, marks[: len(networks)], names)
    publish(results, options.json, options.markdown)
    if options.grid:
        samples = photos[: options.grid_photos].to(device)
        save_image(image_grid(draw(networks, paintings, samples)), options.grid)


def provenance(
    options: argparse.Namespace, num_photos: int, skipped: list[str], device: str
) -> Figures:
    """Say what the figures were made with; no time of day, so that the same gives the same."""
    return {
        "teacher": Path(options.teacher).name,
        "lite": Path(options.lite).name if options.rank else None,
        "num_photos": num_photos,
        "skipped": skipped,
        "size": options.size,
        "content_weight": options.content_weight,
        "device": device,
        "torch": torch.__version__,
    }


def compare(
    networks: Sequence[Network],
    baselines: dict[str, Network],
    summaries: dict[Network, Figures],
) -> list[Figures]:
    """Make a row for every network, with its baseline's objective if there is one."""
    rows = []
    for network in networks:
        alone = sum(other.style == network.style for other in networks) == 1
        row: Figures = {"name": network.style if alone else f"{network.style}, {network.path}"}
        row |= {"checkpoint": str(network.path), "painting": network.style, **summaries[network]}
        if baselines:
            baseline = baselines[network.style]
            row["baseline_checkpoint"] = str(baseline.path)
            row["baseline"] = summaries[baseline]["objective"]
            row["ratio"] = row["objective"] / row["baseline"]
        rows.append(row)
    return rows


def publish(results: Figures, json_path: Path | None, markdown_path: Path | None) -> None:
    """Print the table and what it means; write it and all figures where asked to."""
    made, means = results["made"], results["mean"]
    columns = list(means)
    lines = [f"| network | {' | '.join(columns)} |", "| --- |" + " ---: |" * len(columns)]
    for row in [*results["checkpoints"], {"name": "mean", **means}]:
        numbers = " | ".join(f"{row[column]:.4f}" for column in columns)
        lines.append(f"| {row['name']} | {numbers} |")
    lines.append("")
    for column in columns:
        meaning = COLUMNS[column].format(content_weight=made["content_weight"])
        lines.append(f"- {column}: {meaning}")
    lines.append(
        f"- {made['num_photos']} photos of {made['size']} px; VGG-19 from {made['teacher']}, "
        f"torch {made['torch']} on {made['device']}"
    )
    lines += [f"- skipped: {reason}" for reason in made["skipped"]]
    if rank := results.get("rank"):
        lines.append(
            f"- rank correlation of style distances, lite with VGG-19, {rank['pairs']} pairs of an "
            f"image and a painting: {rank['overall']:.4f}; of one painting each, on average: "
            f"{rank['mean_per_painting']:.4f}"
        )
    report.publish("\n".join(lines) + "\n", results, markdown_path, json_path)


def draw(networks: Sequence[Network], paintings: dict[str, Tensor], photos: Tensor) -> list[Tensor]:
    """Lay out photos in a row, then one row for every network, which its painting leads."""
    rows = [torch.cat([torch.ones_like(photos[:1]), photos])]  # a white corner
    for network in networks:
        painting = square(paintings[network.style], photos.shape[-1])
        rows.append(torch.cat([painting, network.painter(photos)]))
    return rows
