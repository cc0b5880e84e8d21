"""Temperature chosen on meta-val: that of the smallest cross-entropy."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from metalearn.training.calibration import TEMPERATURES, best_temperature, loss_by_temperature


def tasks(sharpness: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Draws labels by the softmax of logits (T, Q, N).

    The logits are then multiplied by `sharpness`.
    """
    generator = torch.Generator().manual_seed(0)
    honest = 2 * torch.randn(40, 50, 5, generator=generator)
    drawn = torch.multinomial(honest.flatten(0, 1).softmax(1), 1, generator=generator).view(40, 50)
    return sharpness * honest, F.one_hot(drawn, 5).float()


@pytest.mark.parametrize("sharpness", [0.1, 1.0, 7.0])
def test_it_undoes_what_makes_logits_too_large(sharpness: float) -> None:
    logits, targets = tasks(sharpness)
    found = best_temperature(loss_by_temperature(logits, targets).double().numpy())
    assert found == pytest.approx(sharpness, rel=0.1)
    fine = found * 2.0 ** torch.linspace(-0.5, 0.5, 201)
    losses = torch.stack([F.cross_entropy((logits / t).flatten(0, 1), targets.flatten(0, 1)) for t in fine])
    ours = F.cross_entropy((logits / found).flatten(0, 1), targets.flatten(0, 1))
    assert float(ours - losses.min()) < 1e-3


def test_the_losses_are_those_of_the_plain_formula() -> None:
    logits, targets = tasks(1.0)
    for column, temperature in enumerate(TEMPERATURES):
        naive = F.cross_entropy(logits[3] / temperature, targets[3])
        assert float(loss_by_temperature(logits, targets)[3, column]) == pytest.approx(float(naive), rel=1e-5)


@pytest.mark.parametrize(
    ("losses", "expected"),
    [
        ([np.nan] * 25, 1.0),
        ([*range(25)], 2.0**-6),
        ([*range(25, 0, -1)], 64),
        ([np.nan] * 14 + [*range(11)], 2.0),  # the fifteenth, beside one without a loss
    ],
)
def test_it_stays_within_what_was_tried(losses: list[float], expected: float) -> None:
    assert best_temperature(np.array([losses], float)) == expected
