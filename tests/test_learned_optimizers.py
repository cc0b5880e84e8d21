"""The optimisers that are networks: their equations by scalar loops, and what they may not do."""

import dataclasses
import math

import pytest
import torch
from conftest import episode
from torch import Tensor, nn

from metalearn.algorithms.coordinatewise import LSTM, AbstractCell, Transformer, flatten, preprocess, unflatten
from metalearn.algorithms.gradient import AbstractGradient, InnerLoop, descend
from metalearn.algorithms.learned_optimizer import LearnedOptimizer
from metalearn.algorithms.lstm_learner import LSTMLearner
from metalearn.backbones.mlp import MLP
from metalearn.losses import cross_entropy
from metalearn.types import Episode

COORDINATES = 7


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
CELLS = pytest.mark.parametrize("kind", [LSTM, Transformer])


def batch() -> Episode:
    small = episode(tasks=2, way=3, shot=2, query=3, size=4)
    return Episode(*(part.double() for part in small))


def run(cell: AbstractCell, gradients: Tensor) -> Tensor:
    """Outputs of a cell over steps: (steps, I, P) -> (steps, H, P)."""
    state, outputs = cell.start(gradients[0, 0]), []
    for x in gradients:
        output, state = cell(x, state)
        outputs.append(output)
    return torch.stack(outputs)


def history(num_inputs: int = 2, steps: int = 4) -> Tensor:
    return torch.randn(steps, num_inputs, COORDINATES, generator=torch.Generator().manual_seed(1)).double()


def test_preprocessing_against_the_formula() -> None:
    p = 10.0
    numbers = [0.0, 1e-9, -1e-9, 4e-5, -4e-5, 5e-5, -5e-5, 0.3, -0.3, 1.0, -7.0, 1e6, math.exp(-p)]
    pairs = preprocess(torch.tensor(numbers, dtype=torch.float64))
    for x, pair in zip(numbers, pairs.T, strict=True):
        large = abs(x) >= math.exp(-p)
        expected = (math.log(abs(x)) / p, math.copysign(1, x)) if large else (-1.0, math.exp(p) * x)
        assert pair.tolist() == pytest.approx(expected)


def test_preprocessing_has_a_finite_derivative_everywhere() -> None:
    x = torch.tensor([0.0, 1e-30, -1e-30, 1.0], requires_grad=True)
    preprocess(x).sum().backward()
    assert torch.isfinite(x.grad).all()  # type: ignore[arg-type]


def test_flatten_and_back() -> None:
    params = {"a": torch.randn(2, 3), "b": torch.randn(()), "c": torch.randn(4, 1, 2).transpose(0, 2)}
    names = ["c", "a"]
    flat = flatten(params, names)
    assert flat.shape == (14,)
    back = unflatten(flat, names, params)
    assert list(back) == names
    assert all(torch.equal(back[name], params[name]) for name in names)


def test_lstm_equals_that_of_torch_with_the_same_weights() -> None:
    torch.manual_seed(0)
    ours = LSTM(2, hidden=5, layers=2).double()
    theirs = nn.LSTM(2, 5, num_layers=2).double()
    for layer, gates in enumerate(ours.gates):
        width = 5 if layer else 2
        with torch.no_grad():
            getattr(theirs, f"weight_ih_l{layer}").copy_(gates.linear.weight[:, :width])
            getattr(theirs, f"weight_hh_l{layer}").copy_(gates.linear.weight[:, width:])
            getattr(theirs, f"bias_ih_l{layer}").copy_(gates.linear.bias)
            getattr(theirs, f"bias_hh_l{layer}").zero_()
    x = history()
    expected, _ = theirs(x.transpose(1, 2))  # (steps, P, H): the coordinates are their batch
    torch.testing.assert_close(run(ours, x), expected.transpose(1, 2))


def test_transformer_against_attention_of_torch_over_the_whole_history() -> None:
    torch.manual_seed(0)
    cell = Transformer(2, hidden=6, layers=1).double()
    (layer,) = cell.layers
    x = history()
    steps = len(x)
    position = torch.tensor(
        [
            [f(step / 10000 ** (2 * (i // 2) / 6)) for i, f in enumerate([math.sin, math.cos] * 3)]
            for step in range(steps)
        ]
    ).double()  # (steps, H)
    z = torch.stack([cell.embed(part) for part in x]) + position[:, :, None]
    z = z.permute(2, 0, 1)  # (P, steps, H): each coordinate is a sequence
    norm = nn.RMSNorm(6, eps=1e-5, elementwise_affine=False).double()
    attended = nn.functional.scaled_dot_product_attention(
        *(norm(z) @ layer.attend.weight.T).chunk(3, dim=-1), is_causal=True
    )
    z = z + layer.mix.linear(attended)
    z = z + layer.narrow.linear(layer.widen.linear(norm(z)).relu())
    torch.testing.assert_close(run(cell, x), norm(z).permute(1, 2, 0))


@CELLS
def test_later_gradients_do_not_change_earlier_outputs(kind: type[LSTM | Transformer]) -> None:
    torch.manual_seed(0)
    cell = kind(2, hidden=4, layers=2).double()
    x = history()
    other = x.clone()
    other[2:] += 1
    assert torch.equal(run(cell, x)[:2], run(cell, other)[:2])
    assert not torch.allclose(run(cell, x)[2:], run(cell, other)[2:])


@CELLS
def test_earlier_gradients_change_later_outputs(kind: type[LSTM | Transformer]) -> None:
    torch.manual_seed(0)
    cell = kind(2, hidden=4, layers=2).double()
    x = history()
    other = x.clone()
    other[0] += 1
    assert not torch.allclose(run(cell, x)[3], run(cell, other)[3])


@CELLS
def test_permuting_the_coordinates_permutes_the_outputs(kind: type[LSTM | Transformer]) -> None:
    torch.manual_seed(0)
    cell = kind(2, hidden=4, layers=2).double()
    x, order = history(), torch.randperm(COORDINATES)
    torch.testing.assert_close(run(cell, x[..., order]), run(cell, x)[..., order])


@CELLS
def test_a_coordinate_knows_nothing_of_the_others(kind: type[LSTM | Transformer]) -> None:
    torch.manual_seed(0)
    cell = kind(2, hidden=4, layers=2).double()
    x = history()
    other = x.clone()
    other[..., 0] += 1
    torch.testing.assert_close(run(cell, x)[..., 1:], run(cell, other)[..., 1:])
    assert not torch.allclose(run(cell, x)[..., 0], run(cell, other)[..., 0])


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
    with torch.no_grad():  # gates that depend on what they see
        for gate in (algorithm.forget_gate, algorithm.input_gate):
            gate.linear.weight.normal_()
    grads, losses = [0.3, -1e-6, -2.0], [1.6, 0.9, 0.2]
    theta, forget, into, output, cell = 0.7, 0.0, 0.0, [0.0] * 4, [0.0] * 4
    for grad, loss in zip(grads, losses, strict=True):
        seen = [*scalar_preprocess(grad), *scalar_preprocess(loss)]
        # preprocess stacks sizes and directions: size and direction of the gradient, then those of the loss
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
    learned, _ = algorithm.steps(algorithm.weights(), task.support_x, task.support_y, 3)[-1]
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


@pytest.mark.parametrize("cell", ["lstm", "transformer"])
def test_the_meta_loss_is_the_mean_over_the_steps(cell: str) -> None:
    algorithm = learned_optimizer(cell=cell)
    losses = [
        cross_entropy(algorithm.predict(params, task.support_x, task.query_x), task.query_y)
        for task in batch().tasks()
        for params, _ in algorithm.steps(algorithm.weights(), task.support_x, task.support_y, 3)[1:]
    ]
    assert len(losses) == 2 * 3
    output = algorithm.loss(batch())
    torch.testing.assert_close(output.loss, torch.stack(losses).mean())
    assert output.logits is not None
    assert output.logits.shape == batch().query_y.shape


@pytest.mark.parametrize("vmap", [False, True])
def test_the_transformer_runs_under_vmap_and_trains_every_weight(vmap: bool) -> None:
    algorithm = learned_optimizer(cell="transformer")
    expected = algorithm.loss(batch()).loss
    algorithm.inner_loop = dataclasses.replace(algorithm.inner_loop, vmap=vmap)
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
    path = algorithm.steps(algorithm.weights(), task.support_x, task.support_y, 2)
    (start, _), (end, _) = path[0], path[-1]
    assert {name for name in start if not torch.equal(start[name], end[name])} == {"head.weight", "head.bias"}


@BOTH
def test_more_steps_at_test_than_in_training(build) -> None:
    algorithm = build().eval()
    task = batch().tasks()[0]
    with torch.no_grad():
        assert len(algorithm.adapt_by_steps(task.support_x, task.support_y)) == 1 + 5


def test_settings_that_cannot_be() -> None:
    with pytest.raises(ValueError, match="cell is 'gru'; it can be lstm, transformer"):
        learned_optimizer(cell="gru")
    with pytest.raises(ValueError, match=r"inner_loop\.steps is 0"):
        learned_optimizer(steps=0)
