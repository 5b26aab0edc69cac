"""Train a network: ``python train.py style.image=painting.jpg style.name=mine``."""

import logging
import sys

import hydra
from omegaconf import DictConfig

from impasto.training import train


@hydra.main(config_path="configs", config_name="train", version_base="1.3")
def main(cfg: DictConfig) -> None:
    """Train what the config says."""
    folder = train(cfg)
    print(f"{folder}")


if __name__ == "__main__":
    main()
