"""The geometry of the plots of a search: history and importance of parameters."""

import math
from dataclasses import dataclass
from typing import NamedTuple

from metalearn.report.plots.plots import Scale, scale, steps
from metalearn.report.reading.scores import Score
from metalearn.report.reading.searches import Search, Trial
from metalearn.report.tables.search_tables import percent


@dataclass(frozen=True)
class History:
    """Score of each trial against its number.

    Each path is the d of an SVG path; empty without such trials.
    """

    title: str
    score: Score
    x: Scale
    y: Scale
    best: str  # so far, of the completed trials
    completed: str
    pruned: str
    failed: str  # along the bottom


class Bar(NamedTuple):
    name: str
    value: str
    width: float  # percent of the plot


def history(search: Search) -> History | None:
    """Plots the score of each trial by its number; None when no trial has a score."""
    values = [trial.value for trial in search.trials if trial.value is not None]
    if not values:
        return None
    x = scale([0.0, float(max(5, *(trial.number for trial in search.trials)))])
    y = scale(values, factor=search.score.factor)

    def dots(trials: list[Trial]) -> str:
        places = [(x.at(trial.number), 100.0 if trial.value is None else y.down(trial.value)) for trial in trials]
        return "".join(f"M{a} {b}h0" for a, b in places)

    completed, pruned, failed = (search.of(state) for state in ("completed", "pruned", "failed"))
    scored = [trial for trial in pruned if trial.value is not None]
    return History(search.name, search.score, x, y, _best(search, x, y), dots(completed), dots(scored), dots(failed))


def importance(search: Search) -> list[Bar]:
    """Lists the importance of each parameter, the largest first; empty where there is none."""
    shares = search.importance.shares if search.importance else {}
    return [Bar(name, percent(share), round(100 * share, 2)) for name, share in shares.items()]


def _best(search: Search, x: Scale, y: Scale) -> str:
    """Draws the best value so far as a line in steps, up to the last trial."""
    places, best = [], -math.inf
    for trial in search.of("completed"):
        assert trial.value is not None
        if (gain := trial.value * search.score.sign) > best:
            places.append((x.at(trial.number), y.down(trial.value)))
            best = gain
    return f"{steps(places)}H{x.at(search.trials[-1].number)}" if places else ""
