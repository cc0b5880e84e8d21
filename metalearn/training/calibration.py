"""Expected calibration error: how far confidences are from the accuracy.

Chuan Guo et al. On Calibration of Modern Neural Networks. ICML 2017, arXiv 1706.04599, eq. 3.
"""

import torch
from torch import Tensor
from torch.nn import functional as F
from torchmetrics import Metric

BINS = 15
"""Number of equal bins of the confidence; Guo et al. 2017."""


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
