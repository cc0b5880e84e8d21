"""The loss of a batch of episodes is that of each episode, in any precision."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from metalearn import MLP, Prototypical
from metalearn.losses import DENSITY, cross_entropy, negative_log_likelihood
from metalearn.training.calibration import TEMPERED, loss_by_temperature
from metalearn.training.measures import of_test, of_validation
from metalearn.training.scores import CANDIDATES, ScoreTable, best_candidate, curves


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
        tempered = of_validation(algorithm, [logits, -logits], targets)[TEMPERED + CANDIDATES]
        of_candidates = [loss_by_temperature(candidate, targets) for candidate in (logits, -logits)]
    assert measured.dtype == precision
    torch.testing.assert_close(measured, expected, rtol=1e-6, atol=0)
    torch.testing.assert_close(tempered, torch.cat(of_candidates, 1), rtol=1e-6, atol=0, check_dtype=False)


def test_scores_of_a_network_in_bfloat16_are_computed_in_float32() -> None:
    torch.manual_seed(0)
    means, targets = (torch.randn(2, 30, 1).bfloat16() for _ in range(2))  # (T, Q, N), as bf16-true converts both
    outputs = torch.cat([means, torch.full_like(means, -1.3)], dim=-1)
    algorithm = SimpleNamespace(problem="regression", objective=DENSITY, stage=None)
    measured = of_test(algorithm, [outputs + 1, outputs], targets)  # all scores are those of the last stage
    assert {name: values.dtype for name, values in measured.items()} == dict.fromkeys(
        ("loss", "mse", "nll", "coverage"), torch.float32
    )
    torch.testing.assert_close(measured["mse"], (means.float() - targets.float()).square().mean((1, 2)))
    torch.testing.assert_close(measured["nll"], negative_log_likelihood(outputs.float(), targets.float()))
    torch.testing.assert_close(measured["loss"], measured["nll"])
    validated = of_validation(algorithm, [outputs], targets)
    torch.testing.assert_close(validated["loss_by_candidate"][:, 0], measured["loss"])
    torch.testing.assert_close(validated["mse_by_candidate"][:, 0], measured["mse"])


def test_a_score_along_stages_of_any_name_is_a_curve_over_the_episodes_that_have_it() -> None:
    table, large = ScoreTable(), 2**24  # float32 has no 2 ** 24 + 1
    along = torch.tensor([[1.0, torch.nan, torch.nan], [0.5, 0.25, torch.nan]])
    table.add(torch.tensor([large + 1, large]), {"loss": torch.tensor([2.0, 1.0]), "accuracy_by_round": along})
    collected = table.collect()
    assert collected["loss"].tolist() == [1.0, 2.0]
    np.testing.assert_array_equal(collected["accuracy_by_round"], along.flip(0))
    np.testing.assert_array_equal(curves(collected)["accuracy_by_round"], [0.75, 0.25, np.nan])


@pytest.mark.parametrize(("score", "best"), [("accuracy", 1), ("mse", 0)])
def test_the_best_candidate_has_the_largest_accuracy_or_the_smallest_error(score: str, best: int) -> None:
    of_candidates = np.array([[0.1, 0.3], [0.5, 0.4]])  # (E, candidates)
    along = np.arange(12).reshape(2, 6)  # two candidates of three numbers each
    found, scores = best_candidate({score + CANDIDATES: of_candidates, "loss_by_step" + CANDIDATES: along}, score)
    assert found == best
    np.testing.assert_array_equal(scores[score], of_candidates[:, best])
    np.testing.assert_array_equal(scores["loss_by_step"], along[:, 3 * best : 3 * best + 3])


@pytest.mark.parametrize("scores", [[0.1, np.nan], [np.nan, 0.1], [np.nan, np.nan]])
def test_a_candidate_whose_score_is_no_number_is_not_the_best(scores: list[float]) -> None:
    for name in ("accuracy", "mse"):
        assert best_candidate({name + CANDIDATES: np.array([scores])}, name)[0] == (scores == [np.nan, 0.1])
