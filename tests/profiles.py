"""Colour profiles that are not sRGB, made of sRGB's own."""

from PIL import ImageCms


def srgb() -> bytes:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def swapped(first: str, second: str) -> bytes:
    """With two of r, g and b exchanged, so that the effect cannot be missed."""
    content = bytearray(srgb())
    tags = [f"{colour}XYZ".encode() for colour in (first, second)]
    places = [content.index(tag) for tag in tags]
    for place, tag in zip(places, reversed(tags), strict=True):
        content[place : place + len(tag)] = tag
    return bytes(content).replace("sRGB".encode("utf-16-be"), "swap".encode("utf-16-be"))
