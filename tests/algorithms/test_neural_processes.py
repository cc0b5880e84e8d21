"""Neural processes: densities by hand, mean and attention, Gaussian processes, and images."""

import math
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import MagicMock

import numpy as np
import pytest
import torch
from conftest import composed
from hydra.utils import instantiate
from lightning.pytorch.loggers import WandbLogger
from lightning.pytorch.plugins.precision import Precision
from PIL import Image
from torch.nn import functional as F

from metalearn.algorithms.neural_process import SMALLEST_DEVIATION, AbstractNeuralProcess
from metalearn.data.bank import ClassBank
from metalearn.data.completion import Completion, Pixels
from metalearn.data.gp import GaussianProcess, covariance
from metalearn.episodes.functions import FunctionDataModule
from metalearn.episodes.setting import Setting
from metalearn.losses import DENSITY, coverage, negative_log_likelihood
from metalearn.run.pictures.callback import TestEpisode
from metalearn.run.pictures.of_functions import completed_images, functions
from metalearn.types import SPLITS

RANGES = {"length": [0.3, 0.6], "scale": [0.5, 1.0], "period": [0.5, 2.0], "noise": 0.02, "x": [-2.0, 2.0]}


def build(name: str) -> AbstractNeuralProcess:
    torch.manual_seed(0)
    return instantiate(composed("dataset=gp", f"algorithm={name}", "algorithm.width=16").algorithm)


def data(family: object, shot: int = 5, query: int = 7) -> FunctionDataModule:
    settings = dict.fromkeys(SPLITS, Setting(1, shot, query, num_episodes=3))
    return FunctionDataModule(dict.fromkeys(SPLITS, family), settings, seed=0, tasks_per_batch=4)


def gp(*kernels: str) -> GaussianProcess:
    return GaussianProcess([1], kernels=kernels, **RANGES)


def test_the_likelihood_and_the_coverage_are_those_of_the_normal_distribution() -> None:
    torch.manual_seed(0)
    means, logs, targets = torch.randn(2, 50, 1), 0.3 * torch.randn(2, 50, 1), torch.randn(2, 50, 1)
    outputs, normal = torch.cat([means, logs], -1), torch.distributions.Normal(means, logs.exp())
    torch.testing.assert_close(negative_log_likelihood(outputs, targets), -normal.log_prob(targets).mean((1, 2)))
    assert DENSITY.loss(outputs, targets).shape == ()
    torch.testing.assert_close(DENSITY.score(outputs, targets), (means - targets).square().mean((1, 2)))
    many = torch.zeros(20_000, 2)
    assert coverage(many, torch.randn(20_000, 1)).item() == pytest.approx(0.95, abs=0.01)


@pytest.mark.parametrize("name", ["cnp", "anp"])
def test_the_order_of_the_points_does_not_matter_and_queries_do_not_see_each_other(name: str) -> None:
    algorithm, task = build(name), data(gp("rbf")).draw("test", 0)
    order = torch.randperm(5)
    predict = algorithm.adapt(task.support_x, task.support_y)
    outputs = predict(task.query_x)
    assert outputs.shape == (7, 2)
    assert (outputs[:, 1] >= math.log(SMALLEST_DEVIATION)).all()
    torch.testing.assert_close(algorithm.adapt(task.support_x[order], task.support_y[order])(task.query_x), outputs)
    torch.testing.assert_close(torch.cat([predict(query_x) for query_x in task.query_x.split(1)]), outputs)


def test_a_cnp_reads_the_mean_and_an_anp_what_it_attends_to() -> None:
    cnp, anp = build("cnp"), build("anp")
    z, r, query = torch.randn(5, 40), torch.randn(5, 16), torch.randn(3, 40)
    torch.testing.assert_close(cnp.read(z, r, query), r.mean(0).expand(3, -1))
    read = anp.read(z[:1], r[:1], query)  # only one point to attend to
    torch.testing.assert_close(read, anp.attention.output(anp.attention.value(r[:1])).expand(3, -1))
    attended = anp.attention(anp.place(query), anp.place(z), r)
    torch.testing.assert_close(anp.read(z, r, query), attended)
    assert not torch.allclose(*attended[:2])  # two places read different values


@pytest.mark.parametrize("name", ["cnp", "anp"])
def test_means_and_deviations_come_from_encoded_points(name: str) -> None:
    algorithm, task = build(name), data(gp("rbf")).draw("test", 0)
    z, queries = algorithm.backbone(task.support_x), algorithm.backbone(task.query_x)
    r = torch.stack([algorithm.encoder(torch.cat(point)) for point in zip(z, task.support_y, strict=True)])
    for answer, query in zip(algorithm.adapt(task.support_x, task.support_y)(task.query_x), queries, strict=True):
        mean, raw = algorithm.decoder(torch.cat([query, algorithm.read(z, r, query[None])[0]]))
        torch.testing.assert_close(answer, torch.stack([mean, (0.1 + 0.9 * F.softplus(raw)).log()]))


@pytest.mark.parametrize("name", ["cnp", "anp"])
def test_training_lowers_the_likelihood_of_functions(name: str) -> None:
    algorithm, episodes = build(name), data(gp("rbf"))
    batch = episodes.collate([episodes.draw("train", index) for index in range(4)])
    optimizer = torch.optim.Adam(algorithm.parameters(), 5e-3)
    losses = []
    for _ in range(80):
        optimizer.zero_grad()
        loss = algorithm.loss(batch).loss
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] - 0.2


@pytest.mark.parametrize("kernel", ["rbf", "matern", "periodic"])
def test_functions_have_the_covariance_of_their_kernel(kernel: str) -> None:
    ranges = RANGES | {"length": [0.5, 0.5], "scale": [2.0, 2.0], "period": [1.5, 1.5], "noise": 0.0}
    family = GaussianProcess([1], kernels=[kernel], **ranges)
    rng = np.random.default_rng(0)
    draws = [family.points(rng, 2) for _ in range(20_000)]
    distance = np.array([abs(float(x[0, 0] - x[1, 0])) for x, _ in draws])
    products = np.array([float(y[0, 0] * y[1, 0]) for _, y in draws])
    for low, high in ((0.0, 0.1), (0.4, 0.6), (1.4, 1.6)):
        near = (distance >= low) & (distance < high)
        expected = 4 * covariance(kernel, distance[near], length=0.5, period=1.5).mean()
        assert products[near].mean() == pytest.approx(expected, abs=0.6)
    assert covariance(kernel, np.zeros(1), length=0.5, period=1.5) == pytest.approx(1.0)
    if kernel == "periodic":
        assert covariance(kernel, np.array([3.0]), length=0.5, period=1.5) == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kernels": ["sine"]}, "kernels has 'sine'"),
        ({"kernels": []}, "kernels is empty"),
        ({"length": [0.0, 0.5]}, "length is"),
        ({"noise": -1.0}, "noise=-1.0"),
    ],
)
def test_a_family_that_is_none_is_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        GaussianProcess([1], **({"kernels": ["rbf"]} | RANGES | change))


def images() -> ClassBank:
    pixels = np.random.default_rng(0).integers(0, 256, (2, 3, 1, 6, 8), dtype=np.uint8)
    return ClassBank.from_classes(pixels, ["a", "b"])


def test_the_points_of_an_image_are_its_pixels_each_once() -> None:
    family, rng = Pixels(images()), np.random.default_rng(0)
    places, intensities = family.points(rng, 48)
    indices = family.indices(torch.from_numpy(places))
    assert sorted(indices.tolist()) == list(range(48))
    picture = torch.zeros(48)
    picture[indices] = torch.from_numpy(intensities)[:, 0]
    assert any(torch.equal((picture * 255).round().byte(), image.flatten()) for image in family.bank.images)
    for shot, remedy in ((40, "query=8"), (48, "shot=1 episode.train.query=47")):
        message = f"shot {shot} [+] query 9; 48 points are the most; .*: type episode.train.{remedy} episode.val"
        with pytest.raises(ValueError, match=message):
            data(family, shot=shot, query=9)


def test_completion_takes_the_grey_images_of_a_data_set() -> None:
    class Source:
        input_shape = (1, 6, 8)

        def load(self) -> dict[str, ClassBank]:
            return {"test": images()}

    assert list(Completion(Source(), input_shape=[2]).load()) == ["test"]
    with pytest.raises(ValueError, match="a place has a row and a column"):
        Completion(Source(), input_shape=[1])
    for shape in ((3, 6, 8), (1,)):
        Source.input_shape = shape
        with pytest.raises(ValueError, match="images must be grey"):
            Completion(Source(), input_shape=[2])


def test_an_image_of_another_split_is_not_completed() -> None:
    shared = torch.arange(6, dtype=torch.uint8)[:, None, None, None].expand(6, 1, 2, 2)
    family, rng = Pixels(ClassBank(shared, (np.array([4]), np.array([1, 2])), ("a", "b"))), np.random.default_rng(0)
    assert {round(255 * float(family.points(rng, 1)[1][0, 0])) for _ in range(99)} == {1, 2, 4}


def test_what_was_completed_is_drawn_where_it_belongs() -> None:
    family = Pixels(images())
    task = data(family, shot=20, query=28).draw("test", 0)
    sheet = completed_images(family, [(task, task.query_y[:, 0], torch.zeros(28))])
    completed, truth = (np.asarray(sheet.crop((10, 10 + row * 94, 94, 94 + row * 94))) for row in (1, 3))
    np.testing.assert_array_equal(completed, truth)  # an answer without error


def test_functions_are_drawn_with_their_band() -> None:
    task = data(gp("rbf")).draw("test", 0)
    narrow = functions([(task, task.query_y[:, 0], torch.zeros(7))])
    wide = functions([(task, task.query_y[:, 0], torch.ones(7))])
    assert isinstance(wide, Image.Image)
    band = (204, 224, 236)
    counts = [int((np.asarray(sheet) == band).all(-1).sum()) for sheet in (narrow, wide)]
    assert counts[0] < counts[1]


class Planes(GaussianProcess):
    """Functions of two equal numbers."""

    def points(self, rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
        x, y = super().points(rng, count)
        return np.repeat(x, 2, axis=1), y


@pytest.mark.parametrize(("kind", "drawn"), [(GaussianProcess, True), (Planes, False)])
def test_functions_of_one_number_are_drawn_in_wandb_too(tmp_path: Path, kind: type, drawn: bool) -> None:
    episodes = data(kind([1], kernels=["rbf"], **RANGES))
    algorithm = SimpleNamespace(adapt=lambda x, y: lambda query: torch.zeros(len(query), 2), objective=DENSITY)
    wandb = MagicMock(spec=WandbLogger)
    trainer = SimpleNamespace(datamodule=episodes, is_global_zero=True, loggers=[wandb], precision_plugin=Precision())
    TestEpisode(str(tmp_path)).on_test_end(trainer, SimpleNamespace(algorithm=algorithm, device=torch.device("cpu")))  # type: ignore[arg-type]
    assert (tmp_path / "test_episode.png").is_file() == wandb.log_image.called == drawn
    assert not wandb.log_table.called


def test_a_run_reports_likelihood_and_coverage_and_draws(metalearn) -> None:
    short = ("trainer.max_steps=2", "trainer.val_check_interval=2", "episode.val.num_episodes=2")
    run = metalearn("dataset=gp", "algorithm=cnp", *short, "episode.test.num_episodes=3", small=False)
    assert run.code == 0, run.text
    assert set(run.test) == {"mse", "loss", "nll", "coverage", "episodes_sha256"}
    assert run.test["nll"]["mean"] == pytest.approx(run.test["loss"]["mean"], rel=1e-5)
    assert "targets in 95 % intervals" in run.text
    assert (run.folder / "test_episode.png").is_file()


@pytest.mark.parametrize("precision", ["64-true", "bf16-true"])
@pytest.mark.parametrize("method", [("gp", "anp"), ("sinusoid", "maml")], ids="-".join)
def test_a_regression_ends_with_its_picture_in_any_precision(
    metalearn, method: tuple[str, str], precision: str
) -> None:
    names = [f"{key}={value}" for key, value in zip(("dataset", "algorithm"), method, strict=True)]
    short = ("trainer.max_steps=2", "trainer.val_check_interval=2", "episode.val.num_episodes=2")
    run = metalearn(*names, *short, "episode.test.num_episodes=3", f"trainer.precision={precision}", small=False)
    assert run.code == 0, run.text
    assert (run.folder / "test_episode.png").is_file()
