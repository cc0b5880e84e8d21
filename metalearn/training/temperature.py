"""Temperature of the softmax that calibrates probabilities.

Guo et al. 2017, arXiv 1706.04599, section 4.2. The largest logit stays the largest, so no accuracy
changes.
"""

import numpy as np
import torch
from torch import Tensor

TEMPERATURES = 2.0 ** torch.arange(-6, 6.5, 0.5)
"""Tried temperatures, (K,); the best one may lie between two of them."""


TEMPERED = "loss_by_temperature"
"""Name of these losses among the scores of a validation."""


def loss_by_temperature(logits: Tensor, targets: Tensor) -> Tensor:
    """Computes the mean cross-entropy of the rows of T tasks at each temperature.

    Shapes: (T, Q, N), one-hot (T, Q, N) -> (T, K).
    """
    scaled = logits.float()[:, None] / TEMPERATURES.to(logits.device)[:, None, None]  # (T, K, Q, N)
    right = targets.argmax(-1)[:, None, :, None].expand(*scaled.shape[:3], 1)  # (T, K, Q, 1)
    return -scaled.log_softmax(-1).gather(-1, right).mean((-2, -1))


def best_temperature(losses: np.ndarray) -> float:
    """Finds the temperature of the smallest mean loss over E episodes, (E, K).

    A parabola of the logarithm interpolates the loss between tried temperatures. If no loss is
    finite, the result is 1.
    """
    logs, mean = torch.log2(TEMPERATURES).numpy(), losses.mean(0)  # (K,), (K,)
    if not np.isfinite(mean).any():
        return 1.0
    best = int(np.where(np.isfinite(mean), mean, np.inf).argmin())
    around = mean[max(0, best - 1) : best + 2]
    if len(around) < 3 or not np.isfinite(around).all():
        return float(2 ** logs[best])
    before, here, after = around
    curvature = before - 2 * here + after
    shift = (before - after) / (2 * curvature) if curvature > 0 else 0.0
    return float(2 ** (logs[best] + shift * (logs[1] - logs[0])))
