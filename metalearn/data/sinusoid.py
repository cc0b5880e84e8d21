"""Functions of one number, to be learnt from a few of their points: sinusoids and lines.

Sinusoids: Chelsea Finn, Pieter Abbeel, Sergey Levine. Model-Agnostic Meta-Learning for Fast
Adaptation of Deep Networks. ICML 2017, arXiv 1703.03400, section 5.1. Lines beside them: Chelsea
Finn, Kelvin Xu, Sergey Levine. Probabilistic Model-Agnostic Meta-Learning. NeurIPS 2018, arXiv
1806.02817, section 5.
"""

from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np

from metalearn.data.family import check_kinds, check_ranges
from metalearn.types import SPLITS, Split

Function = Literal["sinusoid", "line"]


class Sinusoid:
    """Family of functions; each function is a task, and all three splits share the family.

    Args:
        input_shape: [1], the x.
        functions: kinds of functions, equally likely: y = amplitude * sin(x - phase), or y = slope
            * x + intercept.
        amplitude: range of the uniform draw of the amplitude.
        phase: range of the phase, in radians.
        slope: range of the slope.
        intercept: range of the intercept.
        x: range of the inputs.

    Examples:
        >>> family = Sinusoid(
        ...     [1], functions=["sinusoid"], amplitude=[0.1, 5.0], phase=[0.0, 3.14],
        ...     slope=[-3.0, 3.0], intercept=[-3.0, 3.0], x=[-5.0, 5.0],
        ... )
        >>> x, y = family.points(np.random.default_rng(0), 10)
        >>> x.shape, y.shape
        ((10, 1), (10, 1))
    """

    def __init__(
        self,
        input_shape: list[int],
        *,
        functions: Sequence[Function],
        amplitude: Sequence[float],
        phase: Sequence[float],
        slope: Sequence[float],
        intercept: Sequence[float],
        x: Sequence[float],
    ) -> None:
        if input_shape != [1]:
            raise ValueError(f"sinusoid: x is one number, but input_shape is {input_shape}")
        check_kinds("sinusoid: functions", functions, get_args(Function))
        ranges = {"amplitude": amplitude, "phase": phase, "slope": slope, "intercept": intercept, "x": x}
        check_ranges("sinusoid", ranges)
        self.input_shape = (1,)
        self.functions, self.ranges = tuple(functions), {name: (low, high) for name, (low, high) in ranges.items()}

    def load(self) -> dict[Split, "Sinusoid"]:
        return dict.fromkeys(SPLITS, self)

    def points(self, rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Draws a function and `count` of its points: x (count, 1) and y (count, 1), float32."""
        kind = rng.choice(self.functions)
        amplitude, phase, slope, intercept = (
            rng.uniform(*self.ranges[name]) for name in ("amplitude", "phase", "slope", "intercept")
        )
        x = rng.uniform(*self.ranges["x"], size=(count, 1))
        y = amplitude * np.sin(x - phase) if kind == "sinusoid" else slope * x + intercept
        return x.astype(np.float32), y.astype(np.float32)
