"""Prototypical Networks against a naive loop."""

import torch

from metalearn.algorithms.prototypical import Prototypical, squared_distances


def test_compare_against_a_loop() -> None:
    generator = torch.Generator().manual_seed(0)
    support_z, query_z = torch.randn(7, 5, generator=generator), torch.randn(4, 5, generator=generator)
    ways = torch.tensor([0, 2, 1, 2, 0, 2, 1])  # unequal shots
    support_y = torch.nn.functional.one_hot(ways, 3).float()
    logits = Prototypical(torch.nn.Identity(), batch_norm="running").compare(support_z, support_y, query_z)
    for q in range(4):
        for way in range(3):
            prototype = sum(support_z[i] for i in range(7) if ways[i] == way) / int((ways == way).sum())
            expected = -sum((query_z[q, d] - prototype[d]) ** 2 for d in range(5))
            torch.testing.assert_close(logits[q, way], expected)


def test_squared_distances_are_never_negative() -> None:
    a = 1000 + torch.rand(50, 8)
    assert (squared_distances(a, a) >= 0).all()
