"""The arguments of infer.py, and what it says."""

import os
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import MISSING, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from impasto.images import DEFAULT_MAX_PIXELS, DEFAULT_QUALITY
from impasto.inference import Stylizer
from impasto.inference.devices import DEVICES, PRECISIONS
from impasto.jobs import FORMATS, Job, plan_folder, plan_picture
from impasto.manifest import MANIFEST_NAME, fingerprint
from impasto.painting import one_line, paint

DEFAULT_WORKERS = min(4, os.cpu_count() or 1)  # more read faster than most devices paint
USAGE = f"""Paint a photo, or a folder of photos, with a trained network.

  python infer.py ckpt=checkpoints/starry_night.safetensors input=photo.jpg output=painted.png
  python infer.py ckpt=checkpoints/starry_night.safetensors input=photos/ output=painted/

  ckpt        a .safetensors file that train.py wrote (needed)
  input       a picture, or a folder, with all folders in it (needed); animated GIF, WebP, PNG and
              AVIF files are painted frame by frame
  output      where to paint to; default: beside the input, named after it and the style
  format      of the pictures in a folder: {", ".join(FORMATS)}; default: keep, or png where it must
  overwrite   true or false: paint again what the output folder already holds, whoever painted it;
              default: false, which paints only what is missing, and again what was painted from
              another version of a photo, with another ckpt, quality or precision
  quality     of JPEG and WebP, 1 to 100; default: {DEFAULT_QUALITY}
  device      {DEVICES}; default: auto
  precision   auto, {", ".join(PRECISIONS)}; default: auto
  max_pixels  largest width times height opened, of animations of all frames together;
              default: {DEFAULT_MAX_PIXELS}
  workers     threads that read and save pictures while one paints; default: {DEFAULT_WORKERS}
              (as many as there are cores, up to 4)
"""
DONE, FAILED, MISUSED, INTERRUPTED = 0, 1, 2, 130  # exit codes; 130 is a shell's for Ctrl-C


@dataclass
class Options:
    """The arguments of infer.py; ``USAGE`` says what each is."""

    ckpt: str = MISSING
    input: str = MISSING
    output: str | None = None
    format: str = "keep"
    overwrite: bool = False
    quality: int = DEFAULT_QUALITY
    device: str = "auto"
    precision: str = "auto"
    max_pixels: int = DEFAULT_MAX_PIXELS
    workers: int = DEFAULT_WORKERS


def main(argv: list[str]) -> int:
    """Run infer.py.

    Args:
        argv: Arguments such as ``input=photo.jpg``, without the program's name.

    Returns:
        The exit code: 0 all painted, 1 some failed, 2 wrong arguments, 130 stopped by Ctrl-C.
    """
    if not argv:
        sys.stderr.write(USAGE)
        return MISUSED
    if {"-h", "--help"} & set(argv):
        sys.stdout.write(USAGE)
        return DONE
    try:
        options = parse_options(argv)
        stylizer = Stylizer.load(options.ckpt, options.device, options.precision)
        job = _plan(options, stylizer)
        recipe = _recipe(options)
    except (ValueError, OSError) as error:
        return _complain(str(error), MISUSED)
    except KeyboardInterrupt:
        return _complain("Stopped before anything was painted.", INTERRUPTED)
    return _paint(job, stylizer, options, recipe)


def parse_options(argv: list[str]) -> Options:
    """Read ``key=value`` arguments; values stay as they are typed, with no YAML in them.

    Args:
        argv: Arguments such as ``input=photo.jpg``; of a key given twice, the last counts.

    Raises:
        ValueError: If a key is unknown or missing, or a value is not allowed.
    """
    schema = OmegaConf.structured(Options)
    for argument in argv:
        key, equals, value = argument.partition("=")
        if not equals:
            raise ValueError(
                f"Arguments look like key=value, such as input=a.jpg: got {argument!r}."
            )
        if key not in schema.keys():  # noqa: SIM118 - `in schema` is false for what is missing
            raise ValueError(f"Unknown key {key!r}: known are {', '.join(schema)}.")
        if not value:
            raise ValueError(f"Nothing follows {key}=: give a value, or leave it out.")
        try:
            schema[key] = value.replace("${", r"\${")  # a file name, no interpolation
        except OmegaConfBaseException:
            allowed = "true or false" if key == "overwrite" else "a whole number"
            raise ValueError(f"{key} must be {allowed}, got {value!r}.") from None
    for key in ("ckpt", "input"):
        if OmegaConf.is_missing(schema, key):
            raise ValueError(f"{key}= is missing; infer.py needs ckpt=... and input=...")
    options = Options(**{str(key): schema[key] for key in schema})
    options.ckpt, options.input = (str(Path(p).expanduser()) for p in (options.ckpt, options.input))
    if options.output and options.output.startswith("~"):  # else as given: a slash at its end tells
        options.output = os.path.expanduser(options.output)  # noqa: PTH111 - keeps that slash
    _check(options)
    return options


def _check(options: Options) -> None:
    if options.format not in FORMATS:
        raise ValueError(f"format must be one of {', '.join(FORMATS)}, got {options.format!r}.")
    if not 1 <= options.quality <= 100:
        raise ValueError(f"quality must be from 1 to 100, got {options.quality}.")
    for key in ("max_pixels", "workers"):
        if getattr(options, key) < 1:
            raise ValueError(f"{key} must be at least 1, got {getattr(options, key)}.")
    if not Path(options.input).exists():
        raise FileNotFoundError(f"Nothing at input={options.input}: give a picture or a folder.")


def _plan(options: Options, stylizer: Stylizer) -> Job:
    styles = stylizer.header.styles
    style = styles[0] if len(styles) == 1 else Path(options.ckpt).stem
    style = re.sub(r"\W+", "_", style).strip("_") or "painted"  # a file name, from a file's header
    source = Path(options.input)
    if source.is_dir():
        return plan_folder(source, options.output, style, options.format)
    return plan_picture(source, options.output, style)


def _recipe(options: Options) -> dict[str, Any]:
    """What decides the pixels, as it was asked for: on another machine, auto is still auto."""
    return {
        "ckpt": fingerprint(Path(options.ckpt)),
        "precision": options.precision,
        "quality": options.quality,
    }


def _paint(job: Job, stylizer: Stylizer, options: Options, recipe: dict[str, Any]) -> int:
    try:
        paint(
            job,
            stylizer,
            recipe=recipe,
            overwrite=options.overwrite,
            quality=options.quality,
            max_pixels=options.max_pixels,
            workers=options.workers,
        )
    except KeyboardInterrupt:
        return _complain(f"Stopped. {_progress(job, options)}", INTERRUPTED)
    except OSError as error:
        reason = error.strerror or str(error)
        return _complain(
            f"Cannot write to {job.place}: {reason}. {_progress(job, options)}", FAILED
        )
    number_format = str(stylizer.dtype).removeprefix("torch.")
    sys.stdout.write(one_line(_summary(job, f"{stylizer.device}, {number_format}")) + "\n")
    if job.num_failed:
        return _complain(f"{job.num_failed} of {len(job.targets)} pictures failed.", FAILED)
    return DONE


def _progress(job: Job, options: Options) -> str:
    num_done = job.num_painted + job.num_kept
    command = "the same command" + (" without overwrite=true" if options.overwrite else "")
    return f"{num_done} of {len(job.targets)} pictures are done; {command} continues."


def _summary(job: Job, machine: str) -> str:
    parts = []
    if job.num_painted:
        milliseconds = 1000 * job.seconds / job.num_painted
        parts.append(f"{job.num_painted} painted, {milliseconds:.0f} ms per picture ({machine})")
    if job.num_painted and job.folder:
        rate = job.num_painted / job.wall_seconds
        parts[0] += f", {rate:.1f} pictures per second with reading and saving"
    if job.num_kept:
        parts.append(f"{job.num_kept} were there already (overwrite=true paints them again)")
    if job.num_foreign:
        parts.append(f"{job.num_foreign} of these are not as {MANIFEST_NAME} knows them, and stay")
    return f"{job.place}: {'; '.join(parts) or 'nothing painted'}"


def _complain(message: str, exit_code: int) -> int:
    sys.stderr.write(one_line(message) + "\n")
    return exit_code
