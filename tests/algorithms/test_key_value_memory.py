"""Memory of keys, values and ages: its rule by hand, and its loss."""

import math

import pytest
import torch
from torch.nn import functional as F

from metalearn.algorithms.key_value_memory import KeyValueMemory, margin_loss
from metalearn.algorithms.parts.key_value import ABSENT, Memory, empty, scores, update
from metalearn.backbones.mlp import MLP
from metalearn.types import Episode


def at(degrees: float) -> torch.Tensor:
    return torch.tensor([[math.cos(math.radians(degrees)), math.sin(math.radians(degrees))]])


def label(way: int) -> torch.Tensor:
    return F.one_hot(torch.tensor([way]), 3).float()


def angles(memory: Memory) -> list[float]:
    return [round(math.degrees(math.atan2(key[1], key[0])), 3) for key in memory.keys[0].tolist()]


def test_the_update_rule_by_hand() -> None:
    memory = empty(torch.zeros(1, 9, 2), torch.zeros(1, 9, 3), slots=2)
    memory = update(memory, at(0), label(0))  # nothing is near: an empty slot
    memory = update(memory, at(90), label(1))  # the nearest is of another class: the other empty slot
    assert angles(memory) == [0, 90]
    assert memory.ages.tolist() == [[1, 0]]
    memory = update(memory, at(20), label(0))  # the nearest is of the class: the mean of both directions
    assert angles(memory) == [10, 90]
    assert memory.ages.tolist() == [[0, 1]]
    memory = update(memory, at(30), label(2))  # full: the oldest is replaced, though it is not the nearest
    assert angles(memory) == [10, 30]
    assert memory.values[0].argmax(-1).tolist() == [0, 2]
    assert memory.ages.tolist() == [[1, 0]]
    expected = [math.cos(math.radians(10)), ABSENT, math.cos(math.radians(30))]
    torch.testing.assert_close(scores(memory, at(0)[None])[0, 0], torch.tensor(expected))


def test_ages_are_counted_where_the_default_is_bfloat16() -> None:
    z, y = at(0)[None].expand(1, 400, 2), label(0)[None].expand(1, 400, 3)
    torch.set_default_dtype(torch.bfloat16)
    try:
        memory = empty(z, y, slots=2)
    finally:
        torch.set_default_dtype(torch.float32)
    memory = update(memory, at(90), label(1))
    for row in range(400):
        memory = update(memory, z[:, row], y[:, row])
    assert memory.ages.tolist() == [[400, 0]]


def test_streams_do_not_depend_on_one_another() -> None:
    z, y = F.normalize(torch.randn(3, 12, 4), dim=-1), F.one_hot(torch.randint(3, (3, 12)), 3).float()

    def follow(z: torch.Tensor, y: torch.Tensor) -> Memory:
        memory = empty(z, y, slots=5)
        for row in range(12):
            memory = update(memory, z[:, row], y[:, row])
        return memory

    together = follow(z, y)
    for stream in range(3):
        for part, alone in zip(together, follow(z[[stream]], y[[stream]]), strict=True):
            torch.testing.assert_close(part[[stream]], alone)


def test_the_margin_loss_by_hand() -> None:
    y = label(0)[None].expand(1, 4, 3)
    rows = [[0.5, 0.45, 0.2], [0.5, 0.3, ABSENT], [ABSENT, 0.3, 0.1], [0.5, ABSENT, ABSENT]]
    value = torch.tensor([rows], requires_grad=True)
    loss = margin_loss(value, y, 0.1)
    torch.testing.assert_close(loss, torch.tensor(0.05 / 2))  # 0.45 - 0.5 + 0.1, and 0: the others lack a neighbour
    loss.backward()
    torch.testing.assert_close(value.grad[0, 0], torch.tensor([-0.5, 0.5, 0.0]))
    assert margin_loss(value[:, 2:], y[:, 2:], 0.1).item() == 0


def model(slots: int = 100) -> KeyValueMemory:
    torch.manual_seed(0)
    backbone = MLP([4], hidden=[64], norm=False)  # wide: in 8 units of ReLU, inputs often coincide
    return KeyValueMemory(backbone, slots=slots, margin=0.1, inverse_temperature=40, batch_norm="running")


def test_a_query_that_was_seen_is_known_in_any_order_of_the_classes() -> None:
    x, y = torch.randn(6, 4), F.one_hot(torch.arange(6), 6).float()
    predict = model().eval().adapt(x, y)
    assert predict(x).argmax(-1).tolist() == [*range(6)]
    order = torch.randperm(6)
    torch.testing.assert_close(model().eval().adapt(x[order], y[order])(x), predict(x))
    torch.testing.assert_close(model().eval().adapt(x, y[:, order])(x), predict(x)[:, order])


def test_a_row_is_scored_by_the_rows_before_it_and_keys_give_no_gradient() -> None:
    z = F.normalize(torch.randn(1, 5, 4), dim=-1).requires_grad_()
    y = F.one_hot(torch.tensor([[0, 1, 0, 1, 0]]), 2).float()
    result = model().follow(z, y)
    assert (result[0, 0] == ABSENT).all()
    torch.testing.assert_close(result[0, 1], torch.stack([z[0, 1] @ z[0, 0], torch.tensor(ABSENT)]))
    result[0, 3].sum().backward()
    assert z.grad[0, :3].eq(0).all() and z.grad[0, 3].ne(0).any() and z.grad[0, 4].eq(0).all()


def test_it_learns_to_tell_classes_apart() -> None:
    algorithm = model()
    optimizer = torch.optim.Adam(algorithm.parameters(), lr=0.02)
    generator = torch.Generator().manual_seed(0)

    def episode() -> Episode:
        x = torch.randn(8, 3, 1, 4, generator=generator) * torch.tensor(
            [1.0, 1, 0, 0]
        )  # the numbers that distinguish classes
        noisy = x + torch.randn(8, 3, 4, 4, generator=generator) * torch.tensor([0.0, 0, 3, 3])
        y = F.one_hot(torch.arange(3), 3).float()[:, None].expand(8, 3, 4, 3)
        return Episode(noisy[:, :, 0], y[:, :, 0], noisy[:, :, 1:].flatten(1, 2), y[:, :, 1:].flatten(1, 2))

    losses = []
    for _ in range(60):
        output = algorithm.loss(episode())
        optimizer.zero_grad()
        output.loss.backward()
        optimizer.step()
        losses.append(output.loss.item())
    assert sum(losses[-10:]) < 0.7 * sum(losses[:10])


@pytest.mark.parametrize("change", [{"slots": 0}, {"margin": 0.0}, {"inverse_temperature": -1.0}])
def test_other_numbers_are_refused(change: dict[str, float]) -> None:
    settings = {"slots": 9, "margin": 0.1, "inverse_temperature": 40.0, **change}
    with pytest.raises(ValueError, match=f"{next(iter(change))}={next(iter(change.values()))}"):
        KeyValueMemory(MLP([4], hidden=[8], norm=False), batch_norm="running", **settings)  # type: ignore[arg-type]
