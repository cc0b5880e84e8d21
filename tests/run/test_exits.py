"""Errors before the training: those of the user are one line, all others remain what they are."""

import errno
import os
from collections.abc import Callable

import pytest
import torch
from hydra.utils import instantiate

from metalearn.run.process.exits import BadInput, refusing_bad_input

ALLOCATIONS: dict[str, Callable[[], object]] = {
    "Python": lambda: bytearray(1 << 60),
    "PyTorch": lambda: torch.empty(10**17),
    "product of sizes": lambda: torch.empty(10**10, 10**10),
    "one size": lambda: torch.empty(10**20),
    "network": lambda: instantiate({"_target_": "torch.nn.Linear", "in_features": 10**9, "out_features": 10**8}),
}


@pytest.mark.parametrize("allocate", ALLOCATIONS.values(), ids=[*ALLOCATIONS])
def test_sizes_that_no_memory_holds_are_refused_in_one_line(allocate: Callable[[], object]) -> None:
    message = r"^a part of the run does not fit into memory \(.+\): lower its sizes$"
    with pytest.raises(BadInput, match=message), refusing_bad_input():
        allocate()


FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("error", [RuntimeError("CUDA out of memory"), TypeError("no"), KeyError("no"), FULL])
def test_other_errors_keep_their_traceback(error: Exception) -> None:
    with pytest.raises(type(error)) as raised, refusing_bad_input():
        raise error
    assert raised.value is error
