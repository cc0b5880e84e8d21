"""Regression: the sinusoids of Finn et al. 2017, and the gradient algorithms on them."""

from dataclasses import replace

import lightning.pytorch as pl
import numpy as np
import pytest
import torch
from algorithm_options import of_class
from conftest import composed
from hydra.utils import instantiate

from metalearn.algorithms.gradient import AbstractGradient
from metalearn.data.sinusoid import Sinusoid
from metalearn.episodes.functions import FunctionDataModule
from metalearn.episodes.setting import Setting
from metalearn.losses import squared_error
from metalearn.training.module import FewShotModule
from metalearn.types import Episode

RANGES = {
    "amplitude": [0.1, 5.0],
    "phase": [0.0, 3.0],
    "slope": [-3.0, 3.0],
    "intercept": [-3.0, 3.0],
    "x": [-5.0, 5.0],
}
SMALL = (
    "trainer.max_steps=6",
    "trainer.val_check_interval=3",
    "episode.val.num_episodes=5",
    "episode.test.num_episodes=7",
)
REGRESSING = [name for name in of_class(AbstractGradient) if name != "protomaml"]


def family(*functions: str, **ranges: list[float]) -> Sinusoid:
    return Sinusoid([1], functions=functions or ("sinusoid",), **(RANGES | ranges))


def data(*, seed: int = 0, shot: int | list[int] = 10, way: int = 1) -> FunctionDataModule:
    setting = Setting(way, shot, 7, num_episodes=3)
    settings = {"train": setting, "val": setting, "test": setting}
    return FunctionDataModule(family().load(), settings, seed=seed, tasks_per_batch=4)


def same(a: Episode, b: Episode) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


def test_a_sinusoid_and_a_line_are_what_their_parameters_say() -> None:
    rng = np.random.default_rng(0)
    x, y = family(amplitude=[2.0, 2.0], phase=[1.0, 1.0]).points(rng, 50)
    np.testing.assert_allclose(y, 2 * np.sin(x - 1), atol=1e-6)
    assert x.shape == y.shape == (50, 1)
    assert -5 <= x.min() < -3 < 3 < x.max() <= 5
    x, y = family("line", slope=[3.0, 3.0], intercept=[-1.0, -1.0]).points(rng, 50)
    np.testing.assert_allclose(y, 3 * x - 1, atol=1e-5)


def test_kinds_of_functions_are_mixed() -> None:
    rng = np.random.default_rng(0)
    both = family("sinusoid", "line", slope=[100.0, 100.0])
    steep = sum(bool(np.abs(both.points(rng, 20)[1]).max() > 50) for _ in range(200))
    assert 60 < steep < 140


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"amplitude": [5.0, 0.1]}, "amplitude"),
        ({"x": [1.0]}, "x is"),
        ({"x": [0.0, float("inf")]}, r"x is \[0.0, inf\]; a range has a smallest and a largest finite number$"),
        ({"functions": [1, "line"]}, "functions has 1; it may hold sinusoid, line"),
        ({"functions": []}, "functions is empty"),
        ({"functions": ["sine"]}, "functions has 'sine'; it may hold sinusoid, line"),
    ],
)
def test_a_family_without_functions_is_refused(change: dict[str, list], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Sinusoid([1], **({"functions": ["sinusoid"], **RANGES} | change))
    with pytest.raises(ValueError, match="one number"):
        Sinusoid([2], functions=["sinusoid"], **RANGES)


def test_an_episode_depends_on_seed_split_and_index_alone() -> None:
    first, again, other = data(), data(), data(seed=1)
    assert same(first.draw("train", 5), again.draw("train", 5))
    assert not same(first.draw("train", 5), first.draw("train", 6))
    assert not same(first.draw("train", 5), other.draw("train", 5))
    assert same(first.draw("test", 5), other.draw("test", 5))
    assert not same(first.draw("test", 5), first.draw("val", 5))
    assert first.episodes_sha256("test", 3) == other.episodes_sha256("test", 3) != first.episodes_sha256("test", 2)
    assert [tuple(part.shape) for part in first.draw("val", 0)] == [(10, 1), (10, 1), (7, 1), (7, 1)]


def test_the_shots_of_a_range_are_those_of_the_batch() -> None:
    ranged = data(shot=[2, 9])
    shots = [ranged.draw("train", index).support_x.shape[0] for index in range(40)]
    assert shots[0::4] == shots[3::4]
    assert len(set(shots)) > 2


@pytest.mark.parametrize("shot", [[], [3], [9, 2]])
def test_a_range_of_shots_has_two_ends(shot: list[int]) -> None:
    with pytest.raises(ValueError, match=r"episode.train.shot is .*; a range has a smallest and a largest number"):
        data(shot=shot)


def test_a_function_has_one_output() -> None:
    with pytest.raises(ValueError, match=r"episode.train.way is 5"):
        data(way=5)


def test_one_step_of_maml_is_a_step_down_the_mean_squared_error() -> None:
    algorithm = build("maml")
    task = data().draw("train", 0)
    *_, (phi, _) = algorithm.steps(algorithm.weights(), task.support_x, task.support_y, 1)
    expected = algorithm.network
    loss = (expected(task.support_x, None) - task.support_y).square().mean()
    grads = torch.autograd.grad(loss, list(expected.parameters()))
    for (name, weight), grad in zip(expected.named_parameters(), grads, strict=True):
        torch.testing.assert_close(phi[name], weight - 0.01 * grad)


@pytest.mark.parametrize("name", REGRESSING)
def test_every_gradient_algorithm_learns_a_function(name: str) -> None:
    algorithm, episodes = build(name), data()
    batch = episodes.collate([episodes.draw("train", index) for index in range(4)])
    optimizer = torch.optim.Adam([p for p in algorithm.parameters() if p.requires_grad], 1e-2)
    if name == "reptile":
        optimizer = torch.optim.SGD(algorithm.parameters(), 1.0)

    def error() -> float:
        predicted = [algorithm.adapt(task.support_x, task.support_y)(task.query_x) for task in batch.tasks()]
        return squared_error(torch.stack(predicted), batch.query_y).mean().item()

    before = error()
    for _ in range(60):
        optimizer.zero_grad()
        algorithm.loss(batch).loss.backward()
        optimizer.step()
    assert error() < 0.8 * before


def build(name: str) -> AbstractGradient:
    torch.manual_seed(0)
    return instantiate(composed("dataset=sinusoid", f"algorithm={name}").algorithm)


def test_a_test_adapts_to_many_functions_together(monkeypatch: pytest.MonkeyPatch) -> None:
    algorithm, batches = build("maml"), []
    together = type(algorithm).stages_of_all
    monkeypatch.setattr(type(algorithm), "stages_of_all", lambda *task: batches.append(len(task[1])) or together(*task))
    mse = {}
    for vmap in (None, False):
        algorithm.execution = replace(algorithm.execution, vmap=vmap)
        module, quiet = FewShotModule(algorithm, torch.optim.Adam), {"enable_progress_bar": False, "logger": False}
        trainer = pl.Trainer(accelerator="cpu", inference_mode=False, enable_model_summary=False, **quiet)
        trainer.test(module, datamodule=data(), verbose=False)
        mse[vmap] = module.scores["test"]["mse"]
    assert sum(batches) == len(mse[None]) > len(batches) == 1
    np.testing.assert_allclose(mse[None], mse[False], rtol=1e-4)


def test_a_run_reports_the_error_after_every_inner_step(metalearn) -> None:
    run = metalearn("dataset=sinusoid", *SMALL, small=False)
    assert run.code == 0, run.text
    assert run.result["problem"] == "regression"
    assert run.result["algorithm"] == "maml"
    assert set(run.test) == {"mse", "loss", "mse_by_step", "episodes_sha256"}
    assert len(run.test["mse_by_step"]) == 11
    assert run.test["mse_by_step"][-1] == pytest.approx(run.test["mse"]["mean"])
    assert run.result["val"]["mse"]["num_episodes"] == 5
    assert "meta-test mean squared error" in run.text
    scores = np.load(run.folder / "test_episodes.npz")
    assert scores["mse_by_step"].shape == (7, 11)


def test_the_best_step_is_that_of_the_least_error(metalearn) -> None:
    # The learning rate makes the training diverge.
    run = metalearn("dataset=sinusoid", *SMALL, "optimizer.lr=1.0", small=False)
    rows = (run.folder / "metrics.csv").read_text().splitlines()
    column = rows[0].split(",").index("val/mse")
    errors = [float(row.split(",")[column]) for row in rows[1:] if row.split(",")[column]]
    assert len(errors) == 2
    assert run.result["val"]["mse"]["mean"] == pytest.approx(min(errors), rel=1e-5)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (("algorithm=prototypical",), "prototypical classifies, but sinusoid is a regression: use algorithm=maml"),
        (("algorithm=protomaml",), "protomaml classifies, but sinusoid is a regression"),
        (("augmentation=characters",), "augmentation is for images, but sinusoid has none"),
        (("episode.test.way=5",), "episode.test.way is 5; a function has one output, so way=1"),
    ],
)
def test_what_cannot_be_is_said_in_one_line(metalearn, overrides: tuple[str, ...], message: str) -> None:
    run = metalearn("dataset=sinusoid", *overrides, *SMALL, small=False)
    assert run.code == 2
    assert message in run.text
    assert "Traceback" not in run.text
