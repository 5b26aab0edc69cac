"""Train the networks of ``checkpoints/`` again, one after the other, from a folder of photos.

    python scripts/release.py photos/ released/
    python scripts/release.py photos/ released/ --only starry_night,starry_night_steady
    python scripts/release.py photos/ released/ --full data.num_workers=16

What is trained already is left, what was stopped goes on. ``--full`` is for a GPU: full width,
whole photos, more steps. Further ``key=value`` go to every training.
"""

import argparse
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from impasto.files import write_atomically
from impasto.styles import known_styles

TRAIN = Path(__file__).parents[1] / "train.py"


@dataclass(frozen=True)
class Training:
    """One call of ``train.py``.

    Args:
        name: Of what it makes.
        overrides: Of the default config.
        start: Name of the training whose network it begins with.
    """

    name: str
    overrides: list[str]
    start: str | None = None


def trainings(full: bool) -> list[Training]:
    """All of them, each behind the one it starts from."""
    styles = [
        Training(style, [f"style={style}", *(["experiment=full"] if full else [])])
        for style in known_styles()
    ]
    return [*styles, _steady(full), *_many(full), *_holes(full)]


def _steady(full: bool) -> Training:
    width = ["model=johnson"] if full else []
    overrides = ["experiment=video", "style=starry_night", "task.temporal.weight=1.1", *width]
    overrides += ["task.learning_rate=1e-3", "task.warmup_steps=20", "trainer.max_steps=1600"]
    return Training("starry_night_steady", overrides, "starry_night")


def _many(full: bool) -> list[Training]:
    width = ["model.width=32"] if full else []
    whole = ["model=johnson_multi", *width]
    last = ["style.strength=1.4", "task.learning_rate=1e-3", "trainer.max_steps=7000"]
    return [
        Training("paintings_base", whole),
        Training("paintings", [*whole, *last], "paintings_base"),
    ]


def _holes(full: bool) -> list[Training]:
    """Small photos first, then larger ones."""
    if full:
        common = ["experiment=inpainting_full"]
        stages = {"inpainting_128": [], "inpainting": _larger(256, 24, 2e-4, 6000)}
    else:
        common = ["task=inpainting"]
        stages = {
            "inpainting_128": ["trainer.max_steps=11500"],
            "inpainting_192": _larger(192, 4, 6e-4, 6500),
            "inpainting": _larger(256, 3, 5e-4, 5500),
        }
    common.append("data.min_scale=0.5")
    starts = [None, *stages]
    return [
        Training(name, [*common, *overrides], start)
        for (name, overrides), start in zip(stages.items(), starts, strict=False)
    ]


def _larger(image_size: int, batch_size: int, learning_rate: float, steps: int) -> list[str]:
    sizes = [f"data.image_size={image_size}", f"data.batch_size={batch_size}"]
    return [*sizes, f"task.learning_rate={learning_rate}", f"trainer.max_steps={steps}"]


def run(training: Training, photos: Path, folder: Path, overrides: list[str]) -> int:
    """Train, or go on; returns the exit code of ``train.py``."""
    runs = folder / "runs" / training.name
    begun = sorted(runs.glob("*/config.yaml"))
    if begun:
        # The overrides of a run that goes on are those it was begun with.
        arguments = [f"resume={begun[-1].parent}"]
    else:
        arguments = [*training.overrides, "data=folder", f"data.path={photos}"]
        arguments += [f"run_folder={folder / 'runs'}", f"name={training.name}", *overrides]
        if training.start:
            arguments.append(f"init={folder / training.start}.safetensors")
    code = subprocess.run([sys.executable, str(TRAIN), *arguments], check=False).returncode
    if code == 0:
        network = max(runs.glob("*/network.safetensors"))  # of the last run: they are named by time
        write_atomically(folder / f"{training.name}.safetensors", network.read_bytes())
    return code


def main() -> int:
    """Train what is missing; the exit code is that of the first training that fails."""
    options = parse()
    everything = trainings(options.full)
    names = [training.name for training in everything]
    wanted = options.only.split(",") if options.only else names
    if unknown := sorted(set(wanted) - set(names)):
        print(f"release.py: no {', '.join(unknown)}; there are {', '.join(names)}", file=sys.stderr)
        return 2
    folder, photos = options.folder.resolve(), options.photos.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    for training in everything:
        if training.name in wanted and not (folder / f"{training.name}.safetensors").exists():
            code = run(training, photos, folder, options.overrides)
            if code:
                return code
    return 0


def parse() -> argparse.Namespace:
    """What was asked for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("photos", type=Path, help="folder")
    parser.add_argument("folder", type=Path, help="for networks and runs")
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="for every training")
    parser.add_argument("--only", metavar="NAME,NAME", help="leave all others")
    parser.add_argument("--full", action="store_true", help="for a GPU")
    return parser.parse_intermixed_args()


if __name__ == "__main__":
    sys.exit(main())
