"""Image completion: from the shown pixels of an image, predict the others.

Marta Garnelo and others. Conditional Neural Processes. ICML 2018, arXiv 1807.01613, section 4.2.
"""

import numpy as np
import torch
from torch import Tensor

from metalearn.data.bank import ClassBank
from metalearn.data.files.source import Source
from metalearn.types import Split


class Completion:
    """Grey images as functions from the place of a pixel, in [-1, 1]², to its intensity, in [0, 1].

    Args:
        images: data set; its meta-train, meta-val and meta-test give those of the functions.
        input_shape: [2], row and column.

    Examples:
        >>> import tempfile
        >>> from metalearn import Glyphs
        >>> glyphs = Glyphs(
        ...     tempfile.mkdtemp(), seed=0, input_shape=[1, 28, 28], num_alphabets=[1, 1, 1],
        ...     characters=2, drawings=2,
        ... )
        >>> family = Completion(glyphs, input_shape=[2]).load()["train"]
        >>> places, intensities = family.points(np.random.default_rng(0), 10)
        >>> places.shape, intensities.shape
        ((10, 2), (10, 1))
    """

    def __init__(self, images: Source, *, input_shape: list[int]) -> None:
        if input_shape != [2]:
            raise ValueError(f"completion: a place has a row and a column, but input_shape is {input_shape}")
        if len(images.input_shape) != 3 or images.input_shape[0] != 1:
            raise ValueError(f"completion: images must be grey, but input_shape is {list(images.input_shape)}")
        self.images, self.input_shape = images, (2,)

    def load(self) -> dict[Split, "Pixels"]:
        banks = self.images.load()
        return {split: Pixels(banks[split]) for split in banks}


class Pixels:
    """Images of one split."""

    def __init__(self, bank: ClassBank) -> None:
        self.bank = bank
        self.rows = np.sort(np.concatenate(bank.rows))  # splits may share one tensor of images
        self.height, self.width = bank.images.shape[2:]
        rows, columns = np.meshgrid(np.linspace(-1, 1, self.height), np.linspace(-1, 1, self.width), indexing="ij")
        self.places = np.stack([rows.ravel(), columns.ravel()], axis=1).astype(np.float32)  # (H W, 2)

    def indices(self, places: Tensor) -> Tensor:
        """Finds the numbers of the pixels, row by row, at these places: (B, 2) -> (B,)."""
        size = torch.tensor([self.height - 1, self.width - 1])
        row, column = ((places + 1) / 2 * size).round().long().unbind(1)
        return row * self.width + column

    @property
    def most_points(self) -> int:
        return len(self.places)

    def points(self, rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Draws `count` pixels of a random image.

        Returns places (count, 2) and intensities (count, 1), float32.
        """
        image = self.bank.images[self.rows[rng.integers(len(self.rows))]].numpy().ravel()
        chosen = rng.permutation(len(image))[:count]
        return self.places[chosen], (image[chosen, None] / 255).astype(np.float32)
