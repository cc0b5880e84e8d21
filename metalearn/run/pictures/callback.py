"""The first meta-test episodes with their answers, in the run directory and in W&B."""

from pathlib import Path
from typing import Any, NamedTuple, final

import lightning.pytorch as pl
import torch
from lightning.pytorch.loggers import WandbLogger
from PIL import Image
from torch import Tensor

from metalearn.data.bank import ClassBank
from metalearn.episodes.datamodule import EpisodicDataModule
from metalearn.episodes.fetching import fetch
from metalearn.episodes.functions import FunctionDataModule
from metalearn.episodes.sampling import Draw, collate
from metalearn.files import write_atomically
from metalearn.run.pictures.of_functions import answer, sheet
from metalearn.run.pictures.of_images import picture
from metalearn.run.pictures.of_texts import answered, transcript
from metalearn.types import Episode

ORDINALS = ("first", "second", "third")
FUNCTIONS = 6  # drawn episodes of a regression


@final
class TestEpisode(pl.Callback):
    """Draws the first meta-test episode into test_episode.png; texts go to test_episode.txt.

    W&B gets the pictures of the first three, or a table of the texts, and the confusion matrix of
    the first. A regression has one picture of its first six episodes; functions of several numbers
    that are not pixels are not drawn.

    Args:
        folder: run directory.

    Examples:
        >>> picture = TestEpisode("outputs/run")  # an existing folder
        >>> trainer = pl.Trainer(callbacks=[picture], accelerator="cpu", logger=False)
    """

    __test__ = False  # pytest must not collect this class

    def __init__(self, folder: str) -> None:
        self.folder = Path(folder)

    def on_test_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        data = trainer.datamodule  # type: ignore[attr-defined]
        if not trainer.is_global_zero or data.test_name != "test":
            return
        wandb = [logger for logger in trainer.loggers if isinstance(logger, WandbLogger)]
        if isinstance(data, FunctionDataModule):
            self._functions(data, trainer, module, wandb)
        elif data.banks["test"].is_text:
            if data.banks["test"].texts:
                self._texts(data, trainer, module, wandb)
        else:
            self._images(data, trainer, module, wandb)

    def _images(
        self, data: EpisodicDataModule, trainer: pl.Trainer, module: pl.LightningModule, wandb: list[WandbLogger]
    ) -> None:
        count = min(len(ORDINALS), data.settings["test"].num_episodes) if wandb else 1
        episodes = [_answer(index, data, trainer, module) for index in range(count)]
        images = [picture(each.task, each.answers, each.names, each.title) for each in episodes]
        self._save(images[0])
        for logger in wandb:
            logger.log_image("test/episode", images, caption=[each.title for each in episodes])
            _log_confusion(logger, episodes[0])

    def _texts(
        self, data: EpisodicDataModule, trainer: pl.Trainer, module: pl.LightningModule, wandb: list[WandbLogger]
    ) -> None:
        texts, first = data.banks["test"].texts, _answer(0, data, trainer, module)
        rows = answered(texts, first.draw, first.answers.tolist(), first.names)
        text = transcript(first.title, texts, first.draw, rows, first.names).encode()
        write_atomically(self.folder / "test_episode.txt", lambda file: file.write(text))
        for logger in wandb:
            columns = ["text", "class", "answered"]
            logger.log_table("test/episode", columns=columns, data=[list(row) for row in rows])
            _log_confusion(logger, first)

    def _functions(
        self, data: FunctionDataModule, trainer: pl.Trainer, module: pl.LightningModule, wandb: list[WandbLogger]
    ) -> None:
        tasks = [data.draw("test", index) for index in range(min(FUNCTIONS, data.settings["test"].num_episodes))]
        precision = trainer.precision_plugin
        with precision.forward_context():
            drawn = sheet(
                data.families["test"], [(task, *answer(module, precision.convert_input(task))) for task in tasks]
            )
        if drawn is None:
            return
        self._save(drawn)
        for logger in wandb:
            logger.log_image("test/episode", [drawn])

    def _save(self, image: Image.Image) -> None:
        write_atomically(self.folder / "test_episode.png", lambda file: image.save(file, "PNG"))


class Answered(NamedTuple):
    """A test episode with its answers."""

    draw: Draw
    task: Episode
    answers: Tensor  # (Q,) predicted ways
    names: list[str]  # class names in the order of the ways
    title: str


def _answer(index: int, data: EpisodicDataModule, trainer: pl.Trainer, module: pl.LightningModule) -> Answered:
    bank, draw = data.banks["test"], data.draw("test", index)
    batch = fetch(bank.images, collate([draw]))
    task = trainer.precision_plugin.convert_input(Episode(*(part.to(module.device) for part in batch))).tasks()[0]
    with torch.no_grad(), trainer.precision_plugin.forward_context():
        algorithm: Any = module.algorithm
        answers = algorithm.adapt(task.support_x, task.support_y)(task.query_x).argmax(-1)  # (Q,)
    return Answered(draw, task, answers, class_names(bank, draw), title(task, answers, index))


def _log_confusion(logger: WandbLogger, episode: Answered) -> None:
    names = list(enumerate(episode.names))
    counts = confusion(episode.task.query_y.argmax(-1), episode.answers, len(names)).tolist()
    columns = ["class", *(f"answered {way} {name}" for way, name in names)]
    table = [[f"{way} {name}", *row] for (way, name), row in zip(names, counts, strict=True)]
    logger.log_table("test/confusion", columns=columns, data=table)


def confusion(ways: Tensor, answers: Tensor, way: int) -> Tensor:
    """Counts the answers for queries of each class: (Q,), (Q,) -> (N, N), a row per true class.

    >>> confusion(torch.tensor([0, 0, 1]), torch.tensor([0, 1, 1]), way=2).tolist()
    [[1, 1], [0, 1]]
    """
    return torch.bincount(ways * way + answers, minlength=way * way).view(way, way)


def class_names(bank: ClassBank, draw: Draw) -> list[str]:
    """Returns the class names of an episode, in the order of its ways."""
    firsts = [int(draw.support_rows[draw.support_ways == way][0]) for way in range(draw.way)]
    return [next(name for name, rows in zip(bank.names, bank.rows, strict=True) if row in rows) for row in firsts]


def title(task: Episode, answers: Tensor, index: int) -> str:
    """Returns the score of the episode in words."""
    right, asked = int((answers == task.query_y.argmax(-1)).sum()), len(answers)
    return f"The {ORDINALS[index]} test episode: {right} of {asked} queries right ({100 * right / asked:.2f} %)"
