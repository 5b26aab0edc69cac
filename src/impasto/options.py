"""The arguments of infer.py."""

import os
from dataclasses import dataclass
from pathlib import Path

from omegaconf import MISSING

from impasto.arguments import parse_arguments
from impasto.images import DEFAULT_MAX_PIXELS, DEFAULT_QUALITY
from impasto.inference.devices import DEVICES, PRECISIONS
from impasto.inference.palette import COLORS
from impasto.inference.stylizer import MAX_UNTILED_PIXELS
from impasto.inference.video import CODECS, SAVED_VIDEO_SUFFIXES, is_camera
from impasto.jobs import FORMATS

DEFAULT_WORKERS = min(4, os.cpu_count() or 1)  # more read faster than most devices paint
USAGE = f"""Paint a photo, a video or a folder of photos with a trained network, or fill holes.

  python infer.py ckpt=checkpoints/starry_night.safetensors input=photo.jpg output=painted.png
  python infer.py ckpt=checkpoints/starry_night.safetensors input=photos/ output=painted/
  python infer.py ckpt=checkpoints/starry_night.safetensors input=film.mp4 output=painted.mp4
  python infer.py ckpt=checkpoints/starry_night.safetensors input=camera:0 smooth=0.8
  python infer.py ckpt=paintings.safetensors input=photo.jpg style=udnie:2,the_scream strength=0.6
  python infer.py ckpt=checkpoints/inpainting.safetensors input=photo.jpg mask=mask.png

  ckpt        a .safetensors file that train.py wrote (needed)
  input       a picture, a video, a folder with all folders in it, or camera:0, camera:1, ... until
              Ctrl-C (needed); animated GIF, WebP, PNG and AVIF files are painted frame by frame,
              videos with their times and sound; a folder's videos are passed over
  output      where to paint to; default: beside the input, named after it and the style, and from
              a camera here, named after the style
  format      of the pictures in a folder: {", ".join(FORMATS)}; default: keep, or png where it
              must; png with mask=, since JPEG would change what stays as well
  overwrite   true or false: paint again what the output folder already holds, whoever painted it;
              default: false, which paints only what is missing, and again what was painted from
              another version of a photo or its mask, with another ckpt, quality, precision, tile,
              or with other knobs or options of masks
  style       of a network of many: one, or a mix such as starry_night:0.7,the_scream:0.3; with
              regions=, one of these for each, with slashes between, and photo for what stays as it
              is: udnie/the_scream:2,starry_night/photo; default: the network's first
  strength    how much is painted, from 0, the photo, to 1, the painting; default: 1
  stroke      size of the strokes of networks of many styles, in pixels of the painting's shorter
              side; default: 0, the smallest that the network has
  regions     a picture whose grey levels, from dark to light, are the regions of style=; or a
              folder of them, as with mask=
  protect     a picture that is white where less is to be painted, as on faces; or a folder of them
  colors      whose colours a painting gets: {", ".join(COLORS)}; photo keeps the
              photo's and paints its luminance only, matched moves the painting's to the photo's in
              mean and spread; default: painting
  mask        a picture that is white where photos are to be painted and black where they stay as
              they are, grey in between, or where they are to be filled (needed there, but for
              photos that are transparent in the hole); or a folder of them with a mask of the same
              name for every photo; it is resized to the photo, and a video has one for all frames
  invert_mask true or false: the mask is white where the photo stays; default: false
  dilate      pixels by which what is white in masks grows, as for shadows of what is to be filled;
              default: 0
  quality     of JPEG, WebP and videos, 1 to 100; default: {DEFAULT_QUALITY}
  codec       of videos ({", ".join(sorted(SAVED_VIDEO_SUFFIXES))}): {", ".join(CODECS)};
              default: auto, which is vp9 in .webm and h264 elsewhere
  smooth      from 0 to below 1: hold a video's painting still where nothing moves, against flicker;
              default: 0, which does not
  tile        how to paint more than {MAX_UNTILED_PIXELS} pixels: auto, in tiles that take little
              memory; exact, the same still closer to off, in eight times the time; off, all at
              once; default: auto
  device      {DEVICES}; default: auto
  precision   auto, {", ".join(PRECISIONS)}; default: auto
  max_pixels  largest width times height opened, of animations of all frames together;
              default: {DEFAULT_MAX_PIXELS}
  workers     threads that read and save pictures while one paints; default: {DEFAULT_WORKERS}
              (as many as there are cores, up to 4)
"""


@dataclass
class Options:
    """The arguments of infer.py; ``USAGE`` says what each is."""

    ckpt: str = MISSING
    input: str = MISSING
    output: str | None = None
    format: str | None = None
    overwrite: bool = False
    mask: str | None = None
    invert_mask: bool = False
    dilate: int = 0
    quality: int = DEFAULT_QUALITY
    codec: str = "auto"
    smooth: float = 0.0
    tile: str = "auto"
    style: str | None = None
    strength: float = 1.0
    stroke: float = 0.0
    regions: str | None = None
    protect: str | None = None
    colors: str = "painting"
    device: str = "auto"
    precision: str = "auto"
    max_pixels: int = DEFAULT_MAX_PIXELS
    workers: int = DEFAULT_WORKERS


def parse_options(argv: list[str]) -> Options:
    """Read ``key=value`` arguments; values stay as they are typed, with no YAML in them.

    What the network and the device allow, the stylizer checks: ``device``, ``precision``, ``tile``,
    ``colors``, ``style``, ``strength`` and ``stroke``.

    Args:
        argv: Arguments such as ``input=photo.jpg``; of a key given twice, the last counts.

    Raises:
        FileNotFoundError: If there is no such input.
        ValueError: If a key is unknown or missing, or a value is not allowed.
    """
    options = parse_arguments(Options, argv, "infer.py")
    for key in ("ckpt", "input", "output", "mask", "regions", "protect"):
        if path := getattr(options, key):  # os.path keeps a slash at its end, and "~photo.jpg"
            setattr(options, key, os.path.expanduser(path))  # noqa: PTH111
    _check(options)
    return options


def _check(options: Options) -> None:
    for key, allowed in (("format", FORMATS), ("codec", CODECS)):
        value = getattr(options, key)
        if value is not None and value not in allowed:
            raise ValueError(f"{key} must be one of {', '.join(allowed)}, got {value!r}.")
    if not 1 <= options.quality <= 100:
        raise ValueError(f"quality must be from 1 to 100, got {options.quality}.")
    if not 0 <= options.smooth < 1:
        raise ValueError(f"smooth must be from 0 to below 1, got {options.smooth:g}.")
    for key in ("max_pixels", "workers"):
        if getattr(options, key) < 1:
            raise ValueError(f"{key} must be at least 1, got {getattr(options, key)}.")
    _check_masks(options)
    if not is_camera(options.input) and not Path(options.input).exists():
        raise FileNotFoundError(
            f"Nothing at input={options.input}: give a picture, a video, a folder or camera:0."
        )


def _check_masks(options: Options) -> None:
    if options.dilate < 0:
        raise ValueError(f"dilate must be at least 0, got {options.dilate}.")
    if options.invert_mask and not options.mask:
        raise ValueError("invert_mask= goes with mask=, which is missing.")
    for key in ("mask", "regions", "protect"):
        path = getattr(options, key)
        if path and not Path(path).exists():
            raise FileNotFoundError(f"Nothing at {key}={path}: give a picture or a folder.")
