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
    """Measures adapting to a support set and predicting its queries, episode by episode."""

    def __init__(self) -> None:
        self._seconds: defaultdict[Part, list[float]] = defaultdict(list)

    @contextmanager
    def of(self, part: Part, device: torch.device, *, times: int = 1) -> Iterator[None]:
        """Records the seconds of one of `times` repetitions, after the device has finished them."""
        _finish(device)
        began = time.perf_counter()
        yield
        _finish(device)
        self._seconds[part].append((time.perf_counter() - began) / times)

    def medians(self) -> dict[Part, float]:
        """Returns the median seconds of each part over the episodes; omits unmeasured parts."""
        return {part: float(np.median(seconds)) for part, seconds in self._seconds.items()}


def _finish(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
