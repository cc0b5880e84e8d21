"""Prints a table of the intent data sets: each method's mean over their class splits.

    python scripts/mean_over_folds.py outputs/sweeps/ngrams outputs/sweeps/vectors

A row is an algorithm with a backbone and its training steps, a column a data set in one test
setting. The interval is Student's 95 % interval over the splits. With one split, it is over its
episodes, and the split is named. Two runs of one row on one split, or of other settings, are
refused; `python -m metalearn.report` has a row for each of their settings, and for each
`pretrained` run.
"""

import argparse
import sys
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

from metalearn.estimates import Estimate
from metalearn.report.comparing.protocol import Column, column
from metalearn.report.reading.runs import find
from metalearn.report.reading.scores import ACCURACY, score
from metalearn.stats import estimate

Method = tuple[str, str, int]
"""Algorithm, backbone and number of training steps."""
Scores = dict[int, Estimate]
"""Accuracy on each split of the classes, by its number."""


def read(sweeps: Iterable[Path]) -> dict[Method, dict[Column, Scores]]:
    """Reads the completed runs of sweeps. Raises ValueError or OSError in one line."""
    rows: dict[Method, dict[Column, Scores]] = defaultdict(lambda: defaultdict(dict))
    configs: dict[tuple[Method, Column], str | None] = {}  # hash of the settings of each cell
    runs, damaged, *_ = find(sweeps)
    if damaged:
        raise ValueError(damaged[0])
    for run in runs:
        result, split = run.result, run.result.class_split
        if not run.completed:
            continue
        if split is None:
            raise ValueError(f"{run.folder} has no class split, as {result.dataset} has none: leave it out")
        if score(result) is not ACCURACY:
            raise ValueError(f"{run.folder} has no accuracy on meta-test: leave it out")
        method, tested = (result.algorithm, result.backbone, result.steps or 0), column(result, ACCURACY)
        scores = rows[method][tested]
        if split in scores:
            raise ValueError(f"{run.folder} and another run are the same row on split {split}: leave one out")
        if configs.setdefault((method, tested), result.config_sha256) != result.config_sha256:
            raise ValueError(f"{run.folder} has other settings than another run of its row: leave one out")
        scores[split] = run.estimate(ACCURACY.name)
    if not rows:
        raise ValueError("the directories hold no completed run")
    return rows


def cell(scores: Scores) -> str:
    """Writes the mean over the splits in percent.

    >>> cell({1: Estimate(0.5, 0.1, 0.01, 100)})
    '50.0 ± 1.0 (split 1)'
    """
    if not scores:
        return "-"
    if len(scores) == 1:
        ((split, only),) = scores.items()
        return f"{100 * only.mean:.1f} ± {100 * only.ci95:.1f} (split {split})"
    over = estimate([on_split.mean for on_split in scores.values()])
    few = "" if len(scores) == 5 else f" ({len(scores)} splits)"
    return f"{100 * over.mean:.1f} ± {100 * over.ci95:.1f}{few}"


def table(rows: dict[Method, dict[Column, Scores]]) -> str:
    """Writes the table in Markdown."""
    columns = sorted({column for row in rows.values() for column in row})
    lines = [["algorithm", "backbone", "steps", *map(str, columns)]]
    lines.append(["---"] * len(lines[0]))
    for (algorithm, backbone, steps), row in sorted(rows.items(), key=lambda item: item[0][1::-1]):
        cells = (cell(row.get(column, {})) for column in columns)
        lines.append([f"`{algorithm}`", f"`{backbone}`", f"{steps:,}", *cells])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sweeps", metavar="DIR", nargs="+", type=Path, help="directory of a sweep")
    try:
        print(table(read(parser.parse_args().sweeps)))
    except (ValueError, OSError) as error:
        sys.exit(f"mean_over_folds: {error}")


if __name__ == "__main__":
    main()
