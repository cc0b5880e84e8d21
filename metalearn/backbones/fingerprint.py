"""Fingerprint of what a network computes, to find its stored outputs."""

import hashlib
import inspect
import json
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import nn


def fingerprint(network: nn.Module, *further: str) -> str:
    """Hashes the code, settings, weights and averages of a network, and `further` strings.

    The code is that of the files that define its modules, and of the files that these import from.
    A setting is an attribute of a module that JSON can hold, such as a number or a list of names.
    """
    digest = hashlib.sha256(repr((torch.__version__, *further, network)).encode())
    for code in sorted(_code(network)):
        digest.update(code)
    for name, module in network.named_modules():
        digest.update(f"{name} {dict(_settings(module))};".encode())
    for name, value in network.state_dict().items():
        digest.update(f"{name} {value.dtype} {tuple(value.shape)};".encode())
        digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _code(network: nn.Module) -> set[bytes]:
    """Returns a hash of each file that defines a class of a module, or what that file imports."""
    defining = _sources(parent for module in network.modules() for parent in type(module).__mro__)
    imported = _sources(value for source in defining for value in vars(source).values())
    files = {path for path in map(_file, defining | imported) if path is not None}
    return {hashlib.sha256(path.read_bytes()).digest() for path in files}


def _sources(values: Iterable[Any]) -> set[ModuleType]:
    """Returns the Python modules among some values, and those that define the others."""
    found = (v if isinstance(v, ModuleType) else sys.modules.get(str(getattr(v, "__module__", None))) for v in values)
    return {source for source in found if source is not None}


def _file(of_module: ModuleType) -> Path | None:
    """Returns the file of a Python module; None for one that is built in or typed by hand."""
    try:
        path = inspect.getsourcefile(of_module)
    except TypeError:
        return None
    return Path(path) if path and Path(path).is_file() else None


def _settings(module: nn.Module) -> Iterator[tuple[str, Any]]:
    for name, value in sorted(vars(module).items()):
        if name == "training":  # evaluation alone stores outputs
            continue
        try:
            yield name, json.dumps(value)
        except (TypeError, ValueError):  # no plain value; a module and a weight are counted by themselves
            continue
