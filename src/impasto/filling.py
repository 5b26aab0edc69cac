"""Which masks and labels go with which photo: files, or of a hole what it has transparent."""

import zlib
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image
from torch import Tensor

from impasto.animations import is_animation
from impasto.huge import MIN_PIXELS
from impasto.images import list_images, open_picture, split_picture
from impasto.inference import Stylizer
from impasto.inference.coverage import to_coverage
from impasto.inference.regions import Layout, to_tensors
from impasto.manifest import file_stamp
from impasto.masks import dilate_mask, missing_share, to_mask
from impasto.pictures import opened, write_encoded

NAMES = {"mask": "mask", "regions": "label picture", "protect": "protecting mask"}  # by argument
DEEP_FORMATS = {".png": "PNG", ".tif": "TIFF", ".tiff": "TIFF"}  # those that keep 16 bits


@dataclass
class Companions:
    """Find the picture files that go with photos.

    Args:
        key: Of the argument that asks for them, for messages.
        source: A file for all photos, a folder of files that are named as the photos are, or
            ``None`` for none.
        photos: The folder of photos, where it is one.

    Raises:
        ValueError: If a folder holds no pictures.
    """

    key: str
    source: Path | None
    photos: Path | None
    _files: dict[Path, list[Path]] = field(init=False, default_factory=dict)  # by name, no suffix

    def __post_init__(self) -> None:
        if self.source is None or not self.source.is_dir():
            return
        for path in list_images(self.source):
            self._files.setdefault(path.relative_to(self.source).with_suffix(""), []).append(path)
        if not self._files:
            raise ValueError(f"{self.key}={self.source} holds no pictures, such as PNG files.")

    def stamp(self, photo: Path) -> list[int]:
        """Tell one version of a photo's file from another; empty without one."""
        try:
            file = self.of(photo)
            # By what it holds, too: another mask may be of the same size and time.
            return [_checksum(file, *file_stamp(file))] if file else []
        except (ValueError, OSError):
            return []

    def of(self, photo: Path) -> Path | None:
        """The file of a photo.

        Args:
            photo: A picture or a video.

        Raises:
            ValueError: If a folder has none for it, or several.
        """
        if self.source is None or not self._files:
            return self.source
        name = photo.relative_to(self.photos) if self.photos else Path(photo.name)
        found = self._files.get(name.with_suffix(""), [])
        if len(found) > 1:  # a.png and a.jpg: that of the same suffix
            found = [path for path in found if path.suffix == photo.suffix] or found
        if len(found) != 1:
            what = NAMES[self.key] if not found else f"{NAMES[self.key]}s"
            raise ValueError(
                f"{photo} has {'several' if found else 'no'} {what} in {self.source}: one named "
                f"{name.with_suffix('.png')} is needed."
            )
        return found[0]


@lru_cache(1024)
def _checksum(path: Path, *stamp: int) -> int:
    """Of a file that is still the one with this stamp; one mask may serve many photos."""
    return zlib.crc32(path.read_bytes())


@dataclass(frozen=True)
class Masks:
    """Read what is missing in photos, or where they are to be painted.

    Args:
        files: The masks, or none where photos are transparent in the hole.
        invert: Whether mask files show what is known, or is to stay.
        dilate: Pixels by which what is light in them grows, at the size of the photo.
        max_pixels: Largest width times height opened.
    """

    files: Companions
    invert: bool
    dilate: int
    max_pixels: int

    def stamp(self, photo: Path) -> list[int]:
        """Tell one version of a photo and its mask from another without reading the photo."""
        return file_stamp(photo) + self.files.stamp(photo)

    def open(self, photo: Path) -> tuple[Image.Image, Tensor]:
        """Read a photo and its hole.

        Args:
            photo: A picture file.

        Returns:
            The picture, in the colours of its file and opaque where it was its transparency that
            told the hole, ``info["is_stretched"]`` true where a mask of other proportions was
            stretched over it; and 1 where a pixel is missing, shape ``(1, 1, H, W)``.

        Raises:
            FileNotFoundError: If there is no such photo.
            ValueError: If photo or mask cannot be read, the photo is of a kind that is not filled,
                has no mask or several, or the mask leaves nothing known.
        """
        file = self.files.of(photo)
        _refuse_kinds(photo, self.max_pixels)
        picture = open_picture(photo, self.max_pixels, keep_profile=True)
        if file is None:
            picture, mask = _split_hole(photo, picture)
            mask = dilate_mask(mask, self.dilate)
        else:
            drawn = open_picture(file, self.max_pixels)
            picture.info["is_stretched"] = _has_other_proportions(photo, picture, file, drawn)
            mask = to_mask(drawn, (picture.height, picture.width), self.invert, self.dilate)
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
        file = self.files.of(photo)
        assert file is not None  # the command asks for mask=
        picture = open_picture(file, self.max_pixels)
        return to_coverage(picture, size, self.invert, self.dilate)


@dataclass(frozen=True)
class Layers:
    """Read what tells a stylizer where to paint what.

    Args:
        masks: Where to paint at all, ``None`` for everywhere.
        others: The pictures that a stylizer takes besides, by the name of its argument: ``regions``
            and ``protect``.
        max_pixels: Largest width times height opened.
    """

    masks: Masks | None
    others: dict[str, Companions]
    max_pixels: int

    def check(self, stylizer: Stylizer) -> None:
        """Raise ValueError where a stylizer could paint no photo by these, before it begins."""
        regions = self.others.get("regions")
        if regions is None:
            stylizer.layout((1, 1))
        elif regions.source and regions.source.is_file():
            stylizer.layout((1, 1), open_picture(regions.source, self.max_pixels))

    def stamp(self, photo: Path) -> list[int]:
        """Tell one version of a photo and its layers from another without reading the photo."""
        stamp = self.masks.stamp(photo) if self.masks else file_stamp(photo)
        return stamp + [part for files in self.others.values() for part in files.stamp(photo)]

    def open(self, photo: Path, size: tuple[int, int]) -> dict[str, Image.Image]:
        """Read what a stylizer takes besides the photo, by the name of its argument.

        Args:
            photo: A picture.
            size: Its width and height, in pixels.

        Raises:
            FileNotFoundError: If a file is no longer there.
            ValueError: If one cannot be read, or the photo has none or several.
        """
        masks = {"mask": self.masks.coverage(photo, size)} if self.masks else {}
        return masks | self._open_others(photo)

    def layout(self, stylizer: Stylizer, video: Path, size: tuple[int, int]) -> Layout[Tensor]:
        """Read the others for all frames of a video; raises what ``open`` does.

        Args:
            stylizer: That will paint them.
            video: As it was asked for.
            size: Width and height of its frames, in pixels.
        """
        return to_tensors(stylizer.layout(size, **self._open_others(video)))

    def _open_others(self, photo: Path) -> dict[str, Image.Image]:
        found = {name: files.of(photo) for name, files in self.others.items()}
        return {name: open_picture(file, self.max_pixels) for name, file in found.items() if file}


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
        # As "RGB;16B"; or of a PPM ("RGB", 65535), with the number that is white.
        codecs = [tile[3] for tile in getattr(picture, "tile", [])]
        whitest = [codec[1] for codec in codecs if picture.format == "PPM" and codec[0] == "RGB"]
        is_deep = ";16" in str(codecs) or max(whitest, default=0) > 255
        is_cut = is_deep and not picture.mode.startswith("I")
    if num_pixels > MIN_PIXELS:
        raise ValueError(
            f"{photo} has {num_pixels} pixels, and up to {MIN_PIXELS} are filled: make it smaller, "
            f"or cut out the part around the hole."
        )
    if is_cut:
        raise ValueError(
            f"{photo} has colours of 16 bits, of which 8 would be lost: save it with 8 bits first."
        )


def _has_other_proportions(
    photo: Path, picture: Image.Image, file: Path, mask: Image.Image
) -> bool:
    """Whether a mask must be stretched; raises ValueError if it is of the photo lying down."""
    (width, height), (across, down) = picture.size, mask.size
    if mask.size == (height, width) != picture.size:
        with opened(photo) as lying:
            is_turned = lying.size == mask.size
        if is_turned:
            raise ValueError(
                f"{file} is of {photo} as it is stored, {across} x {down}, and by its EXIF data it "
                f"is to be turned, to {width} x {height}: draw the mask on it upright."
            )
    # Up to a pixel it is rounding, and up to 2 % nobody sees it.
    tolerance = max(0.02 * down * width, width, height, across, down)
    return abs(across * height - down * width) > tolerance


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
