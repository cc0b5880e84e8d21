"""Cost of the episodes of a test in seconds."""

import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import numpy as np
import torch

Part = Literal["adapt", "predict"]


class Cost:
    """Measures adapting to a support set and predicting its queries, episode by episode.

    Args:
        device: device that computes; a measurement waits until a GPU has finished.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._seconds: defaultdict[Part, list[float]] = defaultdict(list)

    @contextmanager
    def of(self, part: Part, *, times: int = 1) -> Iterator[None]:
        """Records the seconds of one of `times` repetitions, after the device has finished them."""
        self._finish()
        began = time.perf_counter()
        yield
        self._finish()
        self._seconds[part].append((time.perf_counter() - began) / times)

    def medians(self) -> dict[Part, float]:
        """Returns the median seconds of each part over the episodes; omits unmeasured parts."""
        return {part: float(np.median(seconds)) for part, seconds in self._seconds.items()}

    def _finish(self) -> None:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
