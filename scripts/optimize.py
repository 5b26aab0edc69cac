"""Paint one photo by optimisation: python scripts/optimize.py content=photo.jpg style=starry_night.

Slower than a trained network by a thousand times, for any painting, and nearer to it.
"""

import hashlib
import math
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from omegaconf import MISSING
from torch import Tensor
from torch.nn import functional as F

from easel import Interruption, Journal, Painting, preview_path, work
from impasto.arguments import parse_arguments
from impasto.download import is_url
from impasto.features import LOSS_NETWORKS, Features, find_features, mixed
from impasto.images import open_picture, split_alpha
from impasto.inference.devices import DEVICES, choose_device
from impasto.losses import PerceptualLoss, StyleTargets
from impasto.memory import keep_freed_memory
from impasto.optimization import MINIMIZERS, STARTS, Optimization
from impasto.painting import explain_failure, one_line
from impasto.pictures import SAVED_SUFFIXES
from impasto.precision import half_dtype
from impasto.styles import CARDS, find_style, known_styles

DONE, FAILED, MISUSED, INTERRUPTED = 0, 1, 2, 130  # exit codes, as of infer.py
PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16}
NOT_PIXELS = ("content", "style", "output", "weights", "device", "runs")  # what they hold counts
# The library knows train.py's names for these arguments.
RENAMED = {
    "style.image=PATH": "style=PATH",
    "style.size": "style_size",
    "loss_network.weights": "weights",
}
USAGE = f"""Paint one photo by optimisation: slow, but for any style, and nearer to it.

  python scripts/optimize.py content=photo.jpg style=starry_night output=painted.png
  python scripts/optimize.py content=photo.jpg style=my_painting.jpg size=1024
  python scripts/optimize.py content=photo.jpg style=starry_night:0.7,my_painting.jpg:0.3

  content         the photo (needed)
  style           a style card's name or path, a picture's path or URL, or several of these, each
                  with its weight (needed)
  output          where to paint to; default: beside the photo, named after it and the style
  size            the longer side of the painting, in pixels; 0 is the photo's own; default: 512
  style_size      the shorter side of the style's picture, in pixels: larger means larger strokes;
                  cards know 256, 384 and 512; default: 512
  loss_network    {", ".join(LOSS_NETWORKS)}; default: lite
  weights         of the loss network: a path, hub to download them, or package; default: package
                  for lite, hub for the others
  optimizer       {", ".join(MINIMIZERS)}; default: lbfgs
  init            what to start from: {", ".join(STARTS)}; default: photo
  steps           iterations at the coarsest size; half as many with every doubling; default: 400
  content_weight  against a weight of 1 of the style: less for more paint; default: 0.05
  tv_weight       of the differences of neighbouring pixels: more for smoother paint; default: 1
  seed            of the noise, a whole number; default: 0
  device          {DEVICES}; default: auto
  precision       of the features, auto, {", ".join(PRECISIONS)}; default: auto, which is bf16
                  where it is fast
  runs            folder for what TensorBoard shows, off for nothing; default: runs/optimize

Ctrl-C keeps what was done; the same command goes on.
"""


@dataclass
class Options:
    """The arguments; ``USAGE`` says what each is."""

    content: str = MISSING
    style: str = MISSING
    output: str | None = None
    size: int = 512
    style_size: int = 512
    loss_network: str = "lite"
    weights: str | None = None
    optimizer: str = "lbfgs"
    init: str = "photo"
    steps: int = 400
    content_weight: float = 0.05
    tv_weight: float = 1.0
    seed: int = 0
    device: str = "auto"
    precision: str = "auto"
    runs: str = "runs/optimize"


def parse_options(argv: list[str]) -> Options:
    """Read ``key=value`` arguments; values stay as they are typed, with no YAML in them.

    Raises:
        ValueError: If a key is unknown or missing, or a value is not allowed.
    """
    options = parse_arguments(Options, argv, "optimize.py")
    _check(options)
    return options


def _check(options: Options) -> None:
    for key, allowed in (
        ("loss_network", LOSS_NETWORKS),
        ("optimizer", MINIMIZERS),
        ("init", STARTS),
        ("precision", ("auto", *PRECISIONS)),
    ):
        if getattr(options, key) not in allowed:
            raise ValueError(
                f"{key} must be one of {', '.join(allowed)}, got {getattr(options, key)!r}."
            )
    for key, least in (("size", 0), ("style_size", 32), ("steps", 1), ("seed", 0)):
        if getattr(options, key) < least:
            raise ValueError(f"{key} must be at least {least}, got {getattr(options, key)}.")
    for key in ("content_weight", "tv_weight"):
        if not 0 <= getattr(options, key) < math.inf:
            raise ValueError(f"{key} must be at least 0, got {getattr(options, key)}.")
    suffix = Path(options.output).suffix.lower() if options.output else ".png"
    if suffix not in SAVED_SUFFIXES:
        raise ValueError(
            f"output must end in one of {', '.join(sorted(SAVED_SUFFIXES))}, got {options.output}."
        )


def parse_styles(text: str) -> list[tuple[str, float]]:
    """Read ``starry_night:0.7,my.jpg:0.3``: names or paths, and their shares, which sum to 1.

    Raises:
        ValueError: If some weights are missing, negative, or all 0.
    """
    parts = []
    for part in text.split(",") if not Path(text).exists() else [text]:
        name, _, weight = part.rpartition(":")
        try:
            parts.append((name or part, float(weight) if name else math.nan))
        except ValueError:  # the colon of a URL or of a drive
            parts.append((part, math.nan))
    if len(parts) == 1 and math.isnan(parts[0][1]):
        return [(parts[0][0], 1.0)]
    total = sum(weight for _, weight in parts)
    if not 0 < total < math.inf or any(weight < 0 for _, weight in parts):
        raise ValueError(
            f"style={text} needs a weight of at least 0 for each of several styles, as in "
            f"style=starry_night:0.7,my_painting.jpg:0.3."
        )
    return [(name, weight / total) for name, weight in parts]


def find_targets(features: Features, text: str, size: int) -> StyleTargets:
    """Take the statistics of all styles that were asked for, and mix them."""
    parts = []
    for name, weight in parse_styles(text):
        picture, card = _locate(name)
        style = find_style(
            features.network,
            features.style_layers,
            features.num_levels,
            Path(name).stem,
            picture,
            card,
            size,
        )
        parts.append((style.targets, weight))
    return mixed(parts)


def _locate(name: str) -> tuple[str | None, Path | None]:
    """Where a style is: a picture, or a card."""
    if (CARDS / f"{name}.safetensors").is_file():
        return None, CARDS / f"{name}.safetensors"
    if is_url(name):
        return name, None
    path = Path(name).expanduser()
    if not path.is_file():
        raise FileNotFoundError(
            f"No style {name}: give the path or URL of a picture, the path of a style card, or one "
            f"of {', '.join(known_styles())}."
        )
    return (None, path) if path.suffix == ".safetensors" else (str(path), None)


def resize(image: Tensor, size: int) -> Tensor:
    """Bring an image of shape ``(1, C, H, W)`` to a longer side of ``size`` pixels; 0 leaves it."""
    height, width = image.shape[-2:]
    scale = size / max(height, width)
    target = [max(1, round(side * scale)) for side in (height, width)]
    if size == 0 or target == [height, width]:
        return image
    resized = F.interpolate(image, target, mode="bicubic", antialias=True)
    return resized.clamp(0, 1)


def prepare(options: Options) -> Painting:
    """Load all that was asked for.

    Raises:
        FileNotFoundError: If a path leads nowhere.
        ValueError: If a file or a value is wrong.
    """
    output, device = place(options), choose_device(options.device)
    photo, alpha = (
        None if plane is None else resize(plane, options.size)
        for plane in split_alpha(open_picture(Path(options.content).expanduser()))
    )
    assert photo is not None
    features = find_features(options.loss_network, options.weights)
    targets = find_targets(features, options.style, options.style_size)
    dtype = PRECISIONS.get(options.precision) or half_dtype(device.type) or torch.float32
    loss = PerceptualLoss(
        features.network.compute_in(dtype),
        targets,
        features.content_layers,
        features.style_layers,
        content_weight=options.content_weight,
        tv_weight=options.tv_weight,
    ).to(device)
    recipe = {key: value for key, value in asdict(options).items() if key not in NOT_PIXELS}
    recipe["precision"] = str(dtype).removeprefix("torch.")
    recipe["content"] = digest(photo)
    recipe["style"] = digest(*(gram for grams in targets for gram in grams.values()))
    optimization = Optimization(
        loss, photo.to(device), options.steps, options.init, options.optimizer, options.seed
    )
    return Painting(optimization, alpha, output, recipe)


def place(options: Options) -> Path:
    """Where the painting goes.

    Raises:
        ValueError: If that, or its preview, is the photo itself or a picture of the style.
    """
    if options.output:
        output = Path(options.output).expanduser()
        given = [options.content, *(name for name, _ in parse_styles(options.style))]
        inputs = [Path(name).expanduser().resolve() for name in given]
        for written in (output, preview_path(output)):
            if written.resolve() in inputs:
                raise ValueError(
                    f"output={output} would write over {written}, which is an input itself: give "
                    f"the painting another name."
                )
        return output
    content = Path(options.content).expanduser()
    names = "_".join(Path(name).stem for name, _ in parse_styles(options.style))
    return content.with_name(f"{content.stem}_{names}_optimized.png")


def digest(*tensors: Tensor) -> str:
    """Tell these tensors from all others, in 16 hexadecimal digits."""
    found = hashlib.sha256()
    for tensor in tensors:
        found.update(tensor.contiguous().numpy().tobytes())
    return found.hexdigest()[:16]


def main(argv: list[str]) -> int:
    """Paint what the arguments ask for.

    Returns:
        The exit code: 0 painted, 1 failed, 2 wrong arguments, 130 stopped by Ctrl-C.
    """
    if not argv or {"-h", "--help"} & set(argv):
        (sys.stdout if argv else sys.stderr).write(USAGE)
        return DONE if argv else MISUSED
    keep_freed_memory()
    torch.backends.cudnn.deterministic = True
    try:
        options = parse_options(argv)
        painting = prepare(options)
        if painting.restore():
            say(f"Going on with {painting.state}.")
    except (ValueError, OSError) as error:
        return complain(str(error), MISUSED)
    except KeyboardInterrupt:
        return complain("Stopped before anything was painted.", INTERRUPTED)
    try:
        return paint(options, painting)
    except OSError as error:
        return complain(f"Cannot write {painting.output}: {error.strerror or error}.", FAILED)
    except (RuntimeError, MemoryError) as error:
        return complain(explain_failure(options.content, error), FAILED)
    except KeyboardInterrupt:
        return complain("Stopped at once; what was saved before is kept.", INTERRUPTED)


def paint(options: Options, painting: Painting) -> int:
    """Paint until it is done or interrupted, and say how it went."""
    folder = None if options.runs == "off" else Path(options.runs, painting.output.stem)
    try:
        journal = Journal(folder, painting.optimization.num_iterations)
    except OSError as error:
        return complain(
            f"Cannot write runs={options.runs}: {error.strerror or error}. Give another folder, or "
            f"runs=off.",
            FAILED,
        )
    interruption = Interruption()
    started = time.monotonic()
    try:
        done = work(painting, journal, interruption)
    finally:
        interruption.restore()
        journal.close()
    if not done:
        return complain(
            f"Stopped. {painting.preview} shows what was painted; the same command continues.",
            INTERRUPTED,
        )
    painting.finish()
    losses = painting.optimization.losses
    parts = ", ".join(f"{name} {losses[name]:.4f}" for name in ("content", "style", "total"))
    seconds = time.monotonic() - started
    sys.stdout.write(one_line(f"{painting.output}: {parts}; {seconds:.0f} s") + "\n")
    return DONE


def say(message: str) -> None:
    """Tell on one line, by the names of the arguments."""
    for theirs, ours in RENAMED.items():
        message = message.replace(theirs, ours)
    sys.stderr.write(one_line(message) + "\n")


def complain(message: str, exit_code: int) -> int:
    """Tell what went wrong; the exit code as it came."""
    say(message)
    return exit_code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
