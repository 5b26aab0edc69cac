"""What infer.py does, and says."""

import re
import sys
from functools import partial
from pathlib import Path
from typing import Any

from impasto.filling import Companions, Layers, Masks
from impasto.inference import Inpainter, Stylizer
from impasto.inference.video import Film, is_camera, paint_video
from impasto.jobs import Job, VideoJob, is_video, plan_folder, plan_picture, plan_video
from impasto.manifest import MANIFEST_NAME, fingerprint
from impasto.memory import keep_freed_memory
from impasto.options import USAGE, Options, parse_options
from impasto.painting import explain_failure, one_line, paint, sweep
from impasto.precision import keep_float32

FILLED = "filled"  # completes names where none is given
LONGEST_NAME = 60  # characters of what completes them: file names end at 255 bytes
KNOBS = ("colors", "style", "strength", "stroke")  # of style networks
OTHERS = ("regions", "protect")  # files that tell where to paint what, besides mask=
DONE, FAILED, MISUSED, INTERRUPTED = 0, 1, 2, 130  # exit codes; 130 is a shell's for Ctrl-C


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
    keep_freed_memory()
    keep_float32()
    try:
        options = parse_options(argv)
        painter = _load(options)
        job = _plan(options, painter)
        layers = _layers(options, job, painter)
        recipe = _recipe(options, painter)
    except (ValueError, OSError, ImportError) as error:  # ImportError: videos need PyAV
        return _complain(str(error), MISUSED)
    except KeyboardInterrupt:
        return _complain("Stopped before anything was painted.", INTERRUPTED)
    if isinstance(job, VideoJob):
        assert not isinstance(painter, Inpainter)
        assert not isinstance(layers, Masks)
        return _paint_video(job, painter, options, layers)
    return _paint_pictures(job, painter, options, recipe, layers)


def _load(options: Options) -> Stylizer | Inpainter:
    """What the checkpoint is for; arguments that are for the other one are refused."""
    if Inpainter.takes(options.ckpt):
        for key in ("tile", "codec", "smooth", *KNOBS, *OTHERS):
            if getattr(options, key) != getattr(Options, key):
                raise ValueError(
                    f"{key}= is for style networks, and ckpt={options.ckpt} fills holes."
                )
        return Inpainter.load(options.ckpt, options.device, options.precision)
    if options.dilate and not options.mask:
        raise ValueError("dilate= goes with mask=, which is missing.")
    knobs = (options.colors, options.style, options.strength, options.stroke or None)
    return Stylizer.load(options.ckpt, options.device, options.precision, options.tile, *knobs)


def _plan(options: Options, painter: Stylizer | Inpainter) -> Job | VideoJob:
    if isinstance(painter, Inpainter):
        return _plan_filling(options)
    style = options.style or next(iter(painter.header.styles), Path(options.ckpt).stem)
    # A part of a file's name, and perhaps from anyone's header.
    style = re.sub(r"\W+", "_", style)[:LONGEST_NAME].strip("_") or "painted"
    if is_video(options.input, options.output):
        return plan_video(options.input, options.output, style, options.codec)
    source = Path(options.input)
    if source.is_dir():
        # PNG keeps what is not painted.
        suffix = options.format or ("png" if options.mask else "keep")
        return plan_folder(source, options.output, style, suffix, _companions(options))
    return plan_picture(source, options.output, style, _companions(options))


def _plan_filling(options: Options) -> Job:
    if is_video(options.input, options.output):
        raise ValueError(f"input={options.input} is a video, and only pictures are filled.")
    source = Path(options.input)
    if source.is_dir():  # PNG keeps what is known as it is
        suffix = options.format or "png"
        return plan_folder(source, options.output, FILLED, suffix, _companions(options))
    return plan_picture(source, options.output, FILLED, _companions(options))


def _companions(options: Options) -> list[Path]:
    return [Path(path) for key in ("mask", *OTHERS) if (path := getattr(options, key))]


def _layers(
    options: Options, job: Job | VideoJob, painter: Stylizer | Inpainter
) -> Masks | Layers | None:
    """What goes with the photos, if anything does."""
    folder = job.folder if isinstance(job, Job) else None

    def files(key: str) -> Companions:
        path = getattr(options, key)
        return Companions(key, Path(path) if path else None, folder)

    masks = Masks(files("mask"), options.invert_mask, options.dilate, options.max_pixels)
    if isinstance(painter, Inpainter):
        return masks
    others = {key: files(key) for key in OTHERS if getattr(options, key)}
    layers = Layers(masks if options.mask else None, others, options.max_pixels)
    if options.regions or "/" in (options.style or ""):
        layers.check(painter)
    return layers if options.mask or others else None


def _recipe(options: Options, painter: Stylizer | Inpainter) -> dict[str, Any]:
    """What decides the pixels, as it was asked for: on another machine, auto is still auto."""
    recipe = {
        "ckpt": fingerprint(Path(options.ckpt)),
        "precision": options.precision,
        "quality": options.quality,
    }
    if options.mask or isinstance(painter, Inpainter):  # the file is in the photo's stamp
        recipe |= {"invert_mask": options.invert_mask, "dilate": options.dilate}
    if isinstance(painter, Inpainter):
        return recipe
    # What is as it is by default is left out, or older records would count for nothing.
    turned = {key: getattr(options, key) for key in KNOBS}
    recipe |= {key: knob for key, knob in turned.items() if knob != getattr(Options, key)}
    if options.protect:
        recipe["protect"] = True
    return recipe | {"tile": options.tile}


def _paint_pictures(
    job: Job,
    painter: Stylizer | Inpainter,
    options: Options,
    recipe: dict[str, Any],
    layers: Masks | Layers | None,
) -> int:
    verb = "filled" if isinstance(painter, Inpainter) else "painted"
    if job.videos and isinstance(painter, Inpainter):
        _say(f"Only pictures are filled: the videos in {job.folder} stay as they are.")
    elif job.videos:
        _say(
            f"Videos are painted one by one, so {len(job.videos)} in {job.folder} stay as they "
            f"are: input={job.videos[0]}"
        )
    try:
        paint(
            job,
            painter,
            recipe=recipe,
            overwrite=options.overwrite,
            quality=options.quality,
            max_pixels=options.max_pixels,
            workers=options.workers,
            layers=layers,
        )
    except KeyboardInterrupt:
        return _complain(f"Stopped. {_progress(job, options)}", INTERRUPTED)
    except OSError as error:
        reason = error.strerror or str(error)
        return _complain(
            f"Cannot write to {job.place}: {reason}. {_progress(job, options)}", FAILED
        )
    sys.stdout.write(one_line(_summary(job, _machine(painter), verb)) + "\n")
    if job.num_failed:
        return _complain(f"{job.num_failed} of {len(job.targets)} pictures failed.", FAILED)
    return DONE


def _paint_video(job: VideoJob, stylizer: Stylizer, options: Options, layers: Layers | None) -> int:
    film = Film()
    source = Path(job.source)
    sweep([job.target])
    cover = partial(layers.masks.coverage, source) if layers and layers.masks else None
    arrange = partial(layers.layout, stylizer, source) if layers and layers.others else None
    if is_camera(job.source):
        _say(f"Painting what {job.source} sees, until Ctrl-C.")
    try:
        paint_video(
            job.source,
            job.target,
            stylizer,
            film,
            codec=options.codec,
            quality=options.quality,
            smooth=options.smooth,
            max_pixels=options.max_pixels,
            cover=cover,
            arrange=arrange,
        )
    except KeyboardInterrupt:
        return _complain(_what_is_kept(film), INTERRUPTED)
    except OSError as error:
        return _complain(f"Cannot write {job.target}: {error.strerror or error}.", FAILED)
    except (ValueError, RuntimeError, MemoryError) as error:
        return _complain(explain_failure(job.source, error), FAILED)
    for note in film.notes:
        _say(note)
    if film.num_damaged:
        _say(f"{job.source} is damaged: what could not be read is left out.")
    milliseconds = 1000 * film.seconds / film.num_frames
    summary = f"{_num_frames(film)} painted, {milliseconds:.0f} ms per frame"
    sys.stdout.write(one_line(f"{film.saved}: {summary} ({_machine(stylizer)})") + "\n")
    return DONE


def _what_is_kept(film: Film) -> str:
    if film.saved is None:
        return "Stopped before anything was painted."
    return f"Stopped. {film.saved} holds {_num_frames(film)}, painted until then."


def _num_frames(film: Film) -> str:
    return "1 frame" if film.num_frames == 1 else f"{film.num_frames} frames"


def _machine(painter: Stylizer | Inpainter) -> str:
    return f"{painter.device}, {str(painter.dtype).removeprefix('torch.')}"


def _progress(job: Job, options: Options) -> str:
    num_done = job.num_painted + job.num_kept
    command = "the same command" + (" without overwrite=true" if options.overwrite else "")
    return f"{num_done} of {len(job.targets)} pictures are done; {command} continues."


def _summary(job: Job, machine: str, verb: str) -> str:
    parts = []
    if job.num_painted:
        milliseconds = 1000 * job.seconds / job.num_painted
        parts.append(f"{job.num_painted} {verb}, {milliseconds:.0f} ms per picture ({machine})")
    if job.num_painted and job.folder:
        rate = job.num_painted / job.wall_seconds
        parts[0] += f", {rate:.1f} pictures per second with reading and saving"
    if job.num_kept:
        parts.append(f"{job.num_kept} were there already (overwrite=true paints them again)")
    if job.num_foreign:
        parts.append(f"{job.num_foreign} of these are not as {MANIFEST_NAME} knows them, and stay")
    return f"{job.place}: {'; '.join(parts) or f'nothing {verb}'}"


def _say(message: str) -> None:
    sys.stderr.write(one_line(message) + "\n")


def _complain(message: str, exit_code: int) -> int:
    _say(message)
    return exit_code
