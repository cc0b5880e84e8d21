"""Strokes of a pen as an image like those of the data set that a network was trained on.

K  strokes of a drawing    P  points of a stroke    H, W  height, width
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from metalearn.data.pen import centred, ink

Strokes = Sequence[np.ndarray]
"""Strokes of a drawing: points (n, 2) as x, y; the unit of length is free, and y points down."""

SMALLEST = 0.1  # a drawing below a tenth of the pad is no character to be enlarged further
FEWEST, MOST = 16, 2048  # points of a stroke; their distance is half the radius of the pen


class Style(NamedTuple):
    """Look of the characters of a data set, in frames."""

    size: float  # larger side of the box around the paths
    pen: float  # radius of the pen


# Means over 192, 800 and 400 drawings: the larger side of the box around the ink less the pen, and
# half of twice the area over the circumference.
STYLES = {
    "glyphs": Style(size=0.66, pen=0.030),
    "omniglot": Style(size=0.60, pen=0.024),
    "mnist": Style(size=0.62, pen=0.044),
}


def style_of(dataset: str) -> Style:
    """Returns the style of a data set. Raises ValueError if it has no drawn characters."""
    if dataset not in STYLES:
        raise ValueError(f"the run was trained on {dataset}: the demo needs a run on {' or '.join(STYLES)}")
    return STYLES[dataset]


def rasterised(strokes: Strokes, style: Style, height: int, width: int) -> np.ndarray:
    """Draws strokes in the middle of a frame, at the size of the style: (H, W) uint8, ink 255."""
    paths, extent = centred(np.concatenate(strokes)[None, None])  # (1, 1, n, 2), (1, 2)
    paths *= style.size / max(float(extent.max()), SMALLEST)
    ends = np.cumsum([len(stroke) for stroke in strokes])[:-1]
    each = np.split(paths[0, 0], ends)  # K of (n, 2)
    longest = max(map(length, each))
    points = int(np.clip(np.ceil(longest / (style.pen / 2)), FEWEST, MOST))
    even = np.stack(
        [dot(path, style.pen, points) if length(path) < style.pen else evenly(path, points) for path in each]
    )
    return ink(even[None], np.array([style.pen]), height, width)[0]


def length(path: np.ndarray) -> float:
    """Measures a path (n, 2)."""
    return float(np.linalg.norm(np.diff(path, axis=0), axis=1).sum())


def evenly(path: np.ndarray, points: int) -> np.ndarray:
    """Places points at equal distances along a path: (n, 2) -> (P, 2)."""
    steps = np.linalg.norm(np.diff(path, axis=0), axis=1)  # (n - 1,)
    way = np.concatenate([[0.0], np.cumsum(steps)])  # (n,)
    at = np.linspace(0, way[-1], points)  # (P,)
    return np.stack([np.interp(at, way, path[:, 0]), np.interp(at, way, path[:, 1])], axis=1)


def dot(path: np.ndarray, pen: float, points: int) -> np.ndarray:
    """Replaces a tap, which has no length, by a line hardly longer than the pen is wide: (P, 2)."""
    return path.mean(axis=0) + np.stack([np.linspace(-1.5 * pen, 1.5 * pen, points), np.zeros(points)], axis=1)
