"""Evaluation that embeds each image once scores like the path through the images."""

import math
import weakref
from collections.abc import Callable

import lightning.pytorch as pl
import numpy as np
import pytest
import torch
from algorithm_options import of_class
from conftest import SMALL, composed
from hydra.utils import instantiate

from metalearn.algorithms import metric
from metalearn.algorithms.metric import AbstractEmbedding
from metalearn.algorithms.prototypical import Prototypical
from metalearn.algorithms.triplet import Triplet
from metalearn.data.bank import ClassBank
from metalearn.episodes import datamodule
from metalearn.episodes.datamodule import EpisodicDataModule
from metalearn.episodes.embedded import CHUNK, EmbeddingTable
from metalearn.episodes.sampling import draw
from metalearn.episodes.setting import Setting, Shape
from metalearn.training.module import FewShotModule
from metalearn.types import SPLITS, Predictor

WAY, MOST_TASKS, NUM_EPISODES = 3, 6, 6 + 3
"""Few tasks of a batch, and one batch that is not full."""
FEW_STEPS = {
    "baseline": "algorithm.head_fit.steps=5",
    "baseline_plus_plus": "algorithm.head_fit.steps=5",
    "distribution_calibration": "algorithm.head_fit.steps=5",
    "tim": "algorithm.steps=5",
}


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datamodule, "MOST_TASKS", MOST_TASKS)


def build(name: str, *overrides: str) -> torch.nn.Module:
    torch.manual_seed(0)
    small = ["dataset.input_shape=[1,16,16]", "backbone.channels=4", f"episode.train.way={WAY}", "num_base_classes=12"]
    small += [FEW_STEPS[name]] if name in FEW_STEPS else []
    algorithm = instantiate(composed(f"algorithm={name}", *small, *overrides).algorithm)
    for buffer in algorithm.buffers():  # running averages as after some training, with which no channel is zero
        if buffer.is_floating_point():
            buffer.uniform_(0.01, 0.05)
    return algorithm


EMBEDDING = of_class(AbstractEmbedding)


def scores(
    algorithm: torch.nn.Module,
    bank: ClassBank,
    shot: int | list[int] = 2,
    precision: str = "32-true",
    batches: int | None = None,
) -> dict[str, np.ndarray]:
    settings = dict.fromkeys(SPLITS, Setting(WAY, shot, 4, num_episodes=NUM_EPISODES))
    data = EpisodicDataModule(dict.fromkeys(SPLITS, bank), settings, seed=0, tasks_per_batch=1)
    module = FewShotModule(algorithm, torch.optim.Adam)
    quiet = {"enable_progress_bar": False, "enable_model_summary": False, "logger": False}
    limits = {"limit_test_batches": batches, "inference_mode": False}
    trainer = pl.Trainer(accelerator="cpu", precision=precision, **limits, **quiet)
    trainer.test(module, datamodule=data, verbose=False)
    return module.scores["test"]


@pytest.mark.parametrize(
    ("name", "shot"), [*((name, 2) for name in [*EMBEDDING, "matching algorithm.fce=true"]), ("prototypical", [1, 3])]
)
def test_every_episode_scores_as_from_its_images(
    name: str, shot: int | list[int], bank: ClassBank, monkeypatch: pytest.MonkeyPatch
) -> None:
    # At one shape, embedded tasks are compared together; those of images are one by one.
    algorithm = build(*name.split(), "batch_norm=running")
    embedded = scores(algorithm, bank, shot)
    monkeypatch.setattr(AbstractEmbedding, "embeds_each_alone", False)
    plain = scores(algorithm, bank, shot)
    assert len(plain["accuracy"]) == NUM_EPISODES
    assert plain["loss"].std() > 1e-3, "embeddings that are equal would show nothing"
    np.testing.assert_allclose(embedded["loss"], plain["loss"], rtol=2e-4, atol=1e-5)
    assert (embedded["accuracy"] != plain["accuracy"]).mean() < 0.05  # a tie may break differently


class Adapts(Prototypical):
    def adapt(self, support_x: torch.Tensor, support_y: torch.Tensor) -> Predictor:
        return lambda query_x: query_x.new_zeros(len(query_x), support_y.shape[1])


class Embeds(Prototypical):
    def embed(self, support_x: torch.Tensor, query_x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return tuple(x.new_zeros(*x.shape[:2], 5) for x in (support_x, query_x))


class AdaptsTriplet(Triplet):
    adapt = Adapts.adapt


@pytest.mark.parametrize("own", [Adapts, Embeds, AdaptsTriplet])
def test_an_own_adapt_or_embed_is_what_is_evaluated(own: type[AbstractEmbedding], bank: ClassBank) -> None:
    algorithm = build("triplet" if own is AdaptsTriplet else "prototypical", "batch_norm=running")
    assert scores(algorithm, bank)["loss"].std() > 0.01
    algorithm.__class__ = own
    np.testing.assert_allclose(scores(algorithm, bank)["loss"], math.log(WAY), rtol=1e-6)  # all ways are equal


@pytest.mark.parametrize("name", ["prototypical", "matching"])
def test_double_precision_is_kept(name: str, bank: ClassBank, monkeypatch: pytest.MonkeyPatch) -> None:
    algorithm = build(name, "batch_norm=running")
    embedded = scores(algorithm, bank, precision="64-true")
    monkeypatch.setattr(AbstractEmbedding, "embeds_each_alone", False)
    np.testing.assert_allclose(embedded["loss"], scores(algorithm, bank, precision="64-true")["loss"], rtol=1e-12)


def counting(algorithm: AbstractEmbedding) -> Callable[[], int]:
    """Returns a function that counts the rows that have passed the backbone since."""
    rows = []
    algorithm.backbone.register_forward_pre_hook(lambda module, inputs: rows.append(len(inputs[0])))
    return lambda: sum(rows)


def used(bank: ClassBank, episodes: int) -> int:
    """Counts the images of the first test episodes."""
    shape = Shape((2,) * WAY, (4,) * WAY)
    draws = [draw(bank.rows, shape, seed=0, split="test", index=index) for index in range(episodes)]
    return len(torch.cat([rows for draw in draws for rows in (draw.support_rows, draw.query_rows)]).unique())


def test_each_image_is_embedded_once_and_only_where_nothing_else_counts(bank: ClassBank) -> None:
    for batch_norm, expected in (("running", used(bank, NUM_EPISODES)), ("support", NUM_EPISODES * WAY * 6)):
        algorithm = build("prototypical", f"batch_norm={batch_norm}")
        count = counting(algorithm)
        scores(algorithm, bank)
        assert count() == expected


@pytest.mark.parametrize(("tasks", "batches", "episodes"), [(2, 3, 6), (6, 1, 6), (6, 9, NUM_EPISODES)])
def test_no_image_is_embedded_of_a_batch_that_is_left_out(
    tasks: int, batches: int, episodes: int, bank: ClassBank, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(datamodule, "MOST_TASKS", tasks)
    algorithm = build("prototypical", "batch_norm=running")
    count = counting(algorithm)
    assert len(scores(algorithm, bank, batches=batches)["accuracy"]) == episodes
    assert count() == used(bank, episodes)


def test_an_interrupted_evaluation_leaves_no_embeddings(bank: ClassBank) -> None:
    class Interrupted(pl.Callback):
        def on_validation_epoch_end(self, *_: object) -> None:
            raise InterruptedError

    settings = dict.fromkeys(SPLITS, Setting(WAY, 1, 4, num_episodes=NUM_EPISODES))
    data = EpisodicDataModule(dict.fromkeys(SPLITS, bank), settings, seed=0, tasks_per_batch=1)
    quiet = {"enable_progress_bar": False, "enable_model_summary": False, "logger": False}
    trainer = pl.Trainer(accelerator="cpu", callbacks=[Interrupted()], **quiet)
    with pytest.raises(InterruptedError):
        trainer.validate(FewShotModule(build("prototypical"), torch.optim.Adam), datamodule=data)
    later = build("prototypical")
    torch.nn.init.zeros_(later.backbone.blocks[3].norm.weight)
    torch.nn.init.zeros_(later.backbone.blocks[3].norm.bias)  # embeds all images as 0
    module = FewShotModule(later, torch.optim.Adam)
    pl.Trainer(accelerator="cpu", **quiet).test(module, datamodule=data, verbose=False)
    np.testing.assert_allclose(module.scores["test"]["loss"], math.log(WAY), rtol=1e-6)  # all ways are equal


def test_episodes_after_an_evaluation_are_images(bank: ClassBank) -> None:
    settings = dict.fromkeys(SPLITS, Setting(WAY, 1, 4, num_episodes=NUM_EPISODES))
    data = EpisodicDataModule(dict.fromkeys(SPLITS, bank), settings, seed=0, tasks_per_batch=1)
    trainer = pl.Trainer(accelerator="cpu", enable_progress_bar=False, enable_model_summary=False, logger=False)
    trainer.test(FewShotModule(build("prototypical"), torch.optim.Adam), datamodule=data, verbose=False)
    episode = data.episodes(data.collate([data.draw("test", 0)]), "test")
    assert episode.support_x.shape == (1, WAY, *bank.images.shape[1:])


def test_a_debug_run_is_of_few_episodes(metalearn) -> None:
    small = [override for override in SMALL if "episode" not in override]
    result = metalearn("debug=default", *small, small=False).result
    assert [result[split]["accuracy"]["num_episodes"] for split in ("val", "test")] == [5, 5]


def test_the_embeddings_are_let_go_after_an_evaluation(bank: ClassBank, monkeypatch: pytest.MonkeyPatch) -> None:
    made = []

    class Watched(EmbeddingTable):
        def __init__(self, *arguments) -> None:
            super().__init__(*arguments)
            made.append(weakref.ref(self))

    monkeypatch.setattr(datamodule, "EmbeddingTable", Watched)
    forgotten, forget = [], EpisodicDataModule.forget_embeddings

    def spy(data: EpisodicDataModule) -> None:
        forget(data)
        forgotten.extend(made)
        assert all(table() is None for table in made)

    monkeypatch.setattr(EpisodicDataModule, "forget_embeddings", spy)
    scores(build("prototypical", "batch_norm=running"), bank)
    assert len(made) == 1
    assert {*map(id, forgotten)} == {id(made[0])}


@pytest.mark.parametrize("name", ["siamese", "relation", "prototypical"])
def test_no_more_tasks_are_compared_at_once_than_memory_is_for(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    algorithm = build(name, "batch_norm=running").eval()
    torch.manual_seed(0)
    width = algorithm.backbone.num_features
    tasks = torch.rand(7, 6, width), torch.eye(WAY).repeat(7, 2, 1), torch.rand(7, 4, width)
    expected, compare, calls = algorithm.compare_all(*tasks), algorithm.compare, []

    def counted(*task: torch.Tensor) -> torch.Tensor:
        calls.append(task)
        return compare(*task)

    monkeypatch.setattr(algorithm, "compare", counted)
    for at_once, times in ((7, 1), (3, 3), (0, 7)):
        monkeypatch.setattr(metric, "PAIRED", at_once * 6 * 4 * width)
        calls.clear()
        torch.testing.assert_close(algorithm.compare_all(*tasks), expected)
        assert len(calls) == times


def test_a_table_holds_the_rows_that_are_used() -> None:
    images = torch.arange(2 * CHUNK + 9, dtype=torch.uint8).reshape(-1, 1, 1, 1)
    seen = []

    def embed(x: torch.Tensor) -> torch.Tensor:
        seen.append(len(x))
        return x.flatten(1).float()

    table = EmbeddingTable(embed, images, torch.tensor([3, 7, 3, 2 * CHUNK + 8]))
    assert seen == [3]
    rows = torch.tensor([[7, 3], [2 * CHUNK + 8, 7]])
    assert torch.equal(table(rows)[..., 0], images[rows].flatten(2)[..., 0].float())
    with pytest.raises(IndexError):
        table(torch.tensor([3, 4]))  # image 4 has none
    EmbeddingTable(embed, images, torch.arange(len(images)))
    assert seen[1:] == [CHUNK, CHUNK, 9]


def test_the_embeddings_are_of_the_weights_of_now(metalearn) -> None:
    run = metalearn("trainer.max_steps=8", "trainer.val_check_interval=4", "optimizer.lr=0.1")
    rows = (run.folder / "metrics.csv").read_text().splitlines()
    column = rows[0].split(",").index("val/loss")
    losses = [float(row.split(",")[column]) for row in rows[1:] if row.split(",")[column]]
    assert len(losses) == 2
    assert losses[0] != losses[1]
