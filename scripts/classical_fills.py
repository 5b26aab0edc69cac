"""Classical ways to fill holes: what an inpainting network has to beat.

They are given a photo as levels of 8 bits, shape (H, W, 3), and where it is missing, bool of shape
(H, W), and return levels of the photo's shape, not rounded; only those in the hole count. ``fill``
makes a photo of them.
"""

from collections.abc import Callable
from importlib.metadata import version
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray

Levels = NDArray[np.uint8]
Missing = NDArray[np.bool_]

RADIUS = 3  # pixels around one that is missing, for Telea and Navier-Stokes: OpenCV's own example
# Pixels around the photo that are missing too: without them OpenCV takes what is hidden at the edge
# of a photo for known, which costs it 0.01 dB.
FRAME = 2
SIDES = ((0, 1), (0, -1), (1, 0), (-1, 0))  # where a pixel's neighbours are
LIBRARIES = {  # by module, as they are installed
    "cv2": "opencv-python-headless",
    "scipy": "scipy",
    "skimage": "scikit-image",
}


def fill(name: str, levels: Levels, missing: Missing) -> Levels:
    """Fill the hole of a photo.

    Args:
        name: One of ``CLASSICAL_FILLS``.
        levels: The photo, 0 to 255, shape ``(H, W, 3)``; what it holds in the hole does not matter.
        missing: Where the hole is, shape ``(H, W)``; it may be empty.

    Returns:
        The photo with its hole filled, rounded; what is known is as it was.

    Raises:
        ValueError: If there is no such fill, the shapes do not fit, or nothing is known.
    """
    if name not in CLASSICAL_FILLS:
        raise ValueError(f"No classical fill {name!r}: choose among {', '.join(CLASSICAL_FILLS)}.")
    if levels.ndim != 3 or levels.shape[2] != 3 or missing.shape != levels.shape[:2]:
        raise ValueError(
            f"A photo of shape (H, W, 3) and a hole of shape (H, W) are needed, "
            f"got {levels.shape} and {missing.shape}."
        )
    if missing.all():
        raise ValueError("A photo of which nothing is known cannot be filled.")
    if not missing.any():
        return levels.copy()
    filled = np.rint(CLASSICAL_FILLS[name](levels, missing)).clip(0, 255).astype(np.uint8)
    return np.where(missing[..., None], filled, levels)


def mean(levels: Levels, missing: Missing) -> NDArray[Any]:
    """The mean colour of what is known."""
    return np.broadcast_to(levels[~missing].mean(0), levels.shape)


def telea(levels: Levels, missing: Missing) -> NDArray[Any]:
    """March inwards from the edge: Telea 2004, https://doi.org/10.1080/10867651.2004.10487596."""
    import cv2

    return _inpaint(levels, missing, cv2.INPAINT_TELEA)


def navier_stokes(levels: Levels, missing: Missing) -> NDArray[Any]:
    """Continue lines of equal grey: Bertalmio et al. 2001, as OpenCV has it."""
    import cv2

    return _inpaint(levels, missing, cv2.INPAINT_NS)


def harmonic(levels: Levels, missing: Missing) -> NDArray[Any]:
    """The exact solution of Laplace's equation: every missing pixel is its neighbours' mean.

    At the edge of the photo a pixel has three neighbours, in a corner two.
    """
    from scipy.sparse import coo_matrix, diags_array
    from scipy.sparse.linalg import splu

    height, width = missing.shape
    rows, columns = missing.nonzero()
    count = len(rows)
    numbers = np.full(missing.shape, -1)
    numbers[rows, columns] = np.arange(count)
    num_neighbours, known_sum, joints = np.zeros(count), np.zeros((count, 3)), []
    for down, across in SIDES:
        y, x = rows + down, columns + across
        inside = (y >= 0) & (y < height) & (x >= 0) & (x < width)
        y, x = y.clip(0, height - 1), x.clip(0, width - 1)
        neighbours = numbers[y, x]
        num_neighbours += inside
        known_sum += np.where((inside & (neighbours < 0))[:, None], levels[y, x], 0)
        joined = inside & (neighbours >= 0)
        joints.append(np.stack([joined.nonzero()[0], neighbours[joined]]))
    ends = np.concatenate(joints, axis=1)
    joined_to = coo_matrix((np.ones(ends.shape[1]), tuple(ends)), shape=(count, count))
    # The matrix is symmetric and positive definite: it needs no pivots and an order made for that.
    system = splu(
        (diags_array(num_neighbours) - joined_to).tocsc(),
        permc_spec="MMD_AT_PLUS_A",
        diag_pivot_thresh=0.0,
        options={"SymmetricMode": True},
    )
    filled = np.zeros(levels.shape)
    filled[rows, columns] = system.solve(known_sum)
    return filled


def biharmonic(levels: Levels, missing: Missing) -> NDArray[Any]:
    """Continue slopes too: Damelin and Hoang 2018, as scikit-image has it."""
    from skimage.restoration import inpaint_biharmonic

    return 255 * inpaint_biharmonic(levels / 255, missing, channel_axis=-1)


CLASSICAL_FILLS: dict[str, Callable[[Levels, Missing], NDArray[Any]]] = {
    "mean": mean,
    "telea": telea,
    "navier_stokes": navier_stokes,
    "harmonic": harmonic,
    "biharmonic": biharmonic,
}


def library_versions() -> dict[str, str]:
    """Tell which libraries fill.

    Raises:
        ValueError: If one is not installed.
    """
    lacking = [package for module, package in LIBRARIES.items() if find_spec(module) is None]
    if lacking:
        raise ValueError(
            f"Classical fills need {', '.join(lacking)}, not installed here: "
            f"pip install 'impasto[evaluate]'."
        )
    return {package: _version(module, package) for module, package in LIBRARIES.items()}


def _inpaint(levels: Levels, missing: Missing, method: int) -> NDArray[Any]:
    import cv2

    framed = np.pad(levels, ((FRAME, FRAME), (FRAME, FRAME), (0, 0)))
    holes = np.pad(missing.astype(np.uint8), FRAME, constant_values=1)
    return cv2.inpaint(framed, holes, RADIUS, method)[FRAME:-FRAME, FRAME:-FRAME]


def _version(module: str, package: str) -> str:
    """Of the module itself: other packages than the usual one have OpenCV too."""
    return getattr(__import__(module), "__version__", None) or version(package)
