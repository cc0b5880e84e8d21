"""Tasks in threads: the same results as in turn, whatever the threads do."""

import dataclasses
import threading
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
import torch
from algorithm_options import of_class
from conftest import composed, episode
from hydra.utils import instantiate
from torch import Tensor, nn

from metalearn.algorithms.gradient import AbstractGradient
from metalearn.algorithms.parts.execution import Execution
from metalearn.algorithms.parts.threads import TaskThreads, own
from metalearn.training.cost import Cost
from metalearn.training.predictions import of_tasks_in_turn
from metalearn.types import Episode

THREADS = 3


@pytest.fixture(autouse=True)
def cores() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(THREADS)
    yield
    assert torch.get_num_threads() == THREADS
    torch.set_num_threads(before)


@pytest.fixture
def used(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Names of the threads that have taken inner steps."""
    names = set[str]()
    gradient = AbstractGradient.support_gradient

    def recorded(self: AbstractGradient, *inputs: Any) -> Any:
        names.add(threading.current_thread().name)
        return gradient(self, *inputs)

    monkeypatch.setattr(AbstractGradient, "support_gradient", recorded)
    return names


IN_TURN = {threading.main_thread().name}
IN_THREADS = {f"tasks_{thread}" for thread in range(THREADS)}


def build(name: str, *overrides: str) -> Any:
    torch.manual_seed(0)
    algorithm = instantiate(composed(f"algorithm={name}", "episode.train.way=3", *overrides).algorithm).double()
    algorithm.inner_loop = dataclasses.replace(algorithm.inner_loop, steps=2)
    algorithm.done = 0.9
    return algorithm


def batch_of(tasks: int = 4, size: int = 16) -> Episode:
    return Episode(*(part.double() for part in episode(tasks=tasks, way=3, shot=2, query=3, size=size)))


def results(algorithm: Any, batch: Episode) -> tuple[Tensor, Tensor]:
    """Returns the loss and its gradient in all weights."""
    algorithm.zero_grad()
    torch.manual_seed(1)  # seed of the dropout
    loss = algorithm.loss(batch).loss
    loss.backward()
    return loss.detach(), torch.cat([w.grad.flatten() for w in algorithm.parameters() if w.grad is not None])


CONV4 = ("backbone=conv4", "backbone.channels=4", "dataset.input_shape=[1,16,16]")
SMALL_MLP = ("backbone=mlp", "backbone.hidden=[8]", "dataset.input_shape=[1,16,16]")  # quick to compile


@pytest.mark.parametrize("name", of_class(AbstractGradient))
def test_threads_give_the_loss_and_the_gradient_of_tasks_in_turn(name: str, used: set[str]) -> None:
    batch = batch_of()
    algorithm = build(name, *CONV4)
    loss, gradient = results(algorithm, batch)
    assert used and used <= IN_THREADS
    in_turn = build(name, *CONV4)
    in_turn.execution = Execution(vmap=False)
    used.clear()
    expected_loss, expected = results(in_turn, batch)
    assert used == IN_TURN
    assert expected.any()
    torch.testing.assert_close(loss, expected_loss)
    torch.testing.assert_close(gradient, expected)
    for (key, value), (_, other) in zip(algorithm.named_buffers(), in_turn.named_buffers(), strict=True):
        torch.testing.assert_close(value, other, msg=key)


def test_the_logits_are_in_the_order_of_the_tasks() -> None:
    algorithm, batch = build("maml", *CONV4), batch_of(tasks=7)
    logits = algorithm.loss(batch).logits
    algorithm.execution = Execution(vmap=False)
    torch.testing.assert_close(logits, algorithm.loss(batch).logits)
    assert not torch.allclose(logits[0], logits[-1])


def test_threads_repeat_to_the_last_digit() -> None:
    algorithm, batch = build("maml", *CONV4), batch_of()
    (loss, gradient), (again, gradient_again) = (results(algorithm, batch) for _ in range(2))
    assert torch.equal(loss, again)
    assert torch.equal(gradient, gradient_again)


def test_tasks_that_draw_random_numbers_run_in_turn(used: set[str]) -> None:
    drops = ("backbone=resnet12", "backbone.widths=[4,4,4,4]", "backbone.drop_rate=0.3", "backbone.block_size=1")
    overrides = (*drops, "dataset.input_shape=[1,16,16]")
    algorithm, in_turn = (build("maml", *overrides).train() for _ in range(2))
    in_turn.execution = Execution(vmap=False)
    expected_loss, expected = results(in_turn, batch_of())
    state = torch.get_rng_state()
    for _ in range(2):
        used.clear()
        loss, gradient = results(algorithm, batch_of())
        assert torch.equal(loss, expected_loss)
        torch.testing.assert_close(gradient, expected)
        assert torch.equal(torch.get_rng_state(), state)
    assert used == IN_TURN  # the second batch is not tried in threads


@pytest.mark.parametrize("how", ["hook", "function", "lock"])
def test_a_network_without_a_copy_of_its_own_runs_in_turn(how: str, used: set[str]) -> None:
    algorithm = build("maml", *CONV4)
    layer = algorithm.network.backbone.blocks[0]
    if how == "hook":
        layer.register_forward_hook(lambda module, inputs, output: output)
    else:
        layer.kept = (lambda: layer) if how == "function" else threading.Lock()  # no lock can be copied
    results(algorithm, batch_of())
    assert used == IN_TURN


@pytest.mark.parametrize("execution", [{"vmap": False}, {"checkpoint": True}], ids=str)
def test_threads_are_for_the_default(execution: dict[str, bool], used: set[str]) -> None:
    algorithm = build("maml", *CONV4)
    algorithm.execution = Execution(**execution)
    results(algorithm, batch_of())
    assert used == IN_TURN


def test_a_large_task_uses_all_cores(used: set[str]) -> None:
    overrides = (*CONV4[:2], "dataset.input_shape=[1,96,96]")  # 15 images of 9,216 pixels
    results(build("maml", *overrides), batch_of(size=96))
    assert used == IN_TURN


def test_one_task_or_one_core_needs_no_thread(used: set[str]) -> None:
    algorithm = build("maml", *CONV4)
    results(algorithm, batch_of(tasks=1))
    torch.set_num_threads(1)
    results(algorithm, batch_of())
    torch.set_num_threads(THREADS)
    assert used == IN_TURN


@pytest.mark.parametrize("name", ["maml", "fomaml", "reptile"])
def test_autocast_and_the_mode_of_gradients_hold_in_the_threads(name: str, used: set[str]) -> None:
    batch = Episode(*(part.float() for part in batch_of()))
    losses = []
    for execution in (Execution(), Execution(vmap=False)):
        algorithm = build(name, *CONV4).float()
        algorithm.execution = execution
        with torch.autocast("cpu", torch.bfloat16):
            losses.append(results(algorithm, batch))
    assert used > IN_TURN and used <= IN_THREADS | IN_TURN
    torch.testing.assert_close(losses[0], losses[1], rtol=0.02, atol=0.02)
    with torch.no_grad():
        assert not build(name, *CONV4).loss(batch_of()).loss.requires_grad


def test_a_replaced_network_is_the_one_that_learns() -> None:
    algorithm, other = build("maml", *CONV4), build("maml", *CONV4)
    other.network.head.bias.data += torch.arange(3.0)
    algorithm.network = other.network
    torch.testing.assert_close(algorithm.loss(batch_of()).loss, other.loss(batch_of()).loss)


def test_the_error_of_a_task_is_raised() -> None:
    algorithm, batch = build("maml", *CONV4), batch_of()
    with pytest.raises(ValueError, match="batch_size"):
        algorithm.loss(batch._replace(query_y=batch.query_y[:, :4]))


def test_each_thread_has_its_own_network_with_the_same_weights() -> None:
    network = nn.Linear(4, 3)
    tasks = Episode(*torch.rand(4, 5, 1, 4)).tasks()
    shares = TaskThreads().share(network, lambda tasks: (own(network), len(tasks)), tasks)
    copies = [copied for copied, _ in shares]
    assert [length for _, length in shares] == [1, 2, 2]
    assert len({id(copied) for copied in copies} | {id(network)}) == 1 + THREADS
    assert all(copied.weight is network.weight for copied in copies)
    assert own(network) is network


@pytest.mark.parametrize("name", of_class(AbstractGradient))
def test_the_tasks_of_a_validation_are_shared_and_those_of_a_test_are_not(name: str, used: set[str]) -> None:
    algorithm, batch, cpu = build(name, *CONV4).eval(), batch_of(tasks=7), torch.device("cpu")
    assert algorithm.shares_tasks(cpu)
    (validated,) = of_tasks_in_turn(algorithm, batch, Cost(cpu), stages=False)
    assert used and used <= IN_THREADS
    used.clear()
    tested = of_tasks_in_turn(algorithm, batch, Cost(cpu), stages=True)[-1]
    assert used == IN_TURN
    torch.testing.assert_close(validated, tested)
    assert not torch.allclose(tested[0], tested[-1])


def test_compiled_training_does_not_share_the_network_of_an_evaluation(used: set[str]) -> None:
    algorithm, batch, cpu = build("maml", *CONV4).eval(), batch_of(tasks=7), torch.device("cpu")
    expected = of_tasks_in_turn(algorithm, batch, Cost(cpu), stages=True)[-1]
    algorithm.execution = Execution(compile=True)
    networks = set[int]()
    predict = algorithm.predict
    algorithm.predict = lambda *inputs: networks.add(id(algorithm.network)) or predict(*inputs)
    (validated,) = of_tasks_in_turn(algorithm, batch, Cost(cpu), stages=False)
    torch.testing.assert_close(validated, expected)
    assert len(networks) == THREADS


@pytest.fixture
def eager_backend(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs the traced graphs without compiling them, which takes a minute."""
    whole = torch.compile

    def traced(function: Any, *, fullgraph: bool = False, options: Any = None) -> Any:
        return whole(function, backend="aot_eager", fullgraph=fullgraph)

    monkeypatch.setattr(torch, "compile", traced)
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()


@pytest.mark.filterwarnings("ignore")  # the compiler warns
@pytest.mark.usefixtures("eager_backend")
@pytest.mark.parametrize(("name", "backbone"), [("maml", CONV4), ("fomaml", SMALL_MLP)], ids=["maml", "fomaml"])
def test_compiled_tasks_share_a_network_among_threads(name: str, backbone: tuple[str, ...]) -> None:
    algorithm, in_turn = build(name, *backbone), build(name, *backbone)
    algorithm.execution, in_turn.execution = Execution(compile=True), Execution(vmap=False)
    weights = dict(algorithm.named_parameters())
    for tasks in (4, 4, 7):
        loss, gradient = results(algorithm, batch_of(tasks=tasks))
        expected_loss, expected = results(in_turn, batch_of(tasks=tasks))
        torch.testing.assert_close(loss, expected_loss)
        torch.testing.assert_close(gradient, expected)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 1
    assert not algorithm.threads._in_turn
    assert all(weight is weights[key] for key, weight in algorithm.named_parameters())


@pytest.mark.filterwarnings("ignore")  # the compiler warns
@pytest.mark.usefixtures("eager_backend")
def test_tasks_that_are_not_compiled_as_a_whole_run_in_turn(caplog: pytest.LogCaptureFixture) -> None:
    class Breaks(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            torch._dynamo.graph_break()
            return super().forward(x)

    algorithm, in_turn = (build("maml", *SMALL_MLP) for _ in range(2))
    for each in (algorithm, in_turn):
        each.network.head.__class__ = Breaks
    algorithm.execution, in_turn.execution = Execution(compile=True), Execution(vmap=False)
    expected_loss, expected = results(in_turn, batch_of())
    with caplog.at_level("INFO"):
        for _ in range(2):
            loss, gradient = results(algorithm, batch_of())
            torch.testing.assert_close(loss, expected_loss)
            torch.testing.assert_close(gradient, expected)
    assert caplog.text.count("run in turn from now on: they cannot be compiled as a whole") == 1


@pytest.mark.filterwarnings("ignore")  # the compiler warns
@pytest.mark.slow
def test_programs_are_compiled_for_threads() -> None:
    network = nn.Linear(3, 2)
    execution, threads = Execution(compile=True), TaskThreads()
    share = partial(threads.share, network, compiled=True)

    def task(support_x: Tensor, support_y: Tensor, query_x: Tensor, query_y: Tensor) -> tuple[Tensor, Tensor]:
        return network(query_x).square().mean(), query_x

    batch = Episode(*torch.rand(4, 5, 1, 3))
    loss = execution.mean_loss(task, batch, list(network.parameters()), share).loss
    torch.testing.assert_close(loss, network(batch.query_x).square().mean())
    assert not threads._in_turn
