"""Photos to train on."""

from impasto.data.folder import FolderPhotos
from impasto.data.module import ImageDataModule
from impasto.data.sample import SampleScenes

__all__ = ["FolderPhotos", "ImageDataModule", "SampleScenes"]
