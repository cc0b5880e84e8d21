"""Choice of weights by regular expressions."""

import re
from collections.abc import Sequence


def selected(patterns: Sequence[str], names: Sequence[str], key: str) -> list[str]:
    """Selects the names whose beginning matches one of the patterns of a config key.

    Raises ValueError for a pattern that matches no name.
    """
    for pattern in patterns:
        if not any(re.match(pattern, name) for name in names):
            raise ValueError(f"{key}: no weight matches {pattern!r}; choose from {', '.join(names)}")
    return [name for name in names if any(re.match(pattern, name) for pattern in patterns)]
