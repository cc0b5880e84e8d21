"""Table of the jobs of a sweep, once or live."""

import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.markup import escape
from rich.table import Table

from metalearn.sweep import standing
from metalearn.sweep.control import is_attended
from metalearn.sweep.screen import COLOURS, clock
from metalearn.sweep.standing import Standing

LOOK = 2.0
"""Seconds between two looks of `watch`."""

STATE_COLOURS = {**COLOURS, "running": "bold", "starting": "bold", "queued": "blue"}
MOST_ROWS = 40
"""Rows of the live table of a large sweep: jobs at work and failed ones come first."""


def status(sweep: Path, console: Console) -> list[Standing]:
    """Prints the state of every job. Raises ValueError where the directory holds no sweep."""
    standings = standing.read(sweep)
    console.print(board(standings, sweep))
    return standings


def watch(sweep: Path, console: Console) -> list[Standing]:
    """Shows the state of the jobs until none is at work and nobody starts another."""
    with Live(console=console, auto_refresh=False, transient=True) as live:
        while True:
            attended = is_attended(sweep)  # asked first: the last controller may end now
            standings = standing.read(sweep)
            if not attended and not any(one.is_at_work for one in standings):
                break
            if console.is_terminal:
                live.update(board(standings, sweep, most=MOST_ROWS), refresh=True)
            time.sleep(LOOK)
    return status(sweep, console)


def board(standings: Sequence[Standing], sweep: Path, *, most: int | None = None) -> RenderableType:
    """Returns the table, its first `most` rows where there are more, and a line of counts."""
    shown = list(standings)
    if most is not None and len(shown) > most:
        shown = sorted(shown, key=lambda one: (not one.is_at_work, one.state != "failed"))[:most]
    table = Table()
    for name in ("job", "overrides", "state", "left", "best at meta-val", "meta-test", "exit code"):
        right = name in ("job", "left", "exit code")
        table.add_column(name, justify="right" if right else "left", overflow="fold")
    for one in shown:
        table.add_row(*_row(one))
    return Group(table, f"[bold]{escape(summary(standings, sweep))}[/]")


def summary(standings: Sequence[Standing], sweep: Path) -> str:
    """Returns the number of jobs in each state, and the best score so far with its job."""
    counts = Counter(one.state for one in standings)
    words = [f"{len(standings)} jobs"] + [f"{count} {state}" for state, count in counts.items()]
    scored = [one for one in standings if one.best is not None]
    if scored:
        best = max(scored, key=lambda one: one.best.rank if one.best else 0.0)
        words.append(f"best at meta-val {best.best} by job {best.name}")
    if counts["waiting"] and not is_attended(sweep):
        words.append("nobody starts the jobs that wait: repeat the command of the sweep")
    return ", ".join(words)


def _row(one: Standing) -> list[str]:
    state = f"{one.state} ({escape(one.reason)})" if one.reason else one.state
    return [
        one.name,
        escape(one.label),
        f"[{STATE_COLOURS.get(one.state, 'default')}]{state}[/]",
        "" if one.seconds_left is None else clock(one.seconds_left),
        "" if one.best is None else str(one.best),
        one.test,
        "" if one.exit_code is None else str(one.exit_code),
    ]
