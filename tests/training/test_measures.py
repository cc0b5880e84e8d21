"""The loss of a batch of episodes is that of each episode, in any precision."""

import pytest
import torch

from metalearn import MLP, Prototypical
from metalearn.losses import cross_entropy
from metalearn.training.measures import of_test


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_a_batch_has_the_losses_of_its_tasks(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    logits = (5 * torch.randn(7, 20, 5)).to(dtype)  # (T, Q, N)
    precision = torch.float64 if dtype == torch.float64 else torch.float32
    targets = torch.eye(5, dtype=precision)[torch.randint(5, (7, 20))]
    algorithm = Prototypical(MLP([2]), batch_norm="running")
    with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
        measured = of_test(algorithm, [logits], targets)["loss"]
        expected = torch.stack([cross_entropy(*task) for task in zip(logits, targets, strict=True)])
    assert measured.dtype == precision
    torch.testing.assert_close(measured, expected, rtol=1e-6, atol=0)
