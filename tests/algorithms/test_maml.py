"""MAML against theory: the meta-gradient of the paper."""

import weakref
from functools import partial
from typing import Any
from unittest.mock import Mock

import pytest
import torch
from test_gradient_family import batch
from torch import Tensor, nn
from torch.func import functional_call

from metalearn.algorithms.gradient import InnerLoop
from metalearn.algorithms.maml import MAML
from metalearn.algorithms.parts.execution import Execution
from metalearn.backbones.mlp import MLP
from metalearn.losses import cross_entropy
from metalearn.types import Episode


def build(*, inner_lr: float = 0.4, inner_steps: int = 2, first_order: bool = False, adapt: str = ".*") -> MAML:
    torch.manual_seed(0)
    return MAML(
        MLP([1, 4, 4], hidden=[6]),
        way=3,
        inner_lr=inner_lr,
        inner_loop=InnerLoop(steps=inner_steps, test_steps=3, first_order=first_order, adapt=[adapt]),
        batch_norm="batch",
    ).double()


def gradient(algorithm: MAML) -> Tensor:
    algorithm.zero_grad()
    algorithm.loss(batch()).loss.backward()
    return torch.cat([weight.grad.flatten() for weight in algorithm.parameters()])


def test_meta_gradient_equals_finite_differences() -> None:
    algorithm = build()
    analytic = gradient(algorithm)
    weights = torch.nn.utils.parameters_to_vector(algorithm.parameters()).detach()
    numeric = torch.zeros_like(weights)
    for i in range(len(weights)):
        shifted = []
        for sign in (1, -1):
            moved = weights.clone()
            moved[i] += sign * 1e-6
            torch.nn.utils.vector_to_parameters(moved, algorithm.parameters())
            shifted.append(algorithm.loss(batch()).loss.item())
        numeric[i] = (shifted[0] - shifted[1]) / 2e-6
    torch.testing.assert_close(analytic, numeric, rtol=1e-4, atol=1e-7)
    # Agreement must not come from leaving out the second derivatives on both sides.
    assert not torch.allclose(gradient(build(first_order=True)), numeric, rtol=1e-2)


def test_meta_gradient_equals_a_naive_loop_with_autograd() -> None:
    algorithm = build()
    params = dict(algorithm.network.named_parameters())
    total = 0.0
    for task in batch().tasks():
        phi = params
        for _ in range(algorithm.inner_loop.steps):
            support = functional_call(algorithm.network, phi, (task.support_x, algorithm.rows(track=False)))
            grads = torch.autograd.grad(
                cross_entropy(support, task.support_y), list(phi.values()), create_graph=True, allow_unused=False
            )
            phi = {name: w - algorithm.inner_lr * g for (name, w), g in zip(phi.items(), grads, strict=True)}
        query = functional_call(algorithm.network, phi, (task.query_x, algorithm.rows(track=False)))
        total = total + cross_entropy(query, task.query_y) / 2
    expected = torch.cat([g.flatten() for g in torch.autograd.grad(total, list(params.values()))])
    torch.testing.assert_close(gradient(algorithm), expected)


def test_first_order_gradient_is_the_query_gradient_at_phi() -> None:
    algorithm = build(first_order=True)
    theta = algorithm.weights()
    total = torch.zeros(sum(w.numel() for w in theta.values()), dtype=torch.float64)
    for task in batch().tasks():
        *_, (phi, _) = algorithm.steps(theta, task.support_x, task.support_y, algorithm.inner_loop.steps)
        phi = {name: weight.detach().requires_grad_() for name, weight in phi.items()}
        loss = cross_entropy(algorithm.predict(phi, task.support_x, task.query_x), task.query_y)
        total += torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(phi.values()))]) / 2
    torch.testing.assert_close(gradient(algorithm), total)


def test_first_and_second_order_differ_in_proportion_to_the_inner_rate() -> None:
    gaps = []
    for inner_lr in (1e-3, 1e-4):
        second, first = (gradient(build(inner_lr=inner_lr, first_order=order)) for order in (False, True))
        gaps.append((second - first).norm().item())
    assert gaps[0] / gaps[1] == pytest.approx(10, rel=0.02)


def test_a_first_order_task_keeps_the_weights_of_its_last_step_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    algorithm = build(first_order=True, inner_steps=4)
    algorithm.execution = Execution(vmap=False)
    update, made, alive = algorithm.update, list[weakref.ref[Tensor]](), list[int]()

    def updated(*step: Any) -> Any:
        alive.append(sum(weight() is not None for weight in made))
        params, state = update(*step)
        made.append(weakref.ref(params["head.weight"]))
        return params, state

    monkeypatch.setattr(algorithm, "update", updated)
    algorithm.loss(batch())
    assert alive == [0, 1, 1, 1] * 2


def test_the_inner_rate_is_in_units_of_the_mean_cross_entropy() -> None:
    # The code of Finn et al. sums over the rows of the support set: their step of 0.4 is ours of
    # 0.4 times the number of rows.
    algorithm = build(inner_lr=0.4, inner_steps=1)
    task = batch().tasks()[0]
    theta = algorithm.weights()
    *_, (phi, _) = algorithm.steps(theta, task.support_x, task.support_y, 1)
    logits = functional_call(algorithm.network, theta, (task.support_x, algorithm.rows(track=False)))
    mean = -(task.support_y * logits.log_softmax(-1)).sum() / len(logits)
    grad = torch.autograd.grad(mean, theta["head.weight"])[0]
    torch.testing.assert_close(theta["head.weight"] - phi["head.weight"], 0.4 * grad)


@pytest.mark.parametrize("vmap", [False, True])
def test_a_task_is_one_graph_with_the_same_meta_gradient(vmap: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    algorithm = build(inner_steps=1)
    expected = gradient(algorithm)
    # The backend runs the traced graph; `make bench` compares the gradients of the compiled
    # program.
    compiled = Mock(side_effect=partial(torch.compile, backend="aot_eager", fullgraph=True))
    monkeypatch.setattr(torch, "compile", compiled)
    algorithm.execution = Execution(compile=True, vmap=vmap)
    torch.testing.assert_close(gradient(algorithm), expected)
    assert compiled.called


def test_compiling_needs_a_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(ValueError, match="^execution.compile=true needs a C\\+\\+ compiler"):
        Execution(compile=True)


def test_adapt_moves_the_named_weights_only() -> None:
    algorithm = build(adapt="head\\.")
    task = batch().tasks()[0]
    (start, _), *_, (end, _) = algorithm.steps(algorithm.weights(), task.support_x, task.support_y, 2)
    moved = {name for name in start if not torch.equal(start[name], end[name])}
    assert moved == {"head.weight", "head.bias"}
    with pytest.raises(ValueError, match="no weight matches 'haed'"):
        build(adapt="haed")


def test_inner_steps_lower_the_support_loss_and_are_counted() -> None:
    algorithm = build().eval()
    task = batch().tasks()[0]
    predictors = algorithm.stages(task.support_x, task.support_y)
    losses = [cross_entropy(predict(task.support_x), task.support_y).item() for predict in predictors]
    assert len(losses) == 1 + algorithm.inner_loop.test_steps
    assert losses == sorted(losses, reverse=True)


def test_meta_gradient_of_a_linear_model_by_hand() -> None:
    # The model is one weight matrix W (3, D) on fixed features. With p = softmax(W a), the inner
    # gradient is (p - y) aᵀ. Its Jacobian takes G to (diag p - p pᵀ) G a aᵀ. The meta-gradient is
    # therefore G - α (diag p - p pᵀ) G a aᵀ, with G the gradient of the query loss at φ.
    class Flat(nn.Module):
        num_features, map_shape = 16, (1, 4, 4)

        def forward(self, x: Tensor, rows: object) -> Tensor:
            return x.flatten(1)

    torch.manual_seed(0)
    loop = InnerLoop(steps=1, test_steps=1, adapt=["head.weight"])
    algorithm = MAML(Flat(), way=3, inner_lr=0.4, inner_loop=loop, batch_norm="batch").double()
    torch.nn.init.zeros_(algorithm.network.head.bias)
    full = batch()
    pair = Episode(full.support_x[:1, :1], full.support_y[:1, :1], full.query_x[:1, :1], full.query_y[:1, :1])
    a, y, b, t = (part.flatten() for part in pair)

    w = algorithm.network.head.weight.detach()
    p = torch.softmax(w @ a, 0)
    phi = w - 0.4 * torch.outer(p - y, a)
    g = torch.outer(torch.softmax(phi @ b, 0) - t, b)
    expected = g - 0.4 * (torch.diag(p) - torch.outer(p, p)) @ g @ torch.outer(a, a)

    algorithm.loss(pair).loss.backward()
    torch.testing.assert_close(algorithm.network.head.weight.grad, expected)
