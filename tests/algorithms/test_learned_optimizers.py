"""The learned optimisers: their equations by scalar loops, and their limits."""

import dataclasses
import math

import pytest
import torch
from test_gradient_family import batch
from torch import nn

from metalearn.algorithms.gradient import AbstractGradient, InnerLoop, descend
from metalearn.algorithms.learned_optimizer import LearnedOptimizer
from metalearn.algorithms.lstm_learner import LSTMLearner
from metalearn.algorithms.parts.execution import Execution
from metalearn.backbones.mlp import MLP
from metalearn.losses import cross_entropy


def lstm_learner(*, forget_bias: float = 5.0, input_bias: float = -1.0, adapt: str = ".*") -> LSTMLearner:
    torch.manual_seed(0)
    return LSTMLearner(
        MLP([1, 4, 4], hidden=[6]),
        way=3,
        hidden=4,
        forget_bias=forget_bias,
        input_bias=input_bias,
        inner_loop=InnerLoop(steps=3, test_steps=5, first_order=True, adapt=[adapt]),
        batch_norm="batch",
    ).double()


def learned_optimizer(*, cell: str = "lstm", steps: int = 3, adapt: str = ".*") -> LearnedOptimizer:
    torch.manual_seed(0)
    return LearnedOptimizer(
        MLP([1, 4, 4], hidden=[6]),
        way=3,
        cell=cell,  # type: ignore[arg-type]
        hidden=4,
        layers=2,
        scale=0.1,
        inner_loop=InnerLoop(steps=steps, test_steps=5, first_order=True, adapt=[adapt]),
        batch_norm="batch",
    ).double()


BOTH = pytest.mark.parametrize("build", [lstm_learner, learned_optimizer])


def scalar_affine(affine: nn.Module, inputs: list[float]) -> list[float]:
    weight, bias = affine.linear.weight.tolist(), affine.linear.bias.tolist()  # type: ignore[union-attr]
    return [b + sum(w * x for w, x in zip(row, inputs, strict=True)) for row, b in zip(weight, bias, strict=True)]


def scalar_preprocess(x: float) -> tuple[float, float]:
    return (math.log(abs(x)) / 10, math.copysign(1, x)) if abs(x) >= math.exp(-10) else (-1.0, math.exp(10) * x)


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def scalar_lstm(gates: nn.Module, x: list[float], output: list[float], cell: list[float]) -> tuple[list, list]:
    pre = scalar_affine(gates, x + output)
    h = len(cell)
    for i in range(h):
        cell[i] = sigmoid(pre[h + i]) * cell[i] + sigmoid(pre[i]) * math.tanh(pre[2 * h + i])
        output[i] = sigmoid(pre[3 * h + i]) * math.tanh(cell[i])
    return output, cell


def test_lstm_learner_against_a_scalar_loop_over_one_coordinate() -> None:
    algorithm = lstm_learner()
    with torch.no_grad():  # gates that depend on their inputs
        for gate in (algorithm.forget_gate, algorithm.input_gate):
            gate.linear.weight.normal_()
    grads, losses = [0.3, -1e-6, -2.0], [1.6, 0.9, 0.2]
    theta, forget, into, output, cell = 0.7, 0.0, 0.0, [0.0] * 4, [0.0] * 4
    for grad, loss in zip(grads, losses, strict=True):
        seen = [*scalar_preprocess(grad), *scalar_preprocess(loss)]
        # `preprocess` returns size and direction of the gradient, then those of the loss.
        output, cell = scalar_lstm(algorithm.lstm.gates[0], seen, output, cell)
        (f,) = scalar_affine(algorithm.forget_gate, [*output, theta, forget])
        (i,) = scalar_affine(algorithm.input_gate, [*output, theta, into])
        forget, into = sigmoid(f), sigmoid(i)
        theta = forget * theta - into * grad
    algorithm.adapted = ["w"]
    params = {"w": torch.tensor([0.7, 5.0]).double()}
    params, state = algorithm.start(params, torch.empty(0), torch.empty(0))
    for grad, loss in zip(grads, losses, strict=True):
        gradient = {"w": torch.tensor([grad, 1.0]).double()}
        params, state = algorithm.update(params, gradient, torch.tensor(loss).double(), state)
    assert params["w"][0].item() == pytest.approx(theta)


def test_learned_optimizer_against_a_scalar_loop_over_one_coordinate() -> None:
    algorithm = learned_optimizer()
    grads = [0.3, -1e-6, -2.0]
    theta, states = 0.7, [([0.0] * 4, [0.0] * 4) for _ in range(2)]
    for grad in grads:
        x = [*scalar_preprocess(grad)]
        for gates, state in zip(algorithm.cell.gates, states, strict=True):  # type: ignore[arg-type]
            scalar_lstm(gates, x, *state)
            x = list(state[0])
        theta += 0.1 * scalar_affine(algorithm.output, x)[0]
    algorithm.adapted = ["w"]
    params, state = algorithm.start({"w": torch.tensor([0.7, 5.0]).double()}, torch.empty(0), torch.empty(0))
    for grad in grads:
        gradient = {"w": torch.tensor([grad, 1.0]).double()}
        params, state = algorithm.update(params, gradient, torch.tensor(1.0).double(), state)
    assert params["w"][0].item() == pytest.approx(theta)


def test_lstm_learner_with_fixed_gates_is_gradient_descent() -> None:
    algorithm = lstm_learner(forget_bias=50.0, input_bias=math.log(0.2 / 0.8))  # f = 1, i = 0.2
    for gate in (algorithm.forget_gate, algorithm.input_gate):
        nn.init.zeros_(gate.linear.weight)
    task = batch().tasks()[0]
    *_, (learned, _) = algorithm.steps(algorithm.weights(), task.support_x, task.support_y, 3)
    params = algorithm.weights()
    for _ in range(3):
        grads, _ = algorithm.support_gradient(params, task.support_x, task.support_y)
        params = descend(params, grads, 0.2)
    torch.testing.assert_close(learned, params)


def test_the_biases_are_the_gates_at_first() -> None:
    algorithm = lstm_learner(forget_bias=5.0, input_bias=-4.0)
    params = algorithm.weights()
    params, state = algorithm.start(params, torch.empty(0), torch.empty(0))
    grads = {name: torch.ones_like(weight) for name, weight in params.items()}
    _, (_, forget, into) = algorithm.update(params, grads, torch.tensor(1.6).double(), state)
    torch.testing.assert_close(forget, torch.full_like(forget, sigmoid(5.0)), rtol=1e-2, atol=0)
    torch.testing.assert_close(into, torch.full_like(into, sigmoid(-4.0)), rtol=5e-2, atol=0)


def test_a_gate_near_one_is_not_rounded_to_half_precision() -> None:
    algorithm = lstm_learner(forget_bias=5.0).float()
    nn.init.zeros_(algorithm.forget_gate.linear.weight)
    params, state = algorithm.start(algorithm.weights(), torch.empty(0), torch.empty(0))
    with torch.autocast("cpu", torch.bfloat16):
        _, (_, forget, _) = algorithm.update(params, params, torch.tensor(1.6), state)
    torch.testing.assert_close(forget, torch.full_like(forget, sigmoid(5.0)))


@pytest.mark.parametrize("cell", ["lstm", "transformer"])
def test_the_meta_loss_is_the_mean_over_the_steps(cell: str) -> None:
    algorithm = learned_optimizer(cell=cell)
    losses = [
        cross_entropy(algorithm.predict(params, task.support_x, task.query_x), task.query_y)
        for task in batch().tasks()
        for params, _ in [*algorithm.steps(algorithm.weights(), task.support_x, task.support_y, 3)][1:]
    ]
    assert len(losses) == 2 * 3
    output = algorithm.loss(batch())
    torch.testing.assert_close(output.loss, torch.stack(losses).mean())
    assert output.logits is not None  # predictions after the last step
    for logits, task, last in zip(output.logits, batch().tasks(), losses[2::3], strict=True):
        torch.testing.assert_close(cross_entropy(logits, task.query_y), last)


@pytest.mark.parametrize("cell", ["lstm", "transformer"])
def test_an_untrained_optimizer_takes_steps_that_are_small_for_its_scale(cell: str) -> None:
    algorithm = learned_optimizer(cell=cell)
    params, state = algorithm.start(algorithm.weights(), torch.empty(0), torch.empty(0))
    for size in (1e-6, 1.0, 1e6):
        grads = {name: torch.full_like(weight, size) for name, weight in params.items()}
        moved, state = algorithm.update(params, grads, torch.tensor(1.6).double(), state)
        assert all((moved[name] - weight).abs().max() < algorithm.scale / 10 for name, weight in params.items())


@pytest.mark.parametrize("vmap", [False, True])
def test_the_transformer_runs_under_vmap_and_trains_every_weight(vmap: bool) -> None:
    algorithm = learned_optimizer(cell="transformer")
    expected = algorithm.loss(batch()).loss
    algorithm.execution = Execution(vmap=vmap)
    loss = algorithm.loss(batch()).loss
    torch.testing.assert_close(loss, expected)
    loss.backward()
    for name, weight in algorithm.named_parameters():
        assert weight.grad is not None, name
        assert weight.grad.any(), name


@BOTH
def test_gradients_are_constants_of_the_outer_loop_if_first_order(build) -> None:
    algorithm: AbstractGradient = build()
    gradients = []
    for first_order in (True, False):
        algorithm.inner_loop = dataclasses.replace(algorithm.inner_loop, first_order=first_order)
        algorithm.zero_grad()
        algorithm.loss(batch()).loss.backward()
        gradients.append(torch.cat([weight.grad.flatten() for weight in algorithm.parameters()]))  # type: ignore[union-attr]
    assert all(torch.isfinite(gradient).all() for gradient in gradients)
    assert not torch.allclose(*gradients, rtol=1e-3)


@BOTH
def test_only_the_named_weights_move(build) -> None:
    algorithm = build(adapt="head\\.")
    task = batch().tasks()[0]
    (start, _), *_, (end, _) = algorithm.steps(algorithm.weights(), task.support_x, task.support_y, 2)
    assert {name for name in start if not torch.equal(start[name], end[name])} == {"head.weight", "head.bias"}


@BOTH
def test_more_steps_at_test_than_in_training(build) -> None:
    algorithm = build().eval()
    task = batch().tasks()[0]
    with torch.no_grad():
        assert len(algorithm.stages(task.support_x, task.support_y)) == 1 + 5


def test_settings_that_cannot_be() -> None:
    with pytest.raises(ValueError, match="no cell 'gru'; choose from lstm, transformer"):
        learned_optimizer(cell="gru")
    with pytest.raises(ValueError, match=r"inner_loop\.steps=0 must be at least 1"):
        learned_optimizer(steps=0)
