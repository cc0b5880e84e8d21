"""iMAML and CAVIA: implicit gradients against hand solutions, and contexts that move alone."""

import weakref
from typing import Any

import pytest
import torch
from conftest import composed, episode
from embedded_tasks import Flat
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter

from metalearn.algorithms.cavia import CAVIA, Conditioned
from metalearn.algorithms.gradient import AbstractGradient, InnerLoop
from metalearn.algorithms.imaml import IMAML
from metalearn.algorithms.parts.conjugate_gradient import solve
from metalearn.backbones.text_transformer import TextTransformer
from metalearn.types import Episode


def linear_regression(**changes: Any) -> IMAML:
    """Builds iMAML of y = x W + b, whose support loss is quadratic."""
    loop = InnerLoop(steps=300, test_steps=5)
    arguments = {"inner_lr": 0.1, "proximity": 0.7, "cg_steps": 4, "cg_damping": 0.0} | changes
    torch.manual_seed(0)
    return IMAML(Flat(3), way=1, inner_loop=loop, batch_norm="running", problem="regression", **arguments).double()


def points() -> Episode:
    generator = torch.Generator().manual_seed(0)
    shapes = ((2, 6, 3), (2, 6, 1), (2, 8, 3), (2, 8, 1))
    return Episode(*(torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes))


def test_the_gradient_of_a_quadratic_is_the_analytic_one() -> None:
    algorithm, batch, proximity = linear_regression(), points(), 0.7
    algorithm.loss(batch).loss.backward()
    head = algorithm.network.head
    theta = torch.cat([head.weight[0], head.bias]).detach().requires_grad_()  # (4,)
    losses = []
    for support_x, support_y, query_x, query_y in batch.tasks():
        design, query = (torch.cat([x, torch.ones(len(x), 1).double()], 1) for x in (support_x, query_x))
        hessian = 2 / len(design) * design.T @ design
        # At φ, the gradients of the support loss and of λ/2 |φ - θ|² cancel.
        phi = torch.linalg.solve(
            hessian + proximity * torch.eye(4).double(),
            proximity * theta + 2 / len(design) * design.T @ support_y[:, 0],
        )
        losses.append((query @ phi - query_y[:, 0]).square().mean())
    expected = torch.stack(losses).mean()
    (gradient,) = torch.autograd.grad(expected, theta)
    torch.testing.assert_close(algorithm.loss(batch).loss, expected)
    torch.testing.assert_close(torch.cat([head.weight.grad[0], head.bias.grad]), gradient)


def test_the_damping_adds_to_the_proximity_in_the_linear_system() -> None:
    support_x, support_y, *_ = points().tasks()[0]
    damped, near = linear_regression(cg_damping=0.5), linear_regression(proximity=1.2)
    weights = damped.weights()
    solutions = [algorithm.implicit(weights, weights, support_x, support_y) for algorithm in (damped, near)]
    torch.testing.assert_close(*solutions)


def test_a_strong_proximity_leaves_the_gradient_of_the_first_order() -> None:
    """Tests that φ stays at θ and the factor becomes 1 as λ grows to infinity."""
    algorithm, batch = linear_regression(proximity=1e6, inner_lr=1e-7), points()
    algorithm.loss(batch).loss.backward()
    head = algorithm.network.head
    loss = (head(batch.query_x) - batch.query_y).square().mean()
    (expected,) = torch.autograd.grad(loss, [head.weight])
    torch.testing.assert_close(head.weight.grad, expected, rtol=1e-4, atol=1e-5)


def test_conjugate_gradients_solve_in_as_many_steps_as_there_are_numbers() -> None:
    torch.manual_seed(0)
    root, b = torch.randn(5, 5).double(), torch.randn(5).double()
    a = root @ root.T + torch.eye(5)

    def product(vector: dict[str, Tensor]) -> dict[str, Tensor]:
        first, second = (a @ torch.cat([vector["first"], vector["second"]])).split([2, 3])
        return {"first": first, "second": second}

    for steps in (5, 9):  # more steps change nothing
        x = solve(product, {"first": b[:2], "second": b[2:]}, steps)
        torch.testing.assert_close(torch.cat([x["first"], x["second"]]), torch.linalg.solve(a, b))


class Peak(TorchDispatchMode):
    """Counts the bytes of the tensors that live at the same time."""

    def __init__(self) -> None:
        super().__init__()
        self.live, self.largest, self.known = 0, 0, set[int]()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for part in tree_iter(result):
            if isinstance(part, Tensor) and (key := part.untyped_storage().data_ptr()) not in self.known:
                self._add(part.untyped_storage(), key)
        return result

    def _add(self, storage: Any, key: int) -> None:
        size = storage.nbytes()
        self.known.add(key)
        self.live += size
        self.largest = max(self.largest, self.live)
        weakref.finalize(storage, self._remove, key, size)

    def _remove(self, key: int, size: int) -> None:
        self.known.discard(key)
        self.live -= size


def peak(name: str, steps: int) -> int:
    algorithm = build(name, f"algorithm.inner_loop.steps={steps}")
    batch = episode(tasks=1)
    with Peak() as counted:
        algorithm.loss(batch).loss.backward()
    return counted.largest


def build(name: str, *overrides: str) -> AbstractGradient:
    torch.manual_seed(0)
    small = ("dataset.input_shape=[1,16,16]", "backbone.channels=4", "episode.train.way=3")
    return instantiate(composed(f"algorithm={name}", *small, *overrides).algorithm)


def test_memory_does_not_grow_with_the_inner_steps() -> None:
    assert peak("imaml", 16) <= 1.05 * peak("imaml", 2)
    assert peak("maml", 16) > 2 * peak("maml", 2)  # shows that the measure sees a graph


@pytest.mark.parametrize(
    ("change", "message"),
    [({"proximity": 0.0}, "proximity"), ({"cg_steps": 0}, "cg_steps"), ({"cg_damping": -1.0}, "cg_damping")],
)
def test_what_cannot_be_solved_is_refused(change: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        linear_regression(**change)
    with pytest.raises(InstantiationException, match="imaml moves all weights"):
        build("imaml", "algorithm.inner_loop.adapt=[head]")


# --- CAVIA -------------------------------------------------------------------------------------


def test_the_context_alone_moves_and_starts_at_zero() -> None:
    algorithm = build("cavia")
    task = episode(tasks=1).tasks()[0]
    (start, _), *_, (end, _) = algorithm.steps(algorithm.weights(), task.support_x, task.support_y, 2)
    for name, weight in start.items():
        assert torch.equal(end[name], weight) == (name != "context")
    assert not start["context"].any()
    assert isinstance(algorithm, CAVIA)
    assert not algorithm.network.context.requires_grad


def test_concatenation_is_a_layer_with_the_context_beside_its_input() -> None:
    overrides = ("dataset=sinusoid", "algorithm=cavia")
    torch.manual_seed(0)
    network = instantiate(composed(*overrides).algorithm).network
    nn.init.normal_(network.context)
    x = torch.randn(7, 1)
    first = network.backbone.layers[0]
    wide = torch.cat([x, network.context.expand(7, -1)], 1) @ torch.cat([first.weight, network.modulate.weight], 1).T
    z = network.backbone.layers[1](torch.relu(wide + first.bias)).relu()
    torch.testing.assert_close(network(x, None), network.head(z))


def test_film_scales_and_shifts_each_channel() -> None:
    network = build("cavia", "algorithm.layer=blocks.3.norm", "backbone.pools=0").network
    x = torch.rand(2, 1, 16, 16)
    before = network(x, None)
    with torch.no_grad():
        network.modulate.weight.zero_()
        network.modulate.bias.copy_(torch.tensor([1.0] * 4 + [0.0] * 4))  # γ = 2, β = 0
        doubled = network.head(2 * network.backbone(x, None))
    torch.testing.assert_close(network(x, None), doubled)
    assert not torch.allclose(before, doubled)


@pytest.mark.parametrize("modulation", ["film", "concatenate"])
def test_the_channels_of_a_linear_layer_come_last(modulation: str) -> None:
    backbone = TextTransformer([8], num_tokens=50, width=16)
    network = Conditioned(backbone, 3, context=4, layer="layers.1.output", modulation=modulation)  # type: ignore[arg-type]
    nn.init.normal_(network.context)
    changed = network._modulated(backbone.layers[1].output, None, torch.ones(2, 16, 16))  # as many tokens as channels
    assert changed.std(2).min() > 0  # each channel has its number
    assert changed.std((0, 1)).max() < 1e-6  # and each token of each text the numbers of all others


def test_a_layer_that_cannot_be_modulated_is_named() -> None:
    with pytest.raises(InstantiationException, match=r"is called 'blocks.7'; choose from blocks.0.conv, "):
        build("cavia", "algorithm.layer=blocks.7")
    for layer in ("norm", "embedding", "layers.0.before_network"):  # LayerNorm and an embedding
        with pytest.raises(ValueError, match=f"'{layer}'; choose from layers.0.projections, layers.0.output, "):
            Conditioned(TextTransformer([8], num_tokens=50), 3, context=4, layer=layer, modulation="film")
    with pytest.raises(InstantiationException, match="cavia moves the context parameters alone"):
        build("cavia", "algorithm.inner_loop.adapt=[head]")
