"""Expected calibration error against plain loops."""

import numpy as np
import pytest
import torch
from torchmetrics.functional.classification import binary_calibration_error

from metalearn.training.calibration import BINS, CalibrationError


def test_it_is_the_sum_over_bins_of_a_plain_loop() -> None:
    assert BINS == 15  # Guo et al. 2017
    rng = np.random.default_rng(0)
    confidence = rng.uniform(0.2, 1, 4000)
    right = rng.uniform(size=4000) < np.floor(confidence * BINS) % 2  # too confident in every second bin alone
    confidence[:500] = 1.0  # in the last bin, with those from 14/15 on
    error = CalibrationError()
    for part in np.split(np.arange(4000), 8):
        error.update(torch.tensor(confidence[part]).view(5, 100), torch.tensor(right[part]).view(5, 100))
    expected = 0.0
    for bin_ in range(BINS):
        last = bin_ == BINS - 1
        inside = (confidence >= bin_ / BINS) & ((confidence < (bin_ + 1) / BINS) | last)
        expected += abs(right[inside].mean() - confidence[inside].mean()) * inside.mean() if inside.any() else 0.0
    assert error.compute().item() == pytest.approx(expected, rel=1e-12)


def test_it_agrees_with_torchmetrics_where_float32_is_enough() -> None:
    generator = torch.Generator().manual_seed(0)
    confidence, right = torch.rand(1000, generator=generator), torch.rand(1000, generator=generator) < 0.5
    error = CalibrationError()
    error.update(confidence, right)
    theirs = binary_calibration_error(confidence, right.int(), n_bins=BINS)
    assert error.compute().item() == pytest.approx(theirs.item(), rel=1e-5)


def test_many_confident_predictions_that_are_calibrated_have_no_error() -> None:
    confidence = torch.full((200_000,), 0.997)
    error = CalibrationError()
    error.update(confidence, torch.arange(200_000) % 1000 < 997)
    assert error.compute().item() < 1e-7
