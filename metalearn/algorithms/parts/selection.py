"""Choice of weights by regular expressions."""

import re
from collections.abc import Sequence


def selected(patterns: Sequence[str], names: Sequence[str], key: str) -> list[str]:
    """Selects the names whose beginning matches one of the patterns of a config key.

    Raises ValueError if there is no pattern, and for a pattern that matches no name.
    """
    if not patterns:
        raise ValueError(f"{key} is empty: name weights that the steps move, such as {names[-1]}")
    for pattern in patterns:
        try:
            matched = any(re.match(pattern, name) for name in names)
        except re.error as error:
            raise ValueError(f"{key}: {pattern!r} is not a regular expression: {error}") from None
        if not matched:
            raise ValueError(f"{key}: no weight matches {pattern!r}; choose from {', '.join(names)}")
    return [name for name in names if any(re.match(pattern, name) for pattern in patterns)]
