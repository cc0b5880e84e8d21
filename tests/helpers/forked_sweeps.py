"""A forked command whose sweep forks its jobs from the server that it comes from itself.

A server of its own would import everything again, which takes longer than its jobs. Sweeps that are
typed, as in test_drills.py and test_sweeps.py, start one.
"""

from multiprocessing import forkserver
from typing import Any

from metalearn.sweep import forks

WORK = forks._work


def work(*given: Any) -> None:
    """Becomes a command as `forks._work` does."""
    server = forkserver._forkserver  # type: ignore[attr-defined]
    server.ensure_running = forkserver.ensure_running = lambda: None
    WORK(*given)
