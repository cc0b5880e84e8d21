"""Checks of the weights of a user's own parts: a run must find them."""

import logging
from collections.abc import Iterator
from typing import Any

from torch import Tensor, nn

from metalearn.algorithms.base import AbstractAlgorithm
from metalearn.backbones.base import AbstractBackbone, backbone_of, is_of_backbone

log = logging.getLogger(__name__)

REGISTERS = {nn.Module: "nn.ModuleList or nn.ModuleDict", nn.Parameter: "nn.ParameterList", Tensor: "register_buffer"}
"""Ways to put a part into the state of a module."""


def is_own(part: nn.Module) -> bool:
    """Whether a user wrote the class of a part; tests show what parts of the package depend on."""
    return type(part).__module__.partition(".")[0] != "metalearn"


def check_state(algorithm: AbstractAlgorithm) -> None:
    """Raises ValueError if an own part keeps weights or a module where no checkpoint finds them.

    Another tensor gives a warning, since it may be a constant that the constructor makes again. So
    does a backbone of another name, which is trained and tested as any other module.
    """
    if is_own(algorithm):
        for name, module in algorithm.named_modules():
            if isinstance(module, AbstractBackbone) and not is_of_backbone(name):
                log.warning(
                    "%s keeps the backbone %s in '%s': keep it in 'backbone', or the run neither checks it nor states "
                    "its pretraining (docs/extending.md)",
                    *(type(algorithm).__name__, type(module).__name__, name),
                )
    parts = [part for part in (algorithm, backbone_of(algorithm)) if part is not None and is_own(part)]
    own = {type(part).__module__.partition(".")[0] for part in parts}
    for module, name, lost in unregistered(algorithm):
        if type(module).__module__.partition(".")[0] in own:
            kind = next(kind for kind in REGISTERS if isinstance(lost, kind))
            message = (
                f"{type(module).__name__} keeps a {kind.__name__} in '{name}', where no checkpoint finds it: "
                f"use {REGISTERS[kind]} (docs/extending.md)"
            )
            if kind is not Tensor:
                raise ValueError(message)
            log.warning(message)


def unregistered(algorithm: nn.Module) -> Iterator[tuple[nn.Module, str, Any]]:
    """Yields tensors and modules that are only in plain attributes, with module and attribute."""
    found = {id(part) for part in (*algorithm.modules(), *algorithm.parameters(), *algorithm.buffers())}
    for module in algorithm.modules():
        for name, value in vars(module).items():
            yield from ((module, name, part) for part in _held(value, set()) if id(part) not in found)


def _held(value: Any, seen: set[int]) -> Iterator[Any]:
    """Yields a tensor or module, or those in a list, tuple or dictionary; each object once."""
    if id(value) in seen:
        return
    seen.add(id(value))
    if isinstance(value, Tensor | nn.Module):
        yield value
    elif isinstance(value, list | tuple | dict):
        for child in value.values() if isinstance(value, dict) else value:
            yield from _held(child, seen)
