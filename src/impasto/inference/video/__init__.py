"""Paint videos frame by frame, in constant memory, with their own times and sound."""

from impasto.inference.video.camera import is_camera
from impasto.inference.video.codecs import (
    CODECS,
    SAVED_VIDEO_SUFFIXES,
    VIDEO_SUFFIXES,
    choose_suffix,
)
from impasto.inference.video.film import Film
from impasto.inference.video.painting import check_video, paint_video
from impasto.inference.video.smoother import Smoother

__all__ = [
    "CODECS",
    "SAVED_VIDEO_SUFFIXES",
    "VIDEO_SUFFIXES",
    "Film",
    "Smoother",
    "check_video",
    "choose_suffix",
    "is_camera",
    "paint_video",
]
