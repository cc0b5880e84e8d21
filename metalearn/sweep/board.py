"""Table of the jobs of a sweep, once or live."""

import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.markup import escape
from rich.table import Table

from metalearn.formats import number_of
from metalearn.sweep.control import is_attended
from metalearn.sweep.screen import COLOURS, clock
from metalearn.sweep.standing import Standing, read

LOOK = 2.0
"""Seconds between two looks of `watch`."""

STATE_COLOURS = {**COLOURS, "running": "bold", "starting": "bold", "queued": "blue"}
MOST_ROWS = 40
"""Rows of the live table of a large sweep: jobs at work and failed ones come first."""


def status(sweep: Path, console: Console) -> list[Standing]:
    """Prints the state of every job. Raises ValueError where the directory holds no sweep."""
    standings = read(sweep)
    console.print(board(standings, sweep))
    return standings


def watch(sweep: Path, console: Console) -> list[Standing]:
    """Shows the state of the jobs until none is at work and nobody starts another."""
    with Live(console=console, auto_refresh=False, transient=True) as live:
        while True:
            attended = is_attended(sweep)  # asked first: the last controller may end now
            standings = read(sweep)
            if not attended and not any(standing.is_at_work for standing in standings):
                break
            if console.is_terminal:
                live.update(board(standings, sweep, most=MOST_ROWS), refresh=True)
            time.sleep(LOOK)
    return status(sweep, console)


def board(standings: Sequence[Standing], sweep: Path, *, most: int | None = None) -> RenderableType:
    """Returns the table, its first `most` rows where there are more, and a line of counts."""
    shown = list(standings)
    if most is not None and len(shown) > most:
        shown = sorted(shown, key=lambda standing: (not standing.is_at_work, standing.state != "failed"))[:most]
    table = Table()
    for name in ("job", "overrides", "state", "left", "best at meta-val", "meta-test", "exit code"):
        right = name in ("job", "left", "exit code")
        table.add_column(name, justify="right" if right else "left", overflow="fold")
    for standing in shown:
        table.add_row(*_row(standing))
    return Group(table, f"[bold]{escape(summary(standings, sweep))}[/]")


def summary(standings: Sequence[Standing], sweep: Path) -> str:
    """Returns the number of jobs in each state, and the best of each score so far with its job."""
    counts = Counter(standing.state for standing in standings)
    words = [number_of(len(standings), "job")] + [f"{count} {state}" for state, count in counts.items()]
    scored = [(standing.best, standing.name) for standing in standings if standing.best is not None]
    for score in dict.fromkeys(best.score for best, _ in scored):
        best, name = max((pair for pair in scored if pair[0].score == score), key=lambda pair: pair[0].rank)
        words.append(f"best {score} at meta-val {best} by job {name}")
    if counts["waiting"] and not is_attended(sweep):
        words.append("nobody starts the jobs that wait: repeat the command of the sweep")
    return ", ".join(words)


def _row(standing: Standing) -> list[str]:
    state = f"{standing.state} ({escape(standing.reason)})" if standing.reason else standing.state
    return [
        escape(standing.name),
        escape(standing.label),
        f"[{STATE_COLOURS.get(standing.state, 'default')}]{state}[/]",
        "" if standing.seconds_left is None else clock(standing.seconds_left),
        "" if standing.best is None else str(standing.best),
        standing.test,
        "" if standing.exit_code is None else str(standing.exit_code),
    ]
