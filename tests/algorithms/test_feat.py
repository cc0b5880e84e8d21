"""FEAT against naive attention, row by row, and in its simpler limits."""

import pytest
import torch
from embedded_tasks import Flat, batch_of, compare, mean_of_class, random_task
from torch.nn import functional as F

from metalearn.algorithms.feat import FEAT, SetToSet
from metalearn.algorithms.prototypical import Prototypical


def feat(**settings: float) -> FEAT:
    torch.manual_seed(0)
    defaults = {"dropout": 0.5, "temperature": 2.0, "balance": 0.0, "contrast_temperature": 4.0}
    return FEAT(Flat(5), **(defaults | settings), batch_norm="running").double().eval()


def attended(layer: SetToSet, rows: torch.Tensor) -> torch.Tensor:
    """Computes equations 8 to 10 row by row."""
    out = []
    for row in rows:
        scores = torch.stack([layer.query(row) @ layer.key(other) / 5**0.5 for other in rows])
        weights = scores.exp() / scores.exp().sum()
        context = sum(weight * layer.value(other) for weight, other in zip(weights, rows, strict=True))
        out.append(layer.norm(row + layer.out(context)))
    return torch.stack(out)


def test_logits_are_distances_to_prototypes_that_attend_to_each_other() -> None:
    algorithm, task = feat(), random_task()
    adapted = attended(algorithm.adaptation, torch.stack([mean_of_class(task.support_z, way) for way in range(3)]))
    expected = -(task.query_z[:, None] - adapted).square().sum(-1) / 2
    torch.testing.assert_close(compare(algorithm, task), expected)


def test_without_what_is_attended_to_it_is_prototypical_on_normalised_means() -> None:
    algorithm, task = feat(temperature=1.0), random_task()
    torch.nn.init.zeros_(algorithm.adaptation.out.weight)
    torch.nn.init.zeros_(algorithm.adaptation.out.bias)
    task.support_z = F.layer_norm(task.support_z[[0, 1, 2]], (5,))
    task.support_y = torch.eye(3, dtype=torch.float64)
    prototypical = Prototypical(Flat(5), batch_norm="running")
    torch.testing.assert_close(compare(algorithm, task), compare(prototypical, task), rtol=1e-4, atol=1e-4)


def test_the_regulariser_adapts_each_class_by_itself() -> None:
    algorithm, task = feat(balance=0.5), random_task()
    z = torch.cat([task.support_z, task.query_z])
    ways = torch.cat([task.support_y, task.query_y]).argmax(1)
    centres = torch.stack([attended(algorithm.adaptation, z[ways == way]).mean(0) for way in range(3)])
    contrast = F.cross_entropy(-(z[:, None] - centres).square().sum(-1) / 4, ways)
    torch.testing.assert_close(algorithm.contrast(z, torch.cat([task.support_y, task.query_y])), contrast)
    batch = batch_of(task)
    single = type(batch)(*(part[:1] for part in batch))
    queries = F.cross_entropy(compare(algorithm, task), task.query_y.argmax(1))
    torch.testing.assert_close(algorithm.loss(single).loss, queries + 0.5 * contrast)


@pytest.mark.parametrize("setting", [{"temperature": 0.0}, {"contrast_temperature": -1.0}, {"balance": -0.1}])
def test_impossible_settings_are_refused(setting: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(setting))):
        feat(**setting)
