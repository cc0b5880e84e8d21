"""Functions of one number, drawn from Gaussian processes.

Marta Garnelo and others. Conditional Neural Processes. ICML 2018, arXiv 1807.01613, section 4.1.
Hyunjik Kim and others. Attentive Neural Processes. ICLR 2019, arXiv 1901.05761, section 4: the
ranges of length and scale, and the noise. The kernels are those of Carl Rasmussen, Christopher
Williams, Gaussian Processes for Machine Learning, 2006, chapter 4.
"""

from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np

from metalearn.data.family import check_kinds, check_ranges
from metalearn.types import SPLITS, Split

Kernel = Literal["rbf", "matern", "periodic"]


class GaussianProcess:
    """Family of functions; each function is a task, and all splits share the family.

    Args:
        input_shape: [1], the x.
        kernels: rbf, matern (with ν = 5/2) and periodic; each is equally likely.
        length: range of the length scale, drawn uniformly for each function.
        scale: range of the deviation of the values, likewise.
        period: range of the period of the periodic kernel, likewise.
        noise: deviation of the noise of each value.
        x: range of the places, uniform.

    Examples:
        >>> family = GaussianProcess(
        ...     [1], kernels=["rbf"], length=[0.1, 0.6], scale=[0.1, 1.0], period=[1.0, 2.0],
        ...     noise=0.02, x=[-2.0, 2.0],
        ... )
        >>> x, y = family.points(np.random.default_rng(0), 10)
        >>> x.shape, y.shape
        ((10, 1), (10, 1))
    """

    def __init__(
        self,
        input_shape: list[int],
        *,
        kernels: Sequence[Kernel],
        length: Sequence[float],
        scale: Sequence[float],
        period: Sequence[float],
        noise: float,
        x: Sequence[float],
    ) -> None:
        if input_shape != [1]:
            raise ValueError(f"gp: x is one number, but input_shape is {input_shape}")
        check_kinds("gp: kernels", kernels, get_args(Kernel))
        check_ranges("gp", {"length": length, "scale": scale, "period": period}, above=0)
        check_ranges("gp", {"x": x})
        if noise < 0:
            raise ValueError(f"gp: noise={noise} must not be negative")
        self.input_shape = (1,)
        self.kernels, self.noise = tuple(kernels), noise
        self.length, self.scale, self.period, self.x = length, scale, period, x

    def load(self) -> dict[Split, "GaussianProcess"]:
        return dict.fromkeys(SPLITS, self)

    def points(self, rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Draws `count` points of a random function: x (count, 1) and y (count, 1), float32."""
        kernel = rng.choice(self.kernels)
        length, scale, period = (rng.uniform(bounds[0], bounds[1]) for bounds in (self.length, self.scale, self.period))
        x = rng.uniform(self.x[0], self.x[1], size=(count, 1))
        correlation = covariance(kernel, np.abs(x - x.T), length=length, period=period)
        # The added diagonal exceeds the rounding errors.
        root = np.linalg.cholesky(correlation + 1e-6 * np.eye(count))
        y = scale * root @ rng.standard_normal((count, 1)) + self.noise * rng.standard_normal((count, 1))
        return x.astype(np.float32), y.astype(np.float32)


def covariance(kernel: Kernel, distance: np.ndarray, *, length: float, period: float) -> np.ndarray:
    """Computes the correlation of values at the given distances, of any shape."""
    if kernel == "periodic":
        return np.exp(-2 * (np.sin(np.pi * distance / period) / length) ** 2)  # eq. 4.31
    scaled = distance / length
    if kernel == "matern":
        root = np.sqrt(5) * scaled
        return (1 + root + root**2 / 3) * np.exp(-root)  # eq. 4.17
    return np.exp(-0.5 * scaled**2)  # eq. 4.9
