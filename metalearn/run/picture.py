"""A test episode to look at: what was shown, what was asked, and what was answered."""

from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from metalearn.episodes.datamodule import EpisodicDataModule
from metalearn.episodes.sampling import collate, fetch
from metalearn.types import Episode

RIGHT, WRONG, PAPER = (0, 114, 178), (213, 94, 0), (255, 255, 255)  # blue and vermilion, which all people tell apart
SIZE, FRAME, GAP = 56, 3, 12  # pixels of an image, of its frame, and between support and queries
MOST = 10  # queries of a class


class TestEpisode(pl.Callback):
    """Draw the first meta-test episode into test_episode.png, and log it with the confusion of its classes to W&B.

    Args:
        folder: where the picture goes, the run directory.
    """

    __test__ = False  # of pytest

    def __init__(self, folder: str) -> None:
        self.path = Path(folder) / "test_episode.png"

    def on_test_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        data = trainer.datamodule  # type: ignore[attr-defined]
        if not trainer.is_global_zero or not isinstance(data, EpisodicDataModule) or self.path.exists():
            return
        batch = fetch(data.banks["test"].images, collate([data.draw("test", 0)]))
        task = trainer.precision_plugin.convert_input(Episode(*(part.to(module.device) for part in batch))).tasks()[0]
        with torch.no_grad(), trainer.precision_plugin.forward_context():
            algorithm: Any = module.algorithm
            answers = algorithm.adapt(task.support_x, task.support_y)(task.query_x).argmax(-1)  # (Q,)
        image = picture(task, answers)
        image.save(self.path)
        for logger in trainer.loggers:
            if type(logger).__name__ == "WandbLogger":
                logger.log_image("test/episode", [image])  # type: ignore[attr-defined]
                counts = confusion(task.query_y.argmax(-1), answers, task.query_y.shape[1]).tolist()
                columns = ["class", *(f"answered {way}" for way in range(len(counts)))]
                rows = [[way, *row] for way, row in enumerate(counts)]
                logger.log_table("test/confusion", columns=columns, data=rows)  # type: ignore[attr-defined]


def confusion(ways: Tensor, answers: Tensor, way: int) -> Tensor:
    """How often a query of a class was answered by each class: (Q,), (Q,) -> (N, N), a row for each true class."""
    return torch.bincount(ways * way + answers, minlength=way * way).view(way, way)


def picture(task: Episode, answers: Tensor) -> Image.Image:
    """A row for each class: its support images, then its queries, framed by whether `answers` (Q,) has them right.

    A wrong answer stands in the corner as the number of the class that was answered, counted from 0 at the top.
    """
    ways, way = task.query_y.argmax(-1), task.query_y.shape[1]
    supports = [task.support_x[task.support_y.argmax(-1) == c] for c in range(way)]
    queries = [torch.nonzero(ways == c).flatten()[:MOST].tolist() for c in range(way)]
    cell = SIZE + 2 * FRAME
    left = max(map(len, supports)) * cell + GAP
    sheet = Image.new("RGB", (left + max(map(len, queries)) * cell, way * cell), PAPER)
    for c in range(way):
        for column, x in enumerate(supports[c]):
            sheet.paste(_image(x), (column * cell + FRAME, c * cell + FRAME))
        for column, q in enumerate(queries[c]):
            answer = int(answers[q])
            framed = Image.new("RGB", (cell, cell), RIGHT if answer == c else WRONG)
            framed.paste(_image(task.query_x[q]), (FRAME, FRAME))
            if answer != c:
                ImageDraw.Draw(framed).text((FRAME + 2, FRAME + 1), str(answer), fill=WRONG, stroke_width=2)
            sheet.paste(framed, (left + column * cell, c * cell))
    return sheet


def _image(x: Tensor) -> Image.Image:  # (C, H, W) in 0 .. 1
    pixels = (x.clamp(0, 1) * 255).round().byte().cpu().numpy()
    return Image.fromarray(np.broadcast_to(pixels, (3, *pixels.shape[1:])).transpose(1, 2, 0)).resize((SIZE, SIZE))
