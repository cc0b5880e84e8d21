"""Fingerprint of what a network computes, to find its stored outputs."""

import hashlib
import inspect
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn


def fingerprint(network: nn.Module, *further: str) -> str:
    """Hashes the code, settings, weights and averages of a network, and `further` strings.

    The code is that of the files that define its modules. A setting is an attribute of a module
    that JSON can hold, such as a number or a list of names.
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
    """Returns a hash of each file that defines a class of a module."""
    classes = {parent for module in network.modules() for parent in type(module).__mro__}
    files = {path for path in map(_file, classes) if path is not None}
    return {hashlib.sha256(path.read_bytes()).digest() for path in files}


def _file(of_class: type) -> Path | None:
    """Returns the file that defines a class; None for one that is built in or typed by hand."""
    try:
        path = inspect.getsourcefile(of_class)
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
