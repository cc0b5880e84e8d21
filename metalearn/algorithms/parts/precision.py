"""Computations that need at least float32."""

import functools
from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor

Result = TypeVar("Result")


def at_least_float32(function: Callable[..., Result]) -> Callable[..., Result]:
    """Runs a function in float32, or float64 where its tensors are, and outside autocast."""

    @functools.wraps(function)
    def call(*arguments: object) -> Result:
        tensors = [value for value in arguments if isinstance(value, Tensor)]
        with torch.autocast(tensors[0].device.type, enabled=False):
            return function(*(widened(value) if isinstance(value, Tensor) else value for value in arguments))

    return call


def widened(x: Tensor) -> Tensor:
    return x.to(torch.promote_types(x.dtype, torch.float32))
