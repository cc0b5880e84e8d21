"""Calibration of probabilities: its error, and the temperature of the softmax that reduces it.

Chuan Guo et al. On Calibration of Modern Neural Networks. ICML 2017, arXiv 1706.04599, eq. 3 and
section 4.2. The largest logit stays the largest at any temperature, so no accuracy changes.
"""

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from torchmetrics import Metric

BINS = 15
"""Number of equal bins of the confidence; Guo et al. 2017."""

TEMPERATURES = 2.0 ** torch.arange(-6, 6.5, 0.5)
"""Tried temperatures, (K,); the best one may lie between two of them."""

TEMPERED = "loss_by_temperature"
"""Name of these losses among the scores of a validation."""


class CalibrationError(Metric):
    """Σ over the bins of |number right - sum of the confidences|, over the number of predictions.

    torchmetrics' own adds in float32: its error of a million good confidences is a quarter percent.
    """

    sums: Tensor

    def __init__(self) -> None:
        super().__init__()
        # Predictions, confidences and right predictions, summed in each bin: (3, BINS).
        self.add_state("sums", torch.zeros(3, BINS, dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, confidence: Tensor, right: Tensor) -> None:
        """Adds confidences from 0 to 1, and whether each is right, in any equal shapes."""
        confidence = confidence.flatten().double()
        bins = (confidence * BINS).long().clamp(max=BINS - 1)  # a confidence of 1 is in the last bin
        summands = torch.stack([torch.ones_like(confidence), confidence, right.flatten().double()])
        self.sums += summands @ F.one_hot(bins, BINS).double()

    def compute(self) -> Tensor:
        number, confidence, right = self.sums
        return (right - confidence).abs().sum() / number.sum()


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
    curvature = (before - here) + (after - here)  # positive, since `best` is the first smallest loss
    shift = (before - after) / (2 * curvature)
    return float(2 ** (logs[best] + shift * (logs[1] - logs[0])))
