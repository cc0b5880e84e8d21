"""Secrets are written nowhere: not by the name of their key, not by a value that the environment holds as a secret."""

import os
import re
from collections.abc import Iterable
from typing import Any

NAME = re.compile(r"(^|[._-])(api)?(key|token|secret|password)s?$", re.IGNORECASE)


def refuse_typed(overrides: Iterable[str]) -> None:
    """Raises ValueError for a secret on the command line, which Hydra would write into the run directory."""
    for key, _, value in (override.partition("=") for override in overrides):
        if NAME.search(key) and value not in ("", "null") and "${" not in value:
            raise ValueError(
                f"{key.lstrip('+')} looks like a secret, which would be written down: use ${{oc.env:NAME}}"
            )


def struck_out(node: Any) -> Any:
    """The same config without secrets."""
    hidden = {value for name, value in os.environ.items() if NAME.search(name) and value}

    def walk(child: Any) -> Any:
        if isinstance(child, dict):
            return {k: "***" if NAME.search(str(k)) and v else walk(v) for k, v in child.items()}
        if isinstance(child, list):
            return [walk(grandchild) for grandchild in child]
        return "***" if isinstance(child, str) and child in hidden else child

    return walk(node)
