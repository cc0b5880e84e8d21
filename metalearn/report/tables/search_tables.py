"""The table of the trials of a search, and its notes."""

from typing import Any

from metalearn.formats import number_of
from metalearn.report.reading.searches import FEWEST, Search, Trial
from metalearn.report.sheet import Sheet, Text, Tone

MOST_TRIALS = 20
"""Most trials of a table."""

TONES: dict[str, Tone] = {"pruned": "faint", "unfinished": "faint", "failed": "bad"}


def trials(search: Search) -> Sheet:
    """Returns the best trials with their parameters; those of a Pareto front come first."""
    front = search.front
    shown = [*front, *(trial for trial in search.best_first if trial not in front)][:MOST_TRIALS]
    left_out = f"; the best {MOST_TRIALS} are here, all in trials.csv" if len(search.trials) > MOST_TRIALS else ""
    notes = [Text(counts(search) + left_out), Text(importance(search))]
    if any(trial.state == "pruned" for trial in shown):
        notes.append(Text("a pruned trial has the score of its last validation"))
    if search.has_front:
        notes.append(Text("bold: the Pareto front: no other trial is as good in all objectives and better in one"))
    if search.best:
        notes.append(Text(f"among the runs above, the search has its best trial, {search.best.folder.name}, alone"))
    head = ["trial", "state", *(objective.title for objective in search.objectives), "steps", *search.params]
    by_meta_val_alone = search.is_by_meta_val and not search.has_front
    named = " and ".join(objective.name.replace("_", " ") for objective in search.objectives)
    return Sheet(
        f"Search {search.name}: trials by {named}{' at meta-val' if by_meta_val_alone else ''}",
        head,
        2,
        [_row(trial, search) for trial in shown],
        notes,
    )


def unread(why: list[str]) -> Sheet:
    """Returns the reasons why searches could not be read."""
    notes = [*map(Text, why), Text("so their trials stand among the other runs")]
    return Sheet("Searches whose study could not be read", [], 0, [], notes)


def counts(search: Search) -> str:
    """Returns the number of trials by their end."""
    ended = [(len(search.of(state)), state) for state in ("completed", "pruned", "unfinished", "failed")]
    of_state = ", ".join(f"{count} {state}" for count, state in ended if count)
    return f"{number_of(len(search.trials), 'trial')}: {of_state}"


def importance(search: Search) -> str:
    """Returns the importance of the parameters, or why it is unknown."""
    if len(search.params) == 1:
        return f"parameter importance: {search.params[0]} alone varies"
    if search.importance is None:
        return (
            f"parameter importance needs {FEWEST} completed trials or more whose scores differ: "
            f"there are {len(search.of('completed'))} completed"
        )
    shares = ", ".join(f"{name} {percent(share)}" for name, share in search.importance.shares.items())
    of_which = f" for {search.score.name.replace('_', ' ')}" if search.has_front else ""
    return f"parameter importance{of_which}: {shares} ({basis(search)})"


def basis(search: Search) -> str:
    """Returns the basis of the importance of the parameters."""
    assert search.importance is not None
    num_best, num_trials = search.importance.num_best, search.importance.num_trials
    return f"PED-ANOVA over {num_trials} completed trials: how the best {num_best} differ from all"


def value(param: Any) -> str:
    """Returns the value of a parameter as text."""
    return f"{param:.4g}" if isinstance(param, float) else str(param)


def percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def _row(trial: Trial, search: Search) -> list[Text]:
    tone = "good" if trial in search.front else TONES.get(trial.state, "plain")
    pairs = zip(search.objectives, trial.values, strict=False)
    scores = [objective.text(number) for objective, number in pairs] or ["-"] * len(search.objectives)
    steps = "-" if trial.steps is None else f"{trial.steps:,}"
    params = [value(trial.params.get(name, "-")) for name in search.params]
    return [Text(text, tone=tone) for text in (trial.folder.name, trial.state, *scores, steps, *params)]
