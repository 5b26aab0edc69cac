"""Which mask goes with which photo: files, or of a hole what a photo has transparent."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image
from torch import Tensor

from impasto.animations import is_animation
from impasto.huge import MIN_PIXELS
from impasto.images import list_images, open_picture, split_picture
from impasto.inference.coverage import to_coverage
from impasto.manifest import file_stamp
from impasto.masks import dilate_mask, load_mask, missing_share, to_mask
from impasto.pictures import opened, write_encoded

DEEP_FORMATS = {".png": "PNG", ".tif": "TIFF", ".tiff": "TIFF"}  # those that keep 16 bits


@dataclass
class Masks:
    """Find and read what is missing in photos, or where they are to be painted.

    Args:
        source: A mask file for all photos, a folder of mask files that are named as the photos are,
            or ``None`` where the photos are transparent in the hole.
        photos: The folder of photos, where it is one.
        invert: Whether mask files show what is known, or is to stay.
        dilate: Pixels by which what is light in them grows, at the size of the photo.
        max_pixels: Largest width times height opened.

    Raises:
        ValueError: If a folder of masks holds no pictures.
    """

    source: Path | None
    photos: Path | None
    invert: bool
    dilate: int
    max_pixels: int
    _files: dict[Path, list[Path]] = field(init=False, default_factory=dict)  # by name, no suffix

    def __post_init__(self) -> None:
        if self.source is None or not self.source.is_dir():
            return
        for path in list_images(self.source):
            self._files.setdefault(path.relative_to(self.source).with_suffix(""), []).append(path)
        if not self._files:
            raise ValueError(f"mask={self.source} holds no pictures, such as PNG files.")

    def stamp(self, photo: Path) -> list[int]:
        """Tell one version of a photo and its mask from another without reading them."""
        try:
            mask = self._file_of(photo)
        except ValueError:
            mask = None
        return file_stamp(photo) + (file_stamp(mask) if mask else [])

    def open(self, photo: Path) -> tuple[Image.Image, Tensor]:
        """Read a photo and its hole.

        Args:
            photo: A picture file.

        Returns:
            The picture, opaque where it was its transparency that told the hole; and 1 where a
            pixel is missing, shape ``(1, 1, H, W)``.

        Raises:
            FileNotFoundError: If there is no such photo.
            ValueError: If photo or mask cannot be read, the photo is of a kind that is not filled,
                has no mask or several, or the mask leaves nothing known.
        """
        file = self._file_of(photo)
        _refuse_kinds(photo, self.max_pixels)
        picture = open_picture(photo, self.max_pixels)
        if file is None:
            picture, mask = _split_hole(photo, picture)
            mask = dilate_mask(mask, self.dilate)
        else:
            size = (picture.height, picture.width)
            mask = load_mask(file, size, self.invert, self.dilate, self.max_pixels)
        if missing_share(mask) == 1:
            raise ValueError(
                f"{file or photo} leaves nothing known of {photo}: light is what is missing; "
                f"invert_mask=true takes it the other way."
            )
        return picture, mask

    def coverage(self, photo: Path, size: tuple[int, int]) -> Image.Image:
        """Read how much of a photo is to be painted, pixel by pixel.

        Args:
            photo: A picture or a video.
            size: Its width and height, in pixels.

        Returns:
            Of mode L, as ``to_coverage`` reads it.

        Raises:
            FileNotFoundError: If the mask is no longer there.
            ValueError: If the photo has no mask or several, or it cannot be read.
        """
        file = self._file_of(photo)
        assert file is not None  # the command asks for mask=
        picture = open_picture(file, self.max_pixels)
        return to_coverage(picture, size, self.invert, self.dilate)

    def _file_of(self, photo: Path) -> Path | None:
        if self.source is None or not self._files:
            return self.source
        name = photo.relative_to(self.photos) if self.photos else Path(photo.name)
        found = self._files.get(name.with_suffix(""), [])
        if len(found) > 1:  # a.png and a.jpg: that of the same suffix
            found = [path for path in found if path.suffix == photo.suffix] or found
        if len(found) != 1:
            what = "no mask" if not found else "several masks"
            raise ValueError(
                f"{photo} has {what} in {self.source}: one named {name.with_suffix('.png')} is "
                f"needed."
            )
        return found[0]


def save_deep(picture: Image.Image, path: Path) -> None:
    """Write a grey picture of 16 bits, atomically.

    Args:
        picture: Of mode I;16, or one of its relatives.
        path: Where to; missing folders are made.

    Raises:
        ValueError: If the format does not keep 16 bits.
        OSError: If the file cannot be written; a former one is left as it was.
    """
    format_name = DEEP_FORMATS.get(path.suffix.lower())
    if format_name is None:
        raise ValueError(f"{path} cannot hold the 16 bits of its photo: .png and .tif do.")
    levels = np.asarray(picture).astype(np.uint16)
    write_encoded(Image.fromarray(levels), path, format_name, {})


def _refuse_kinds(photo: Path, max_pixels: int) -> None:
    if is_animation(photo):
        raise ValueError(f"{photo} is an animation, and only still pictures are filled.")
    with opened(photo, max_pixels) as picture:
        num_pixels = picture.width * picture.height
        codecs = str([tile[3] for tile in getattr(picture, "tile", [])])  # as "RGB;16B"
        is_cut = ";16" in codecs and not picture.mode.startswith("I")
    if num_pixels > MIN_PIXELS:
        raise ValueError(
            f"{photo} has {num_pixels} pixels, and up to {MIN_PIXELS} are filled: make it smaller, "
            f"or cut out the part around the hole."
        )
    if is_cut:
        raise ValueError(
            f"{photo} has colours of 16 bits, of which 8 would be lost: save it with 8 bits first."
        )


def _split_hole(photo: Path, picture: Image.Image) -> tuple[Image.Image, Tensor]:
    """The colours of a photo, and where it is transparent."""
    if not picture.mode.startswith("I;16"):
        colour, opacity = split_picture(picture)
        if opacity is not None:
            mask = to_mask(opacity, invert=True)
            if mask.any():
                return colour, mask
    raise ValueError(
        f"{photo} has no transparent pixels to fill: mask= is needed, a picture that is white "
        f"where the photo is to be filled."
    )
