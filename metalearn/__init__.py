"""metalearn: few-shot meta-learning experiments, composed from YAML and measured so that they can be believed."""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    if name == "Learner":  # imported late, since torch takes seconds and the command line does not wait
        return import_module("metalearn.learner").Learner
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
