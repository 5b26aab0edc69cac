"""Cameras, named by their numbers."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import av

_CAMERA = "camera:"


def is_camera(source: Path | str) -> bool:
    """Tell whether a source is a camera, such as ``camera:0``, and no file.

    Args:
        source: A path, or what begins like a camera's name.

    Raises:
        ValueError: If it begins like one, and no number follows.
    """
    name = str(source)
    if not name.startswith(_CAMERA):
        return False
    if not name.removeprefix(_CAMERA).isdecimal():
        raise ValueError(f"A camera is named by its number, such as camera:0: got {name!r}.")
    return True


def open_camera(name: str) -> "av.container.InputContainer":
    """Open a camera.

    Args:
        name: Such as ``camera:0``.

    Raises:
        ValueError: If it cannot be opened.
    """
    import av

    number = name.removeprefix(_CAMERA)
    try:
        if sys.platform == "win32":  # where cameras have names, not numbers
            devices = [d for d in av.enumerate_input_devices("dshow") if "video" in d.media_types]
            return av.open(f"video={devices[int(number)].description}", format="dshow")
        if sys.platform == "darwin":
            return av.open(number, format="avfoundation", options={"framerate": "30"})
        return av.open(f"/dev/video{number}", format="v4l2")
    except (av.FFmpegError, IndexError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "not found"
        raise ValueError(
            f"{name} cannot be opened ({reason}): is a camera connected, and is it free?"
        ) from None
