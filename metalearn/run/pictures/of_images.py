"""A picture of an episode of images: its support images, queries, and answers."""

import unicodedata
from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from metalearn.types import Episode

RIGHT, WRONG, PAPER = (0, 114, 178), (213, 94, 0), (255, 255, 255)  # blue and vermilion are safe for colour-blind eyes
INK = (0, 0, 0)
SIZE, FRAME, GAP = 56, 3, 12  # image, its frame, and space between support and queries, in pixels
CELL = SIZE + 2 * FRAME
MARGIN, LINE = 10, 26  # outer margin and line of text, in pixels
LONGEST_NAME = 180  # pixels
MOST = 10  # shown queries of a class
FONT, DIGITS = ImageFont.load_default(15), ImageFont.load_default(24)
LEGEND = "blue frame: right; orange frame: wrong, with the number of the predicted class"


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
    x = x if len(x) in (1, 3) else x.mean(0, keepdim=True)  # other channels have no colours
    pixels = (x.clamp(0, 1) * 255).round().byte().cpu().numpy()
    return Image.fromarray(np.broadcast_to(pixels, (3, *pixels.shape[1:])).transpose(1, 2, 0)).resize((SIZE, SIZE))


def _length(text: str) -> float:
    return FONT.getlength(text)
