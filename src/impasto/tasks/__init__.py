"""What can be trained."""

from impasto.tasks.adversary import Adversary
from impasto.tasks.inpainting import Inpainting
from impasto.tasks.multi_stylization import MultiStylization
from impasto.tasks.stylization import Stylization

__all__ = ["Adversary", "Inpainting", "MultiStylization", "Stylization"]
