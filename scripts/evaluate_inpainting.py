"""How well holes are filled, by networks and by the classics, on photos not trained on.

    python scripts/evaluate.py inpainting checkpoints/inpainting.safetensors --photos photos

Everyone gets the same holes, does not see what was in them, and is judged on 8 bits with the known
part put back. The judge compares with the original: a fill that is as plausible but another counts
as wrong. Without checkpoints the classics are measured alone.
"""

import argparse
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import report
from bootstrap import NUM_DRAWS
from classical_fills import library_versions
from fill_contest import Contest, Photo, load_photos
from fill_entrants import CENTRE, PREFILL, Entrant, classical_entrants, load_entrants
from fill_judging import LITE, MEASURES, FillJudge, load_loss_network
from fill_summary import group, summarize
from fill_tables import AGAINST, NOT_FILLED, tables
from impasto import save_image
from impasto.data.irregular import IrregularMasks
from impasto.data.masks import FAMILIES, MaskFamily, centre
from impasto.data.mix import IRREGULAR
from impasto.images import image_grid
from impasto.memory import keep_freed_memory
from impasto.precision import keep_float32

Figures = dict[str, Any]
"""By name, as JSON takes them."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what can be asked for."""
    add = parser.add_argument
    add("checkpoints", type=Path, nargs="*", metavar="CHECKPOINT", help="that train.py wrote")
    add("--photos", type=Path, required=True, help="folder")
    add("--num-photos", type=int, help="take the first ones only")
    add("--sizes", type=int, nargs="+", default=[128, 256], help="of photos, in pixels")
    add("--families", nargs="+", help=f"of masks: {', '.join(FAMILIES)}, {IRREGULAR}")
    add("--masks", type=Path, help="folder of mask files, white where something is missing")
    add("--invert", action="store_true", help="mask files are white where the photo is known")
    add("--overlap", type=int, default=0, help="pixels around the centre that stay known to all")
    add("--seed", type=int, default=0, help="of masks and of the bootstrap")
    add("--teacher", default=LITE, help="loss network: lite, or VGG-19: hub, random or a path")
    add("--baseline", type=Path, nargs="+", default=[], help="checkpoints to compare with")
    add("--cache", type=Path, help="folder: what was measured before is taken from there")
    add("--json", type=Path, help="where to write all figures")
    add("--markdown", type=Path, help="where to write the tables")
    add("--grid", type=Path, help="where to write a picture of what was filled")
    add("--grid-photos", type=int, default=3, help="photos in it, of every family")
    add("--grid-size", type=int, help="of those photos, one of --sizes; by default the first")


def run(options: argparse.Namespace) -> None:
    """Have everyone fill; print tables, write what was asked for."""
    keep_freed_memory()
    torch.manual_seed(0)  # for random weights
    torch.backends.cudnn.deterministic = True
    keep_float32()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    sizes = list(dict.fromkeys(options.sizes))
    families = choose_families(options)
    grid_size = choose_grid_size(options, sizes)
    paths = list(dict.fromkeys([*options.checkpoints, *options.baseline]))
    networks = load_entrants(paths, device)
    entrants = [*classical_entrants(device), *networks]
    require_holes_for(networks, sizes, list(families))
    photos, skipped = load_photos(options.photos, options.num_photos, sizes)
    judge = FillJudge(load_loss_network(options.teacher).to(device))

    contest = Contest(entrants, families, judge, options.seed, options.cache)
    contestants = [PREFILL, *(network.name for network in networks)]
    rivals = [
        network.name
        for path, network in zip(paths, networks, strict=True)
        if path in options.baseline
    ]
    results: Figures = {
        "made": provenance(options, list(families), len(photos), skipped, device),
        "measures": {name: {"unit": m.unit, "meaning": m.meaning} for name, m in MEASURES.items()},
        "methods": {entrant.name: describe(entrant) for entrant in entrants},
        "groups": [
            summarize(cases, contestants, rivals, options.seed)
            for cases in group(contest.run(photos, sizes))
        ],
    }
    publish(results, options.json, options.markdown)
    if options.grid:
        columns = ", ".join(entrant.name for entrant in entrants)
        print(f"- {options.grid.name} shows, from left to right: the hole, {columns}, the original")
        rows = draw(contest, photos, grid_size, options.grid_photos)
        save_image(image_grid(rows), options.grid)


def choose_families(options: argparse.Namespace) -> dict[str, MaskFamily]:
    """Families of masks by name: those asked for, or all there are without and with files."""
    known: dict[str, MaskFamily] = {**FAMILIES, CENTRE: partial(centre, overlap=options.overlap)}
    if options.masks is not None:
        known[IRREGULAR] = IrregularMasks(options.masks, options.invert)
    names = list(dict.fromkeys(options.families or known))
    for name in names:
        if name == IRREGULAR and options.masks is None:
            raise ValueError(f"Masks of the family {IRREGULAR} come from files: give --masks.")
        if name not in known:
            raise ValueError(
                f"--families must be among {', '.join([*FAMILIES, IRREGULAR])}, got {name!r}."
            )
    return {name: known[name] for name in names}


def choose_grid_size(options: argparse.Namespace, sizes: Sequence[int]) -> int:
    """Size of the photos in the grid."""
    if options.grid_photos < 1:
        raise ValueError(f"--grid-photos must be at least 1, got {options.grid_photos}.")
    size = sizes[0] if options.grid_size is None else options.grid_size
    if size not in sizes:
        raise ValueError(
            f"--grid-size must be one of --sizes, {', '.join(map(str, sizes))}, got {size}."
        )
    return size


def require_holes_for(
    networks: Sequence[Entrant], sizes: Sequence[int], families: Sequence[str]
) -> None:
    """Check that no network was given in vain."""
    for network in networks:
        if not any(network.takes(size, family) for size in sizes for family in families):
            raise ValueError(
                f"{network.name} {limits(network)}: give such --sizes and --families, "
                f"got {', '.join(map(str, sizes))} and {', '.join(families)}."
            )


def limits(entrant: Entrant) -> str:
    """Say what holes an entrant takes; empty if it takes all."""
    parts = []
    if entrant.size is not None:
        parts.append(f"takes {entrant.size} x {entrant.size} pixels only")
    if entrant.centre_only:
        parts.append(f"fills holes of the family {CENTRE} only")
    return " and ".join(parts)


def describe(entrant: Entrant) -> Figures:
    """Say who an entrant is."""
    return {**(entrant.origin or {}), "limits": limits(entrant)}


def provenance(
    options: argparse.Namespace,
    families: list[str],
    num_photos: int,
    skipped: list[str],
    device: str,
) -> Figures:
    """Say what the figures were made with; no time of day, so that the same gives the same."""
    return {
        "teacher": Path(options.teacher).name,
        "num_photos": num_photos,
        "skipped": skipped,
        "families": families,
        "masks": options.masks.name if options.masks else None,
        "overlap": options.overlap,
        "seed": options.seed,
        "draws": NUM_DRAWS,
        "device": device,
        "libraries": {"torch": torch.__version__, **library_versions()},
    }


def publish(results: Figures, json_path: Path | None, markdown_path: Path | None) -> None:
    """Print the tables and what they mean; write them and all figures where asked to."""
    lines = [*tables(results["groups"], list(results["methods"])), *notes(results)]
    report.publish("\n".join(lines) + "\n", results, markdown_path, json_path)


def notes(results: Figures) -> list[str]:
    """Say what the tables mean and how they came about."""
    made = results["made"]
    judge = "the lite loss network" if made["teacher"] == LITE else f"VGG-19 from {made['teacher']}"
    libraries = ", ".join(f"{name} {version}" for name, version in made["libraries"].items())
    lines = [f"- {name}: {m['meaning']}" for name, m in results["measures"].items()]
    lines += [
        "- means of the values of single pictures, of 8 bits and with the known part put back; in "
        f"brackets 95 % intervals of {made['draws']} bootstrap draws of photos",
        "- compared: differences and ratios of means, on the same photos; where the interval of a "
        "difference excludes 0, or that of a ratio 1, it is no accident of the photos; with fewer "
        "than some 20 of them, intervals are too narrow",
        *(f"- {rival}: {meaning}" for rival, meaning in AGAINST.items()),
        "- mean: the mean colour of what is known; prefill: what networks here start from",
    ]
    if made["overlap"]:
        lines.append(
            f"- {CENTRE}: {made['overlap']} pixels at every side of the middle half are known to "
            f"all, and count as known"
        )
    for name, about in results["methods"].items():
        if about["limits"]:
            lines.append(f"- {name} {about['limits']}: {NOT_FILLED} elsewhere")
    lines.append(
        f"- {made['num_photos']} photos, seed {made['seed']}; perceptual distances by {judge}; "
        f"{libraries} on {made['device']}"
    )
    return lines + [f"- skipped: {reason}" for reason in made["skipped"]]


def draw(contest: Contest, photos: Sequence[Photo], size: int, count: int) -> list[Tensor]:
    """Lay out filled photos, family below family.

    In columns: the photo with its hole in white, what everyone filled in, white where somebody
    takes no such holes, and the original.
    """
    rows = []
    for place, family in enumerate(contest.families):
        # Other photos for every family, as far as there are.
        chosen = [photos[(place * count + step) % len(photos)] for step in range(count)]
        masks = contest.draw_masks(family, size, chosen)
        levels = torch.stack([photo.levels[size] for photo in chosen])
        columns = [levels.masked_fill(masks > 0.5, 255)]
        columns += [
            entrant.fill(levels, masks)
            if entrant.takes(size, family)
            else torch.full_like(levels, 255)
            for entrant in contest.entrants
        ]
        rows += [row.float() / 255 for row in torch.stack([*columns, levels], dim=1)]
    return rows
