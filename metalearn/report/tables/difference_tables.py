"""Tables of differences: each method against the best, and each pair."""

from metalearn.report.comparing.comparison import Comparison
from metalearn.report.comparing.paired import Difference, Pairs
from metalearn.report.sheet import Sheet, Text

CORRECTED = Text(
    "± is half of the 95 % interval of that pair alone; p is corrected for all pairs of the column (Holm), and a "
    "difference is called real where p < 0.05"
)
ONLY_EPISODES = Text(
    "these intervals are over test episodes: they hold for these trained weights on other episodes, not for "
    "weights of other seeds"
)
NOTES = [CORRECTED, ONLY_EPISODES]


def against_best(groups: list[Pairs], comparison: Comparison) -> Sheet:
    """Returns each method minus the best of its column, on the same test episodes."""
    rows = [_difference(difference, group, comparison) for group in groups for difference in group.with_best()]
    head = ["test", "algorithm", "minus the best", "difference", "p", "is it real?"]
    return Sheet("Paired differences from the best on the same test episodes", head, 3, rows, NOTES)


def matrix(group: Pairs, comparison: Comparison) -> tuple[list[Text], list[list[Text]]]:
    """Returns the head and the rows of all pairs: row minus column."""
    labels = [comparison.label(cell) for cell in group.cells]
    rows = [[label, *(_place(group, i, j) for j in range(len(labels)))] for i, label in enumerate(labels)]
    return [Text("row − column"), *labels], rows


def _difference(difference: Difference, group: Pairs, comparison: Comparison) -> list[Text]:
    pair = comparison.label(difference.first), comparison.label(difference.second)
    p = "< 0.001" if difference.p < 0.001 else f"{difference.p:.3f}"
    shown = difference.first.score.difference(difference.mean, difference.ci95)
    verdict = Text("yes", tone="good") if difference.real else Text("not shown", tone="faint")
    return [Text(str(group.column)), *pair, Text(shown), Text(p), verdict]


def _place(group: Pairs, i: int, j: int) -> Text:
    if i == j:
        return Text("·", tone="faint")
    difference = group.between(i, j)
    shown = difference.first.score.short_difference(difference.mean)
    if not difference.real:
        return Text(shown, tone="faint")
    return Text(shown, tone="better" if difference.better else "worse")
