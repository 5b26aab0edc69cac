"""What infer.py does, and says."""

import re
import sys
from pathlib import Path
from typing import Any

from impasto.inference import Stylizer
from impasto.inference.video import Film, is_camera, paint_video
from impasto.jobs import Job, VideoJob, is_video, plan_folder, plan_picture, plan_video
from impasto.manifest import MANIFEST_NAME, fingerprint
from impasto.memory import keep_freed_memory
from impasto.options import USAGE, Options, parse_options
from impasto.painting import explain_failure, one_line, paint

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
    try:
        options = parse_options(argv)
        stylizer = Stylizer.load(options.ckpt, options.device, options.precision, options.tile)
        job = _plan(options, stylizer)
        recipe = _recipe(options)
    except (ValueError, OSError, ImportError) as error:  # ImportError: videos need PyAV
        return _complain(str(error), MISUSED)
    except KeyboardInterrupt:
        return _complain("Stopped before anything was painted.", INTERRUPTED)
    if isinstance(job, VideoJob):
        return _paint_video(job, stylizer, options)
    return _paint_pictures(job, stylizer, options, recipe)


def _plan(options: Options, stylizer: Stylizer) -> Job | VideoJob:
    styles = stylizer.header.styles
    style = styles[0] if len(styles) == 1 else Path(options.ckpt).stem
    style = re.sub(r"\W+", "_", style).strip("_") or "painted"  # a file name, from a file's header
    if is_video(options.input):
        return plan_video(options.input, options.output, style, options.codec)
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
        "tile": options.tile,
    }


def _paint_pictures(job: Job, stylizer: Stylizer, options: Options, recipe: dict[str, Any]) -> int:
    if job.videos:
        _say(
            f"Videos are painted one by one, so {len(job.videos)} in {job.folder} stay as they "
            f"are: input={job.videos[0]}"
        )
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
    sys.stdout.write(one_line(_summary(job, _machine(stylizer))) + "\n")
    if job.num_failed:
        return _complain(f"{job.num_failed} of {len(job.targets)} pictures failed.", FAILED)
    return DONE


def _paint_video(job: VideoJob, stylizer: Stylizer, options: Options) -> int:
    film = Film()
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


def _machine(stylizer: Stylizer) -> str:
    return f"{stylizer.device}, {str(stylizer.dtype).removeprefix('torch.')}"


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


def _say(message: str) -> None:
    sys.stderr.write(one_line(message) + "\n")


def _complain(message: str, exit_code: int) -> int:
    _say(message)
    return exit_code
