"""Make shards of small photos out of any photos, to train from at the speed of the disk.

    python scripts/prepare_data.py shards/mine data=folder data.path=photos/
    python scripts/prepare_data.py shards/coco data=coco --short-side 256
    python train.py style=starry_night data=prepared data.path=shards/coco

With --raw they are bare pixels instead of JPEGs: some ten times the disk, several times as fast to
read. Training finds out by itself. Run again, it makes only what is missing, damaged or changed.
Photos that cannot be read are listed, at the end and in shards.json. Repositories of the hub are
read over the network, or downloaded with data.streaming=false.
"""

import argparse
import logging
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from hydra import compose, initialize_config_dir
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from tqdm import tqdm

from impasto.data.batches import default_num_workers
from impasto.data.preparation import (
    SHARD_SIZE,
    Plan,
    Report,
    Shrinking,
    make_shards,
    plan_paths,
    plan_row_groups,
)
from impasto.data.repository import find_files
from impasto.data.rowgroups import list_row_groups
from impasto.images import list_images

CONFIGS = Path(__file__).parents[1] / "configs"
NUM_LISTED = 20  # skipped photos that are printed; the manifest has all


def main() -> int:
    """Prepare what the command line says; exit code 2 if it cannot be, 130 by Ctrl-C."""
    logging.basicConfig(format="%(message)s", level=logging.WARNING)
    options = parse()
    try:
        shrinking = Shrinking(options.short_side, options.quality)
        plans = plan(configure(options.data), shrinking, options.shard_size)
        if options.quality is None:
            print_expectation(plans, options.short_side, options.folder)
        report = make_shards(options.folder, plans, shrinking, options.workers)
    except (OSError, ValueError, HydraException, OmegaConfBaseException) as error:
        print(f"prepare_data.py: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("Stopped. Run it again to go on.", file=sys.stderr)
        return 130
    print_report(report, options.folder)
    return 0


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="where to write the shards")
    parser.add_argument("data", nargs="+", help="as for train.py: data=folder data.path=photos/")
    parser.add_argument("--short-side", type=int, default=Shrinking.short_side, help="in pixels")
    encodings = parser.add_mutually_exclusive_group()
    encodings.add_argument(
        "--quality", type=int, default=Shrinking.quality, help="of JPEG, 1 to 95; default: 90"
    )
    encodings.add_argument(
        "--raw", dest="quality", action="store_const", const=None, help="bare pixels, no JPEG"
    )
    parser.add_argument("--shard-size", type=int, default=SHARD_SIZE, help="photos per shard")
    parser.add_argument(
        "--workers", type=int, default=default_num_workers(), help="processes; 0 for none"
    )
    options = parser.parse_intermixed_args()
    if options.shard_size < 1 or options.workers < 0:
        parser.error("--shard-size must be at least 1, --workers at least 0")
    return options


def configure(overrides: list[str]) -> DictConfig:
    """Compose the part of the config that is about data.

    Raises:
        HydraException: If there is no such choice or key.
        ValueError: If no choice is made.
    """
    if not any(override.startswith("data=") for override in overrides):
        raise ValueError(f"Say which photos, as in data=folder data.path=..., got {overrides}.")
    marked = [
        f"+{override}" if override.startswith("data=") else override for override in overrides
    ]
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        cfg = compose(overrides=["+seed=0", *marked])
    missing = sorted(OmegaConf.missing_keys(cfg))
    if missing:
        raise ValueError(f"{missing[0]} must be given, as in {missing[0]}=...")
    return cfg.data


def plan(cfg: DictConfig, shrinking: Shrinking, shard_size: int) -> list[Plan]:
    """Plan the shards.

    Args:
        cfg: Of the data.
        shrinking: How to make photos small.
        shard_size: Photos per shard.

    Raises:
        ConnectionError: If the hub cannot be reached.
        FileNotFoundError: If there is no such folder.
        ValueError: If there are no photos.
    """
    if "repository" in cfg:
        splits = {"train": cfg.train_split, "val": cfg.val_split}
        names = {split: name for split, name in splits.items() if name is not None}
        files = find_files(
            cfg.repository, [*names.values()], cfg.revision, cfg.subset, cfg.streaming
        )
        return [
            shard
            for split, name in names.items()
            for shard in plan_row_groups(
                split, list_row_groups(files[name], cfg.column), shrinking, shard_size
            )
        ]
    if "path" not in cfg or "Prepared" in cfg.source._target_:
        raise ValueError("Nothing to prepare: choose data=folder, coco, places or hub.")
    # Absolute: shards are told by the paths of their photos, however these are spelled.
    folder = Path(cfg.path).expanduser()
    paths = list_images(folder.resolve() if ".." in folder.parts else folder.absolute())
    if not paths:
        raise ValueError(f"No photos in {cfg.path}: a folder with picture files is needed.")
    return plan_paths(paths, shrinking, shard_size)


def print_expectation(plans: Sequence[Plan], short_side: int, folder: Path) -> None:
    """Say how much disk raw pixels will take, and how much there is."""
    num_photos = sum(plan.num_photos for plan in plans)
    num_bytes = num_photos * 3 * short_side * round(short_side * 4 / 3)
    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    taken, free = (
        tqdm.format_sizeof(count, "B") for count in (num_bytes, shutil.disk_usage(there).free)
    )
    print(
        f"{num_photos} photos of {short_side} px as raw pixels take {taken} in all if they are "
        f"4:3 and not smaller; {free} are free."
    )


def print_report(report: Report, folder: Path) -> None:
    """Say what was done, and list what was skipped."""
    print(
        f"{report.num_photos} photos in {folder}, {tqdm.format_sizeof(report.num_bytes, 'B')}: "
        f"{report.made} shards made, {report.kept} kept, {len(report.skipped)} files skipped."
    )
    for path, reason in report.skipped[:NUM_LISTED]:
        print(f"Skipped {path}: {reason}")
    if len(report.skipped) > NUM_LISTED:
        print(f"... and {len(report.skipped) - NUM_LISTED} more, see shards.json.")


if __name__ == "__main__":
    sys.exit(main())
