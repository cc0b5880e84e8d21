"""Test episode of texts, and the bank that holds them."""

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import MagicMock

import numpy as np
import pytest
import torch
from lightning.pytorch.loggers import WandbLogger
from lightning.pytorch.plugins.precision import Precision

from metalearn.data.bank import ClassBank
from metalearn.episodes.datamodule import EpisodicDataModule
from metalearn.episodes.fetching import fetch
from metalearn.episodes.sampling import collate, draw
from metalearn.episodes.setting import Setting, Shape
from metalearn.run.pictures.callback import TestEpisode
from metalearn.run.pictures.of_texts import answered, transcript

IDS = torch.arange(1, 25, dtype=torch.int32).view(12, 2)
TEXTS = tuple(f"text {row}" for row in range(12))
BANK = ClassBank(IDS, tuple(np.arange(12).reshape(3, 4)), ("a", "b", "c"), texts=TEXTS)
DRAW = draw(BANK.rows, Shape((1, 1), (2, 2)), seed=0, split="test", index=0)


def test_ids_of_tokens_reach_an_episode_as_they_are() -> None:
    episode = fetch(BANK.images, collate([DRAW]))
    assert torch.equal(episode.support_x[0], IDS[DRAW.support_rows])
    assert torch.equal(episode.query_x[0], IDS[DRAW.query_rows])


def test_a_bank_of_texts_says_so() -> None:
    assert BANK.is_text and BANK.kind == "texts"
    with pytest.raises(ValueError, match=r"^images are torch.int64 \(12, 2\); a ClassBank has images \(M, C, H, W\)"):
        ClassBank(IDS.long(), BANK.rows, BANK.names)
    with pytest.raises(ValueError, match="shot 3 \\+ query 2 exceeds the 4 texts of 'a', the smallest class"):
        EpisodicDataModule({"test": BANK}, {"test": Setting(2, 3, 2, num_episodes=1)}, seed=0, tasks_per_batch=1)
    same = ClassBank(torch.ones(12, 2, dtype=torch.int32), BANK.rows, BANK.names)
    with pytest.raises(ValueError, match="all 12 texts of split 'test' are the same"):
        EpisodicDataModule({"test": same}, {"test": Setting(2, 1, 2, num_episodes=1)}, seed=0, tasks_per_batch=1)


def test_a_transcript_has_each_class_with_its_support_and_its_answers() -> None:
    names = ["first", "second"]
    answers = DRAW.query_ways.clone()
    wrong = int((DRAW.query_ways == 1).nonzero()[0])
    answers[wrong] = 0
    rows = answered(TEXTS, DRAW, answers.tolist(), names)
    assert [row.name for row in rows] == ["first", "first", "second", "second"]
    assert [row for row in rows if row.answer != row.name] == [(TEXTS[DRAW.query_rows[wrong]], "second", "first")]
    lines = transcript("3 of 4", TEXTS, DRAW, rows, names).splitlines()
    assert lines[0] == "3 of 4"
    assert lines[2:4] == ["first", f"  support  {TEXTS[DRAW.support_rows[0]]}"]
    assert f"  WRONG    {TEXTS[DRAW.query_rows[wrong]]}  [answered first]" in lines
    assert sum(line.startswith("  right") for line in lines) == 3


def test_long_texts_are_shortened_and_stay_on_one_line() -> None:
    long = tuple("word\n" * 100 for _ in TEXTS)
    row = answered(long, DRAW, DRAW.query_ways.tolist(), ["a", "b"])[0]
    assert len(row.text) == 200 and row.text.endswith("...") and "\n" not in row.text


def test_a_test_episode_of_texts_is_a_file_and_tables_of_wandb(tmp_path: Path) -> None:
    data = EpisodicDataModule({"test": BANK}, {"test": Setting(2, 1, 2, num_episodes=1)}, seed=0, tasks_per_batch=1)
    first_way = torch.tensor([[1.0, 0.0]]).expand(4, 2)
    algorithm = SimpleNamespace(adapt=lambda x, y: lambda query: first_way)
    wandb = MagicMock(spec=WandbLogger)
    trainer = SimpleNamespace(datamodule=data, is_global_zero=True, loggers=[wandb], precision_plugin=Precision())
    TestEpisode(str(tmp_path)).on_test_end(trainer, SimpleNamespace(algorithm=algorithm, device=torch.device("cpu")))  # type: ignore[arg-type]
    assert "2 of 4 queries right" in (tmp_path / "test_episode.txt").read_text()
    assert not wandb.log_image.called
    (episode, confusion) = wandb.log_table.call_args_list
    assert (episode.args, episode.kwargs["columns"]) == (("test/episode",), ["text", "class", "answered"])
    rows = json.loads(json.dumps(episode.kwargs["data"]))
    assert sorted(text for text, _, _ in rows) == sorted(TEXTS[row] for row in data.draw("test", 0).query_rows)
    assert len({answer for _, _, answer in rows}) == 1 < len({name for _, name, _ in rows})
    assert [row[1:] for row in confusion.kwargs["data"]] == [[2, 0], [2, 0]]


def test_token_ids_without_texts_have_no_transcript(tmp_path: Path) -> None:
    setting = Setting(2, 1, 2, num_episodes=1)
    data = EpisodicDataModule({"test": replace(BANK, texts=())}, {"test": setting}, seed=0, tasks_per_batch=1)
    trainer = SimpleNamespace(datamodule=data, is_global_zero=True, loggers=[])
    TestEpisode(str(tmp_path)).on_test_end(trainer, SimpleNamespace())  # type: ignore[arg-type]
    assert not [*tmp_path.iterdir()]
