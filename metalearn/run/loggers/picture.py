"""A picture of a test episode: its support images, queries, and answers."""

import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import lightning.pytorch as pl
import numpy as np
import torch
from lightning.pytorch.loggers import WandbLogger
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from metalearn.data.bank import ClassBank
from metalearn.episodes.datamodule import EpisodicDataModule
from metalearn.episodes.fetching import fetch
from metalearn.episodes.sampling import Draw, collate
from metalearn.files import write_atomically
from metalearn.run.loggers.transcript import answered, transcript
from metalearn.types import Episode

RIGHT, WRONG, PAPER = (0, 114, 178), (213, 94, 0), (255, 255, 255)  # blue and vermilion are safe for colour-blind eyes
INK = (0, 0, 0)
SIZE, FRAME, GAP = 56, 3, 12  # image, its frame, and space between support and queries, in pixels
CELL = SIZE + 2 * FRAME
MARGIN, LINE = 10, 26  # outer margin and line of text, in pixels
LONGEST_NAME = 180  # pixels
MOST = 10  # shown queries of a class
FONT, DIGITS = ImageFont.load_default(15), ImageFont.load_default(24)
ORDINALS = ("first", "second", "third")
LEGEND = "blue frame: right; orange frame: wrong, with the number of the predicted class"


class TestEpisode(pl.Callback):
    """Draws the first meta-test episode into test_episode.png.

    W&B gets the pictures of the first three, and the confusion matrix of the first. Texts go to
    test_episode.txt, and to a table in W&B.

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
        if not trainer.is_global_zero or not isinstance(data, EpisodicDataModule) or data.test_name != "test":
            return
        bank = data.banks["test"]
        wandb = [logger for logger in trainer.loggers if isinstance(logger, WandbLogger)]
        count = min(len(ORDINALS), data.num_episodes["test"]) if wandb and not bank.is_text else 1
        first, *others = (_answer(index, data, trainer, module) for index in range(count))
        if bank.is_text:
            rows = answered(bank.texts, first.draw, first.answers.tolist(), first.names)
            text = transcript(first.title, bank.texts, first.draw, rows, first.names).encode()
            write_atomically(self.folder / "test_episode.txt", lambda file: file.write(text))
        else:
            image, *further = (picture(each.task, each.answers, each.names, each.title) for each in (first, *others))
            write_atomically(self.folder / "test_episode.png", lambda file: image.save(file, "PNG"))
        for logger in wandb:
            if bank.is_text:
                columns = ["text", "class", "answered"]
                logger.log_table("test/episode", columns=columns, data=[list(row) for row in rows])
            else:
                logger.log_image("test/episode", [image, *further], caption=[each.title for each in (first, *others)])
            counts = confusion(first.task.query_y.argmax(-1), first.answers, len(first.names)).tolist()
            columns = ["class", *(f"answered {way} {name}" for way, name in enumerate(first.names))]
            table = [[f"{way} {name}", *row] for (way, name), row in zip(enumerate(first.names), counts, strict=True)]
            logger.log_table("test/confusion", columns=columns, data=table)


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


def picture(task: Episode, answers: Tensor, names: Sequence[str], head: str) -> Image.Image:
    """Draws a row for each class: its support images, then its queries.

    A frame shows whether the answer is right. The corner of a wrong query shows the number of the
    predicted class, from 0 at the top.

    Args:
        task: episode of one task.
        answers: predicted ways (Q,).
        names: class names in the order of the ways.
        head: line above the picture.
    """
    ways, way = task.query_y.argmax(-1), task.query_y.shape[1]
    supports = [task.support_x[task.support_y.argmax(-1) == c] for c in range(way)]
    queries = [torch.nonzero(ways == c).flatten().tolist() for c in range(way)]
    labels = [label(f"{c}  {name}") for c, name in enumerate(names)]
    most = max(map(len, queries))
    heads = ["support", f"queries, {MOST} of {most}" if most > MOST else "queries"]

    left = MARGIN + round(max(map(_length, labels))) + GAP
    middle = left + max(max(map(len, supports)) * CELL, round(_length(heads[0]))) + GAP
    right = middle + max(min(most, MOST) * CELL, round(_length(heads[1])))
    top = MARGIN + 2 * LINE
    width = max(right, *(MARGIN + round(_length(text)) for text in (head, LEGEND))) + MARGIN
    sheet = Image.new("RGB", (width, top + way * CELL + LINE + MARGIN), PAPER)
    write = ImageDraw.Draw(sheet)
    write.text((MARGIN, MARGIN), head, INK, FONT)
    write.text((left, MARGIN + LINE), heads[0], INK, FONT)
    write.text((middle, MARGIN + LINE), heads[1], INK, FONT)
    write.text((MARGIN, top + way * CELL + 6), LEGEND, INK, FONT)
    for c in range(way):
        y = top + c * CELL
        write.text((MARGIN, y + CELL / 2), labels[c], INK, FONT, anchor="lm")
        for column, x in enumerate(supports[c]):
            sheet.paste(_image(x), (left + column * CELL + FRAME, y + FRAME))
        for column, q in enumerate(queries[c][:MOST]):
            sheet.paste(_framed(task.query_x[q], int(answers[q]), c), (middle + column * CELL, y))
    return sheet


def label(name: str) -> str:
    """Shortens a name to fit beside a row; the font has ASCII letters only."""
    letters = (letter for letter in unicodedata.normalize("NFKD", name) if not unicodedata.combining(letter))
    name = text = "".join(letter if letter.isascii() else "?" for letter in letters)
    kept = len(name)
    while _length(text) > LONGEST_NAME:
        kept -= 1
        text = f"{name[: kept - kept // 2]}...{name[len(name) - kept // 2 :]}"
    return text


def _framed(x: Tensor, answer: int, way: int) -> Image.Image:
    framed = Image.new("RGB", (CELL, CELL), RIGHT if answer == way else WRONG)
    framed.paste(_image(x), (FRAME, FRAME))
    if answer != way:
        place = (FRAME + 4, FRAME + 1)
        ImageDraw.Draw(framed).text(place, str(answer), WRONG, DIGITS, stroke_width=2, stroke_fill=PAPER)
    return framed


def _image(x: Tensor) -> Image.Image:  # (C, H, W) in 0 .. 1
    pixels = (x.clamp(0, 1) * 255).round().byte().cpu().numpy()
    return Image.fromarray(np.broadcast_to(pixels, (3, *pixels.shape[1:])).transpose(1, 2, 0)).resize((SIZE, SIZE))


def _length(text: str) -> float:
    return FONT.getlength(text)
