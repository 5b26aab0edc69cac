"""Photos to train on."""

from typing import TYPE_CHECKING, Any

from impasto.data.folder import FolderPhotos
from impasto.data.hub import HubPhotos
from impasto.data.mix import MaskMix
from impasto.data.sample import SampleScenes
from impasto.data.shards import PreparedPhotos

if TYPE_CHECKING:
    from impasto.data.module import ImageDataModule

__all__ = [
    "FolderPhotos",
    "HubPhotos",
    "ImageDataModule",
    "MaskMix",
    "PreparedPhotos",
    "SampleScenes",
]


def __getattr__(name: str) -> Any:
    """Import the data module when it is asked for: Lightning takes seconds, and few need it."""
    if name != "ImageDataModule":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from impasto.data.module import ImageDataModule

    return ImageDataModule
