"""Episodes as pure functions of (seed, split, index)."""

import itertools
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, get_args

import numpy as np
import pytest
import torch
from conftest import episode
from torch import Tensor

from metalearn.data.bank import ClassBank
from metalearn.episodes.augmentation import CropFlipJitter
from metalearn.episodes.counts import meta_dataset_shots
from metalearn.episodes.datamodule import EpisodicDataModule
from metalearn.episodes.fetching import fetch
from metalearn.episodes.sampling import Draw, collate, draw, draw_images, draw_random
from metalearn.episodes.seeds import AUGMENTATION, BASE_CLASSES, QUERIES, ROWS, SHAPE, TIES, generator
from metalearn.episodes.setting import Queries, Setting, Shape, Shots
from metalearn.types import SPLITS

SETTING = Setting(way=4, shot=2, query=3, num_episodes=2)
STREAMS = (ROWS, SHAPE, AUGMENTATION, BASE_CLASSES, QUERIES, TIES)  # PAIRS are BASE_CLASSES of another split


def drawn(bank: ClassBank, *, seed: int = 0, split: str = "train", index: int = 0) -> Draw:
    return draw(bank.rows, Shape((2,) * 4, (3,) * 4), seed=seed, split=split, index=index)


def same(a: Draw, b: Draw) -> bool:
    return a.way == b.way and all(torch.equal(x, y) for x, y in zip(a[:4], b[:4], strict=True))


def drawn_images(bank: ClassBank, **which: Any) -> Draw:
    return draw_images(bank.rows, 30, **which)


def drawn_numbers(bank: ClassBank, **which: Any) -> Tensor:
    return draw_random(CropFlipJitter(area=1.0, stretch=1.0, jitter=0.0), torch.arange(5), **which)


def drawn_shape(bank: ClassBank, *, index: int, **which: Any) -> Shape:
    return Setting([2, 12], [1, 8], 2, "unequal", "unequal").shape(10, batch=index, **which)


@pytest.mark.parametrize("function", [drawn, drawn_images, drawn_numbers, drawn_shape])
def test_an_episode_is_a_function_of_seed_split_and_index(function: Callable[..., Any], bank: ClassBank) -> None:
    def values(*, seed: int = 0, split: str = "train", index: int = 0) -> list[Any]:
        return [np.asarray(part).tolist() for part in function(bank, seed=seed, split=split, index=index)]

    assert values() == values()
    for other in ({"seed": 1}, {"split": "val"}, {"index": 1}):
        assert values() != values(**other)  # type: ignore[arg-type]


@pytest.mark.parametrize("seed", [0, 1, 2**40])
def test_each_purpose_has_random_numbers_of_its_own(seed: int) -> None:
    streams = [(split, index, stream) for split in SPLITS for index in range(9) for stream in STREAMS]
    firsts = {generator(seed, *stream).integers(2**63) for stream in streams}
    assert len(firsts) == len(streams)


def test_support_and_query_are_disjoint_rows_of_way_classes(bank: ClassBank) -> None:
    class_of = np.concatenate([np.full(len(rows), c) for c, rows in enumerate(bank.rows)])
    for index in range(200):
        episode = drawn(bank, index=index)
        rows = torch.cat([episode.support_rows, episode.query_rows]).numpy()
        ways = torch.cat([episode.support_ways, episode.query_ways]).numpy()
        assert len(np.unique(rows)) == SETTING.way * (SETTING.shot + SETTING.query)
        # One class for each way, one way for each class.
        assert len(set(zip(class_of[rows], ways, strict=True))) == SETTING.way
        assert np.bincount(episode.support_ways).tolist() == [SETTING.shot] * SETTING.way
        assert np.bincount(episode.query_ways).tolist() == [SETTING.query] * SETTING.way


def test_numbers_of_numpy_are_numbers(bank: ClassBank) -> None:
    setting = Setting(way=np.int64(3), shot=np.int32(2), query=np.uint8(4))
    assert setting.has_one_shape
    assert not setting.faults(bank, "test")
    assert setting.shape(bank.smallest_class, seed=0, split="test", batch=0) == Shape((2, 2, 2), (4, 4, 4))


def test_loaders_yield_the_drawn_episodes_without_a_trainer(bank: ClassBank) -> None:
    banks, settings = dict.fromkeys(SPLITS, bank), dict.fromkeys(SPLITS, SETTING)
    data = EpisodicDataModule(banks, settings, seed=0, tasks_per_batch=2)
    for _ in range(2):  # each iterator starts again
        batches = zip(range(3), data.train_dataloader(), strict=False)
        assert all(same(batch, collate(data.draw("train", 2 * i + j) for j in (0, 1))) for i, batch in batches)
    for indices, batch in data.test_dataloader():
        assert same(batch, collate(data.draw("test", i) for i in indices.tolist()))


def test_queries_are_shuffled(bank: ClassBank) -> None:
    orders = {tuple(drawn(bank, index=index).query_ways.tolist()) for index in range(50)}
    assert len(orders) > 45


def test_every_class_and_image_is_drawn_about_as_often(bank: ClassBank) -> None:
    count = np.zeros(len(bank.images))
    for index in range(3000):
        episode = drawn(bank, index=index)
        count[torch.cat([episode.support_rows, episode.query_rows]).numpy()] += 1
    expected = 3000 * SETTING.way * (SETTING.shot + SETTING.query) / len(bank.images)
    assert abs(count - expected).max() < 5 * np.sqrt(expected)


def test_unequal_classes_are_drawn_from_their_own_rows() -> None:
    rows = [np.arange(5), np.arange(5, 30), np.arange(30, 36)]
    episode = draw(rows, Shape((2,) * 3, (3,) * 3), seed=0, split="test", index=0)
    for way in range(3):
        mine = episode.query_rows[episode.query_ways == way]
        assert any(set(mine.tolist()) <= set(r.tolist()) for r in rows)


def test_fetch_gathers_pixels_and_one_hot_ways(bank: ClassBank) -> None:
    draws = collate(drawn(bank, index=i) for i in range(2))
    batch = fetch(bank.images, draws)
    assert batch.support_x.shape == (2, 8, 1, 16, 16)
    assert batch.query_y.shape == (2, 12, 4)
    for t, q in ((0, 0), (1, 11)):
        expected = bank.images[draws.query_rows[t, q]].float() / 255
        assert torch.equal(batch.query_x[t, q], expected)
        assert batch.query_y[t, q].argmax() == draws.query_ways[t, q]
        assert batch.query_y[t, q].sum() == 1


def test_a_batch_stacks_each_part_of_its_episodes() -> None:
    episodes = [Draw(*torch.randint(3, (4, 6)), 5, torch.rand(2, 3)) for _ in range(2)]
    for stacked, *parts in zip(collate(episodes), *episodes, strict=True):
        assert (stacked == 5) if isinstance(stacked, int) else torch.equal(stacked, torch.stack(parts))


def test_tasks_of_an_episode() -> None:
    batch = episode(tasks=3)
    assert batch.num_tasks == len(batch.tasks()) == 3
    assert torch.equal(batch.tasks()[1].query_x, batch.query_x[1])


def test_a_classification_batch_is_images_of_all_classes(bank: ClassBank) -> None:
    batches = [draw_images(bank.rows, 30, seed=0, split="train", index=index) for index in range(40)]
    for batch in batches:
        assert batch.way == bank.num_classes  # also where a class has no image
        assert batch.support_rows.numel() == batch.support_ways.numel() == 0
        assert len(torch.unique(batch.query_rows)) == 30
        for row, way in zip(batch.query_rows.tolist(), batch.query_ways.tolist(), strict=True):
            assert row in bank.rows[way]
    assert torch.unique(torch.cat([batch.query_rows for batch in batches])).numel() == len(bank.images)


def test_classes_of_different_sizes_are_drawn_by_their_images() -> None:
    images = np.zeros((100, 1, 2, 2), np.uint8)
    rows = [np.arange(90), np.arange(90, 100)]
    bank = ClassBank(torch.from_numpy(images), rows, ["large", "small"])
    ways = torch.cat([draw_images(bank.rows, 50, seed=0, split="train", index=i).query_ways for i in range(50)])
    assert 0.07 < ways.float().mean() < 0.13


def shapes(setting: Setting, batches: int = 300) -> list[Shape]:
    return [setting.shape(10, seed=0, split="train", batch=batch) for batch in range(batches)]


def test_classes_may_draw_their_own_shots() -> None:
    drawn_shapes = shapes(Setting(4, [1, 3], 2, shots="unequal"))
    assert {shot for shape in drawn_shapes for shot in shape.shots} == {1, 2, 3}
    assert any(len(set(shape.shots)) == 3 for shape in drawn_shapes)
    assert all(len(set(shape.shots)) == 1 for shape in shapes(Setting(4, [1, 3], 2)))


def test_one_shape_is_as_many_rows_in_all_batches() -> None:
    for way, shot in itertools.product((3, [3, 5]), (2, [1, 3])):
        for shots, queries in itertools.product(get_args(Shots), get_args(Queries)):
            setting = Setting(way, shot, 2, shots, queries)
            rows = {(sum(shape.shots), sum(shape.queries)) for shape in shapes(setting, batches=20)}
            assert setting.has_one_shape == (len(rows) == 1), setting


def test_an_unbalanced_episode_has_the_shots_of_its_classes(bank: ClassBank) -> None:
    episode = draw(bank.rows, Shape((1, 4, 2), (3,) * 3), seed=0, split="train", index=0)
    assert np.bincount(episode.support_ways).tolist() == [1, 4, 2]
    assert np.bincount(episode.query_ways).tolist() == [3, 3, 3]
    classes = [next(c for c, rows in enumerate(bank.rows) if row in rows) for row in episode.support_rows.tolist()]
    assert classes == [classes[0], *[classes[1]] * 4, *[classes[5]] * 2]
    assert len(set(episode.support_rows.tolist()) | set(episode.query_rows.tolist())) == 7 + 9


def test_the_rule_of_meta_dataset() -> None:
    rng = np.random.default_rng(0)
    drawn_shots = [meta_dataset_shots(rng, 20, 590, 100) for _ in range(2000)]
    totals = np.array([sum(shots) for shots in drawn_shots])
    # Each class has floor(share * (size - way)) + 1 images, so the sum is between size - way and
    # size, with size at most 500.
    assert totals.max() <= 500
    assert totals.min() >= 20
    # With beta uniform in (0, 1], 20 * ceil(100 beta) reaches 500 at beta = 0.25, so three quarters
    # are full.
    assert (totals > 480).mean() == pytest.approx(0.75, abs=0.04)
    # Shares are normalised exp(U(log 1/2, log 2)): their ratio is at most 4, apart from the one
    # image of each class.
    ratios = [(max(shots) - 1) / min(shots) for shots in drawn_shots]
    assert 2.5 < max(ratios) < 4


@pytest.mark.parametrize(
    ("available", "counted", "number", "expected"),
    [
        (9, 100, 0.5, (2, 4, 7)),  # 3 ⌈9 / 2⌉ = 15 images; 12 beside one of each class, by 1/7, 2/7 and 4/7
        (9, 4, 0.5, (1, 1, 2)),  # 3 ⌈4 / 2⌉ = 6
        (3, 100, 0.5, (1, 1, 2)),  # 3 ⌈3 / 2⌉ = 6
        (1000, 1000, 0.5, (72, 143, 285)),  # 500 at most
        (9, 100, 0.0, (4, 7, 9)),  # β is 1, never 0: 27 images, of which a class has 9
        (9, 100, 0.99, (1, 1, 1)),  # 3 ⌈9 / 100⌉ = 3
    ],
)
def test_the_rule_of_meta_dataset_by_hand(
    available: int, counted: int, number: float, expected: tuple[int, ...]
) -> None:
    drawn = SimpleNamespace(random=lambda: number, uniform=np.linspace)  # factors 1/2, 1 and 2
    assert meta_dataset_shots(drawn, 3, available, counted) == expected


def test_meta_dataset_never_takes_more_than_a_class_has() -> None:
    ways = set()
    for shape in shapes(Setting([5, 12], 100, 3, shots="meta_dataset")):
        ways.add(len(shape.shots))
        assert 1 <= min(shape.shots) <= max(shape.shots) <= 7  # 3 of 10 images are queries
    assert ways == set(range(5, 13))
    assert {shape.shots for shape in shapes(Setting(5, 1, 3, shots="meta_dataset"))} == {(1,) * 5}


@pytest.mark.parametrize("shots", ["equal", "unequal", "meta_dataset"])
def test_tasks_of_a_batch_have_one_shape(bank: ClassBank, shots: Shots) -> None:
    setting = Setting([2, 4], [1, 6], 2, shots, num_episodes=1)
    banks, settings = dict.fromkeys(SPLITS, bank), dict.fromkeys(SPLITS, setting)
    data = EpisodicDataModule(banks, settings, seed=0, tasks_per_batch=3)
    for batch in range(20):
        data.collate([data.draw("train", index) for index in range(3 * batch, 3 * batch + 3)])


def test_the_way_of_an_episode_says_nothing_of_its_classes(bank: ClassBank) -> None:
    rows = [np.arange(20 * c, 20 * c + 20) for c in range(100)]
    first = []  # classes of the episodes with the smallest way
    for index in range(600):
        shape = Setting([2, 7], 1, 1).shape(20, seed=0, split="test", batch=index)
        if len(shape.shots) == 2:
            episode = draw(rows, shape, seed=0, split="test", index=index)
            first.append(int(episode.support_rows[0]) // 20)
    assert np.mean(first) == pytest.approx(49.5, abs=4 * 29 / len(first) ** 0.5)


def test_each_batch_draws_its_way_and_shot_from_their_ranges(bank: ClassBank) -> None:
    settings = {"train": Setting([2, 4], [1, 3], 2), "val": SETTING, "test": SETTING}
    data = EpisodicDataModule(dict.fromkeys(SPLITS, bank), settings, seed=0, tasks_per_batch=3)
    sizes = []
    for batch in range(60):
        draws = collate(data.draw("train", index) for index in range(3 * batch, 3 * batch + 3))
        assert draws.query_rows.shape == (3, draws.way * 2)
        assert draws.query_ways.max() == draws.way - 1
        sizes.append((draws.way, draws.support_rows.shape[1] // draws.way))
    assert set(sizes) == {(way, shot) for way in (2, 3, 4) for shot in (1, 2, 3)}


def test_the_rule_of_meta_dataset_has_a_shot_for_each_way() -> None:
    bank = ClassBank.from_classes(np.zeros((501, 2, 1, 1, 1), np.uint8), [str(number) for number in range(501)])
    setting = Setting(501, 100, 1, shots="meta_dataset")
    (fault,) = setting.faults(bank, "test")
    assert fault.what == "episode.test.way is 501; an episode of shots=meta_dataset has 500 support images at most"
    assert fault.remedy == "episode.test.way=500"
    assert not replace(setting, way=500).faults(bank, "test")
