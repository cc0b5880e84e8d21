"""Properties of every algorithm; a new file in conf/algorithm is tested automatically."""

import copy
import functools
import gc
import math
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from algorithm_options import NAMES, of_class
from conftest import composed, episode
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from metalearn.algorithms.base import AbstractAlgorithm
from metalearn.algorithms.gradient import AbstractGradient
from metalearn.algorithms.parts.execution import Execution
from metalearn.types import Episode

WAY = 3


@functools.cache
def config_of(name: str) -> DictConfig:
    """Composes the algorithm of a YAML file, on a small backbone; nobody changes it."""
    small = ["dataset.input_shape=[1,16,16]", "backbone.channels=4", f"episode.train.way={WAY}"]
    return composed(f"algorithm={name}", *small, f"num_base_classes={WAY}")


def build(name: str, **changes: Any) -> AbstractAlgorithm:
    """Builds the algorithm of a YAML file with other values, since composing again takes longer."""
    config = copy.deepcopy(config_of(name)) if changes else config_of(name)
    for key, value in changes.items():
        OmegaConf.update(config, key, value)
    torch.manual_seed(0)
    return instantiate(config.algorithm)


def training_batch(algorithm: AbstractAlgorithm) -> Episode:
    """Returns a training batch: episodes, or images of all base classes without support rows."""
    batch = episode(way=WAY)
    if algorithm.num_base_classes is None:
        return batch
    return batch._replace(support_x=batch.support_x[:, :0], support_y=batch.support_y[:, :0])


def train(algorithm: AbstractAlgorithm, batch: Episode, num_steps: int, lr: float = 1e-2) -> Iterator[float]:
    """Takes steps on one batch, and yields the loss before each."""
    optimizer = torch.optim.Adam([weight for weight in algorithm.parameters() if weight.requires_grad], lr)
    for _ in range(num_steps):
        optimizer.zero_grad()
        loss = algorithm.loss(batch).loss
        loss.backward()
        optimizer.step()
        yield loss.item()


@pytest.fixture(params=NAMES, scope="module")  # brings together the tests of an algorithm
def name(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.mark.parametrize("batch_norm", ["running", "support", "batch"])
def test_every_weight_gets_a_finite_gradient(name: str, batch_norm: str) -> None:
    algorithm = build(name, batch_norm=batch_norm)
    output = algorithm.loss(training_batch(algorithm))
    assert output.loss.shape == ()
    assert torch.isfinite(output.loss)
    output.loss.backward()
    trained = {name: weight for name, weight in algorithm.named_parameters() if weight.requires_grad}
    for parameter, weight in trained.items():
        assert weight.grad is not None, parameter
        assert torch.isfinite(weight.grad).all(), parameter
        # A bias before batch normalisation cancels, up to rounding.
        assert weight.grad.any() or parameter.endswith("conv.bias"), parameter


def test_labels_in_the_place_of_ways_are_refused(name: str) -> None:
    algorithm = build(name).eval()
    for labels in (WAY, 2 * WAY):  # as many as ways, and more
        with pytest.raises(ValueError, match=rf"support_y is \({labels},\), not \(S, N\): give one-hot ways"):
            algorithm.adapt(torch.rand(labels, 1, 16, 16), torch.arange(labels) % WAY)


def test_a_way_without_a_support_row_is_refused_where_no_head_knows_it(name: str) -> None:
    algorithm, x, y = build(name).eval(), torch.rand(4, 1, 16, 16), torch.eye(WAY)[[0, 2, 0, 2]]
    if algorithm.fixed_way is None:
        with pytest.raises(ValueError, match="way 1 of 0 to 2 has no support row: give at least one of each way"):
            algorithm.adapt(x, y)
    else:
        assert algorithm.adapt(x, y)(x).isfinite().all()


def test_it_trains_with_weights_in_half_precision(name: str) -> None:
    algorithm = build(name).bfloat16()
    batch = Episode(*(part.bfloat16() for part in training_batch(algorithm)))
    assert all(math.isfinite(loss) for loss in train(algorithm, batch, 2))


def test_a_whole_number_does_where_a_float_is_meant(name: str) -> None:
    """Accepts `algorithm.scale=5` for 5.0."""
    floats = {key: value for key, value in config_of(name).algorithm.items() if isinstance(value, float)}
    algorithm = build(name, **{f"algorithm.{key}": math.ceil(abs(value)) for key, value in floats.items()})
    list(train(algorithm, training_batch(algorithm), 1))
    assert all(weight.is_floating_point() for weight in algorithm.parameters())


def test_adapting_learns_the_support_and_leaves_the_weights(name: str) -> None:
    algorithm = build(name).eval()
    before = copy.deepcopy(algorithm.state_dict())
    task = episode(tasks=1, way=WAY).tasks()[0]
    with torch.no_grad():
        logits = algorithm.adapt(task.support_x, task.support_y)(task.query_x)
    with torch.inference_mode():  # Lightning's default for a test
        torch.testing.assert_close(
            algorithm.adapt(task.support_x, task.support_y)(task.query_x), logits, rtol=1e-3, atol=1e-3
        )
    assert logits.shape == task.query_y.shape
    assert not logits.requires_grad
    assert all(torch.equal(value, before[key]) for key, value in algorithm.state_dict().items())


def test_training_lowers_the_loss_of_its_own_batch(name: str) -> None:
    algorithm = build(name)
    losses = train(algorithm, training_batch(algorithm), 60)
    first = next(losses)
    assert any(loss < 0.8 * first for loss in losses)  # ends at the first that is


def test_training_and_evaluation_keep_no_tensors(name: str) -> None:
    algorithm, task = build(name), episode(tasks=1, way=WAY).tasks()[0]
    batch = training_batch(algorithm)

    def live_tensors(num_steps: int) -> int:
        list(train(algorithm.train(), batch, num_steps))
        algorithm.eval()
        for _ in range(num_steps):
            with torch.no_grad():
                algorithm.adapt(task.support_x, task.support_y)(task.query_x)
        algorithm.zero_grad()
        gc.collect()
        return sum(isinstance(tensor, torch.Tensor) for tensor in gc.get_objects())

    gc.freeze()  # the collector then passes over all that was there before
    try:
        before = live_tensors(1)
        assert live_tensors(3) <= before  # a tensor kept in each step would be two more
    finally:
        gc.unfreeze()


def test_the_loss_of_a_batch_is_the_mean_over_its_tasks(name: str) -> None:
    algorithm = build(name, batch_norm="batch").double().eval()
    if name in ("key_value_memory", "mann") or algorithm.num_base_classes is not None:
        pytest.skip("its loss is a mean over rows, whose order depends on the batch, or it trains without tasks")
    batch = Episode(*(part.double() for part in episode(way=WAY)))
    # Copies, because Reptile carries moments from one batch to the next.
    whole, first, second = (
        copy.deepcopy(algorithm).loss(Episode(*(part[tasks] for part in batch))).loss.item()
        for tasks in (slice(2), slice(1), slice(1, 2))
    )
    assert whole == pytest.approx((first + second) / 2)


def test_state_dict_round_trip(name: str) -> None:
    first, second = build(name), build(name)
    task = episode(tasks=1, way=WAY).tasks()[0]
    with torch.no_grad():
        for weight in first.parameters():
            weight.add_(0.1 * torch.randn_like(weight))
        second.load_state_dict(first.state_dict())
        predictions = [
            algorithm.eval().adapt(task.support_x, task.support_y)(task.query_x) for algorithm in (first, second)
        ]
    assert torch.equal(*predictions)


def test_the_order_of_support_rows_does_not_matter(name: str) -> None:
    algorithm = build(name, batch_norm="support").eval()
    # A sequence reads the rows of a class in turn, so with several rows their order matters.
    task = episode(tasks=1, way=WAY, shot=1 if name in ("key_value_memory", "mann", "snail") else 2).tasks()[0]
    order = torch.randperm(len(task.support_x))
    logits = algorithm.adapt(task.support_x, task.support_y)(task.query_x)
    other = algorithm.adapt(task.support_x[order], task.support_y[order])(task.query_x)
    torch.testing.assert_close(logits, other, rtol=1e-3, atol=1e-4)


def test_relabelling_the_classes_relabels_the_predictions(name: str) -> None:
    algorithm = build(name, batch_norm="support").eval()
    if algorithm.fixed_way is not None:
        pytest.skip("a linear head has weights of its own for each way")
    task = episode(tasks=1, way=WAY).tasks()[0]
    order = torch.tensor([2, 0, 1])
    logits = algorithm.adapt(task.support_x, task.support_y)(task.query_x)
    other = algorithm.adapt(task.support_x, task.support_y[:, order])(task.query_x)
    torch.testing.assert_close(logits[:, order], other, rtol=1e-3, atol=1e-4)


def test_another_way_and_shot_than_in_training(name: str) -> None:
    algorithm = build(name).eval()
    task = episode(tasks=1, way=WAY + 2, shot=3).tasks()[0]
    if algorithm.fixed_way is None:
        assert algorithm.adapt(task.support_x, task.support_y)(task.query_x).shape == (4 * 5, 5)
    else:
        with pytest.raises(ValueError, match="predicts 3 ways, the task has 5: give tasks of 3 ways"):
            algorithm.adapt(task.support_x, task.support_y)


@pytest.mark.parametrize("name", of_class(AbstractGradient))
def test_ways_of_tasks_that_adapt_together_are_checked(name: str) -> None:
    x, y = torch.rand(2, 4, 1, 16, 16), torch.eye(WAY + 2)[[0, 2, 0, 2]].expand(2, -1, -1)
    with pytest.raises(ValueError, match="the task has 5: give tasks of 3 ways|way 1 of 0 to 4 has no support row"):
        build(name).eval().stages_of_all(x, y)


@pytest.mark.parametrize("batch_norm", ["running", "support", "batch"])
@pytest.mark.parametrize("name", of_class(AbstractGradient))
def test_vmap_and_loop_give_the_same_gradient(name: str, batch_norm: str) -> None:
    algorithm = build(name, batch_norm=batch_norm).double()
    batch = episode(way=WAY)
    batch = type(batch)(*(part.double() for part in batch))
    gradients = []
    for vmap in (False, True):
        mapped = copy.deepcopy(algorithm)
        mapped.execution = Execution(vmap=vmap)
        mapped.loss(batch).loss.backward()
        # A bias before batch normalisation has rounding as its gradient, and Reptile's inner Adam
        # turns it into steps.
        weights = [(name, weight) for name, weight in mapped.named_parameters() if not name.endswith("conv.bias")]
        gradients.append([weight.grad for _, weight in weights if weight.requires_grad])
    torch.testing.assert_close(*gradients, rtol=1e-9, atol=1e-12)
