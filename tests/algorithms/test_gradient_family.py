"""The defining properties of Reptile, ProtoMAML and Meta-SGD."""

import copy

import pytest
import torch
from conftest import episode
from torch import Tensor
from torch.func import functional_call
from torch.nn.utils import parameters_to_vector

from metalearn.algorithms.gradient import AbstractGradient, InnerLoop
from metalearn.algorithms.meta_sgd import MetaSGD
from metalearn.algorithms.protomaml import ProtoMAML
from metalearn.algorithms.prototypical import Prototypical
from metalearn.algorithms.reptile import Reptile
from metalearn.backbones.mlp import MLP
from metalearn.losses import cross_entropy
from metalearn.types import Episode, Parameters

WAY = 3


def mlp() -> MLP:
    torch.manual_seed(0)
    return MLP([1, 4, 4], hidden=[6])


def batch(shot: int = 2) -> Episode:
    return Episode(*(part.double() for part in episode(tasks=2, way=WAY, shot=shot, query=3, size=4)))


def reptile(*, carry_moments: bool = False, inner_lr: float = 0.01, **loop) -> Reptile:
    inner_loop = InnerLoop(**({"steps": 3, "test_steps": 4} | loop))
    return Reptile(
        mlp(), way=WAY, inner_lr=inner_lr, carry_moments=carry_moments, inner_loop=inner_loop, batch_norm="batch"
    ).double()


def gradients(algorithm: AbstractGradient) -> dict[str, Tensor]:
    algorithm.zero_grad()
    algorithm.loss(batch()).loss.backward()
    return {name: weight.grad for name, weight in algorithm.named_parameters() if weight.requires_grad}


@pytest.mark.parametrize("carry", [False, True])
def test_steps_of_one_take_reptile_to_the_mean_of_the_adapted_weights(carry: bool) -> None:
    algorithm, moments = reptile(carry_moments=carry), None
    sgd, tasks = torch.optim.SGD(algorithm.parameters(), 1.0), batch()
    tasks = tasks._replace(query_x=tasks.query_x.flip(1), query_y=tasks.query_y.flip(1))
    for outer_step in range(2):
        theta = {name: weight.detach().clone() for name, weight in algorithm.weights().items()}
        ends, ends_of_moments = [], []
        for task in tasks.tasks():
            # PyTorch's Adam with equal settings, on a copy of the network and on support and query
            # together.
            network = copy.deepcopy(algorithm.network)
            adam = torch.optim.Adam(network.parameters(), 0.01, betas=(0.0, 0.999))
            for weight, moment in zip(network.parameters(), moments or (), strict=False):
                step = torch.tensor(3.0 * outer_step)
                adam.state[weight] = {"step": step, "exp_avg": torch.zeros_like(weight), "exp_avg_sq": moment.clone()}
            x, y = torch.cat([task.support_x, task.query_x]), torch.cat([task.support_y, task.query_y])
            for _ in range(3):
                adam.zero_grad()
                cross_entropy(network(x, algorithm.rows(track=False)), y).backward()
                adam.step()
            ends.append(parameters_to_vector(network.parameters()))
            ends_of_moments.append([adam.state[weight]["exp_avg_sq"] for weight in network.parameters()])
        if carry:
            moments = [torch.stack(of_tasks).mean(0) for of_tasks in zip(*ends_of_moments, strict=True)]
        sgd.zero_grad()
        algorithm.loss(tasks).loss.backward()
        sgd.step()
        mean = dict(zip(theta, torch.stack(ends).mean(0).split([w.numel() for w in theta.values()]), strict=True))
        for name, before in theta.items():
            if name == "backbone.layers.0.bias":
                continue  # its gradient is rounding before normalisation, and Adam turns it into steps
            torch.testing.assert_close(algorithm.weights()[name].flatten(), mean[name], rtol=1e-6, atol=1e-6)
            assert not torch.allclose(before.flatten(), mean[name], atol=1e-3)


def test_reptile_carries_or_resets_the_moments_of_its_inner_adam() -> None:
    for carry in (True, False):
        algorithm = reptile(carry_moments=carry)
        algorithm.loss(batch())
        carried = dict(algorithm.named_buffers())
        assert algorithm.moment_of_ones.item() == pytest.approx(1 - 0.999**3 if carry else 0)
        assert carried["moment_0"].any() == carry
        before = copy.deepcopy(algorithm.state_dict())
        task = batch().tasks()[0]
        algorithm.eval().adapt(task.support_x, task.support_y)
        assert all(torch.equal(value, before[key]) for key, value in algorithm.state_dict().items())
        algorithm.loss(batch())
        assert algorithm.moment_of_ones.item() == pytest.approx(1 - 0.999**6 if carry else 0)


def test_reptile_learns_in_half_precision() -> None:
    task = Episode(*(part.bfloat16() for part in batch()))
    distance = reptile().bfloat16().loss(task).loss
    assert distance.item() == pytest.approx(reptile().loss(batch()).loss.item(), rel=0.2)


def test_the_inner_adam_of_reptile_takes_equal_steps_for_equal_gradients() -> None:
    """In half precision too, whose rounding keeps the moments from decaying."""
    algorithm, weight = reptile(), torch.zeros(1, dtype=torch.bfloat16)
    state = {"w": weight}, weight[0]
    for _ in range(2000):
        moved, state = algorithm.update({"w": weight}, {"w": weight + 3}, weight, state)
    assert moved["w"].item() == pytest.approx(-algorithm.inner_lr, rel=0.1)


@pytest.mark.parametrize("batch_size", [3, 5])  # also 5 divides 6 rows evenly: into 3 and 3
def test_inner_steps_take_the_rows_in_turn(batch_size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    algorithm, seen, gradient = reptile(batch_size=batch_size), [], AbstractGradient.support_gradient

    def spy(self: AbstractGradient, params: Parameters, x: Tensor, y: Tensor) -> tuple[Parameters, Tensor]:
        seen.append(torch.cat([x.flatten(1), y], 1))
        return gradient(self, params, x, y)

    monkeypatch.setattr(AbstractGradient, "support_gradient", spy)
    task = batch(shot=2).tasks()[0]  # 6 rows: two batches
    algorithm.adapt(task.support_x, task.support_y)
    first, second, third, fourth = seen
    rows = torch.cat([task.support_x.flatten(1), task.support_y], 1)
    assert len(first) == len(second) == 3
    assert sorted(torch.cat([first, second]).tolist()) == sorted(rows.tolist())
    assert torch.equal(first, third) and torch.equal(second, fourth)
    with pytest.raises(ValueError, match="batch_size is 0"):
        reptile(batch_size=0)
    with pytest.raises(ValueError, match="steps=-1 and test_steps=4 must not be negative"):
        reptile(steps=-1)


def test_batches_of_inner_steps_have_all_classes_in_any_order_of_the_rows() -> None:
    algorithm = reptile(batch_size=3)
    task = batch(shot=2).tasks()[0]
    order = task.support_y.argmax(1).argsort(stable=True)
    assert order.tolist() == [0, 3, 1, 4, 2, 5]  # every second row of the task itself has two classes of three
    expected = algorithm.adapt(task.support_x[order], task.support_y[order])(task.query_x)
    torch.testing.assert_close(algorithm.adapt(task.support_x, task.support_y)(task.query_x), expected)


def protomaml(**loop) -> ProtoMAML:
    inner_loop = InnerLoop(**({"steps": 2, "test_steps": 2} | loop))
    return ProtoMAML(mlp(), inner_lr=0.1, inner_loop=inner_loop, batch_norm="support").double()


def test_protomaml_starts_as_the_prototypical_network() -> None:
    algorithm = protomaml()
    peer = Prototypical(mlp(), batch_norm="support").double()
    task = batch().tasks()[0]
    ours = algorithm.stages(task.support_x, task.support_y)[0](task.query_x)
    theirs = peer.adapt(task.support_x, task.support_y)(task.query_x)
    torch.testing.assert_close(ours.softmax(-1), theirs.softmax(-1))


def test_the_gradient_of_protomaml_goes_through_the_prototypes() -> None:
    algorithm = protomaml()
    direction = {name: torch.randn_like(weight) for name, weight in algorithm.network.backbone.named_parameters()}
    slope = sum((gradients(algorithm)[f"network.backbone.{name}"] * d).sum() for name, d in direction.items())
    losses = []
    for sign in (1, -1):
        moved = copy.deepcopy(algorithm)
        with torch.no_grad():
            for name, weight in moved.network.backbone.named_parameters():
                weight.add_(direction[name], alpha=sign * 1e-6)
        losses.append(moved.loss(batch()).loss.item())
    assert slope.item() == pytest.approx((losses[0] - losses[1]) / 2e-6, rel=1e-5)


def test_meta_sgd_learns_a_rate_for_each_weight() -> None:
    loop = InnerLoop(steps=2, test_steps=2)
    algorithm = MetaSGD(mlp(), way=WAY, inner_lr=[0.05, 0.5], inner_loop=loop, batch_norm="batch").double()
    theta = algorithm.weights()
    total = 0.0
    for task in batch().tasks():
        phi = theta
        for _ in range(2):
            support = functional_call(algorithm.network, phi, (task.support_x, algorithm.rows(track=False)))
            grads = torch.autograd.grad(cross_entropy(support, task.support_y), [*phi.values()], create_graph=True)
            steps = zip(phi.items(), algorithm.alpha, grads, strict=True)
            phi = {name: weight - alpha * grad for (name, weight), alpha, grad in steps}
        query = functional_call(algorithm.network, phi, (task.query_x, algorithm.rows(track=False)))
        total = total + cross_entropy(query, task.query_y) / 2
    expected = torch.autograd.grad(total, [*algorithm.parameters()])
    torch.testing.assert_close([*gradients(algorithm).values()], [*expected])
    assert all(alpha.min() >= 0.05 and alpha.max() <= 0.5 and alpha.std() > 0.05 for alpha in algorithm.alpha)
