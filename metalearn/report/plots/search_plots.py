"""Plots of a search: its history, its Pareto front and the importance of its parameters."""

import math

from metalearn.formats import number_of
from metalearn.report.plots.plots import Chart, Point, Row, Rows, Scale, SvgPath, dots, scale, steps
from metalearn.report.reading.searches import Search, Trial
from metalearn.report.sheet import Text
from metalearn.report.tables.search_tables import basis, percent


def history(search: Search) -> Chart | None:
    """Plots the score of each trial by its number; None when no trial has a score."""
    values = [trial.value for trial in search.trials if trial.value is not None]
    if not values:
        return None
    x = scale([0.0, float(max(5, *(trial.number for trial in search.trials)))])
    y = scale(values, factor=search.score.factor)

    worst = 100.0 if search.score.sign > 0 else 0.0  # the edge of trials without a score

    def drawn(trials: list[Trial]) -> str:
        return dots((x.at(trial.number), worst if trial.value is None else y.down(trial.value)) for trial in trials)

    scored = [trial for trial in search.of("pruned") if trial.value is not None]
    paths = [
        SvgPath("best", _best(search, x, y), "best so far"),
        SvgPath("trial completed", drawn(search.of("completed")), "completed"),
        SvgPath("trial pruned", drawn(scored), "pruned, at its last validation"),
        SvgPath("trial failed", drawn(search.of("failed")), "failed"),
    ]
    return Chart(
        f"{search.name}: history",
        f"{search.score.title}{' at meta-val' if search.is_by_meta_val else ''}, against the number of the trial",
        f"{search.name}: {search.score.name} of each trial, and the best so far",
        x,
        y,
        [path for path in paths if path.d],
        [],
    )


def front(search: Search) -> Chart | None:
    """Plots the Pareto front; None with one objective or without completed trials."""
    values = {trial.number: trial.values[:2] for trial in search.of("completed") if len(trial.values) > 1}
    if not values:
        return None
    y_score, x_score = search.objectives[:2]
    y = scale((score for score, _ in values.values()), factor=y_score.factor)
    x = scale((cost for _, cost in values.values()), factor=x_score.factor)
    places = {number: (x.at(cost), y.down(score)) for number, (score, cost) in values.items()}
    by_cost = sorted(search.front, key=lambda trial: -x_score.sign * trial.values[1])
    points = [Point(trial.number, places[trial.number]) for trial in by_cost]
    on_front = [point.at for point in points]
    behind = dots(place for number, place in places.items() if number not in search.on_front)
    return Chart(
        f"{search.name}: Pareto front",
        f"{y_score.title}, against {x_score.title}; numbers of the trials on the front",
        f"{search.name}: {y_score.name} against {x_score.name}; the front has {number_of(len(points), 'trial')}",
        x,
        y,
        [
            SvgPath("best", steps(on_front)),
            SvgPath("trial completed", dots(on_front), "on the front"),
            *([SvgPath("trial behind", behind, "behind it")] if behind else []),
        ],
        points,
    )


def importance(search: Search) -> Rows | None:
    """Plots the importance of each parameter, the largest first; None where there is none."""
    if search.importance is None:
        return None
    rows = [
        Row(Text(name), [SvgPath("bar", f"M0 10H{round(100 * share, 2)}")], percent(share))
        for name, share in search.importance.shares.items()
    ]
    return Rows(f"{search.name}: parameter importance", basis(search), rows)


def _best(search: Search, x: Scale, y: Scale) -> str:
    """Draws the best value so far as a line in steps, up to the last trial."""
    places, best = [], -math.inf
    for trial in search.of("completed"):
        assert trial.value is not None
        if (gain := trial.value * search.score.sign) > best:
            places.append((x.at(trial.number), y.down(trial.value)))
            best = gain
    return f"{steps(places)}H{x.at(search.trials[-1].number)}" if places else ""
