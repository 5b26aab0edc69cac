"""Losses: pure functions of images and features, dimensionless."""

from impasto.losses.adversarial import (
    bce_discriminator_loss,
    bce_generator_loss,
    discriminator_accuracy,
    hinge_discriminator_loss,
    hinge_generator_loss,
)
from impasto.losses.content import content_distance
from impasto.losses.filling import FillingLoss
from impasto.losses.gram import gram_matrix, style_distance, style_distances
from impasto.losses.lattice import lattice
from impasto.losses.perceptual import PerceptualLoss, StyleTargets, style_targets
from impasto.losses.reconstruction import (
    CentreReconstruction,
    ReconstructionLoss,
    border_ring,
    centre_distance,
    masked_mean,
)
from impasto.losses.temporal import TemporalLoss
from impasto.losses.total_variation import total_variation

__all__ = [
    "CentreReconstruction",
    "FillingLoss",
    "PerceptualLoss",
    "ReconstructionLoss",
    "StyleTargets",
    "TemporalLoss",
    "bce_discriminator_loss",
    "bce_generator_loss",
    "border_ring",
    "centre_distance",
    "content_distance",
    "discriminator_accuracy",
    "gram_matrix",
    "hinge_discriminator_loss",
    "hinge_generator_loss",
    "lattice",
    "masked_mean",
    "style_distance",
    "style_distances",
    "style_targets",
    "total_variation",
]
