"""Checks of settings that families of functions share."""

import math
from collections.abc import Collection, Mapping, Sequence


def check_kinds(setting: str, kinds: Collection[str], choices: Collection[str]) -> None:
    """Raises ValueError if there are no kinds, or one that is no choice."""
    if not kinds or (unknown := [kind for kind in kinds if kind not in choices]):
        wrong = f"has {unknown[0]!r}" if kinds else "is empty"
        raise ValueError(f"{setting} {wrong}; it may hold {', '.join(choices)}")


def check_ranges(family: str, ranges: Mapping[str, Sequence[float]], *, above: float = -math.inf) -> None:
    """Raises ValueError for a range that is not two finite numbers above `above`, in order."""
    limit = "" if above == -math.inf else f" above {above}"
    for name, values in ranges.items():
        if len(values) != 2 or not above < values[0] <= values[1] < math.inf:
            remedy = "a range has a smallest and a largest finite number"
            raise ValueError(f"{family}: {name} is {list(values)}; {remedy}{limit}")
