"""metalearn: few-shot meta-learning experiments, composed from YAML, with comparable results."""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    if name == "Learner":  # imported late: torch takes seconds, and the command line must not wait
        return import_module("metalearn.learner").Learner
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
