"""Strokes of a pen: their paths, their legibility and their ink.

G  drawings, K  strokes of a character    P  points of a stroke    H, W  height, width
"""

import numpy as np

NUM_POINTS = 48  # spacing stays below the width of the pen, even on the longest stroke


def legibility(points: np.ndarray) -> np.ndarray:
    """Scores how well the strokes of paths (G, K, P, 2) separate and fill a frame: (G,), 0 to 1."""
    extent = np.ptp(points, axis=(1, 2))  # (G, 2)
    dots = points[:, :, ::4] / extent.max(axis=1)[:, None, None, None]  # (G, K, P/4, 2)
    apart = np.linalg.norm(dots[:, :, None, :, None] - dots[:, None, :, None], axis=-1)  # (G, K, K, P/4, P/4)
    apart += 9 * np.eye(points.shape[1])[:, :, None, None]  # excludes a stroke's distance to itself
    clear = (apart.min(axis=(2, 4)) > 0.15).mean(axis=2).min(axis=1)  # (G,)
    return np.minimum(clear, 2 * extent.min(axis=1) / extent.max(axis=1))


def trace(strokes: np.ndarray, hosts: np.ndarray, joints: np.ndarray, softness: float) -> np.ndarray:
    """Traces the pen: strokes (G, K, 5) and joints (G, K, 4) -> points (G, K, P, 2) as x, y."""
    time = (np.arange(NUM_POINTS) + 0.5) / NUM_POINTS  # (P,)
    heading, bend, turn, corner, length = np.moveaxis(strokes[..., None], 2, 0)  # each (G, K, 1)
    turned = 0.5 + 0.5 * np.tanh((time - corner) / softness)  # (G, K, P)
    angle = heading + bend * time + turn * turned  # (G, K, P)
    direction = np.stack([np.cos(angle), np.sin(angle)], axis=-1)  # (G, K, P, 2)
    paths = np.cumsum(direction, axis=2) * length[..., None] / NUM_POINTS  # (G, K, P, 2)
    moments = np.rint(np.clip(joints[..., :2], 0, 1) * (NUM_POINTS - 1)).astype(int)  # (G, K, 2)
    drawing = np.arange(len(paths))
    for k in range(1, len(hosts)):
        there = paths[drawing, hosts[k], moments[:, k, 0]]  # (G, 2)
        here = paths[drawing, k, moments[:, k, 1]]  # (G, 2)
        paths[:, k] += (there - here + joints[:, k, 2:])[:, None]
    return paths


def centred(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Centres paths (G, K, P, 2) at the origin; also returns their widths and heights (G, 2)."""
    low, high = points.min(axis=(1, 2)), points.max(axis=(1, 2))  # (G, 2)
    return points - ((low + high) / 2)[:, None, None], high - low


def ink(points: np.ndarray, pen: np.ndarray, height: int, width: int) -> np.ndarray:
    """Draws paths (G, K, P, 2) in centred frames, by pens of radius (G,): (G, H, W) uint8.

    A path is a chain of Gaussian drops. These are separable, so a drawing is one matrix product (H,
    K P) (K P, W). The ink is where the sum exceeds half of its value on the line.
    """
    frame = min(height, width)
    sigma = (pen * frame / 1.18)[:, None, None]  # a Gaussian falls to half its height at 1.18 σ
    steps = np.linalg.norm(np.gradient(points, axis=2), axis=-1)  # (G, K, P)
    drops = (steps.reshape(len(points), 1, -1) * frame) / (np.sqrt(2 * np.pi) * sigma)  # (G, 1, K P)
    x, y = np.moveaxis(points.reshape(len(points), -1, 2) * frame, -1, 0)  # each (G, K P)
    rows = np.arange(height)[:, None] + 0.5 - height / 2  # (H, 1)
    columns = np.arange(width) + 0.5 - width / 2  # (W,)
    down = np.exp(-0.5 * ((rows - y[:, None]) / sigma) ** 2) * drops  # (G, H, K P)
    across = np.exp(-0.5 * ((columns - x[..., None]) / sigma) ** 2)  # (G, K P, W)
    edge = np.maximum(1.4 * sigma, 1.2)  # makes the edge about a pixel wide, and cuts off the tails
    return np.rint(255 * np.clip(0.5 + edge * (down @ across - 0.5), 0, 1)).astype(np.uint8)
