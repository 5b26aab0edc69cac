"""Photos to train on."""

from impasto.data.folder import FolderPhotos
from impasto.data.hub import HubPhotos
from impasto.data.mix import MaskMix
from impasto.data.module import ImageDataModule
from impasto.data.sample import SampleScenes
from impasto.data.shards import PreparedPhotos

__all__ = [
    "FolderPhotos",
    "HubPhotos",
    "ImageDataModule",
    "MaskMix",
    "PreparedPhotos",
    "SampleScenes",
]
