"""Losses: pure functions of images and features, dimensionless."""

from impasto.losses.content import content_distance
from impasto.losses.gram import gram_matrix, style_distance
from impasto.losses.lattice import lattice
from impasto.losses.perceptual import PerceptualLoss, StyleTargets, style_targets
from impasto.losses.total_variation import total_variation

__all__ = [
    "PerceptualLoss",
    "StyleTargets",
    "content_distance",
    "gram_matrix",
    "lattice",
    "style_distance",
    "style_targets",
    "total_variation",
]
