"""Pictures of episodes of a regression: functions as curves, completed images as images."""

from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from metalearn.data.completion import Pixels
from metalearn.losses import DENSITY
from metalearn.types import Episode

PAPER, INK, GREY = (255, 255, 255), (0, 0, 0), (128, 128, 128)
BAND, CURVE = (204, 224, 236), (0, 114, 178)  # light and full blue
HIDDEN = (213, 194, 170)  # colour of pixels outside the support set
WIDTH, HEIGHT, GAP, CELL = 260, 180, 10, 84  # plot, space, and completed image, in pixels
DOT = 3  # radius of a support point, in pixels


def answer(module: pl.LightningModule, task: Episode) -> tuple[Tensor, Tensor]:
    """Returns the predicted means (Q,) and deviations (Q,); without deviations these are 0."""
    algorithm: Any = module.algorithm
    task = Episode(*(part.to(module.device) for part in task))
    with torch.no_grad():
        outputs = algorithm.adapt(task.support_x, task.support_y)(task.query_x).float().cpu()
    if algorithm.objective is not DENSITY:
        return outputs[:, 0], torch.zeros_like(outputs[:, 0])
    means, logs = outputs.chunk(2, dim=1)
    return means[:, 0], logs[:, 0].exp()


Answered = list[tuple[Episode, Tensor, Tensor]]
"""Tasks, each with the means (Q,) and deviations (Q,) of its queries."""


def sheet(family: Any, answered: Answered) -> Image.Image | None:
    """Draws answered tasks of a family; None for functions of several numbers, except pixels."""
    if isinstance(family, Pixels):
        return completed_images(family, answered)
    return functions(answered) if answered[0][0].query_x.shape[1:] == (1,) else None


def functions(answered: Answered) -> Image.Image:
    """Draws plots in rows of three: predicted curve with 95 % band, true and support points."""
    rows = -(-len(answered) // 3)
    sheet = Image.new("RGB", (3 * (WIDTH + GAP) + GAP, rows * (HEIGHT + GAP) + GAP), PAPER)
    for index, (task, means, deviations) in enumerate(answered):
        row, column = divmod(index, 3)
        sheet.paste(function(task, means, deviations), (GAP + column * (WIDTH + GAP), GAP + row * (HEIGHT + GAP)))
    return sheet


def function(task: Episode, means: Tensor, deviations: Tensor) -> Image.Image:
    order = task.query_x[:, 0].argsort()
    x, y = task.query_x[order, 0].numpy(), task.query_y[order, 0].numpy()
    mean, half = means[order].numpy(), 1.96 * deviations[order].numpy()
    support = torch.cat([task.support_x, task.support_y], dim=1).numpy()  # (S, 2)
    low, high = min(y.min(), support[:, 1].min()), max(y.max(), support[:, 1].max())
    room = 0.2 * (high - low) + 1e-6
    low, high = low - room, high + room

    def pixels(x: np.ndarray, y: np.ndarray) -> list[tuple[float, float]]:
        across = (x - task.query_x.min().item()) / max(np.ptp(task.query_x.numpy()), 1e-6)
        down = (high - np.clip(np.nan_to_num(y), low, high)) / (high - low)
        return list(zip((across * (WIDTH - 1)).tolist(), (down * (HEIGHT - 1)).tolist(), strict=True))

    plot = Image.new("RGB", (WIDTH, HEIGHT), PAPER)
    pen = ImageDraw.Draw(plot)
    pen.polygon([*pixels(x, mean + half), *pixels(x, mean - half)[::-1]], fill=BAND)
    pen.line(pixels(x, mean), fill=CURVE, width=2)
    pen.point(pixels(x, y), fill=INK)
    for across, down in pixels(support[:, 0], support[:, 1]):
        pen.ellipse((across - DOT, down - DOT, across + DOT, down + DOT), fill=INK)
    pen.rectangle((0, 0, WIDTH - 1, HEIGHT - 1), outline=GREY)
    return plot


def completed_images(family: Pixels, answered: Answered) -> Image.Image:
    """Draws a column per image: shown pixels, means, deviations and truth, from top to bottom."""
    sheet = Image.new("RGB", (len(answered) * (CELL + GAP) + GAP, 4 * (CELL + GAP) + GAP), PAPER)
    for column, (task, means, deviations) in enumerate(answered):
        shown, asked = (family.indices(part) for part in (task.support_x, task.query_x))
        support = task.support_y.expand(-1, 3)
        canvases = [torch.tensor(HIDDEN).div(255).repeat(family.most_points, 1) for _ in range(4)]  # (H W, 3)
        queries = (None, means, deviations / deviations.max().clamp_min(1e-6), task.query_y[:, 0])
        for row, (canvas, values) in enumerate(zip(canvases, queries, strict=True)):
            canvas[shown] = torch.zeros_like(support) if row == 2 else support
            if values is not None:
                canvas[asked] = values[:, None].expand(-1, 3)
            array = (canvas.clamp(0, 1) * 255).round().byte().view(family.height, family.width, 3).numpy()
            image = Image.fromarray(array).resize((CELL, CELL), Image.Resampling.NEAREST)
            sheet.paste(image, (GAP + column * (CELL + GAP), GAP + row * (CELL + GAP)))
    return sheet
