"""The changes of MAML by MAML++, each with its switch."""

import itertools

import pytest
import torch
from conftest import composed, episode
from hydra.utils import instantiate
from test_gradient_family import WAY, batch, gradients, mlp

from metalearn.algorithms.gradient import InnerLoop
from metalearn.algorithms.maml import MAML
from metalearn.algorithms.maml_plus_plus import MAMLPlusPlus, step_importance
from metalearn.backbones.norm import BatchNorm
from metalearn.losses import cross_entropy

OFF = {
    "learn_rates": False,
    "adapt_norm": True,
    "norm_per_step": False,
    "multi_step_until": 0.0,
    "first_order_until": 0.0,
}


def plus_plus(*, batch_norm: str = "batch", steps: int = 3, **switches) -> MAMLPlusPlus:
    loop = InnerLoop(steps=steps, test_steps=steps)
    return MAMLPlusPlus(
        mlp(), way=WAY, inner_lr=0.1, inner_loop=loop, batch_norm=batch_norm, **(OFF | switches)
    ).double()


def test_maml_plus_plus_without_its_changes_is_maml() -> None:
    loop = InnerLoop(steps=3, test_steps=3)
    maml = MAML(mlp(), way=WAY, inner_lr=0.1, inner_loop=loop, batch_norm="batch").double()
    for name, gradient in gradients(maml).items():
        torch.testing.assert_close(gradients(plus_plus())[name], gradient)
    task = batch().tasks()[0]
    predictions = [algorithm.adapt(task.support_x, task.support_y)(task.query_x) for algorithm in (maml, plus_plus())]
    torch.testing.assert_close(*predictions)


@pytest.mark.parametrize(
    ("annealed", "expected"),
    [(0.0, [0.25] * 4), (0.5, [0.125, 0.125, 0.125, 0.625]), (1.0, [0, 0, 0, 1]), (7.0, [0, 0, 0, 1])],
)
def test_the_loss_of_all_steps_becomes_that_of_the_last(annealed: float, expected: list[float]) -> None:
    assert step_importance(4, annealed) == pytest.approx(expected)


def test_the_multi_step_loss_is_the_mean_of_the_losses_after_each_step() -> None:
    algorithm = plus_plus(multi_step_until=0.5)
    losses = []
    for task in batch().tasks():
        _, *steps = algorithm.steps(algorithm.weights(), task.support_x, task.support_y, 3)
        logits = [algorithm.predict(phi, task.support_x, task.query_x) for phi, _ in steps]
        losses += [cross_entropy(of_step, task.query_y) for of_step in logits]
    assert algorithm.loss(batch()).loss.item() == pytest.approx(torch.stack(losses).mean().item())
    algorithm.done = 0.5
    assert algorithm.loss(batch()).loss.item() == pytest.approx(torch.stack(losses[2::3]).mean().item())


def test_second_derivatives_join_when_the_first_part_of_the_training_is_done() -> None:
    algorithm, second = plus_plus(first_order_until=0.5), gradients(plus_plus())
    early = gradients(algorithm)
    algorithm.done = 0.5
    late = gradients(algorithm)
    assert all(torch.allclose(late[name], second[name]) for name in second)
    name = "network.backbone.layers.0.weight"
    assert not torch.allclose(early[name], late[name])


def test_each_layer_and_step_learns_its_rate() -> None:
    algorithm = plus_plus(learn_rates=True)
    gradient = gradients(algorithm)["rates"]
    assert gradient.shape == (3, len(algorithm.adapted))
    informative = [i for i, name in enumerate(algorithm.adapted) if name != "backbone.layers.0.bias"]
    assert gradient[:, informative].all()
    with torch.no_grad():
        algorithm.rates[1] = 0.0
    task = batch().tasks()[0]
    steps = [phi for phi, _ in algorithm.steps(algorithm.weights(), task.support_x, task.support_y, 3)]
    moved = [any(not torch.equal(a[name], b[name]) for name in a) for a, b in itertools.pairwise(steps)]
    assert moved == [True, False, True]


def test_batch_normalisation_has_weights_and_moments_of_each_step() -> None:
    algorithm = plus_plus(adapt_norm=False, norm_per_step=True, batch_norm="running")
    with torch.no_grad():
        for stacked in algorithm.norms.weights:
            stacked.add_(torch.arange(4)[:, None])
    task = batch().tasks()[0]
    steps = algorithm.steps(algorithm.weights(), task.support_x, task.support_y, 3)
    assert [phi["backbone.norms.0.weight"][0].item() for phi, _ in steps] == [1, 2, 3, 4]

    # One pass moves the moments of step k to those of all rows under the weights after k steps,
    # averaged over tasks.
    expected = torch.zeros(4, 6, dtype=torch.float64)
    for task in batch().tasks():
        x = torch.cat([task.support_x, task.query_x]).flatten(1)
        for step, (phi, _) in enumerate(algorithm.steps(algorithm.weights(), task.support_x, task.support_y, 3)):
            z = x @ phi["backbone.layers.0.weight"].T + phi["backbone.layers.0.bias"]
            expected[step] += 0.1 * z.mean(0).detach() / 2
    algorithm.loss(batch())
    torch.testing.assert_close(algorithm.norms.moment_0, expected)
    # Evaluation uses these moments.
    algorithm.eval()
    predict = algorithm.adapt(task.support_x, task.support_y)
    before = predict(task.query_x)
    algorithm.norms.moment_0[3] += 1.0
    assert not torch.allclose(algorithm.adapt(task.support_x, task.support_y)(task.query_x), before)


@pytest.mark.parametrize("name", ["conv4", "mlp", "resnet12", "resnet18", "wrn_28_10"])
def test_maml_plus_plus_leaves_normalisation_out_of_the_inner_loop(name: str) -> None:
    algorithm = instantiate(composed("algorithm=maml_plus_plus", f"backbone={name}").algorithm)
    norms = [name for name, module in algorithm.network.named_modules() if isinstance(module, BatchNorm)]
    assert norms
    left = {name for name, _ in algorithm.network.named_parameters()} - set(algorithm.adapted)
    assert left == {f"{norm}.{part}" for norm in norms for part in ("weight", "bias")}


def test_maml_plus_plus_needs_a_step() -> None:
    with pytest.raises(ValueError, match="inner_loop.steps=0 must be at least 1"):
        plus_plus(steps=0)


def test_the_inner_loop_moves_no_normalisation_that_each_step_has_anew() -> None:
    with pytest.raises(ValueError, match="adapt_norm=true has no effect with norm_per_step=true"):
        plus_plus(adapt_norm=True, norm_per_step=True)


@pytest.mark.parametrize("batch_norm", ["batch", "running"])
def test_frozen_normalisation_has_no_weights_of_each_step(batch_norm: str) -> None:
    overrides = ("algorithm=maml_plus_plus", "backbone.freeze=true", f"batch_norm={batch_norm}")
    algorithm = instantiate(composed(*overrides, "dataset.input_shape=[1,16,16]", "backbone.channels=4").algorithm)
    before = {name: value.clone() for name, value in algorithm.network.backbone.state_dict().items()}
    algorithm.loss(episode(tasks=2, way=5, shot=1, query=2)).loss.backward()
    trained = {name for name, weight in algorithm.named_parameters() if weight.grad is not None}
    assert trained == {"rates", "network.head.weight", "network.head.bias"}
    assert not list(algorithm.norms.buffers())
    for name, value in algorithm.network.backbone.state_dict().items():
        assert torch.equal(value, before[name])
