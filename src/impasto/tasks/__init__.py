"""What can be trained."""

from impasto.tasks.stylization import Stylization

__all__ = ["Stylization"]
