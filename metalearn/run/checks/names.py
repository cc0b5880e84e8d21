"""The nearest right name for a wrong one."""

import difflib
from collections.abc import Iterable


def nearest(name: str, names: Iterable[str]) -> str:
    """A question that names the nearest of the known names, or nothing."""
    close = difflib.get_close_matches(name, [other for other in names if other != name], n=1)
    return f"; did you mean '{close[0]}'?" if close else ""
