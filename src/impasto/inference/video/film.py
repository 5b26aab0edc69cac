"""What came of painting a video."""

from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class Film:
    """How far a video has come; it counts along and tells the truth however the painting ends.

    Args:
        num_frames: Frames painted.
        seconds: Spent painting; reading, smoothing and writing are not counted.
        num_damaged: Frames, or pieces of the file or its sound, that were damaged and left out.
        saved: The file that came of it, ``None`` where there is none.
        notes: What the one who asked should know, a sentence each: sound that had to be encoded
            again or was lost, a file that ends too early, interlaced or HDR frames.
    """

    num_frames: int = 0
    seconds: float = 0.0
    num_damaged: int = 0
    saved: Path | None = None
    notes: list[str] = field(default_factory=list)
