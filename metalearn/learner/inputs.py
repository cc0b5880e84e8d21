"""Inputs of a learner, images or texts, as the rows that the network of a run was trained on."""

import logging
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from metalearn.data.files.inspection import DARK
from metalearn.data.files.preparation import Preparation
from metalearn.data.files.source import named
from metalearn.data.text.preparation import TextPreparation
from metalearn.learner import images
from metalearn.learner.images import Picture

log = logging.getLogger(__name__)

Input = Picture | str
"""Image in any form; or a text, to a learner of texts."""

CHUNK = 256
"""Number of inputs in memory and in one pass of the network."""


def counted(
    inputs: Iterable[Input], preparation: Preparation | TextPreparation
) -> Sequence[Input] | np.ndarray | Tensor:
    """Returns the inputs with a length, unchanged if they have one."""
    _check_list(inputs, preparation)
    return inputs if isinstance(inputs, Sequence | np.ndarray | Tensor) else list(inputs)


def chunks(inputs: Iterable[Input], preparation: Preparation | TextPreparation) -> Iterator[Tensor]:
    """Yields the inputs in chunks, with B at most `CHUNK`.

    Images are (B, C, H, W) uint8, texts (B, L) int32. Raises ValueError or OSError, which names the
    input.
    """
    _check_list(inputs, preparation)
    kind = "text" if isinstance(preparation, TextPreparation) else "image"
    each = (_named(f"{kind} {number}", given, preparation) for number, given in enumerate(inputs))
    while some := list(islice(each, CHUNK)):
        yield torch.stack(some)


def prepared(given: Input, preparation: Preparation | TextPreparation) -> Tensor:
    """Returns one input. Raises ValueError or OSError with the reason."""
    if not isinstance(preparation, TextPreparation):
        return images.prepared(given, preparation)
    if not isinstance(given, str):
        raise ValueError(f"a {type(given).__name__} is not a text, but the run was trained on texts")
    return preparation.of_text(given)


def warn_of_dark(images: Tensor, preparation: Preparation | TextPreparation) -> None:
    """Warns of images (S, C, H, W) that are all dark, such as bytes that hold 0 and 1."""
    if isinstance(preparation, TextPreparation):
        return
    brightest = (255 - int(images.min()) if preparation.invert else int(images.max())) / 255
    if brightest < DARK:
        message = "all images are dark: their brightest pixel is %.1f %% of white (bytes reach from 0 to 255)"
        log.warning(message, 100 * brightest)


def _check_list(inputs: Any, preparation: Preparation | TextPreparation) -> None:
    """Refuses a single input, a set, and a table, which would be read as the names of columns.

    A network of grey images takes (3, H, W) as three of them; a network of colours may mean one.
    """
    kind, column = ("texts", "text") if isinstance(preparation, TextPreparation) else ("images", "path")
    if isinstance(inputs, str | os.PathLike | Image.Image):
        raise ValueError(f"{kind} are a list; put a single one into brackets")
    if isinstance(inputs, set | frozenset):
        raise ValueError(f"{kind} are a {type(inputs).__name__}, which has no order; give a list")
    if isinstance(inputs, np.ndarray | Tensor) and inputs.ndim == 3 and inputs.shape[2] in (1, 3, 4):
        raise ValueError(f"an array of {tuple(inputs.shape)} is one image; put a single one into brackets")
    in_colour = isinstance(preparation, Preparation) and preparation.input_shape[0] > 1
    if in_colour and isinstance(inputs, np.ndarray | Tensor) and inputs.ndim == 3 and len(inputs) in images.COLOURS[1:]:
        may_be = f"may be one image, or {len(inputs)} grey ones"
        raise ValueError(f"an array of {tuple(inputs.shape)} {may_be}: put one into brackets, or several into a list")
    if isinstance(inputs, Mapping) or hasattr(inputs, "columns"):  # a DataFrame of any library
        raise ValueError(f"a table is not a list of {kind}; give one column, such as table[{column!r}]")


def _named(name: str, given: Input, preparation: Preparation | TextPreparation) -> Tensor:
    is_text = isinstance(given, str) and isinstance(preparation, TextPreparation)
    place = f" ({given})" if isinstance(given, str | os.PathLike) and not is_text else ""
    with named(f"{name}{place}"):
        return prepared(given, preparation)
